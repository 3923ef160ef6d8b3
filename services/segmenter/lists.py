"""Manual lists that are being replaced, in one partition: which segments wait until the entries of their new list are there.

An edit publishes the difference between before and after. The new list comes entry by entry, behind the definition; until a partition
has as many as the definition announced to it, nobody there is decided under the segment's new version. An entry that names an id which was
merged is counted where that id lives, and sent on to the survivor: where survivors live, it is waited for the partitions of their other
ids as well, until they say that all has been sent on. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from schemas.instants import NEVER
from schemas.manual import ManualEntry
from schemas.segments import Segment
from services.segmenter.rows import Came

PATIENCE_MS: Final = 60_000
"""So long entries are waited for. Their writer has by then told the client that they are not written, or has died in the middle; a
segment cannot stand still until somebody sends them again."""

_NOTHING: Final[frozenset[str]] = frozenset()


class ListOf(NamedTuple):
    """A manual list: `entries` says which of its segment's two."""

    tenant: str
    segment_id: str
    entries: str


class Lists:
    """What one partition waits for, and what has come."""

    def __init__(self, partition: int) -> None:
        self._partition = partition
        self._came: dict[ListOf, Came] = {}
        self._moved: dict[ListOf, None] = {}
        self._announced: dict[str, dict[ListOf, Came]] = {}
        self._revisions: dict[str, int] = {}
        self._homes: dict[str, frozenset[int]] = {}
        """Of each tenant, the partitions from which entries are sent on to here."""
        self._waiting: dict[str, frozenset[str]] = {}
        """The segments that wait, of each tenant for whom any does."""
        self._patience: dict[ListOf, tuple[int, int]] = {}
        """Since which definition a list is waited for, and until when."""

    def restore(self, name: str, came: Came | None) -> None:
        """Take what was written about a list; None removes it."""
        whose = ListOf(*name.split(":"))
        if came is None:
            self._came.pop(whose, None)
        else:
            self._came[whose] = came

    def take(self) -> list[tuple[str, Came | None]]:
        """Return what is to be written of each list about which it has changed since this was last asked, None to remove it."""
        moved, self._moved = self._moved, {}
        return [(":".join(whose), self._came.get(whose)) for whose in moved]

    def under(self, tenant: str, revision: int, segments: Iterable[Segment]) -> None:
        """Wait for what a tenant's live segments announce from now on; definitions before those known change nothing."""
        if revision <= self._revisions.get(tenant, -1):
            return
        self._revisions[tenant] = revision
        announced: dict[ListOf, Came] = {}
        for segment in segments:
            for entries, counts in segment.announced.items() if not segment.archived else ():
                since = segment.include_since if entries == "include" else segment.exclude_since
                whose = ListOf(tenant, segment.id, entries)
                announced[whose] = Came(since, counts.get(self._partition, 0))
                if (came := self._came.get(whose)) is None or came.since != since:
                    # Kept even if nothing is to come: whoever is merged into somebody here later brings along what was said of him.
                    self._keep(whose, Came(since, 0, sorted(self.homes(tenant) & counts.keys())))
        self._announced[tenant] = announced
        for whose in [known for known in self._came if known.tenant == tenant and known not in announced]:
            del self._came[whose]
            self._moved[whose] = None
        self._settle(tenant)

    def of(self, tenant: str) -> frozenset[str]:
        """Return the segments of a tenant that wait."""
        return self._waiting.get(tenant, _NOTHING)

    @property
    def waiting(self) -> bool:
        """Whether any segment waits."""
        return bool(self._waiting)

    def homes(self, tenant: str) -> frozenset[int]:
        """Return the partitions from which entries of a tenant's lists are sent on to here."""
        return self._homes.get(tenant, frozenset())

    def follow(self, tenant: str, homes: Iterable[int]) -> None:
        """Know that entries are sent on to here from these partitions, of lists that are replaced from now on."""
        self._homes[tenant] = self.homes(tenant).union(homes)

    def count(self, entry: ManualEntry) -> bool:
        """Take note of an entry that lives here; return whether its segment waits no longer."""
        whose = ListOf(entry.tenant, entry.segment_id, entry.entries)
        announced = self._announced.get(entry.tenant, {}).get(whose)
        if announced is None or not entry.announced or entry.since != announced.since:
            return False
        came = self._came[whose]
        self._keep(whose, Came(entry.since, came.entries + 1, came.owing))
        return self._settle(entry.tenant)

    def complete(self, entry: ManualEntry) -> bool:
        """Whether an entry that was counted is the last of those announced to this partition."""
        whose = ListOf(entry.tenant, entry.segment_id, entry.entries)
        announced = self._announced.get(entry.tenant, {}).get(whose)
        return announced is not None and announced.since == entry.since and self._came[whose].entries == announced.entries

    def heard(self, whose: ListOf, since: int, home: int) -> bool:
        """Hear that a partition has sent on all that it had to of a list; return whether its segment waits no longer."""
        came = self._came.get(whose)
        if came is None or came.since != since or home not in came.owing:
            return False
        self._keep(whose, Came(since, came.entries, [one for one in came.owing if one != home]))
        return self._settle(whose.tenant)

    def hold(self, tenants: Iterable[str], now_ms: int) -> None:
        """Begin to lose patience with the lists of these tenants that are waited for."""
        for tenant in tenants:
            for whose, announced in self._announced.get(tenant, {}).items():
                if self._misses(whose, announced) and self._patience.get(whose, (-1, 0))[0] != announced.since:
                    self._patience[whose] = announced.since, now_ms + PATIENCE_MS

    def next_ms(self) -> int:
        """Return the next instant at which patience ends, `NEVER` if none does."""
        return min([until_ms for _, until_ms in self._patience.values()], default=NEVER)

    def lose_patience(self, now_ms: int) -> list[str]:
        """Wait no longer for what should be there by now; return the tenants of whom a segment waits no longer."""
        over = [whose for whose, (_, until_ms) in self._patience.items() if until_ms <= now_ms]
        for whose in over:
            self._keep(whose, self._announced[whose.tenant][whose])
        return [tenant for tenant in dict.fromkeys([whose.tenant for whose in over]) if self._settle(tenant)]

    def _keep(self, whose: ListOf, came: Came) -> None:
        self._came[whose] = came
        self._moved[whose] = None

    def _misses(self, whose: ListOf, announced: Came) -> bool:
        came = self._came[whose]
        return came.entries < announced.entries or bool(came.owing)

    def _settle(self, tenant: str) -> bool:
        before = self.of(tenant)
        missing = [whose for whose, announced in self._announced[tenant].items() if self._misses(whose, announced)]
        since = {whose: self._announced[tenant][whose].since for whose in missing}
        self._patience = {whose: held for whose, held in self._patience.items() if whose.tenant != tenant or since.get(whose) == held[0]}
        self._waiting.pop(tenant, None)
        if missing:
            self._waiting[tenant] = frozenset([whose.segment_id for whose in missing])
        return not before <= self.of(tenant)
