"""The rule language: what is read, what its canonical form is, and what is refused with which place and which advice."""

from __future__ import annotations

import json
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import Refusal
from schemas.examples import DECLARED, RULES
from schemas.instants import Duration, iso
from schemas.rule_context import RuleContext
from schemas.rule_cost import cost_of
from schemas.rule_parser import parse_rule
from schemas.rules import (
    CALENDAR_WORDS,
    MAX_COST,
    MEASURES,
    Between,
    CalendarWindow,
    Last,
    Matcher,
    MetricCondition,
    ProfileCondition,
    Rank,
    Rule,
    SegmentRef,
    Sequence,
    canonical,
    conditions,
    encode,
    references,
)
from schemas.vocabulary import Kind

PARIS = RuleContext("Europe/Paris", {name: Kind(kind) for name, kind in DECLARED.items()}, history_months=25, max_cost=MAX_COST, currency="EUR")
COUNT = {"measure": "count", "event": "checkout"}
SENT = {"measure": "count", "event": "email-send"}
FAVOURITE = {"measure": "favourite", "event": "checkout", "field": "hour"}
RATIO = {"measure": "ratio", "numerator": COUNT, "denominator": SENT}
SEQUENCE = {"first": {"event": "email-open"}, "then": {"event": "checkout"}, "within": "P7D", "happens": False}
RANK = {"metric": COUNT, "order": "desc", "top": 10}


def parse(document: Any, context: RuleContext = PARIS) -> Rule:
    """Read a rule as the product does: through JSON, decimals as decimals."""
    return parse_rule(json.loads(json.dumps(document), parse_float=Decimal), context)


def at_least_one(metric: Any) -> dict[str, Any]:
    """Return the condition that a metric is at least 1."""
    return {"metric": metric, "op": "gte", "value": 1}


def windowed(window: Any) -> dict[str, Any]:
    """Return a condition on the checkouts in a window."""
    return at_least_one({**COUNT, "window": window})


def window_of(window: Any, context: RuleContext = PARIS) -> Any:
    """Return a window as it is read."""
    rule = parse(windowed(window), context)
    assert isinstance(rule, MetricCondition)
    return rule.metric.window


