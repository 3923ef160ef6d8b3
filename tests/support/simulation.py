"""Drives one partition of the segmenter in virtual time, without Kafka: post, let time pass, restart, look.

The changelog is a dict, as compaction leaves it; `restart` builds a new partition from it alone.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, Final, NamedTuple

import msgspec

from schemas.catalog import Catalog, Outcome, Segment
from schemas.definitions import AttributePut, SegmentArchived, SegmentPut, SegmentRestored, TenantPut, Tier, encode_definition
from schemas.instants import NEVER, Duration, parse_instant
from schemas.manual import ManualEntry, encode_manual
from schemas.partitions import partition_of, record_key
from schemas.projection import Memberships, decode_shown
from schemas.topics import Topics
from schemas.vocabulary import Kind
from services.segmenter.partition import Partition
from services.segmenter.plans import KEPT_HISTORY, Limits, Plans
from services.segmenter.steps import Step

TOPICS = Topics()
LISTS: Final = ("include", "exclude")


class Written(NamedTuple):
    """A record as the partition reads one."""

    offset: int
    key: bytes | None
    value: bytes | None


class Among(NamedTuple):
    """Which partition of how many, under definitions that they share."""

    number: int
    partitions: int
    catalog: Catalog


def entry_of(segment: Segment, entries: Any, customer: str, event_id: str, *, present: bool, announced: bool = False) -> bytes:
    """An entry of a segment's list in force, as it lies in the topic."""
    since = segment.include_since if entries == "include" else segment.exclude_since
    entry = ManualEntry(
        event_id=event_id,
        tenant=segment.tenant,
        customer_id=customer,
        segment_id=segment.id,
        entries=entries,
        present=present,
        since=since,
        announced=announced,
    )
    return encode_manual(entry)


