"""What no value can ever meet: refused where it is saved, with the place, the value and what can be; and read where it was saved before."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given
from jsonschema import Draft202012Validator
from msgspec.structs import fields

from schemas import events, generate
from schemas.errors import Refusal
from schemas.instants import parse_duration
from schemas.rule_context import RuleContext
from schemas.rule_parser import parse_rule
from schemas.rules import Rule, canonical, encode
from schemas.vocabulary import ALWAYS_GIVEN, ATTRIBUTE_RANGES, CHOICES, EVENT_FIELDS, EVENT_TYPES, Kind
from services.segmenter.engine.calendar import next_birthday
from tests.oracle import clock
from tests.support import language, strategies

Json = dict[str, Any]
DECLARED = {"shoe_size": Kind.INTEGER, "credit": Kind.MONEY, "properties.score": Kind.NUMBER, "properties.paid": Kind.BOOLEAN}
EUROS = RuleContext("Europe/Paris", DECLARED, history_months=25, currency="EUR")
RULE = Draft202012Validator(json.loads(generate.documents()["rule.json"]))
HOUR = 3_600_000


def read(document: Any, context: RuleContext = EUROS) -> Rule:
    """Read a rule as the product does: through JSON, decimals as decimals."""
    return parse_rule(json.loads(json.dumps(document), parse_float=Decimal), context)


def of(op: str, value: Any, measure: str = "count", event: str = "checkout", **rest: Any) -> Json:
    """A condition on a metric."""
    return {"metric": {"measure": measure, "event": event, **rest}, "op": op, "value": value}


def where(*filters: tuple[str, str, Any], event: str = "checkout", **rest: Any) -> Json:
    """A condition that somebody has one event that passes filters."""
    return of("gte", 1, event=event, where=[{"field": field, "op": op, "value": value} for field, op, value in filters], **rest)


def of_sum(op: str, value: Any, *kinds: str) -> Json:
    """A condition on turnover, of sales or returns alone."""
    filters = [{"field": "kind", "op": "in", "value": list(kinds)}] if kinds else []
    return of(op, value, "sum", field="total", where=filters)


def share(op: str, value: Any, *filters: tuple[str, str, Any], window: Any = None) -> Json:
    """A condition on the part of the checkouts that pass filters."""
    whole: Json = {"measure": "count", "event": "checkout"}
    part = whole | {"where": [{"field": field, "op": op, "value": value} for field, op, value in filters]}
    return {
        "metric": {"measure": "ratio", "numerator": part | ({"window": window} if window else {}), "denominator": whole},
        "op": op,
        "value": value,
    }


def silent(within: str, window: Any) -> Json:
    """A sequence that does not happen."""
    first, then = {"event": "email-open"}, {"event": "checkout"}
    return {"sequence": {"first": first, "then": then, "within": within, "happens": False, "window": window}}


ONE = "/metric/where/0/value"
REFUSED: list[tuple[Json, str, str]] = [
    # what is derived
    (where(("weekday", "eq", 0)), ONE, "0 cannot be: weekday is a whole number from 1 to 7"),
    (where(("weekday", "in", [1, 8])), f"{ONE}/1", "8 cannot be: weekday"),
    (where(("weekday", "between", [0, 5])), f"{ONE}/0", "0 cannot be: weekday"),
    (where(("weekday", "ne", 9)), ONE, "9 cannot be: weekday"),
    (where(("weekday", "gt", 7)), ONE, "gt 7 can never hold: weekday"),
    (where(("hour", "gte", 24)), ONE, "24 cannot be: hour is a whole number from 0 to 23"),
    (where(("hour", "lt", 0)), ONE, "lt 0 can never hold: hour"),
    (where(("hour", "eq", 17.5)), ONE, "17.5 cannot be: hour"),
    ({"profile": "age", "op": "gte", "value": -1}, "/value", "-1 cannot be: age is a whole number, 0 or more"),
    ({"profile": "age", "op": "lt", "value": 0}, "/value", "lt 0 can never hold: age"),
    ({"profile": "birthday_in_days", "op": "lte", "value": 367}, "/value", "367 cannot be: birthday_in_days is a whole number, from 0 to 365"),
    # one of a few words
    (where(("channel", "eq", "fax")), ONE, '"fax" cannot be: channel is one of store, web, app, phone'),
    (where(("channel", "in", ["web", "fax"])), f"{ONE}/1", '"fax" cannot be: channel'),
    (where(("channel", "starts_with", "Web")), ONE, '"Web" cannot be: channel'),
    (where(("kind", "ne", "refund")), ONE, '"refund" cannot be: kind is one of sale, return'),
    (where(("currency", "eq", "USD")), ONE, '"USD" cannot be: currency is always "EUR"'),
    (where(("name", "eq", "poll"), event="custom", name="quiz"), ONE, '"poll" cannot be: name is always "quiz"'),
    (of("eq", "fax", "favourite", field="channel"), "/value", '"fax" cannot be: favourite of channel'),
    (of("eq", "return", "favourite", field="kind"), "/value", '"return" cannot be: favourite of kind is always "sale"'),
    # amounts and numbers
    (where(("total", "lt", 0)), ONE, "amounts of a return are positive as well, filter by kind"),
    (where(("items.discount", "gt", "-5")), ONE, '"-5" cannot be: items.discount'),
    (where(("total", "eq", "20.005")), ONE, '"20.005" cannot be: total is a number of at most 2 decimals'),
    (where(("total", "gte", 10**16)), ONE, "at most 15 digits"),
    (where(("points_earned", "in", [1, 1.5])), f"{ONE}/1", "1.5 cannot be: points_earned is a whole number"),
    (where(("items.quantity", "eq", 0.1234567)), ONE, "at most 6 decimals"),
    ({"profile": "shoe_size", "op": "eq", "value": 42.5}, "/value", "42.5 cannot be: shoe_size is a whole number"),
    ({"profile": "credit", "op": "ne", "value": "0.001"}, "/value", '"0.001" cannot be: credit is a number of at most 2 decimals'),
    # measures
    (of("lt", 0), "/value", "lt 0 can never hold: count is a whole number, 0 or more"),
    (of("gte", -1), "/value", "-1 cannot be: count"),
    (of("eq", 2.5), "/value", "2.5 cannot be: count"),
    (of("gte", 5, "distinct", field="channel"), "/value", "5 cannot be: distinct channel is a whole number, from 0 to 4"),
    (of("gt", 7, "distinct", field="weekday"), "/value", "gt 7 can never hold: distinct weekday"),
    (of("gte", 3, "distinct", "custom", name="n", field="properties.paid"), "/value", "3 cannot be"),
    (of("gte", 2, "distinct", field="channel", where=[{"field": "channel", "op": "eq", "value": "web"}]), "/value", "from 0 to 1"),
    (of("lt", 0, "days_since_first"), "/value", "lt 0 can never hold: days_since_first"),
    (of("gte", 60, "days_since_last", window={"last": "P30D"}), "/value", "60 cannot be: days_since_last is a whole number, from 0 to 29 in this window"),
    (of("gte", 30, "days_since_last", window={"last": "P30D"}), "/value", "from 0 to 29"),
    (of("gt", 31, "days_since_last", window={"last": "P1M"}), "/value", "gt 31 can never hold"),
    (of("gte", 2, "days_since_last", window={"calendar": "today"}), "/value", "from 0 to 1"),
    (of("gte", 367, "days_since_first", window={"calendar": "may"}), "/value", "from 0 to 366"),
    (of("gt", 23, "avg", field="hour"), "/value", "gt 23 can never hold: avg of hour is from 0 to 23"),
    (of("lt", 0, "min", field="total"), "/value", "lt 0 can never hold: min of total"),
    (of("lt", 0, "sum", "points", field="spent"), "/value", "lt 0 can never hold: sum of spent"),
    (of("eq", "1.005", "sum", field="total"), "/value", '"1.005" cannot be'),
    (of_sum("lt", 0, "sale"), "/value", "lt 0 can never hold: sum of total"),
    (of_sum("gte", "100", "return"), "/value", "returns subtract, so compare their sum with a negative amount"),
    (share("gte", 30, ("channel", "eq", "web")), "/value", "30 percent is 0.3"),
    (share("lt", 0, ("channel", "eq", "web")), "/value", "lt 0 can never hold: ratio"),
    # what always exists
    (where(("kind", "exists", False)), ONE, "kind always exists"),
    (where(("coupon_ids", "exists", False)), ONE, "coupon_ids always exists"),
    (of("exists", False), "/value", "count always exists"),
    # texts
    (where(("store_id", "starts_with", "")), ONE, "at least one character"),
    ({"profile": "city", "op": "contains", "value": ""}, "/value", "at least one character"),
    # filters that leave nothing together
    (where(("hour", "gte", 22), ("hour", "lt", 6)), "/metric/where/1", "all filters must hold"),
    (where(("store_id", "eq", "7"), ("channel", "eq", "web"), ("store_id", "eq", "8")), "/metric/where/2", "no store_id passes this"),
    (where(("total", "gt", 50), ("total", "lte", 50)), "/metric/where/1", "no total passes this"),
    (where(("items.brand", "exists", False), ("items.brand", "ne", "X")), "/metric/where/1", "no items.brand passes this"),
    (where(("kind", "ne", "sale"), ("kind", "ne", "return")), "/metric/where/1", "no kind passes this"),
    # windows
    (silent("P7D", {"last": "P7D"}), "/sequence/window", "longer than within, P7D"),
    (silent("P1M", {"last": "P1M"}), "/sequence/window", "longer than within"),
    (silent("P8D", {"calendar": "this_week"}), "/sequence/window", "longer than within"),
    (of("gte", 1, window={"to": "2000-01-01"}), "/metric/window/to", "none is older than 2000"),
]  # fmt: skip
ACCEPTED: list[Json] = [
    where(("weekday", "between", [1, 7])),
    where(("hour", "gte", 0)),
    where(("weekday", "gte", 2.5)),
    where(("channel", "contains", "tor")),
    where(("total", "gte", "20.005")),
    where(("total", "gt", 50), ("total", "lt", "50.01")),
    where(("coupon_ids", "contains", "A"), ("coupon_ids", "contains", "B")),
    where(("store_id", "in", ["7", "8"]), ("store_id", "ne", "7")),
    where(("discount", "exists", False)),
    of("gte", 0),
    of("gte", 2.5),
    of("exists", True),
    of("gt", 6, "distinct", field="weekday"),
    of("gte", 29, "days_since_last", window={"last": "P30D"}),
    of("gte", 31, "days_since_last", window={"last": "P1M"}),
    of("gte", 1, "days_since_last", window={"calendar": "today"}),
    of("eq", 1.005, "avg", field="total"),
    of("eq", "return", "favourite", field="kind", where=[{"field": "kind", "op": "in", "value": ["sale", "return"]}]),
    of_sum("lt", 0),
    of_sum("lte", "-100", "return"),
    share("gte", 30, ("kind", "eq", "return")),
    share("gte", 30, ("channel", "eq", "web"), window={"calendar": "may"}),
    silent("P7D", {"last": "P7DT1S"}),
    silent("P31D", {"last": "P1M"}),
    silent("P7D", {"calendar": "this_week"}),
    {"profile": "birthday_in_days", "op": "lte", "value": 365},
    {"profile": "shoe_size", "op": "gt", "value": -1.5},
    of("lt", -1, "sum", "custom", name="n", field="properties.score"),
]


@pytest.mark.parametrize(("document", "pointer", "advice"), REFUSED, ids=str)
def test_what_can_never_be_is_refused_where_it_is_saved(document: Json, pointer: str, advice: str) -> None:
    """With the place, the value and what can be; what was stored before is read as ever."""
    with pytest.raises(Refusal) as refused:
        read(document)
    assert (refused.value.pointer, advice in refused.value.detail) == (pointer, True), str(refused.value)
    assert read(document, replace(EUROS, currency=None))


@pytest.mark.parametrize("document", ACCEPTED, ids=str)
def test_what_can_be_is_accepted(document: Json) -> None:
    """Each on the near side of a bound, or with an answer that the events decide."""
    assert encode(canonical(read(document)))


@pytest.mark.parametrize("document", ACCEPTED, ids=str)
def test_the_schema_accepts_it_as_well(document: Json) -> None:
    """An editor that checks by the published schema marks nothing that can be saved."""
    RULE.validate(document)


def test_the_schema_refuses_what_it_can_express() -> None:
    """Words and ranges of fields and attributes, and counts below 0; what hangs on windows, filters and measures is the parser's alone."""
    can_say = ("weekday", "hour", "age", "birthday_in_days", "channel is", "kind is one", "count is", "items.discount", "at least one character")
    beyond = ("can never hold", "2.5", "17.5", "'Web'", "favourite", "distinct", "avg")
    for document, _, advice in REFUSED:
        if any(word in advice for word in can_say) and not any(word in advice for word in beyond):
            assert not RULE.is_valid(document), document


