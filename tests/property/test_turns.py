"""Turns: each record is applied once whoever goes first and wherever it is interrupted, and nobody pays for another's flood."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from services.segmenter import reach
from services.segmenter.rows import Progress, decode_progress, encode
from services.segmenter.turns import OURS, Chunk, Turns

_LOOKS = int(os.environ.get("ROLLCALL_TEST_WORLDS", "200"))
SHARED, OWN = "checkouts", "moves"
TENANTS = ("a", "b", "c")


class Written(NamedTuple):
    """A record as it lies in a topic."""

    offset: int
    key: bytes | None
    value: bytes | None = None


Log = dict[str, list[Written]]


@st.composite
def logs(draw: st.DrawFn) -> Log:
    """Two topics with holes, as transactions leave them, and records of several tenants, some of nobody's."""
    found: Log = {}
    for topic in (SHARED, OWN):
        offset, found[topic] = 0, []
        for hole, tenant in draw(
            st.lists(st.tuples(st.sampled_from([0, 0, 0, 1, 2]), st.sampled_from(["a", "a", "a", "b", "c", None])), min_size=4, max_size=40)
        ):
            offset += hole
            found[topic].append(Written(offset, None if tenant is None else f"{tenant}:x".encode()))
            offset += 1
    return found


class Reader:
    """Reads topics from where a progress says, applies in turns, and may die at any time: what was not written is forgotten."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.ends = {topic: records[-1].offset + 2 if records else 1 for topic, records in log.items()}  # a marker ends each
        self.written = encode(Progress())
        self.applied: list[tuple[str, Written]] = []
        self.begin()

    def begin(self) -> None:
        """Come back to what was written."""
        self.progress = decode_progress(self.written)
        self.unwritten: list[tuple[str, Written]] = []
        self.turns = Turns([SHARED], 1.0, lambda topic: reach.ahead(self.progress, topic))
        self.read = {topic: self.progress.offsets.get(topic, 0) for topic in self.log}

    def fetch(self, topic: str, count: int) -> None:
        """Let the next offsets of a topic wait."""
        start, end = self.read[topic], min(self.read[topic] + count, self.ends[topic])
        if start < end:
            records = [record for record in self.log[topic] if start <= record.offset < end]
            self.turns.add(Chunk(topic, start, end, records, lambda: None))
            self.read[topic] = end

    def turn(self, spent_s: float) -> bool:
        """Apply what is next; return whether there was anything."""
        self.passed()
        turn = self.turns.next()
        if turn is not None:
            topic = turn.chunk.topic
            if turn.chunk.ordered:
                reach.in_order(self.progress, topic, turn.records)
            else:
                reach.ran_ahead(self.progress, topic, turn.tenant, turn.records)
            counts = self.progress.outcomes.setdefault(topic, {})
            counts["applied"] = counts.get("applied", 0) + len(turn.records)
            self.unwritten += [(topic, record) for record in turn.records]
            self.turns.took(turn, spent_s)
        self.passed()
        return turn is not None

    def passed(self) -> None:
        """Note what is applied whole."""
        for chunk in self.turns.passed():
            if not chunk.ordered and chunk.records:
                reach.pass_to(self.progress, chunk.topic, chunk.end, chunk.sizes)

    def write(self) -> None:
        """End a step."""
        self.written = encode(self.progress)
        self.applied += self.unwritten
        self.unwritten = []

    def adds_up(self) -> bool:
        """Whether outcomes add up to the offsets and what is ahead of them."""
        return all(
            sum(self.progress.outcomes.get(topic, {}).values())
            == self.progress.offsets.get(topic, 0) + sum(count for _, count in self.progress.ahead.get(topic, {}).values())
            for topic in self.log
        )


ACTS = st.lists(
    st.one_of(
        st.tuples(st.just("fetch"), st.sampled_from([SHARED, SHARED, OWN]), st.integers(1, 6)),
        st.tuples(st.just("turn"), st.sampled_from([0.0, 0.001, 0.01]), st.none()),
        st.tuples(st.just("turn"), st.sampled_from([0.0, 0.001, 0.01]), st.none()),
        st.tuples(st.just("write"), st.none(), st.none()),
        st.tuples(st.just("die"), st.none(), st.none()),
    ),
    min_size=15,
    max_size=80,
)


@settings(max_examples=_LOOKS)
@given(logs(), ACTS)
def test_each_record_is_applied_once_in_its_tenants_order(log: Log, acts: list[tuple[str, Any, Any]]) -> None:
    """Whatever is fetched, applied, written and forgotten: at the end every record was applied once, and all offsets are accounted for."""
    reader = Reader(log)
    for act, one, two in acts:
        if act == "fetch":
            reader.fetch(one, two)
        elif act == "turn":
            reader.turn(one)
        elif act == "write":
            reader.write()
        else:
            reader.begin()
        assert reader.adds_up(), reader.progress
    for topic in log:
        reader.fetch(topic, 1_000)
    while reader.turn(0.001):
        pass
    reader.write()
    assert Counter(reader.applied) == Counter((topic, record) for topic, records in log.items() for record in records)
    for topic, records in log.items():
        for tenant in TENANTS:
            head = f"{tenant}:".encode()
            mine = [record for record in records if record.key is not None and record.key.startswith(head)]
            assert [record for where, record in reader.applied if where == topic and record in mine] == mine
        assert reader.progress.offsets.get(topic, 0) >= (records[-1].offset + 1 if records else 0)
    assert [record for topic, record in reader.applied if topic == OWN] == log[OWN], "what is nobody's, or in order, stays in order"
    assert not reader.progress.ahead
    assert reader.adds_up()


def test_who_goes_on_to_the_next_run_does_not_pass_those_who_wait() -> None:
    """One tenant is through two runs, of which the second is its own alone, when the process dies: another's record in the first is not lost."""
    reader = Reader({SHARED: [Written(at, key) for at, key in enumerate((b"a:x", b"a:x", b"b:x", b"b:x"))], OWN: []})
    reader.fetch(SHARED, 1)
    reader.turn(0.01)
    reader.fetch(SHARED, 2)
    reader.fetch(SHARED, 1)
    reader.turn(0.0)
    reader.turn(0.0)
    reader.write()
    assert [record.offset for _, record in reader.applied] == [0, 2, 3]
    reader.begin()
    reader.fetch(SHARED, 100)
    while reader.turn(0.0):
        pass
    reader.write()
    assert [record.offset for _, record in reader.applied] == [0, 2, 3, 1]
    assert reader.progress.outcomes[SHARED]["applied"] == 4