@pytest.mark.parametrize(
    ("document", "pointer", "advice"),
    [
        ({"metrics": COUNT}, "", "exactly one of all, any, not, metric, profile, near, sequence, segment, rank"),
        ({"segment": "a", "near": {}}, "", 'rank; this one has "near", "segment"'),
        ({}, "", "this one has none"),
        (None, "", "a rule is an object, not null"),
        ({"profile": "age", "op": "gte", "value": True}, "/value", "true is not a number of at most 18 digits"),
        ({"profile": "age", "op": "in", "value": [1] * 1_001}, "/value", "a list of 1 to 1000 values, not of 1001"),
        ({"all": [{"segment": "a"}] * 201}, "/all", "a list of 1 to 200 rules, not of 201"),
        (at_least_one({**COUNT, "where": [{}] * 21}), "/metric/where", "a list of 0 to 20 filters, not of 21"),
        ({"segment": "a", "op": "eq"}, "/op", "here: segment"),
        ({"segment": 7}, "/segment", "a-z, 0-9"),
        ({"segment": "Gold"}, "/segment", "a-z, 0-9"),
        ({"segment": "gold\n"}, "/segment", "a-z, 0-9"),
        ({"any": [{"segment": "a" * 65}]}, "/any/0/segment", "at most 64"),
        # windows
        (windowed("P3M"), "/metric/window", "a window is an object"),
        (windowed(None), "/metric/window", "a window is an object"),
        (windowed({"from": "2026-05-01", "to": None}), "/metric/window/to", "write a date"),
        (at_least_one({**COUNT, "field": None}), "/metric/field", "takes no field"),
        (at_least_one({**COUNT, "name": None}), "/metric/name", "only there"),
        (at_least_one({"measure": "count", "event": "custom", "name": None}), "/metric/name", "required for custom events"),
        (windowed({}), "/metric/window", "last, calendar, or from and to"),
        (windowed({"last": "P3M", "calendar": "may"}), "/metric/window", "exactly one of last, calendar, or from and to"),
        (windowed({"last": "3 months"}), "/metric/window/last", "ISO 8601"),
        (windowed({"last": "P26M"}), "/metric/window/last", "25 months"),
        (windowed({"last": "P3Y"}), "/metric/window/last", "25 months"),
        (windowed({"last": "P25MT1S"}), "/metric/window/last", "25 months"),
        (windowed({"last": "P759D"}), "/metric/window/last", "25 months"),
        (windowed({"calendar": "yesterday"}), "/metric/window/calendar", "this_week"),
        (windowed({"calendar": "May"}), "/metric/window/calendar", "may"),
        (windowed({"calendar": "2026-13"}), "/metric/window/calendar", "2026-05"),
        (windowed({"calendar": "2026-5"}), "/metric/window/calendar", "2026-05"),
        (windowed({"calendar": 5}), "/metric/window/calendar", "2026-05"),
        (windowed({"from": "2026-05-01", "until": "2026-06-01"}), "/metric/window/until", "last, calendar, from, to"),
        (windowed({"from": "2026-05-32"}), "/metric/window/from", "YYYY-MM-DD"),
        (windowed({"from": "2026-05-01T10:00:00"}), "/metric/window/from", "with an offset"),
        (windowed({"to": 1_700_000_000}), "/metric/window/to", "write a date"),
        (windowed({"to": "1969-12-31"}), "/metric/window/to", "between 1970 and 2200"),
        (windowed({"to": "9999-12-31"}), "/metric/window/to", "between 1970 and 2200"),
        (windowed({"from": "2026-05-01", "to": "2026-05-01"}), "/metric/window/to", "from comes before to"),
        (windowed({"from": "2026-05-01", "to": "2026-04-30T21:59:00Z"}), "/metric/window/to", "from comes before to"),
        # ratios
        (at_least_one({**RATIO, "event": "checkout"}), "/metric/event", "here: measure, numerator"),
        (at_least_one({"measure": "ratio", "numerator": COUNT}), "/metric/denominator", "denominator is missing"),
        (at_least_one({**RATIO, "numerator": RATIO}), "/metric/numerator/measure", "divide two other metrics"),
        (at_least_one({**RATIO, "denominator": FAVOURITE}), "/metric/denominator/measure", "not favourite"),
        (at_least_one({**RATIO, "denominator": {**COUNT, "window": {"last": "P9Y"}}}), "/metric/denominator/window/last", "25 months"),
        (at_least_one({**RATIO, "min_denominator": -1}), "/metric/min_denominator", "0 or more"),
        (at_least_one({**RATIO, "min_denominator": "5"}), "/metric/min_denominator", "is not a number"),
        ({"metric": RATIO, "op": "starts_with", "value": "1"}, "/op", "for number; one of eq"),
        ({"metric": RATIO, "op": "gt", "value": "0.3"}, "/value", "is not a number"),
        # sequences
        ({"sequence": {}}, "/sequence/first", "an event to match is an object"),
        ({"sequence": {**SEQUENCE, "then": {"event": "mail"}}}, "/sequence/then/event", "email-open"),
        ({"sequence": {**SEQUENCE, "then": {"event": "visit", "measure": "count"}}}, "/sequence/then/measure", "here: event, name, where"),
        ({"sequence": {**SEQUENCE, "then": {"event": "custom"}}}, "/sequence/then/name", "required for custom events"),
        ({"sequence": {**SEQUENCE, "within": "P0D"}}, "/sequence/within", "ISO 8601"),
        ({"sequence": {**SEQUENCE, "within": "P3Y"}}, "/sequence/within", "25 months"),
        ({"sequence": {**SEQUENCE, "happens": "no"}}, "/sequence/happens", "true"),
        ({"sequence": {k: v for k, v in SEQUENCE.items() if k != "happens"}}, "/sequence/happens", "true"),
        ({"sequence": {**SEQUENCE, "before": 1}}, "/sequence/before", "first, then, within, happens, window"),
        # ranks
        ({"rank": {"metric": FAVOURITE, "order": "desc", "top": 1}}, "/rank/metric/measure", "not favourite"),
        ({"rank": {"metric": COUNT, "order": "down", "top": 1}}, "/rank/order", "desc"),
        ({"rank": {"metric": COUNT, "order": "desc"}}, "/rank", "either top"),
        ({"rank": {**RANK, "percent": 5}}, "/rank", "either top"),
        ({"rank": {**RANK, "top": 0}}, "/rank/top", "1 to 10000000"),
        ({"rank": {**RANK, "top": 10_000_001}}, "/rank/top", "1 to 10000000"),
        ({"rank": {**RANK, "top": True}}, "/rank/top", "not a number"),
        ({"rank": {**RANK, "top": 1.5}}, "/rank/top", "whole number"),
        ({"rank": {"metric": COUNT, "order": "desc", "percent": 0}}, "/rank/percent", "more than 0"),
        ({"rank": {"metric": COUNT, "order": "desc", "percent": 100.5}}, "/rank/percent", "at most 100"),
        ({"rank": {"metric": COUNT, "order": "desc", "percent": "20"}}, "/rank/percent", "not a number"),
        ({"rank": {**RANK, "op": "eq"}}, "/rank/op", "metric, order, top, percent"),
        # what must be declared first
        ({"profile": "hat size", "op": "eq", "value": 1}, "/profile", "PUT /v1/attributes/hat%20size"),
        ({"profile": "shoe_size", "op": "eq", "value": "45"}, "/value", "is not a number"),
        ({"profile": "properties.stars", "op": "eq", "value": 1}, "/profile", "belongs to custom events"),
        ({"profile": ["city"], "op": "eq", "value": 1}, "/profile", "one of birth_date"),
        (
            at_least_one({"measure": "count", "event": "custom", "name": "n", "where": [{"field": "properties.x", "op": "eq", "value": 1}]}),
            "/metric/where/0/field",
            "PUT /v1/attributes/properties.x",
        ),
        (
            at_least_one({"measure": "sum", "event": "custom", "name": "n", "field": "properties.x"}),
            "/metric/field",
            "PUT /v1/attributes/properties.x",
        ),
        (at_least_one({"measure": "sum", "event": "checkout", "field": "properties.stars"}), "/metric/field", "no custom event"),
        (at_least_one({"measure": "sum", "event": "checkout", "field": "city"}), "/metric/field", "one of total"),
    ],
)
def test_what_is_refused_names_the_place_and_what_would_have_been_right(document: Any, pointer: str, advice: str) -> None:
    """The pointer leads to the place, and the sentence says what to write there."""
    with pytest.raises(Refusal) as refused:
        parse(document)
    assert refused.value.pointer == pointer
    assert advice in refused.value.detail
    with pytest.raises(Refusal) as deeper:
        parse({"all": [{"profile": "consent", "op": "exists"}, {"not": document}]})
    assert deeper.value.pointer == f"/all/1/not{pointer}", "seen from a group, the place is deeper by the way to it"


