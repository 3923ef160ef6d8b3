"""The engine against the judge: random rules over random documents, late and doubled, at instants on and beside every boundary."""

from __future__ import annotations

import os
from typing import Any

from hypothesis import given, note, settings
from hypothesis import strategies as st

from tests.oracle import clock, model
from tests.support import strategies
from tests.support.both import sequences_are_whole
from tests.support.simulation import Simulation

Json = dict[str, Any]

_LOOKS = int(os.environ.get("ROLLCALL_TEST_WORLDS", "200"))
"""Worlds that each law is held against; a night can look at more."""


def told(tenant: Json, segments: list[Json]) -> model.History:
    """A judge who knows whom the manual lists name: whoever is named is known, to every segment."""
    history = model.History(tenant)
    for segment in segments:
        history.known.update(segment.get("include") or (), segment.get("exclude") or ())
    return history


def judged(history: model.History, segments: list[Json], simulation: Simulation) -> None:
    """Compare every membership with the judge's, now."""
    at = simulation.now_ms
    for segment in segments:
        expected = model.members(segment, history, at)
        found = simulation.members(segment["id"])
        assert found == expected, f"at {clock.moment(at).isoformat()} {segment}: engine {found}, judge {expected}"


def accepted(simulation: Simulation, history: model.History, document: Json) -> None:
    """Post a document, and tell the judge if it was accepted (an id that says something else is not)."""
    before = simulation.outcomes().get("applied", 0)
    simulation.post(document)
    if simulation.outcomes().get("applied", 0) > before:
        history.add(document)


@settings(max_examples=_LOOKS)
@given(strategies.worlds(), st.data())
def test_members_at_every_boundary_are_the_judges(world: tuple[Json, int, list[Json], list[Json]], data: st.DataObject) -> None:
    """After each document, and then one millisecond before, on and after every instant at which time alone might change something."""
    tenant, anchor, segments, documents = world
    simulation, history = Simulation(tenant, anchor), told(tenant, segments)
    for segment in segments:
        simulation.save(segment)
    for document in documents:
        accepted(simulation, history, document)
        judged(history, segments, simulation)
        if data.draw(st.integers(0, 9)) == 0:
            simulation.restart()
    end = anchor + 60 * clock.DAY
    instants = sorted(
        {
            instant + beside
            for segment in segments
            for customer in history.known
            for instant in model.boundaries(segment["rule"], history, customer, anchor, end)
            for beside in (-1, 0, 1)
            if instant + beside > anchor
        }
    )
    chosen = instants if len(instants) <= 15 else sorted(data.draw(st.lists(st.sampled_from(instants), min_size=15, max_size=15)))
    for instant in chosen:
        if data.draw(st.integers(0, 4)) == 0:
            simulation.oversleep_to(instant)
        else:
            simulation.pass_to(instant)
        judged(history, segments, simulation)
    sequences_are_whole(simulation)


@settings(max_examples=_LOOKS)
@given(strategies.worlds())
def test_order_does_not_matter(world: tuple[Json, int, list[Json], list[Json]]) -> None:
    """The same documents in order, backwards, all at once, and before the segments were saved: the same members."""
    tenant, anchor, segments, documents = world
    unique = list({(document["customer_id"], document["event_id"]): document for document in documents}.values())
    ways = []
    for arranged in (unique, unique[::-1], sorted(unique, key=lambda document: document["occurred_at"])):
        simulation = Simulation(tenant, anchor)
        for segment in segments:
            simulation.save(segment)
        simulation.post(*arranged)
        ways.append({segment["id"]: simulation.members(segment["id"]) for segment in segments})
    late = Simulation(tenant, anchor, live_customers=1)
    late.post(*unique)
    late.restart()
    for segment in segments:
        late.save(segment)
    ways.append({segment["id"]: late.members(segment["id"]) for segment in segments})
    note(f"{ways}")
    assert all(way == ways[0] for way in ways)


@settings(max_examples=_LOOKS)
@given(strategies.worlds())
def test_until_is_the_next_flip(world: tuple[Json, int, list[Json], list[Json]]) -> None:
    """The `until` of every membership is the instant at which the judge first says otherwise."""
    tenant, anchor, segments, documents = world
    simulation, history = Simulation(tenant, anchor), told(tenant, segments)
    for segment in segments:
        simulation.save(segment)
    for document in documents:
        accepted(simulation, history, document)
    simulation.refresh()
    for customer, memberships in simulation.memberships().items():
        for segment in segments:
            if segment["id"] in memberships and customer not in (segment.get("include") or ()):
                expected = model.until(segment, history, customer, anchor)
                assert memberships[segment["id"]][1] == expected, (customer, segment)
