"""Ranks that nobody has agreed on, against the judge: where they end is found over several partitions, for a draft and for any past instant."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from decimal import Decimal
from itertools import accumulate
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.instants import DAY_MS, iso, parse_instant
from schemas.questions import (
    Asked,
    Climb,
    Climbed,
    Course,
    Preview,
    Previewed,
    Question,
    Race,
    Raced,
    Rivalry,
    Rivals,
    Standing,
    Standings,
    Timeline,
    Was,
    WasMember,
)
from schemas.rule_parser import parse_rule
from schemas.segments import edited, unsaved
from schemas.standings import Cut
from services.api.foremost import Finding, ranks_of
from services.api.race import Field
from services.api.rivals import sizes_of, turns_of
from services.api.routes.common import stay_by_rank
from services.segmenter.questions.inquiry import Unknowable
from tests.oracle import answers, clock, model
from tests.oracle.stays import Stays
from tests.property.test_ranks_against_oracle import Pair, ranked_worlds
from tests.support.asking import ask_of
from tests.support.fleet import Fleet
from tests.support.language import World

Json = dict[str, Any]

_HORIZON_MS = 400 * DAY_MS
_LOOKS = int(os.environ.get("ROLLCALL_TEST_WORLDS", "60"))


def all_of(fleet: Fleet, question: Question, type_: Any, limit: int = 50) -> list[Any]:
    """What each partition answers."""
    numbered = enumerate(fleet.parts)
    return [ask_of(part.partition, Asked(fleet.tenant, {number: 1}, question), fleet.now_ms, type_, limit) for number, part in numbered]


def ends(fleet: Fleet, of: str | Preview, instants: Sequence[int]) -> tuple[list[dict[str, Cut]], int]:
    """Where ranks end at some instants, as the API finds it, and how often everybody was asked for that."""
    segments = fleet.catalog.segments.get(fleet.tenant, {})
    if isinstance(of, str):
        segment = segments[of]
    else:
        rule = parse_rule(of.rule, fleet.catalog.rule_context(fleet.tenant))
        segment = unsaved(fleet.tenant, rule) if of.replaces is None else edited(segments[of.replaces], rule)
    finding, asked = Finding(ranks_of(segments, segment), instants), 0
    while looks := finding.looks():
        parts = all_of(fleet, Standings(of, looks), list[Standing])
        asked += 1
        assert asked < 20, "nothing is found"
        for place, look in enumerate(looks):
            finding.hear(look, [part[place] for part in parts])
    return [finding.cuts(at) for at in instants], asked


def ask_home(fleet: Fleet, customer: str, question: Question, type_: Any) -> Any:
    """What the partition answers in which a customer lives."""
    return ask_of(fleet.home(customer).partition, Asked(fleet.tenant, {0: 1}, question), fleet.now_ms, type_)


def turns(fleet: Fleet, customer: str, segment_id: str, from_ms: int, to_ms: int, facts: int = 10**6) -> dict[str, list[int]] | None:
    """When ranks held of a customer, as the API finds it."""
    segments = fleet.catalog.segments[fleet.tenant]
    ranks = ranks_of(segments, segments[segment_id])
    if not ranks:
        return {}
    climbed: Climbed = ask_home(fleet, customer, Climb(customer, segment_id, from_ms, to_ms), Climbed)
    assert climbed.steps is not None
    parts: list[Rivalry] = all_of(fleet, Rivals(customer, segment_id, climbed.steps, to_ms, facts), Rivalry, 5)
    leads = [part.leads for part in parts if part.leads is not None]
    return turns_of(ranks, climbed.steps, leads) if len(leads) == len(parts) else None


def race(fleet: Fleet, segment_id: str, from_ms: int, to_ms: int, room: int = 1 << 20) -> dict[str, dict[str, list[int]]] | None:
    """When ranks held of everybody, as the API finds it."""
    segments = fleet.catalog.segments[fleet.tenant]
    parts: list[Raced] = all_of(fleet, Race(segment_id, from_ms, to_ms, 10**6, room), Raced, 5)
    found: dict[str, dict[str, list[int]]] = {}
    for ranking, sizes in sizes_of(ranks_of(segments, segments[segment_id])).items():
        field = Field(sizes, descending=ranking.endswith("-"))
        known = [part.steps[ranking] for part in parts if part.steps is not None]
        if len(known) < len(parts):
            return None
        for _ in field.follow(known):
            pass
        found |= field.turns
    return found


def was(fleet: Fleet, customer: str, segment_id: str, at: int, *, alone: bool = False) -> Was:
    """What is said of a past instant, by all of history or by the instant alone."""
    found = turns(fleet, customer, segment_id, *((at, at) if alone else (0, fleet.now_ms)))
    assert found is not None
    answer: Was = ask_home(fleet, customer, WasMember(customer, segment_id, at, found, at if alone else None), Was)
    return answer


def told(world: World, partitions: int, data: st.DataObject) -> Pair:
    """A service and a judge who have heard everything; the service may not have come to rest, or not have been told of segments before."""
    pair = Pair(world, partitions, None)
    first = data.draw(st.booleans())
    for segment in world.segments if first else []:
        pair.save(segment)
    for document in world.documents:
        pair.accept(document)
    for segment in world.segments if not first else []:
        pair.save(segment)
    return pair


@settings(max_examples=_LOOKS)
@given(ranked_worlds(), st.integers(1, 4), st.data())
def test_the_past_of_ranks_is_what_the_facts_say(world: World, partitions: int, data: st.DataObject) -> None:
    """At and beside boundaries everybody is in who the judge says was; a timeline has those sizes, and the difference between its steps."""
    pair = told(world, partitions, data)
    fleet, now = pair.fleet, pair.fleet.now_ms
    found = {at for who in pair.history.known for at in model.boundaries(None, pair.history, who, now - 100 * DAY_MS, now, pair.segments)}
    instants = sorted({at + beside for at in found for beside in (-1, 0, 1) if at + beside <= now}) or [now]
    chosen = sorted(set(data.draw(st.lists(st.sampled_from(instants), min_size=1, max_size=4))))
    for segment in pair.segments:
        expected = [model.members(segment, pair.history, at, pair.segments) for at in chosen]
        cuts, _ = ends(fleet, segment["id"], chosen)
        for at, theirs, members in zip(chosen, cuts, expected, strict=True):
            for alone in (False, bool(theirs)):
                said = {who: was(fleet, who, segment["id"], at, alone=alone) for who in sorted(pair.history.known)}
                assert {who for who, one in said.items() if one.member} == members & pair.history.known, (segment, at, alone)
        if not cuts[0]:
            continue
        courses: list[Course] = all_of(fleet, Timeline(segment["id"], chosen, cuts), Course)
        size = sum(course.first for course in courses)
        for place, (before, members) in enumerate(zip([expected[0], *expected], expected, strict=False)):
            entered, exited = sum(course.entered[place] for course in courses), sum(course.exited[place] for course in courses)
            size += entered - exited
            assert (size, entered, exited) == (len(members), len(members - before), len(before - members)), (segment, chosen[place])


def needed(rule: Json, segments: Sequence[Json]) -> set[str]:
    """Everything that a rule depends on: what it names, the higher levels of a family, and what those name."""
    found: set[str] = set()
    ahead = [one for one in segments if f'"{one["id"]}"' in json.dumps(rule)]
    while ahead:
        here = ahead.pop()
        found.add(here["id"])
        named = [one for one in segments if f'"{one["id"]}"' in json.dumps(here["rule"])]
        above = [one for one in segments if "tier" in here and "tier" in one and one["tier"]["level"] > here["tier"]["level"]]
        ahead += [one for one in named + above if one["id"] not in found]
    return found


@settings(max_examples=_LOOKS)
@given(ranked_worlds(), st.integers(1, 4), st.data())
def test_a_preview_of_any_rank_says_who_will_be_in(world: World, partitions: int, data: st.DataObject) -> None:
    """Of a segment that is not saved and as an edit of one that is: the judge's members, and who of them was not in before."""
    *saved, last = world.segments
    pair = Pair(world, partitions, None)
    for segment in saved:
        pair.save(segment)
    for document in world.documents:
        pair.accept(document)
    if data.draw(st.booleans()):
        pair.fleet.rest()
    if data.draw(st.booleans()):
        for part in pair.fleet.parts:
            part.keep()
    replaced: Json | None = data.draw(st.sampled_from([None, *(one for one in saved if not one.get("tier"))]))
    if replaced is not None and replaced["id"] in needed(last["rule"], saved):
        replaced = None  # Its edit would be refused: a cycle.
    draft = {"id": "draft", "rule": last["rule"]} if replaced is None else replaced | {"rule": last["rule"]}
    now, name = pair.fleet.now_ms, None if replaced is None else replaced["id"]
    question = Preview(exact(last["rule"]), name, now)
    [cuts], _ = ends(pair.fleet, question, [now])
    question = Preview(question.rule, name, now if cuts else None, cuts)
    parts: list[Previewed] = all_of(pair.fleet, question, Previewed)
    sums = {what: sum(getattr(part, what) for part in parts) for what in ("count", "of", "enters", "leaves")}
    others = [draft if one is replaced else one for one in saved]
    expected = model.members(draft, pair.history, now, others if replaced is not None else [*saved, draft])
    before = set() if name is None else pair.fleet.members(name)
    assert sums == {
        "count": len(expected), "of": len(pair.fleet.memberships()), "enters": len(expected - before), "leaves": len(before - expected),
    }, (draft, sorted(expected))  # fmt: skip
    assert {who for part in parts for who in part.sample} <= expected


