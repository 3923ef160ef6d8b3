"""Ranks against the judge: several partitions, messages that come late, twice or never, owners that change; right whenever all is at rest."""

from __future__ import annotations

import os
import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracle import clock, model
from tests.oracle.boundaries import under
from tests.support import language
from tests.support.fleet import Fleet
from tests.support.language import World

Json = dict[str, Any]

_LOOKS = int(os.environ.get("ROLLCALL_TEST_WORLDS", "60"))
_APART = ("merge", "erase", "stay")
"""A stay lasts from the instant of an entry, which a rank does not promise; people who are joined or erased have tests of their own."""


class Pair:
    """Several partitions and the judge, told the same things."""

    def __init__(self, world: World, partitions: int, dice: random.Random | None) -> None:
        self.fleet = Fleet(world.tenant, world.anchor, partitions, dice)
        for name, kind in world.declared.items():
            self.fleet.declare(name, kind)
        self.history = model.History(world.tenant, world.declared)
        self.segments: list[Json] = []

    def save(self, segment: Json) -> None:
        """Save a new segment."""
        self.fleet.save(segment)
        self.segments.append(segment)

    def accept(self, document: Json) -> None:
        """Post a document, and tell the judge if it was accepted."""
        home = self.fleet.home(document["customer_id"])
        before = home.outcomes().get("applied", 0)
        home.post(document)
        if home.outcomes().get("applied", 0) > before:
            self.history.add(document)

    def agree(self) -> None:
        """Come to rest, and compare every membership."""
        self.fleet.rest()
        at = self.fleet.now_ms
        for segment in self.segments:
            found, expected = self.fleet.members(segment["id"]), model.members(segment, self.history, at, self.segments)
            assert found == expected, f"at {clock.moment(at).isoformat()} {segment}: engine {sorted(found)}, judge {sorted(expected)}"

    def boundaries(self, days: int) -> list[int]:
        """List the instants at which time alone might change an answer, and those beside them."""
        start = self.fleet.now_ms
        end = start + days * clock.DAY
        found = {at for customer in self.history.known for at in model.boundaries(None, self.history, customer, start, end, self.segments)}
        return sorted({at + beside for at in found for beside in (-1, 0, 1) if at + beside > start})


_METRICS = [{"measure": "count", "event": "checkout", "window": {"last": "P14D"}}, {"measure": "days_since_last", "event": "visit"}]


@st.composite
def ranked_worlds(draw: st.DrawFn, without: tuple[str, ...] = _APART) -> World:
    """A world in which some segment has a rank: one of its own, or one more."""
    world = draw(language.worlds(without=without))
    if any(True for segment in world.segments for _ in under(segment["rule"], "rank")):
        return world
    rank = {"metric": draw(st.sampled_from(_METRICS)), "order": draw(st.sampled_from(["desc", "asc"])), "percent": 34}
    return world._replace(segments=[*world.segments, {"id": "ranked", "rule": {"rank": rank}}])


@settings(max_examples=_LOOKS)
@given(ranked_worlds(), st.integers(1, 5), st.data())
def test_members_are_the_judges_at_rest(world: World, partitions: int, data: st.DataObject) -> None:
    """After documents, restarts and time, on any number of partitions, over a wire that may lose messages."""
    dice = data.draw(st.none() | st.integers(0, 1 << 32).map(random.Random))
    pair = Pair(world, partitions, dice)
    late = data.draw(st.integers(0, len(world.segments)))
    for segment in world.segments[:late]:
        pair.save(segment)
    for document in world.documents:
        pair.accept(document)
        act = data.draw(st.sampled_from(["go on", "go on", "talk", "rest", "restart"]))
        if act == "talk":
            pair.fleet.talk(data.draw(st.integers(1, 30)))
        elif act == "rest":
            pair.agree()
        elif act == "restart":
            pair.fleet.restart(data.draw(st.integers(0, partitions - 1)))
    for segment in world.segments[late:]:
        pair.save(segment)
    pair.agree()
    assert pair.fleet.swept()
    instants = pair.boundaries(60)
    chosen = instants if len(instants) <= 4 else sorted(data.draw(st.lists(st.sampled_from(instants), min_size=4, max_size=4)))
    for instant in chosen:
        pair.fleet.pass_to(instant)
        pair.agree()
    for part in pair.fleet.parts:
        whole(part.transitions)


def whole(transitions: list[Json]) -> None:
    """Check that each customer's are numbered without a gap and that entries and exits of a segment take turns."""
    seqs: dict[str, int] = {}
    last: dict[tuple[str, str], str] = {}
    for transition in transitions:
        customer, change = transition["customer_id"], transition["change"]
        assert transition["seq"] == seqs.get(customer, 0) + 1
        seqs[customer] = transition["seq"]
        assert last.get((customer, transition["segment_id"]), "exited") != change
        last[customer, transition["segment_id"]] = change


@settings(max_examples=max(1, _LOOKS // 3))
@given(ranked_worlds((*_APART, "void")), st.integers(1, 3))
def test_until_is_the_next_flip_while_ranks_stay(world: World, partitions: int) -> None:
    """A rank's own `until` is null; what stands beside it ends at its own instant."""
    pair = Pair(world, partitions, None)
    for segment in world.segments:
        pair.save(segment)
    for document in world.documents:
        pair.accept(document)
    pair.agree()
    for customer, memberships in pair.fleet.memberships().items():
        for segment in pair.segments:
            if segment["id"] in memberships:
                expected = model.until(segment, pair.history, customer, pair.fleet.now_ms, segments=pair.segments)
                assert memberships[segment["id"]][1] == expected, (customer, segment)


@settings(max_examples=_LOOKS)
@given(ranked_worlds((*_APART, "lists")), st.integers(1, 4))
def test_a_segment_that_is_saved_is_entered_once_and_by_definition(world: World, partitions: int) -> None:
    """Saved over what is known, nobody enters and leaves again while cuts are being found, and nothing is said to be a rank's doing."""
    pair = Pair(world, partitions, None)
    for document in world.documents:
        pair.accept(document)
    for segment in world.segments:
        for part in pair.fleet.parts:
            part.transitions.clear()
        pair.save(segment)
        pair.fleet.rest()
        told = [(transition["customer_id"], transition["segment_id"]) for transition in pair.fleet.transitions]
        assert len(told) == len(set(told))
        assert {transition["cause"]["kind"] for transition in pair.fleet.transitions} <= {"definition"}