def test_records_that_expired_after_they_were_applied_are_counted_once() -> None:
    """A tenant was ahead by two when retention took the first of them, and what others had before it: a gap takes what nobody read."""
    progress = Progress()
    reach.ran_ahead(progress, SHARED, "a", [Written(1, b"a:x"), Written(4, b"a:x")])
    progress.outcomes[SHARED] = {"applied": 2}
    reach.pass_to(progress, SHARED, 6, {"a": 1, "b": 1})  # read anew from 4 on: 4 of a, 5 of b; 0, 2, 3 were never read
    progress.outcomes[SHARED]["applied"] += 1
    assert progress.outcomes[SHARED] == {"applied": 3, "gap": 3}
    assert not progress.ahead


def shares(costs: dict[str, float], waiting: dict[str, int], rounds_s: float) -> dict[str, float]:
    """Return the time that each tenant was given, who all have so many records waiting, one chunk of each behind the other."""
    turns = Turns([SHARED], 4.0, lambda _: {})
    offset = 0
    for tenant, count in waiting.items():
        records = [Written(offset + i, f"{tenant}:x".encode()) for i in range(count)]
        turns.add(Chunk(SHARED, offset, offset + count, records, lambda: None))
        offset += count
    given_s = dict.fromkeys(waiting, 0.0)
    while sum(given_s.values()) < rounds_s and (turn := turns.next()) is not None:
        spent_s = costs[turn.tenant] * len(turn.records)
        given_s[turn.tenant] += spent_s
        turns.took(turn, spent_s)
    return given_s


def test_tenants_have_equal_time_whatever_their_events_cost() -> None:
    """One whose event costs a thousand times as much, and who came first, has no more time than the others."""
    given_s = shares({"flood": 0.013, "b": 13e-6, "c": 26e-6}, {"flood": 100_000, "b": 200_000, "c": 100_000}, 3.0)
    assert all(abs(spent - 1.0) < 0.06 for spent in given_s.values()), given_s


def test_who_comes_late_is_next_and_has_saved_up_nothing() -> None:
    """Behind a hundred thousand records of another a newcomer waits for one turn, and having been away gives no more than a turn in two."""
    turns = Turns([SHARED], 4.0, lambda _: {})
    turns.add(Chunk(SHARED, 0, 100_000, [Written(i, b"flood:x") for i in range(100_000)], lambda: None))
    for _ in range(500):
        turn = turns.next()
        assert turn is not None
        turns.took(turn, 0.004)
    turns.add(Chunk(SHARED, 100_000, 110_000, [Written(100_000 + i, b"quiet:x") for i in range(10_000)], lambda: None))
    order = []
    for _ in range(10):
        turn = turns.next()
        assert turn is not None
        order.append(turn.tenant)
        turns.took(turn, 0.004)
    assert "quiet" in order[:2]
    assert 4 <= order.count("quiet") <= 6, order


def test_what_is_nobodys_takes_turns_with_the_tenants() -> None:
    """Records without a tenant's name wait in a queue of their own."""
    turns = Turns([SHARED], 4.0, lambda _: {})
    turns.add(Chunk(SHARED, 0, 3, [Written(0, None), Written(1, b"a:x"), Written(2, b"")], lambda: None))
    found = {}
    while (turn := turns.next()) is not None:
        found[turn.tenant] = [record.offset for record in turn.records]
        turns.took(turn, 0.001)
    assert found == {OURS: [0, 2], "a": [1]}