def told_past(pair: Pair) -> list[int]:
    """All instants at which anything may have changed, the first of them before everything."""
    now = pair.fleet.now_ms
    happened = [clock.instant(document["occurred_at"]) for mine in pair.history.documents.values() for document in mine]
    begun = min([now, *happened]) - DAY_MS
    found = {at for who in pair.history.known for at in model.boundaries(None, pair.history, who, begun, now, pair.segments)}
    return [begun, *sorted(found)]


@settings(max_examples=_LOOKS)
@given(ranked_worlds(), st.integers(1, 3), st.data())
def test_since_and_until_are_the_flips_beside_the_instant(world: World, partitions: int, data: st.DataObject) -> None:
    """The last flip up to the instant, and the next one after it: by ranks as they moved up to now, and stand from then on."""
    pair = told(world, partitions, data)
    fleet, now, turned = pair.fleet, pair.fleet.now_ms, told_past(pair)
    ranked = [
        segment for segment in pair.segments if ranks_of(fleet.catalog.segments[fleet.tenant], fleet.catalog.segments[fleet.tenant][segment["id"]])
    ]
    for segment in data.draw(st.lists(st.sampled_from(ranked), min_size=1, max_size=2, unique_by=lambda one: one["id"])):
        members = {at: model.members(segment, pair.history, at, pair.segments) for at in turned}
        for customer in sorted(pair.history.known):
            at = data.draw(st.sampled_from(turned[1:] or turned)) - data.draw(st.integers(0, 1))
            found = was(fleet, customer, segment["id"], at)
            before = [customer in members[instant] for instant in turned if instant <= at]
            flips = [place for place in range(1, len(before)) if before[place] is not before[place - 1]]
            assert found.member is before[-1]
            expected = turned[flips[-1]] if flips and found.member else None
            assert found.since_ms == expected, (segment, customer, at)
            following = [instant for instant in turned if instant > at and (customer in members[instant]) is not found.member]
            if following:
                assert found.until_ms == following[0], (segment, customer, at)
            else:
                until = model.until(segment, pair.history, customer, now, 900, segments=pair.segments)
                assert found.until_ms == (until if until is not None and until <= at + _HORIZON_MS else None), (segment, customer, at)


