"""Laws of the judge over the whole language: what it must answer however it computes."""

from __future__ import annotations

import os
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracle import clock, model
from tests.oracle.stays import Stays
from tests.support.language import World, worlds

_SPAN = 45 * clock.DAY
_LOOKS = int(os.environ.get("ROLLCALL_TEST_WORLDS", "50"))
"""Worlds that each law is held against; a night can look at more."""


def _told(world: World) -> model.History:
    history = model.History(world.tenant, world.declared)
    for document in world.documents:
        history.add(document)
    return history


@settings(max_examples=_LOOKS)
@given(worlds(), st.data())
def test_nothing_changes_between_boundaries(world: World, data: st.DataObject) -> None:
    """From one boundary until the next, membership is what it is on the first: on the instant, in between, and a millisecond before the next."""
    history = _told(world)
    for segment in world.segments:
        for customer in history.known:
            first, last = world.anchor - 3 * clock.DAY, world.anchor + _SPAN
            found = model.boundaries(segment["rule"], history, customer, first, last, world.segments)
            spans = [(start, end) for start, end in pairwise([first, *found, last]) if end - start > 1]
            for start, end in data.draw(st.lists(st.sampled_from(spans), max_size=3)):
                then = model.is_member(segment, history, customer, start, world.segments)
                between = data.draw(st.integers(start, end - 1))
                assert model.is_member(segment, history, customer, end - 1, world.segments) is then
                assert model.is_member(segment, history, customer, between, world.segments) is then


@settings(max_examples=_LOOKS)
@given(worlds(without=["rank"]))
def test_until_is_the_next_flip(world: World) -> None:
    """On it membership is the other one, a millisecond before and on every boundary before still the same."""
    history = _told(world)
    for segment in world.segments:
        for customer in history.known:
            now = model.is_member(segment, history, customer, world.anchor, world.segments)
            flip = model.until(segment, history, customer, world.anchor, 45, world.segments)
            end = world.anchor + _SPAN if flip is None else flip - 1
            before = model.boundaries(segment["rule"], history, customer, world.anchor, end, world.segments)
            assert all(model.is_member(segment, history, customer, at, world.segments) is now for at in [*before, end])
            assert flip is None or model.is_member(segment, history, customer, flip, world.segments) is not now


@settings(max_examples=_LOOKS)
@given(worlds(without=["erase", "merge"]), st.randoms(use_true_random=False))
def test_neither_order_nor_repetition_matters(world: World, random: Any) -> None:
    """The same facts shuffled and told twice make the same members, whether a void comes before or after."""
    unique = list({(document["customer_id"], document["event_id"]): document for document in world.documents}.values())
    shuffled = unique * 2
    random.shuffle(shuffled)
    one, other = _told(world._replace(documents=unique)), _told(world._replace(documents=shuffled))
    for segment in world.segments:
        expected = model.members(segment, one, world.anchor, world.segments)
        assert model.members(segment, other, world.anchor, world.segments) == expected


@settings(max_examples=_LOOKS)
@given(worlds(without=["stay"]))
def test_without_stays_decisions_are_what_facts_say(world: World) -> None:
    """After every document and every change by time alone; of each customer and segment entries and exits alternate."""
    stays = Stays(model.History(world.tenant, world.declared), world.anchor)
    stays.define(world.segments, world.anchor)
    for number, document in enumerate(world.documents):
        stays.accept(document, world.anchor + number)
        for segment in world.segments:
            assert stays.members[segment["id"]] == model.members(segment, stays.history, stays.at, world.segments)
    decided = len(stays.changes)
    stays.pass_to(world.anchor + 5 * clock.DAY)
    for change in stays.changes[decided:]:
        for at, expected in ((change.at, change.change == "entered"), (change.at - 1, change.change == "exited")):
            segment = next(segment for segment in world.segments if segment["id"] == change.segment_id)
            assert (change.customer in model.members(segment, stays.history, at, world.segments)) is expected
    _alternate(stays)


@settings(max_examples=_LOOKS)
@given(worlds(without=["rank", "erase", "merge", "void", "tier", "reference", "lists"]))
def test_a_stay_adds_to_what_facts_say_and_takes_nothing(world: World) -> None:
    """Whom the facts put in is in; who left before the stay was over, left with the segment's end; who is in besides entered a while ago."""
    stays = Stays(model.History(world.tenant, world.declared), world.anchor)
    stays.define(world.segments, world.anchor)
    for document in world.documents:
        stays.accept(document, world.anchor)
    stays.pass_to(world.anchor + 5 * clock.DAY)
    _alternate(stays)
    for segment in world.segments:
        facts = model.members(segment, stays.history, stays.at, world.segments)
        assert facts <= stays.members[segment["id"]]
        if not segment.get("min_stay"):
            assert stays.members[segment["id"]] == facts
        entered: dict[str, int] = {}
        for change in (change for change in stays.changes if change.segment_id == segment["id"]):
            if change.change == "entered":
                entered[change.customer] = change.at
            elif segment.get("min_stay") and "ends_at" not in segment:
                assert change.at >= clock.later(entered[change.customer], segment["min_stay"], world.tenant["timezone"])


def _alternate(stays: Stays) -> None:
    """Entries and exits of one customer and segment take turns, beginning with an entry, and never go back in time."""
    turns: dict[tuple[str, str], list[str]] = {}
    for change in stays.changes:
        turns.setdefault((change.segment_id, change.customer), []).append(change.change)
    assert all(turn == ["entered", "exited"] * (len(turn) // 2) + ["entered"] * (len(turn) % 2) for turn in turns.values())
    assert [change.at for change in stays.changes] == sorted(change.at for change in stays.changes)
