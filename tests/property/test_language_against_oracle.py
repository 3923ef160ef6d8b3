"""The whole language against the judge: worlds of segments that ask about each other, decided at, before and after every boundary."""

from __future__ import annotations

import os
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracle import clock, model
from tests.oracle.stays import Stays
from tests.support import language
from tests.support.both import iso, netted
from tests.support.foreseen import refused
from tests.support.language import World
from tests.support.simulation import Simulation

Json = dict[str, Any]

_LOOKS = int(os.environ.get("ROLLCALL_TEST_WORLDS", "60"))
_APART = ("merge", "erase", "rank")
"""Told about in tests of their own: they are decided between customers."""


class Pair:
    """The service's core and the judge, told the same things."""

    def __init__(self, world: World) -> None:
        self.segments: list[Json] = []
        self.simulation = Simulation(world.tenant, world.anchor)
        for name, kind in world.declared.items():
            self.simulation.declare(name, kind)
        self.history = model.History(world.tenant, world.declared)
        self.judge = Stays(self.history, world.anchor)

    @classmethod
    def told(cls, world: World) -> Pair:
        """Return both with every segment saved and every document posted."""
        pair = cls(world)
        for segment in world.segments:
            pair.save(segment)
        for document in world.documents:
            pair.accept(document)
        return pair

    def save(self, segment: Json) -> None:
        """Save a new segment."""
        self.simulation.save(segment)
        self.segments.append(segment)
        self.judge.define(self.segments, self.simulation.now_ms)

    def accept(self, document: Json) -> None:
        """Post a document, and tell the judge if it was accepted (an id that says something else is not)."""
        before = self.simulation.outcomes().get("applied", 0)
        self.simulation.post(document)
        if self.simulation.outcomes().get("applied", 0) > before:
            self.judge.accept(document, self.simulation.now_ms)

    def agree(self) -> None:
        """Compare every membership now."""
        for segment in self.segments:
            found, expected = self.simulation.members(segment["id"]), self.judge.members[segment["id"]]
            at = clock.moment(self.simulation.now_ms).isoformat()
            assert found == expected, f"at {at} {segment}: engine {sorted(found)}, judge {sorted(expected)}"

    def boundaries(self, days: int) -> list[int]:
        """List the instants at which time alone might change an answer, and those beside them."""
        start = self.simulation.now_ms
        end = start + days * clock.DAY
        found = {at for customer in self.history.known for at in model.boundaries(None, self.history, customer, start, end, self.segments)}
        return sorted({at + beside for at in found for beside in (-1, 0, 1) if at + beside > start})


def decided(simulation: Simulation) -> dict[tuple[str, str, str], str]:
    """What the service put out."""
    return netted((change["at"], change["segment_id"], change["customer_id"], change["change"]) for change in simulation.transitions)


def judged(judge: Stays) -> dict[tuple[str, str, str], str]:
    """What the judge decided, in the same words."""
    return netted((iso(change.at), *change[1:]) for change in judge.changes)


@settings(max_examples=_LOOKS)
@given(language.worlds(without=_APART), st.data())
def test_members_are_the_judges_at_every_boundary(world: World, data: st.DataObject) -> None:
    """After each document, and then one millisecond before, on and after every instant at which time alone might change something."""
    pair = Pair(world)
    for segment in world.segments:
        pair.save(segment)
    pair.agree()
    for document in world.documents:
        pair.accept(document)
        pair.agree()
        if data.draw(st.integers(0, 9)) == 0:
            pair.simulation.restart()
    instants = pair.boundaries(60)
    chosen = instants if len(instants) <= 12 else sorted(data.draw(st.lists(st.sampled_from(instants), min_size=12, max_size=12)))
    for instant in chosen:
        if data.draw(st.integers(0, 4)) == 0:
            pair.simulation.oversleep_to(instant)
        else:
            pair.simulation.pass_to(instant)
        pair.judge.pass_to(instant)
        pair.agree()
    assert decided(pair.simulation) == judged(pair.judge)


@settings(max_examples=_LOOKS)
@given(language.worlds(without=(*_APART, "void")))
def test_until_is_the_next_flip(world: World) -> None:
    """The `until` of every membership is the instant at which the judge first says otherwise, stays and references included."""
    pair = Pair.told(world)
    pair.simulation.refresh()
    for customer, memberships in pair.simulation.memberships().items():
        for segment_id, (_, until_ms) in memberships.items():
            assert until_ms == pair.judge.until(segment_id, customer), (customer, segment_id)


@settings(max_examples=_LOOKS)
@given(language.worlds(without=(*_APART, "stay")), st.data())
def test_facts_of_one_step_are_decided_as_if_each_came_alone(world: World, data: st.DataObject) -> None:
    """However many documents a step holds, and whoever they are about, afterwards the members are the judge's."""
    pair = Pair(world)
    for segment in world.segments:
        pair.save(segment)
    # Of two that share an id the judge would have to know which was first; the first of each is enough here.
    documents = list({(document["customer_id"], document["event_id"]): document for document in reversed(world.documents)}.values())[::-1]
    # What the service takes into nobody's history the judge must not hear of.
    documents = [document for document in documents if refused(document) is None]
    while documents:
        size = data.draw(st.integers(1, len(documents)))
        pair.simulation.post(*documents[:size])
        for document in documents[:size]:
            pair.judge.accept(document, pair.simulation.now_ms)
        documents = documents[size:]
        pair.agree()
