"""One ranking in one partition: the entries in order, the cuts in force, and what is to be told of them. Pure."""

from __future__ import annotations

from typing import Final

from sortedcontainers import SortedList

from schemas.standings import Cut, KeptScore, Point
from services.segmenter.engine.rankings import Ranking, rank_name
from services.segmenter.ranks.messages import Entry, Ruling, entry_at, entry_of
from services.segmenter.ranks.points import points, spread

GATHERED_MS: Final = 50
"""A summary waits so long for more changes."""
APART_MS: Final = 150
"""Summaries of a ranking are at least so far apart, unless one was asked for."""
REPEATED_MS: Final = 1_000
"""A summary that no ruling answered is repeated after so long."""
_COARSE: Final = 32
"""Points spread over all entries."""
_FINE: Final = 64
"""Points within an interval that was asked about."""
_AROUND: Final = 4
"""Points on each side of a cut in force: a cut seldom moves further."""
_AROUND_ALL: Final = 2_000
"""Points around cuts in one summary, however many cuts there are; one on each side at least."""


class Table:
    """One ranking of one tenant in this partition."""

    def __init__(self, tenant: str, ranking: Ranking, cuts: dict[str, Cut]) -> None:
        self.tenant = tenant
        self.ranking = ranking
        self.entries: SortedList[Entry] = SortedList()
        self.loading: list[Entry] = []
        """Entries that are being restored."""
        self.cuts: dict[str, Entry | None] = {
            size: entry_at(cuts[name], descending=ranking.descending) for size in ranking.bits if (name := rank_name(ranking.name, size)) in cuts
        }
        self.fresh: dict[bytes, None] = {}
        """Whose score changed after the last version."""
        self.told: dict[bytes, int] = {}
        """Whose score is part of a version that no ruling has known of, and of which."""
        self.changed = True
        self.changed_ms = -1
        self.said_ms = -REPEATED_MS
        self.version = 0
        self.ruled = -1
        """The version that the last ruling knew of."""
        self.versions: list[tuple[int, int]] = []
        """All partitions' versions that the last ruling knew of."""
        self.asked = False
        self.intervals: list[tuple[Entry | None, Entry]] = []

    @property
    def last_by_rank(self) -> list[tuple[str, Entry | None]]:
        """The last entry that is in, of each rank that has a cut."""
        return [(rank_name(self.ranking.name, size), last) for size, last in self.cuts.items()]

    def entry(self, score: KeptScore, key: bytes) -> Entry:
        """Return the entry of a customer's score."""
        return entry_of(score, key, descending=self.ranking.descending)

    def move(self, key: bytes, before: KeptScore | None, after: KeptScore | None) -> None:
        """Take note of another score."""
        if before is not None:
            self.entries.discard(self.entry(before, key))
        if after is not None:
            self.entries.add(self.entry(after, key))
        self.told.pop(key, None)
        self.fresh[key] = None
        self.changed = True

    def wants_to_speak(self, now_ms: int) -> bool:
        """Whether a summary is due: it was asked for, entries have changed, or the last one was not answered."""
        if self.asked:
            return True
        if self.changed:
            if self.changed_ms < 0:
                self.changed_ms = now_ms
            return now_ms >= max(self.changed_ms + GATHERED_MS, self.said_ms + APART_MS)
        return self.version > self.ruled and now_ms >= self.said_ms + REPEATED_MS

    @property
    def answered(self) -> bool:
        """Whether there is nothing to say: nothing was asked, and a ruling knows of all that changed."""
        return not self.asked and not self.changed and self.version <= self.ruled

    def publish(self, version: int) -> None:
        """Begin a new version, of all that has changed."""
        self.version = version
        self.told.update(dict.fromkeys(self.fresh, version))
        self.fresh = {}
        self.changed, self.changed_ms = False, -1

    def said(self, now_ms: int) -> None:
        """Take note that a summary is on its way."""
        self.said_ms, self.asked = now_ms, False

    def points(self) -> list[Point]:
        """Return what a summary shows: a few of all entries, those around the cuts in force, and what was asked for."""
        entries, total = self.entries, len(self.entries)
        shown = set(spread(0, total, _COARSE))
        around = max(1, min(_AROUND, _AROUND_ALL // (2 * max(1, len(self.cuts)))))
        for last in self.cuts.values():
            place = entries.bisect_right(last) if last is not None else 0
            shown.update(range(max(0, place - around), min(total, place + around)))
        return points(entries, shown, self.intervals, _FINE)

    def rule(self, ruling: Ruling, version: int) -> tuple[set[bytes], bool]:
        """Put the ruling's cuts in force; return who must be looked at, and whether there was none before for some rank."""
        due = {key for key, told in self.told.items() if told <= version}
        for key in due:
            del self.told[key]
        first = False
        for size in self.ranking.bits:
            if size not in ruling.cuts:
                continue
            after = entry_at(ruling.cuts[size], descending=self.ranking.descending)
            before = self.cuts.get(size)
            first = first or size not in self.cuts
            self.cuts[size] = after
            if before != after:
                low, high = (before, after) if before is None or (after is not None and before < after) else (after, before)
                between = self.entries.irange(low, high, inclusive=(False, True))
                due.update([key for _, key in between if key not in self.fresh and key not in self.told])
        self.ruled, self.versions, self.intervals = version, ruling.versions, []
        return due, first


def within(entry: Entry | None, last: Entry | None) -> bool:
    """Whether an entry is in, up to the last that is; neither may be there."""
    return entry is not None and last is not None and entry <= last
