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


_HOUR = 3_600_000
_SOME = st.sampled_from(["PT2H", "PT5H", "P1D"])


@st.composite
def busy(draw: st.DrawFn) -> World:
    """Few customers with a lot of coming and going: short windows, stays, levels and references that all meet within some days."""
    tenant = {"id": "demo", "timezone": "Europe/Paris", "currency": "EUR", "country": "FR"}
    anchor = clock.instant("2024-05-15T12:00:00Z")
    segments: list[Json] = []
    for place in range(draw(st.integers(1, 3))):
        bought = {"metric": {"measure": "count", "event": "checkout", "window": {"last": draw(_SOME)}}, "op": "gte", "value": draw(st.integers(1, 2))}
        rules = [bought, {"not": bought}, *({"any": [{"segment": other["id"]}, bought]} for other in segments[-1:])]
        segment: Json = {"id": f"s{place}", "rule": draw(st.sampled_from(rules)), "min_stay": draw(st.none() | _SOME)}
        if draw(st.booleans()):
            segment["starts_at"] = clock.moment(anchor - draw(st.integers(0, 40)) * _HOUR).isoformat()
        segments.append(segment)
    if draw(st.booleans()):
        segments = [segment | {"tier": {"family": "f", "level": level}} for level, segment in enumerate(segments) if "any" not in segment["rule"]]
    times = draw(st.lists(st.integers(0, 40), min_size=1, max_size=8))
    documents: list[Json] = [
        {
            "event_id": f"e{n}", "tenant": "demo", "customer_id": f"c{n % 2}", "type": "checkout", "total": "1.00", "store_id": "1", "receipt_id": f"{n}",
            "occurred_at": clock.moment(anchor - hours * _HOUR).isoformat(),
        }
        for n, hours in enumerate(times)
    ]  # fmt: skip
    if draw(st.booleans()):
        void = {name: documents[-1][name] for name in ("tenant", "customer_id", "store_id", "receipt_id", "occurred_at")}
        documents.append(void | {"event_id": "void", "type": "checkout-void"})
    return World(tenant, {}, anchor, segments, documents)


@settings(max_examples=_LOOKS * 2)
@given(busy(), st.data())
def test_a_busy_past_is_right_at_every_boundary(world: World, data: st.DataObject) -> None:
    """Every instant on and beside a boundary, and a timeline over all of them, and one that begins in the middle."""
    pair = told(world, data)
    instants = past_boundaries(pair, 4)
    judge = lived(pair)
    begun = judge.at
    seen: dict[tuple[str, int], set[str]] = {}
    for at in instants:
        judge.pass_to(at)
        for segment in pair.segments:
            found = {customer: was(pair, customer, segment["id"], at) for customer in people(pair)}
            seen[segment["id"], at] = {customer for customer, one in found.items() if one.member}
            assert seen[segment["id"], at] == judge.members[segment["id"]], (segment, clock.moment(at))
            entries = {change.customer: change.at for change in judge.changes if change[1::2] == (segment["id"], "entered")}
            for customer in seen[segment["id"], at]:
                # Who was in when the judge began has been so for ever.
                assert found[customer].since_ms == (None if entries[customer] == begun else entries[customer]), (segment, customer, at)
    chosen = sorted(set(data.draw(st.lists(st.sampled_from(instants), min_size=1, max_size=6)))) if instants else []
    for segment in pair.segments if chosen else []:
        course: Course = ask(pair.simulation, Timeline(segment["id"], chosen), Course)
        size = course.first
        assert size == len(seen[segment["id"], chosen[0]])
        for place, at in enumerate(chosen):
            size += course.entered[place] - course.exited[place]
            assert size == len(seen[segment["id"], at])
            before = chosen[place - 1] if place else at
            changes = [change.change for change in judge.changes if change.segment_id == segment["id"] and before < change.at <= at]
            assert (changes.count("entered"), changes.count("exited")) == (course.entered[place], course.exited[place]), (segment, at)