def test_too_many_conditions_are_counted() -> None:
    """Also where no single group has too many: how many there are, and how many may be."""
    with pytest.raises(Refusal) as refused:
        parse({"any": [{"all": [{"segment": "a"}] * 101}, {"not": {"all": [{"profile": "consent", "op": "exists"}] * 120}}]})
    assert refused.value.detail == "a rule has at most 200 conditions; this one has 221"


@pytest.mark.parametrize("shown", RULES.values(), ids=RULES)
def test_a_tree_can_be_a_key_and_its_canonical_form_is_its_own(shown: Any) -> None:
    """Equal rules are equal and hash alike, and the canonical form of the canonical form is itself, byte for byte."""
    tree, again = parse(shown), parse(shown)
    assert len({tree, again}) == 1
    text = encode(canonical(tree))
    assert encode(canonical(parse_rule(json.loads(text, parse_float=Decimal), PARIS))) == text


def test_what_is_the_same_is_written_the_same() -> None:
    """Durations, whole numbers and percents have one way of being written."""
    for one, other in (
        (windowed({"last": "P12M"}), windowed({"last": "P1Y"})),
        (windowed({"last": "P2W"}), windowed({"last": "P14D"})),
        ({"rank": {"metric": COUNT, "order": "asc", "percent": 20.0}}, {"rank": {"metric": COUNT, "order": "asc", "percent": 20}}),
        ({"rank": {"metric": COUNT, "order": "asc", "percent": 2.50}}, {"rank": {"metric": COUNT, "order": "asc", "percent": 2.5}}),
        ({"rank": {**RANK, "top": 10.0}}, {"rank": RANK}),
        (at_least_one({**RATIO, "min_denominator": 5.0}), at_least_one({**RATIO, "min_denominator": 5})),
    ):
        assert encode(canonical(parse(one))) == encode(canonical(parse(other)))


@pytest.mark.parametrize("word", [*CALENDAR_WORDS, "2026-05", "2000-01"])
def test_a_word_of_the_calendar_is_a_window(word: str) -> None:
    """Each word that is published is read as it is."""
    assert window_of({"calendar": word}) == CalendarWindow(word)