def test_several_faults_are_told_at_once() -> None:
    """One of each condition, filter and value, in the order of the rule; and no more than anybody would read."""
    late = where(("weekday", "in", [8, 5, 9]), ("channel", "eq", "fax"), ("colour", "eq", "red"))
    with pytest.raises(Refusal) as refused:
        read({"all": [of("gte", 1), {"not": {"any": [late, of("lt", 0)]}}, {"profile": "age", "op": "gte", "value": "old"}]})
    found = refused.value.under("/rule")
    assert [one.pointer.removeprefix("/rule/all/") for one in (found, *found.others)] == [
        *(f"1/not/any/0/metric/where/{place}" for place in ("0/value/0", "0/value/2", "1/value", "2/field")), "1/not/any/1/value", "2/value",
    ]  # fmt: skip
    for many in ([of("lt", 0)] * 150, [{"any": [of("gte", 1)] * 150}] * 3):
        with pytest.raises(Refusal) as refused:
            read({"all": many})
        assert len(refused.value.others) in (0, 19)


@given(language.worlds(without=()))
def test_the_rules_of_the_other_tests_can_be_saved(world: language.World) -> None:
    """What is drawn at random stays inside the language, also after thresholds were moved to what somebody has."""
    context = RuleContext(world.tenant["timezone"], {name: Kind(kind) for name, kind in world.declared.items()}, currency=world.tenant["currency"])
    for segment in world.segments:
        read(segment["rule"], context)
        assert RULE.is_valid(segment["rule"])