def lived(pair: Pair) -> Stays:
    """A judge who has known all documents and segments since long before the first of them."""
    starts = [clock.edge(segment[name], pair.history.zone) for segment in pair.segments for name in ("starts_at", "ends_at") if segment.get(name)]
    judge = Stays(pair.history, min([told_past(pair)[0], *starts]) - 1 - _HORIZON_MS)
    judge.define(pair.segments, judge.at)
    return judge


@settings(max_examples=_LOOKS)
@given(ranked_worlds(("merge", "erase", "calendar")), st.integers(1, 3), st.data())
def test_a_stay_that_a_rank_starts_holds_from_its_entry(world: World, partitions: int, data: st.DataObject) -> None:
    """A judge who steps through all that is known in order, having known it from the beginning, says the same of every segment."""
    pair = told(world, partitions, data)
    judge = lived(pair)
    instants = sorted({min(pair.fleet.now_ms, at + beside) for at in told_past(pair)[1:] for beside in (-1, 0, 1)}) or [pair.fleet.now_ms]
    for at in sorted(data.draw(st.lists(st.sampled_from(instants), min_size=1, max_size=3))):
        judge.pass_to(at)
        for segment in pair.segments:
            for customer in sorted(pair.history.known):
                found = was(pair.fleet, customer, segment["id"], at)
                assert found.member is (customer in judge.members[segment["id"]]), (customer, segment, at)


