"""What is said of the past, against the judge: at and beside every boundary, from history with what is known today."""

from __future__ import annotations

import os
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.questions import Course, Timeline, Was, WasMember
from tests.oracle import answers, clock, model
from tests.oracle.stays import Stays
from tests.property.test_language_against_oracle import _APART, Pair
from tests.support import language
from tests.support.asking import ask
from tests.support.language import World

Json = dict[str, Any]

_LOOKS = int(os.environ.get("ROLLCALL_TEST_WORLDS", "60"))
_LONG_MS = 400 * clock.DAY


def told(world: World, data: st.DataObject) -> Pair:
    """A service and a judge who have heard everything; some segments were saved only afterwards."""
    pair = Pair(world)
    saved_at = data.draw(st.integers(0, len(world.documents)))
    for segment in world.segments if not saved_at else []:
        pair.save(segment)
    for document in world.documents:
        pair.accept(document)
    for segment in world.segments if saved_at else []:
        pair.save(segment)
    return pair


def people(pair: Pair) -> list[str]:
    """Everyone whom the judge knows."""
    return sorted(answers.everyone(pair.judge._world()))


def was(pair: Pair, customer: str, segment_id: str, at: int) -> Was:
    """What the service says of an instant."""
    found: Was = ask(pair.simulation, WasMember(customer, segment_id, at), Was)
    return found


def past_boundaries(pair: Pair, days: int) -> list[int]:
    """The instants of the past at which an answer might change, and those beside them."""
    now = pair.simulation.now_ms
    found = {at for who in people(pair) for at in model.boundaries(None, pair.history, who, now - days * clock.DAY, now, pair.segments)}
    return sorted({at + beside for at in found for beside in (-1, 0, 1) if at + beside <= now})


@settings(max_examples=_LOOKS)
@given(language.worlds(without=(*_APART, "stay")), st.data())
def test_the_past_is_what_the_facts_say(world: World, data: st.DataObject) -> None:
    """Without stays: the judge's answer from facts alone, for everybody, on and beside boundaries; until is the next flip."""
    pair = told(world, data)
    instants = past_boundaries(pair, 100) or [pair.simulation.now_ms]
    for at in data.draw(st.lists(st.sampled_from(instants), min_size=1, max_size=4)):
        for segment in pair.segments:
            for customer in people(pair):
                found = was(pair, customer, segment["id"], at)
                assert found.member is model.is_member(segment, pair.history, customer, at, pair.segments), (customer, segment, at)
                assert found.until_ms == model.until(segment, pair.history, customer, at, segments=pair.segments), (customer, segment, at)
                if found.since_ms is not None:
                    assert found.member
                    assert model.is_member(segment, pair.history, customer, found.since_ms, pair.segments)
                    assert not model.is_member(segment, pair.history, customer, found.since_ms - 1, pair.segments)


def lived(pair: Pair) -> Stays:
    """A judge who has known all documents and segments since long before the first of them."""
    happened = [clock.instant(document["occurred_at"]) for mine in pair.history.documents.values() for document in mine]
    starts = [clock.edge(segment[name], pair.history.zone) for segment in pair.segments for name in ("starts_at", "ends_at") if segment.get(name)]
    judge = Stays(pair.history, min([pair.simulation.now_ms, *happened, *starts]) - 1 - _LONG_MS)
    judge.define(pair.segments, judge.at)
    return judge


@settings(max_examples=_LOOKS)
@given(language.worlds(without=(*_APART, "calendar")), st.data())
def test_in_the_past_a_stay_counts_from_its_entry(world: World, data: st.DataObject) -> None:
    """A judge who steps through all that is known in order, having known it from the beginning, says the same."""
    pair = told(world, data)
    judge = lived(pair)
    instants = past_boundaries(pair, 50) or [pair.simulation.now_ms]
    for at in sorted(data.draw(st.lists(st.sampled_from(instants), min_size=1, max_size=4))):
        judge.pass_to(at)
        for segment in pair.segments:
            for customer in people(pair):
                found = was(pair, customer, segment["id"], at)
                assert found.member is (customer in judge.members[segment["id"]]), (customer, segment, at)


@settings(max_examples=_LOOKS)
@given(language.worlds(without=(*_APART, "calendar")), st.data())
def test_a_timeline_is_the_sum_of_the_pasts(world: World, data: st.DataObject) -> None:
    """At each step its size is the number of those of whom `at` says that they were in; each entry and exit is counted in its step."""
    pair = told(world, data)
    instants = past_boundaries(pair, 50) or [pair.simulation.now_ms]
    chosen = sorted(set(data.draw(st.lists(st.sampled_from(instants), min_size=1, max_size=5))))
    judge = lived(pair)
    judge.pass_to(chosen[0])
    begun = len(judge.changes)
    judge.pass_to(chosen[-1])
    for segment in pair.segments:
        course: Course = ask(pair.simulation, Timeline(segment["id"], chosen), Course)
        size = course.first
        for place, at in enumerate(chosen):
            size += course.entered[place] - course.exited[place]
            assert size == sum(was(pair, customer, segment["id"], at).member for customer in people(pair)), (segment, at)
            before = chosen[place - 1] if place else at
            changes = [change.change for change in judge.changes[begun:] if change.segment_id == segment["id"] and before < change.at <= at]
            assert (changes.count("entered"), changes.count("exited")) == (course.entered[place], course.exited[place]), (segment, at)