@given(strategies.worlds())
def test_so_can_those_of_the_smaller_language(world: Any) -> None:
    """The same of the rules without the later constructs."""
    tenant, _, segments, _ = world
    for segment in segments:
        read(segment["rule"], RuleContext(tenant["timezone"], currency=tenant["currency"]))


def test_the_vocabulary_knows_what_events_are_refused_for() -> None:
    """The words that a field is one of, and the fields that are always there, are those of the events' decoder."""
    types = {kind.__struct_config__.tag: kind for kind in get_args(events.Event)}
    for event in EVENT_TYPES:
        hints, named = get_type_hints(types[event]), dict(EVENT_FIELDS[event])
        words = {name: get_args(one) for name, hint in hints.items() for one in (hint, *get_args(hint)) if get_origin(one) is Literal}
        assert {name: some for name, some in words.items() if name in named} == {name: CHOICES[name] for name in named if name in CHOICES}
        there = [one.name for one in fields(types[event]) if one.name in named and (one.required or one.default not in (None, events.NOTHING))]
        assert tuple(there) == ALWAYS_GIVEN.get(event, ())


def test_a_birthday_is_as_far_away_as_it_can_be() -> None:
    """Of whoever was born on any day of a leap year, on any day of eight: all of the range, and nothing beside it."""
    born = [date(2004, 1, 1) + timedelta(days) for days in range(366)]
    todays = [date(2019, 1, 1) + timedelta(days) for days in range(8 * 365)]
    seen = {(next_birthday(day, today) - today).days for day in born for today in todays[:: 1 if day.month == 2 else 13]}
    assert (min(seen), max(seen)) == ATTRIBUTE_RANGES["birthday_in_days"]