@settings(max_examples=_LOOKS)
@given(ranked_worlds(("merge", "erase", "calendar")), st.integers(1, 3), st.data())
def test_a_timeline_counts_each_entry_and_exit_by_rank(world: World, partitions: int, data: st.DataObject) -> None:
    """Whoever came or went between two steps is counted as often as that was, by a rank or a stay or anything else."""
    pair = told(world, partitions, data)
    fleet, segments, judge = pair.fleet, pair.fleet.catalog.segments[pair.fleet.tenant], lived(pair)
    instants = sorted({min(fleet.now_ms, at + beside) for at in told_past(pair)[1:] for beside in (-1, 0, 1)}) or [fleet.now_ms]
    chosen = sorted(set(data.draw(st.lists(st.sampled_from(instants), min_size=1, max_size=4))))
    judge.pass_to(chosen[0])
    first, begun = dict(judge.members), len(judge.changes)
    judge.pass_to(chosen[-1])
    for segment in pair.segments:
        if not ranks_of(segments, segments[segment["id"]]):
            continue
        from_ms = 0 if stay_by_rank(segments, segments[segment["id"]]) else chosen[0]
        found = race(fleet, segment["id"], from_ms, chosen[-1])
        assert found is not None
        courses: list[Course] = all_of(fleet, Timeline(segment["id"], chosen, turns=found, from_ms=from_ms), Course)
        assert sum(course.first for course in courses) == len(first[segment["id"]]), segment
        for place, at in enumerate(chosen):
            before = chosen[place - 1] if place else at
            changes = [change.change for change in judge.changes[begun:] if change.segment_id == segment["id"] and before < change.at <= at]
            said = sum(course.entered[place] for course in courses), sum(course.exited[place] for course in courses)
            assert said == (changes.count("entered"), changes.count("exited")), (segment, at)


def exact(rule: Json) -> Any:
    """A rule as it comes over the wire."""
    return json.loads(json.dumps(rule), parse_float=Decimal)


NOW = parse_instant("2026-05-15T12:00:00Z")
PARIS = {"id": "demo", "timezone": "Europe/Paris", "currency": "EUR", "country": "FR"}
SPENT: Json = {"measure": "sum", "event": "checkout", "field": "total", "window": {"last": "P30D"}}
_CROWD = 1_500
BEST: Json = {"rank": {"metric": SPENT, "order": "desc", "percent": 20}}


def sale(number: int, customer: str, days: float, total: int) -> Json:
    """A checkout some days ago."""
    at = iso(NOW - round(days * DAY_MS))
    more = {"occurred_at": at, "total": f"{total}.00", "tenant": "demo"}
    return {"event_id": f"e{number}", "customer_id": customer, "type": "checkout"} | more