def test_fixed_ends_are_instants_and_stay_as_they_were_written() -> None:
    """A date is its local midnight: where clocks skip midnight the end of the gap, where they pass it twice the first."""
    found = window_of({"from": "2026-05-01", "to": "2026-06-01T10:00:00.250+02:00"})
    assert isinstance(found, Between)
    assert (iso(found.from_ms or 0), iso(found.to_ms or 0)) == ("2026-04-30T22:00:00.000Z", "2026-06-01T08:00:00.250Z")
    assert canonical(parse(windowed({"from": "2026-05-01"}))) == windowed({"from": "2026-05-01"})
    for zone, day, instant in (
        ("America/Santiago", "2024-09-08", "2024-09-08T04:00:00.000Z"),  # 00:00 does not exist, 01:00 is the first minute of the day
        ("America/Havana", "2024-11-03", "2024-11-03T04:00:00.000Z"),  # 00:00 comes twice
        ("UTC", "2024-02-29", "2024-02-29T00:00:00.000Z"),
    ):
        here = window_of({"to": day}, RuleContext(zone))
        assert (iso(here.to_ms), here.from_ms) == (instant, None)


@pytest.mark.parametrize(
    ("months", "fits", "too_long"),
    [
        (25, ["P25M", "P2Y1M", "P24M28D", "P758D", "P2YT1H", "PT2H"], ["P25MT1S", "P24M29D", "P759D", "P26M"]),
        (12, ["P1Y", "P365D", "P11M28D"], ["P366D", "P13M", "P11M29D"]),
        (1, ["P1M", "P28D"], ["P29D", "P2M"]),
    ],
)
def test_a_window_fits_into_the_kept_history_or_is_refused(months: int, fits: list[str], too_long: list[str]) -> None:
    """Months are compared as months; days fit where they fit even when those months are at their shortest."""
    limited = RuleContext("Europe/Paris", history_months=months)
    for text in fits:
        assert isinstance(window_of({"last": text}, limited), Last)
    for text in too_long:
        with pytest.raises(Refusal, match=f"{months} months"):
            window_of({"last": text}, limited)
        assert isinstance(window_of({"last": text}, RuleContext("Europe/Paris")), Last), "what was saved under another limit stays readable"


def test_calendar_windows_fit_into_the_kept_history_as_well() -> None:
    """Last year begins up to 24 months ago, a month by its name up to 12."""
    short = RuleContext("Europe/Paris", history_months=12)
    for word in ("may", "this_year", "last_month", "today", "2026-05"):
        window_of({"calendar": word}, short)
    with pytest.raises(Refusal, match="24 months ago"):
        window_of({"calendar": "last_year"}, short)
    with pytest.raises(Refusal, match="12 months ago"):
        window_of({"calendar": "may"}, RuleContext("Europe/Paris", history_months=11))


def test_types_come_from_declarations() -> None:
    """A declared attribute or property is compared as the kind it was declared as, whatever the kind."""
    declared = {f"{prefix}{kind}": kind for kind in Kind for prefix in ("a_", "properties.")}
    context = RuleContext("Europe/Paris", declared)
    values: dict[Kind, Any] = {
        Kind.TEXT: "x", Kind.TEXTS: ["x"], Kind.MONEY: "1.50", Kind.INTEGER: 3, Kind.NUMBER: 0.5, Kind.BOOLEAN: True, Kind.DATE: "2026-01-01",
    }  # fmt: skip
    for kind in Kind:
        op, value = ("exists", True) if kind is Kind.PLACE else ("in", values[kind]) if kind is Kind.TEXTS else ("eq", values[kind])
        attribute = parse({"profile": f"a_{kind}", "op": op, "value": value}, context)
        assert isinstance(attribute, ProfileCondition)
        assert attribute.kind is kind
        where = [{"field": f"properties.{kind}", "op": op, "value": value}]
        found = parse(at_least_one({"measure": "count", "event": "custom", "name": "n", "where": where}), context)
        assert isinstance(found, MetricCondition)
        assert found.metric.where[0].kind is kind
        for measure in ("sum", "avg", "min", "max", "distinct", "favourite"):
            numeric = kind in (Kind.MONEY, Kind.INTEGER, Kind.NUMBER)
            fits = numeric if measure in ("sum", "avg", "min", "max") else kind is not Kind.PLACE
            asked = {"metric": {"measure": measure, "event": "custom", "name": "n", "field": f"properties.{kind}"}, "op": "exists"}
            if fits:
                parse(asked, context)
            else:
                with pytest.raises(Refusal, match="field"):
                    parse(asked, context)