class Simulation:
    """One tenant, one partition, a clock that moves when told."""

    def __init__(
        self, tenant: Mapping[str, str], now_ms: int, *, live_customers: int = 20_000, history: Duration = KEPT_HISTORY, among: Among | None = None
    ) -> None:
        self.tenant = tenant["id"]
        self.now_ms = now_ms
        self.number, partitions, self.catalog = Among(0, 1, Catalog()) if among is None else among
        self.limits, self.history = Limits(partitions, live_customers=live_customers, column_customers=0), history
        self.changelog: dict[bytes, bytes] = {}
        self._moves: list[bytes] = []
        self.transitions: list[dict[str, Any]] = []
        self.dead_letters: list[tuple[bytes, dict[str, str]]] = []
        self._ends: dict[str, int] = {}
        if self.tenant not in self.catalog.tenants:
            zone, currency, country = tenant["timezone"], tenant["currency"], tenant["country"]
            self.define(TenantPut(tenant=self.tenant, at_ms=now_ms, timezone=zone, currency=currency, country=country))
        self.partition = self._started()

    def _started(self) -> Partition:
        partition = Partition(self.number, Plans(self.catalog, self.history), TOPICS, self.limits)
        for key, value in self.changelog.items():
            partition.restore(key, value)
        partition.ready(self.now_ms)
        return partition

    def twin(self) -> Partition:
        """Return the partition as whoever takes it over would find it; the one at work stays as it is."""
        return self._started()

    def restart(self) -> None:
        """Lose everything in memory and come back from the changelog."""
        self.partition = self._started()
        self._write()

    def attempt(self, record: Any) -> Outcome:
        """Append a definition, and return what the fold says of it."""
        return self.catalog.apply(self.catalog.offset, encode_definition(record))

    def define(self, record: Any) -> None:
        """Append a definition; fail when the fold refuses it."""
        outcome = self.attempt(record)
        assert outcome.accepted, outcome

    def put(self, segment: Mapping[str, Any], *, replaces: int = 0) -> Outcome:
        """Append a segment as the API would, and return what the fold says of it."""
        rule = segment.get("rule")
        return self.attempt(
            SegmentPut(
                tenant=self.tenant,
                at_ms=self.now_ms,
                segment_id=segment["id"],
                replaces=replaces,
                name=segment["id"],
                rule=None if rule is None else exact_json(rule),
                resets=[name for name in LISTS if name in segment],
                announces={name: self._homes(segment[name]) for name in LISTS if replaces and segment.get(name)},
                tier=None if segment.get("tier") is None else Tier(**segment["tier"]),
                min_stay=segment.get("min_stay"),
                starts_at_ms=_instant(segment.get("starts_at")),
                ends_at_ms=_instant(segment.get("ends_at")),
            )
        )

    def save(self, segment: Mapping[str, Any], *, replaces: int = 0, sweep: bool = True) -> None:
        """Save a segment, its manual lists included, and decide everyone under it; fail when the fold refuses it."""
        outcome = self.put(segment, replaces=replaces)
        assert outcome.accepted, outcome
        if sweep:
            self.sweep()
        self.fill(segment)

    def fill(self, segment: Mapping[str, Any]) -> None:
        """Write the entries that a definition has announced, and decide whoever waited for them."""
        for entries in LISTS:
            self.by_hand(segment["id"], entries, dict.fromkeys(segment.get(entries) or ()), present=True, announced=True)
        self.rank()

    def _homes(self, customers: Iterable[str]) -> dict[int, int]:
        homes = [partition_of(record_key(self.tenant, customer), self.limits.partitions) for customer in dict.fromkeys(customers)]
        return dict(Counter(homes))

    def declare(self, name: str, kind: str) -> None:
        """Declare an attribute, or a property of custom events."""
        self.define(AttributePut(tenant=self.tenant, at_ms=self.now_ms, name=name, kind=Kind(kind)))
        self.sweep()

    def archive(self, segment_id: str) -> None:
        """Archive a segment."""
        current = self.catalog.segment(self.tenant, segment_id)
        assert current is not None
        self.define(SegmentArchived(tenant=self.tenant, at_ms=self.now_ms, segment_id=segment_id, replaces=current.version))
        self.sweep()

    def bring_back(self, segment_id: str) -> None:
        """Restore an archived segment."""
        current = self.catalog.segment(self.tenant, segment_id)
        assert current is not None
        self.define(SegmentRestored(tenant=self.tenant, at_ms=self.now_ms, segment_id=segment_id, replaces=current.version))
        self.sweep()

    def by_hand(self, segment_id: str, entries: Any, customers: Iterable[str], *, present: bool, announced: bool = False) -> None:
        """Put customers on a manual list, or take them off."""
        current = self.catalog.segment(self.tenant, segment_id)
        assert current is not None
        for customer in customers:
            event_id = f"{segment_id}-{customer}-{self._ends.get(TOPICS.manual_entries, 0)}"
            self._apply(TOPICS.manual_entries, [entry_of(current, entries, customer, event_id, present=present, announced=announced)])

    def post(self, *events: Mapping[str, Any]) -> None:
        """Apply events now, as one run of the topic."""
        self._apply("checkouts", [json.dumps({**event, "tenant": self.tenant}).encode() for event in events])

    def hold(self, *events: Mapping[str, Any]) -> None:
        """Apply events now, and leave undecided what they change until the next step."""
        self._take_in("checkouts", [json.dumps({**event, "tenant": self.tenant}).encode() for event in events])

    def post_raw(self, *documents: bytes) -> None:
        """Apply records whose values are these bytes."""
        self._apply("checkouts", list(documents))

    def move(self, *, dies: bool = False) -> None:
        """Do what merges and erasures have this partition tell itself, until nothing is left; one that dies does each a second time."""
        while self._moves:
            self._apply(TOPICS.moves, [self._moves.pop(0)], dies=dies)
        self.rank()  # a move may be the last of what a replaced list waited for

    def _apply(self, topic: str, values: list[bytes], *, dies: bool = False) -> None:
        if not values:
            return
        records = self._take_in(topic, values)
        if dies:
            self.restart()
            self.partition.apply(topic, records, self.now_ms)
        self._write()

    def _take_in(self, topic: str, values: list[bytes]) -> list[Written]:
        start = max(self._ends.get(topic, 0), self.partition.offsets.get(topic, 0))
        self._ends[topic] = start + len(values)
        records = [Written(start + i, None, value) for i, value in enumerate(values)]
        self.partition.apply(topic, records, self.now_ms)
        return records

    def pass_to(self, now_ms: int) -> None:
        """Let time pass, looking at each deadline when it comes."""
        while (deadline_ms := self.partition.next_deadline_ms()) <= now_ms:
            self.now_ms = max(self.now_ms, deadline_ms)
            self.partition.tick(self.now_ms, 100)
            self._write()
        self.now_ms = now_ms

    def oversleep_to(self, now_ms: int) -> None:
        """Let time pass with nobody looking, then look."""
        self.now_ms = now_ms
        while self.partition.next_deadline_ms() <= now_ms:
            self.partition.tick(now_ms, 100)
        self._write()

    def sweep(self) -> None:
        """Decide everyone under the definitions in force."""
        while self.partition.sweep(self.now_ms, 100):
            pass
        self._write()

    def rank(self) -> None:
        """Decide everyone who is due by a cut."""
        while self.partition.ranks_due:
            self.partition.rank(self.now_ms, 100)
        self._write()

    def refresh(self) -> None:
        """Find every `until` anew."""
        while self.partition.stale:
            self.partition.refresh(self.now_ms, 100)
        self._write()

    def drop(self) -> None:
        """Let go of what has left the history."""
        while self.partition.drop(self.now_ms, 100):
            pass
        self._write()

    def keep(self) -> None:
        """Keep side by side what can be kept of everybody."""
        while self.partition.keep(self.now_ms, 100):
            pass

    def _write(self) -> Step | None:
        step = self.partition.take()
        if step is None:
            return None
        for key, value in step.rows.items():
            self.changelog.pop(key, None)
            if value is not None:
                self.changelog[key] = value  # at the end, where the latest record of a key stands
        self.transitions.extend(json.loads(document) for _, document in step.changes)
        self.dead_letters.extend((value, {name: text.decode() for name, text in headers}) for _, value, headers in step.dead_letters)
        self._moves.extend(value for topic, home, _, value in step.forwards if (topic, home) == (TOPICS.moves, self.number))
        for key in step.touched:
            if not self.partition.projected(key)[-1]:
                self.partition.removed(key)
        return step

    def members(self, segment_id: str) -> set[str]:
        """Return who is in a segment according to the projection."""
        return {customer for customer, memberships in self.memberships().items() if segment_id in memberships}

    def memberships(self, twin: Partition | None = None) -> dict[str, dict[str, tuple[int, int | None]]]:
        """Return, for each customer, the segments with (since, until) according to the projection, or to that of a twin."""
        return {
            customer: {name: (since, None if until >= NEVER else until) for name, (since, until) in shown.items()}
            for customer, shown in self._shown(twin).items()
            if not isinstance(shown, str)
        }

    def merged(self) -> dict[str, str]:
        """Return, for each id that was merged into another, that other according to the projection."""
        return {customer: shown for customer, shown in self._shown().items() if isinstance(shown, str)}

    def _shown(self, twin: Partition | None = None) -> dict[str, Memberships | str]:
        partition = twin or self.partition
        found = [partition.projected(key) for key in partition.keys()]  # noqa: SIM118 - no mapping
        return {customer: decode_shown(blob) for _, customer, _, blob in found if blob}

    def outcomes(self) -> dict[str, int]:
        """Return the outcomes of all records, summed over topics."""
        total: dict[str, int] = {}
        for outcomes in self.partition.outcomes.values():
            for outcome, count in outcomes.items():
                total[outcome] = total.get(outcome, 0) + count
        return total


def _instant(text: str | None) -> int | None:
    return None if text is None else parse_instant(text)


def exact_json(rule: Any) -> Any:
    """Return a rule as the API reads it: decimals as decimals."""
    return _exact.decode(json.dumps(rule))


_exact = msgspec.json.Decoder(float_hook=Decimal)