def test_many_are_narrowed_in_a_few_questions() -> None:
    """More than an answer shows of a hundred instants at once: still exact, and everybody is asked twice or three times for each hundred."""
    fleet = Fleet(PARIS, NOW, 2)
    segment = {"id": "best", "rule": {"not": BEST}}
    fleet.save(segment)
    sales = [sale(number, f"c{number}", number % 50, number * 7919 % 1000) for number in range(_CROWD)]
    fleet.post(*sales)
    history = model.History(PARIS)
    for event in sales:
        history.add(event)
    instants = [NOW - hours * DAY_MS // 24 for hours in range(130, -1, -1)]
    cuts, asked = ends(fleet, "best", instants)
    assert 2 < asked <= 8
    courses: list[Course] = all_of(fleet, Timeline("best", instants, cuts), Course)
    sizes = accumulate(sum(course.entered[n] - course.exited[n] for course in courses) for n in range(131))
    first = sum(course.first for course in courses)
    world = answers.World(history, [segment], {})
    members = {place: history.known.difference(answers.ranked(world, BEST["rank"], instants[place])) for place in (0, 77, 130)}
    assert {place: first + size for place, size in enumerate(sizes) if place in members} == {place: len(found) for place, found in members.items()}
    for place, found in members.items():
        for who in [f"c{number}" for number in range(0, _CROWD, 31)]:
            assert was(fleet, who, "best", instants[place]).member is (who in found)


def test_a_stay_beside_a_rank_and_one_by_a_rank_hold_from_their_entries() -> None:
    """A stay is walked from the beginning, whatever starts it; by one instant alone, what a rank starts is not known."""
    fleet = Fleet(PARIS, NOW, 2)
    bought = {"metric": {"measure": "count", "event": "checkout", "window": {"last": "P1D"}}, "op": "gte", "value": 1}
    fleet.save({"id": "stayer", "rule": bought, "min_stay": "P5D"})
    fleet.save({"id": "both", "rule": {"all": [{"segment": "stayer"}, {"rank": {"metric": SPENT, "order": "desc", "top": 1}}]}})
    fleet.save({"id": "held", "rule": {"segment": "both"}, "min_stay": "P6D"})
    fleet.post(sale(1, "anna", 20, 10), sale(2, "bob", 14.5, 50))
    days = [(20, True), (15.5, True), (15, False), (14.6, False), (14.5, False), (1, False)]
    assert [was(fleet, "anna", "both", NOW - round(day * DAY_MS)).member for day, _ in days] == [member for _, member in days]
    days = [(14.6, False), (14.5, True), (10, True), (9.5, False)]
    assert [was(fleet, "bob", "both", NOW - round(day * DAY_MS)).member for day, _ in days] == [member for _, member in days]
    instants = [NOW - round(day * DAY_MS) for day in (20.5, 17, 13, 9)]
    cuts, _ = ends(fleet, "both", instants)
    courses = all_of(fleet, Timeline("both", instants, cuts), Course)
    assert [sum(course.entered[place] for course in courses) for place in range(4)] == [0, 1, 1, 0]
    assert [sum(course.exited[place] for course in courses) for place in range(4)] == [0, 0, 1, 1]
    days = [(20.1, False), (20, True), (15, True), (14.01, True), (14, False)]
    assert [was(fleet, "anna", "held", NOW - round(day * DAY_MS)).member for day, _ in days] == [member for _, member in days]
    alone = turns(fleet, "anna", "held", NOW, NOW)
    assert alone is not None
    for question in (WasMember("anna", "held", NOW, alone, NOW), Timeline("held", [NOW]), WasMember("anna", "both", NOW), Timeline("both", [NOW])):
        with pytest.raises(Unknowable, match="rank"):
            all_of(fleet, question, Any)


def test_too_much_history_is_not_looked_at() -> None:
    """Beyond so many events, or so much to say, nothing is said, rather than a part of it."""
    fleet = Fleet(PARIS, NOW, 1)
    fleet.save({"id": "best", "rule": BEST})
    fleet.post(*[sale(number, f"c{number % 7}", number, 1 + number % 5) for number in range(40)])
    assert turns(fleet, "c3", "best", 0, NOW, facts=1_000)
    assert turns(fleet, "c3", "best", 0, NOW, facts=20) is None
    steps = ask_home(fleet, "c3", Climb("c3", "best", 0, NOW), Climbed).steps
    [part] = all_of(fleet, Rivals("c3", "best", steps, NOW, 1_000, room=50), Rivalry)
    assert part.leads is None
    assert race(fleet, "best", 0, NOW)
    assert race(fleet, "best", 0, NOW, room=500) is None