def test_only_a_profile_grows_older() -> None:
    """The fields of an event stand still, so neither a filter nor a metric asks how old a date is."""
    context = RuleContext("Europe/Paris", {"since": Kind.DATE, "properties.due": Kind.DATE})
    parse({"profile": "since", "op": "older_than", "value": "P3M"}, context)
    favourite = {"measure": "favourite", "event": "custom", "name": "n", "field": "properties.due"}
    where = [{"field": "properties.due", "op": "within_last", "value": "P3M"}]
    for refused in (
        {"metric": favourite, "op": "older_than", "value": "P3M"},
        at_least_one({"measure": "count", "event": "custom", "name": "n", "where": where}),
    ):
        with pytest.raises(Refusal, match="is for profile attributes"):
            parse(refused, context)


def test_a_rule_has_a_cost_and_a_limit() -> None:
    """The documented arithmetic, and the place of the condition that goes beyond the limit."""
    lately = {"last": "P3M"}
    some = [{"field": "store_id", "op": "in", "value": [str(n) for n in range(101)]}, {"field": "channel", "op": "eq", "value": "web"}]
    for document, cost in (
        ({"near": {"lat": 1, "lon": 2, "km": 3}}, 1),
        ({"segment": "a"}, 1),
        ({"profile": "age", "op": "between", "value": [1, 2]}, 1),
        ({"profile": "city", "op": "in", "value": ["a"]}, 2),
        (at_least_one(COUNT), 2),
        (windowed(lately), 3),
        (at_least_one({**COUNT, "where": some}), 2 + 2 + 2),
        ({"metric": {"measure": "max", "event": "checkout", "field": "total", "window": lately}, "op": "exists"}, 6),
        (at_least_one({**RATIO, "denominator": {**SENT, "window": lately}}), 1 + 2 + 3),
        ({"sequence": {**SEQUENCE, "window": {"last": "P30D"}}}, 11),
        ({"rank": RANK}, 102),
    ):
        rule = parse(document)
        assert cost_of(conditions(rule)[0][1]) == cost
    ranks = [{"rank": {**RANK, "top": n}} for n in range(1, 30)]
    most = MAX_COST // 102
    parse({"all": ranks[:most]})
    with pytest.raises(Refusal, match="2040") as refused:
        parse({"all": ranks})
    assert refused.value.pointer == f"/all/{most}"
    parse({"all": ranks}, RuleContext("Europe/Paris"))


def test_references_are_found_wherever_they_are() -> None:
    """Each segment once, with the first place that names it."""
    rule = parse({"all": [{"not": {"segment": "a"}}, {"any": [{"segment": "b"}, {"segment": "a"}]}, {"rank": RANK}]})
    assert references(rule) == {"a": "/all/0/not/segment", "b": "/all/1/any/0/segment"}
    assert references(None) == {}
    assert [type(found) for _, found in conditions(rule)] == [SegmentRef, SegmentRef, SegmentRef, Rank]


def test_a_sequence_is_read_as_it_is_written() -> None:
    """Its window is any window, or none; its two events have filters of their own; without `window` it is for ever."""
    for window in ({"last": "P60D"}, {"last": "P2M"}, {"calendar": "may"}, {"from": "2026-01-01"}):
        found = parse({"sequence": {**SEQUENCE, "within": "P1M", "window": window}})
        assert isinstance(found, Sequence)
        assert (found.within, found.happens, found.window) == (Duration(1, 0), False, window_of(window))
    assert parse({"sequence": SEQUENCE}) == Sequence(Matcher("email-open"), Matcher("checkout"), Duration(0, 7 * 86_400_000), happens=False)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.decimals(allow_nan=True)
    | st.text(max_size=8)
    | st.sampled_from([*MEASURES, "P3M", "may", "desc"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["metric", "last", "all", "rank", "sequence", "op"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.sampled_from(list(RULES)), st.data())
def test_nothing_that_is_sent_is_a_fault(name: str, data: st.DataObject) -> None:
    """Whatever stands in the place of a part of a rule: it is read or refused, and nothing else happens."""
    document = json.loads(json.dumps(RULES[name]), parse_float=Decimal)
    node: Any = document
    while True:
        key = data.draw(st.sampled_from(list(node) if isinstance(node, dict) else range(len(node))))
        if not (isinstance(node[key], dict | list) and node[key] and data.draw(st.booleans())):
            break
        node = node[key]
    node[key] = data.draw(JSON)
    with suppress(Refusal):
        assert canonical(parse_rule(document, PARIS))
