"""Drives several partitions of one tenant in virtual time, without Kafka: each reads its part of the topics and may die at any point.

Topics are lists of bytes. A partition applies some records, takes its step, and what the step sends is appended as a whole with its rows;
a partition that dies before that has done nothing. `rest` lets everybody work until nothing is left to do.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from random import Random
from typing import Any

from schemas.catalog import Catalog
from schemas.definitions import AttributePut, SegmentPut, TenantPut, Tier, encode_definition
from schemas.erasures import Erased, decode_erased
from schemas.instants import NEVER
from schemas.partitions import partition_of, record_key
from schemas.projection import decode_shown
from schemas.vocabulary import Kind
from services.segmenter.moves import Proposal, decode_move
from services.segmenter.partition import Partition
from services.segmenter.plans import Limits, Plans
from services.segmenter.steps import Step
from tests.support.simulation import TOPICS, Written, _instant, entry_of, exact_json

Json = dict[str, Any]
INTERNAL = ("gap", "forwarded", "moved")
"""Outcomes that are no judgement of what was posted."""


class Cluster:
    """One tenant, some partitions, one clock that moves when told."""

    def __init__(self, tenant: Mapping[str, str], now_ms: int, partitions: int = 3, *, live_customers: int = 20_000) -> None:
        self.tenant = tenant["id"]
        self.now_ms = now_ms
        self.limits = Limits(partitions, live_customers=live_customers)
        self.catalog = Catalog()
        self.transitions: list[Json] = []
        self.dead_letters: list[tuple[bytes, dict[str, str]]] = []
        self.erased: list[Erased] = []
        self.redis: dict[str, dict[str, tuple[int, int]] | str] = {}
        self._changelogs: list[dict[bytes, bytes]] = [{} for _ in range(partitions)]
        self._logs: list[dict[str, list[bytes]]] = [{} for _ in range(partitions)]
        zone = {name: tenant[name] for name in ("timezone", "currency", "country")}
        self.define(TenantPut(tenant=self.tenant, at_ms=now_ms, **zone, salt="pepper"))
        self.partitions = [self._started(number) for number in range(partitions)]

    def _started(self, number: int) -> Partition:
        partition = Partition(number, Plans(self.catalog), TOPICS, self.limits)
        for key, value in self._changelogs[number].items():
            partition.restore(key, value)
        partition.ready(self.now_ms)
        return partition

    def home(self, customer: str) -> int:
        """Return where a customer lives."""
        return partition_of(record_key(self.tenant, customer), self.limits.partitions)

    def restart(self, number: int, *, committed: bool = False) -> None:
        """Lose a partition's memory, and what it did since its last step; one that was just committed has not been shown yet."""
        step = self._commit(number) if committed else None
        self.partitions[number] = self._started(number)
        self.write(number, self.partitions[number].shown_by(step.rows if step is not None else ()))

    # ---- what others do

    def define(self, record: Any) -> None:
        """Append a definition; fail when the fold refuses it."""
        outcome = self.catalog.apply(self.catalog.offset, encode_definition(record))
        assert outcome.accepted, outcome

    def save(self, segment: Mapping[str, Any], *, replaces: int = 0, random: Random | None = None) -> None:
        """Save a segment as the API would, its manual lists included, and decide everyone under it. Replaced lists are announced."""
        rule = segment.get("rule")
        put = SegmentPut(
            tenant=self.tenant,
            at_ms=self.now_ms,
            segment_id=segment["id"],
            replaces=replaces,
            name=segment["id"],
            rule=None if rule is None else exact_json(rule),
            resets=[name for name in ("include", "exclude") if name in segment],
            announces={name: dict(Counter(map(self.home, segment[name]))) for name in ("include", "exclude") if replaces and segment.get(name)},
            tier=None if segment.get("tier") is None else Tier(**segment["tier"]),
            min_stay=segment.get("min_stay"),
            starts_at_ms=_instant(segment.get("starts_at")),
            ends_at_ms=_instant(segment.get("ends_at")),
        )
        self.define(put)
        self.sweep()
        for entries in ("include", "exclude"):
            self.by_hand(segment["id"], entries, segment.get(entries) or (), announced=replaces > 0, random=random)

    def declare(self, name: str, kind: str) -> None:
        """Declare an attribute, or a property of custom events."""
        self.define(AttributePut(tenant=self.tenant, at_ms=self.now_ms, name=name, kind=Kind(kind)))
        self.sweep()

    def by_hand(
        self,
        segment_id: str,
        entries: Any,
        customers: Iterable[str],
        *,
        present: bool = True,
        announced: bool = False,
        random: Random | None = None,
    ) -> None:
        """Put customers on a manual list, or take them off, and let everybody work."""
        current = self.catalog.segment(self.tenant, segment_id)
        assert current is not None
        for customer in customers:
            event_id = f"{segment_id}-{customer}-{current.version}"
            entry = entry_of(current, entries, customer, event_id, present=present, announced=announced)
            self._append(TOPICS.manual_entries, self.home(customer), entry)
        self.rest(random)

    def post(self, document: Mapping[str, Any]) -> None:
        """Append an event to its partition. Nobody reads it yet."""
        self._append("checkouts", self.home(document["customer_id"]), json.dumps({**document, "tenant": self.tenant}).encode())

    def _append(self, topic: str, number: int, value: bytes) -> None:
        self._logs[number].setdefault(topic, []).append(value)

    # ---- what partitions do

    def unread(self, number: int) -> list[str]:
        """Return the topics of which a partition has not read all, as far as its memory knows."""
        offsets = self.partitions[number].offsets
        return [topic for topic, log in self._logs[number].items() if offsets.get(topic, 0) < len(log)]

    def apply(self, number: int, topic: str, count: int) -> None:
        """Let a partition apply the next records of a topic, in memory."""
        start = self.partitions[number].offsets.get(topic, 0)
        values = self._logs[number][topic][start : start + count]
        self.partitions[number].apply(topic, [Written(start + i, None, value) for i, value in enumerate(values)], self.now_ms)

    def write(self, number: int, again: Iterable[bytes] = ()) -> None:
        """Commit a partition's step, and show what it changed."""
        partition, step = self.partitions[number], self._commit(number)
        for key in [*(step.touched if step is not None else ()), *again]:
            _, customer, _, blob = partition.projected(key)
            if blob:
                self.redis[customer] = decode_shown(blob)
            else:
                self.redis.pop(customer, None)
                partition.removed(key)

    def _commit(self, number: int) -> Step | None:
        step = self.partitions[number].take()
        if step is not None:
            for key, value in step.rows.items():
                self._changelogs[number].pop(key, None)
                if value is not None:
                    self._changelogs[number][key] = value  # at the end, where the latest record of a key stands
            for topic, home, _, value in step.forwards:
                self._append(topic, home, value)
            self.transitions.extend(json.loads(document) for _, document in step.changes)
            self.dead_letters.extend((value, {name: text.decode() for name, text in headers}) for _, value, headers in step.dead_letters)
            self.erased.extend(map(decode_erased, step.erasures))
        return step

    def turn(self, number: int, random: Random) -> None:
        """Let a partition do something: apply some records in one step or in two, or die in the middle of it."""
        topics = self.unread(number)
        for topic in random.sample(topics, len(topics)):
            self.apply(number, topic, random.randint(1, 3))
            if random.random() < 0.15:
                self.restart(number, committed=random.random() < 0.5)
                break
            if random.random() < 0.7:
                self.write(number)
        partition = self.partitions[number]
        while partition.ranks_due:
            partition.rank(self.now_ms, 100)
        self.write(number)

    def rest(self, random: Random | None = None, *, turns: int = 10_000, finish: bool = True) -> None:
        """Let partitions work, in any order, until nothing is unread; fail when something circulates, unless they need not finish."""
        random = random or Random(0)
        for _ in range(turns):
            busy = [number for number in range(self.limits.partitions) if self.unread(number)]
            if not busy:
                return
            self.turn(random.choice(busy), random)
        if finish:
            raise AssertionError(f"never at rest: {[(number, self.unread(number)) for number in range(self.limits.partitions)]}")

    def sweep(self) -> None:
        """Decide everyone under the definitions in force."""
        for number, partition in enumerate(self.partitions):
            while partition.sweep(self.now_ms, 100):
                pass
            self.write(number)

    def pass_to(self, now_ms: int) -> None:
        """Let time pass, looking at each deadline when it comes."""
        while (due := min((partition.next_deadline_ms(), number) for number, partition in enumerate(self.partitions)))[0] <= now_ms:
            self.now_ms = max(self.now_ms, due[0])
            self.partitions[due[1]].tick(self.now_ms, 100)
            self.write(due[1])
        self.now_ms = now_ms

    # ---- what readers see

    def members(self, segment_id: str) -> set[str]:
        """Return who is in a segment."""
        return {customer for customer, shown in self.redis.items() if not isinstance(shown, str) and segment_id in shown}

    def memberships(self, customer: str) -> dict[str, tuple[int, int | None]] | None:
        """Return a customer's segments under any id, None when unknown."""
        shown = self.redis.get(customer)
        while isinstance(shown, str):
            shown = self.redis.get(shown)
        return None if shown is None else {name: (since, None if until >= NEVER else until) for name, (since, until) in shown.items()}

    def outcomes(self) -> Counter[str]:
        """Return the outcomes of all records, summed over topics and partitions."""
        total: Counter[str] = Counter()
        for partition in self.partitions:
            for counts in partition.outcomes.values():
                total.update(counts)
        return total

    @property
    def decided(self) -> list[Json]:
        """The merges and erasures that were proposed where the tenant lives, in the order in which they were decided."""
        log = self._logs[partition_of(self.tenant.encode(), self.limits.partitions)].get(TOPICS.moves, [])
        return [json.loads(move.origin.value) for move in map(decode_move, log) if isinstance(move, Proposal)]

    def adds_up(self) -> None:
        """Check that every record of every topic has one outcome, and that each record sent on is one that was received."""
        for number, log in enumerate(self._logs):
            for topic, values in log.items():
                assert sum(self.partitions[number].outcomes[topic].values()) == len(values)

    def at_rest_in(self, needle: bytes) -> list[bytes]:
        """Return the keys of the changelog records, of all partitions, in which some bytes stand."""
        return [key for log in self._changelogs for key, value in log.items() if needle in key or needle in value]