SPANS = ["P1D", "P7D", "P27D", "P28D", "P30D", "P31D", "P32D", "P1M", "P1M1D", "P2M", "P59D", "P62D", "P3M", "P90D", "P93D", "P6M", "P1Y", "P366D"]
STARTS = [clock.instant("2023-01-01T00:00:00+01:00") + day * clock.DAY + part for day in range(0, 1461, 3) for part in (0, 13 * HOUR)]
STARTS += [clock.instant(f"{year}-{day}T00:00:00+01:00") for year in (2023, 2024) for day in ("01-30", "01-31", "02-28", "03-30", "10-01")]


@pytest.mark.parametrize("window", SPANS)
def test_a_window_is_too_short_for_what_is_waited_for_only_if_it_always_is(window: str) -> None:
    """From starts over four years: wherever something is still inside when its time is over, the sequence can be saved; where months count, a day is spared."""
    ends = [clock.later(start, window, "Europe/Paris") for start in STARTS]
    for within in SPANS:
        ever = any(clock.later(start, within, "Europe/Paris") < end for start, end in zip(STARTS, ends, strict=True))
        try:
            read(silent(within, {"last": window}))
            refused = False
        except Refusal:
            refused = True
        assert not (refused and ever)
        if "M" not in window + within and "Y" not in window + within:
            assert refused is not ever


@pytest.mark.parametrize("window", SPANS)
def test_days_since_reach_as_far_as_a_window(window: str) -> None:
    """The oldest that an event can be inside of it can be asked for; two days more can not."""
    oldest = max((clock.later(start, window, "Europe/Paris") - 1 - start) // clock.DAY for start in STARTS)
    read(of("gte", oldest, "days_since_last", window={"last": window}))
    with pytest.raises(Refusal):
        read(of("gte", oldest + 2, "days_since_last", window={"last": window}))
    if not parse_duration(window).months:
        with pytest.raises(Refusal):
            read(of("gte", oldest + 1, "days_since_last", window={"last": window}))
