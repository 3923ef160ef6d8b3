"""The judge, judged, about persons: favourites and days, profiles, places, membership and what time alone changes."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from tests.oracle import clock, model
from tests.oracle.examples import NOON, PARIS, Json, fact, holds, profile, sale, told, value

_EMPTY_MEASURES = ["avg", "min", "max", "favourite", "days_since_first", "days_since_last"]
_DAY = "2024-05-01T10:00:00Z"


def test_nothing_is_zero_where_it_can_be() -> None:
    """A count, a sum and a number of different values of nothing are 0, and they exist."""
    for measure in ("count", "sum", "distinct"):
        metric = {"metric": {"measure": measure, "event": "checkout", "field": "total"}}
        assert holds(metric | {"op": "eq", "value": 0})
        assert holds(metric | {"op": "exists"})
        assert not holds(metric | {"op": "exists", "value": False})


@pytest.mark.parametrize("measure", _EMPTY_MEASURES)
def test_nothing_else_of_nothing(measure: str) -> None:
    """Any condition on it is false, its negation true; `exists` asks. An event without the field is nothing as well."""
    metric = {"metric": {"measure": measure, "event": "checkout", "field": "discount"}}
    told_nothing: list[Json] = [] if measure.startswith("days") else [sale()]
    for rest in ({"op": "gte", "value": 0}, {"op": "lt", "value": 0}, {"op": "ne", "value": 1}, {"op": "not_in", "value": [1]}, {"op": "exists"}):
        assert not holds(metric | rest, *told_nothing)
        assert holds({"not": metric | rest}, *told_nothing)
    assert holds(metric | {"op": "exists", "value": False}, *told_nothing)
    assert holds(metric | {"op": "exists"}, sale(discount="0"))


def test_values_that_are_not_there_weigh_nothing() -> None:
    """The average of 4 and of no discount at all is 4; nothing is not a value of its own."""
    sales = [sale(discount="4.00"), sale(), sale(discount=None), sale(items=[{}])]
    assert value({"measure": "avg", "field": "discount"}, *sales) == 4
    assert value({"measure": "distinct", "field": "discount"}, *sales) == 1
    assert value({"measure": "sum", "field": "discount"}, *sales) == 4
    assert value({"measure": "favourite", "field": "discount"}, *sales) == 4


def test_distinct_values() -> None:
    """Different values, of receipts, of lines, and each of a list."""
    sales = [sale(coupon_ids=["A", "B", "A"], items=[{"category": "X"}, {"category": "Y"}]), sale(coupon_ids=["B"], items=[{"category": "X"}])]
    assert value({"measure": "distinct", "field": "coupon_ids"}, *sales) == 2
    assert value({"measure": "distinct", "field": "items.category"}, *sales) == 2


def test_the_favourite_is_the_most_frequent() -> None:
    """However early; it is a text or a number, and compared as one."""
    sales = [sale(f"2024-05-0{day}T10:00:00Z", store_id=store) for day, store in ((1, "a"), (2, "a"), (3, "b"))]
    assert value({"measure": "favourite", "field": "store_id"}, *sales) == "a"
    hour = {"metric": {"measure": "favourite", "event": "checkout", "field": "hour"}, "op": "between", "value": [12, 12]}
    assert holds(hour, *sales)


def test_of_equal_favourites_the_latest() -> None:
    """By instant, then by the id, then by the place in the receipt; not by the order of arrival."""
    favourite = {"measure": "favourite", "field": "store_id"}
    # A millisecond later, though its id and its text come first.
    early, late = sale(_DAY, store_id="z", event_id="2"), sale("2024-05-01T08:00:00.001-02:00", store_id="a", event_id="1")
    assert value(favourite, late, early) == "a"
    lesser, greater = sale(store_id="y", event_id="é1"), sale(store_id="b", event_id="é2")
    assert value(favourite, lesser, greater) == value(favourite, greater, lesser) == "b"
    assert value({"measure": "favourite", "field": "coupon_ids"}, sale(coupon_ids=["B", "A"])) == "A"
    lines = [{"category": "A"}, {"category": "B"}, {"category": "B"}, {"category": "A"}, {"category": "C"}]
    assert value({"measure": "favourite", "field": "items.category"}, sale(items=lines)) == "A"


def test_days_are_whole_24_hours() -> None:
    """Not dates: 23 hours 59 minutes are none, over a change of the clock as well."""
    first, last = sale("2024-03-30T12:00:00+01:00"), sale("2024-03-31T12:00:00+02:00")
    for measure, at, days in (
        ("days_since_first", "2024-03-31T12:59:59.999+02:00", 0),
        ("days_since_first", "2024-03-31T13:00:00+02:00", 1),
        ("days_since_last", "2024-03-31T13:00:00+02:00", 0),
        ("days_since_last", "2024-04-10T12:00:00+02:00", 10),
    ):
        assert value({"measure": measure}, last, first, at=at) == days
    # The first in the window: at noon of 8 April, seven days exactly, that of the 30th has long left and that of the 31st as well.
    assert value({"measure": "days_since_first", "window": {"last": "P8D"}}, last, first, at="2024-04-07T13:00:00+02:00") == 7
    assert value({"measure": "days_since_first", "window": {"last": "P7D"}}, last, first, at="2024-04-07T12:00:00+02:00") is None


def test_the_later_word_on_each_attribute() -> None:
    """Whichever arrived first; of one instant the greater id; null removes, and only what it names."""
    old, new = profile("2024-01-01T00:00:00Z", city="Lyon", gender="f"), profile("2024-01-02T00:00:00Z", city="Paris")
    gone = profile("2024-01-03T00:00:00Z", city=None)
    history = told(gone, new, old)
    instants = {at: clock.instant(f"2024-01-{at}T12:00:00Z") for at in ("01", "02", "03")}
    seen = [history.profile("c", at).get("city") for at in instants.values()]
    assert seen == ["Lyon", "Paris", None]
    assert history.profile("c", instants["03"]) == {"gender": "f"}
    tied = [fact("profile", _DAY, attributes={"city": city}, event_id=name) for city, name in (("X", "b"), ("Y", "a10"), ("Z", "a9"))]
    assert told(*tied).profile("c", clock.instant(_DAY))["city"] == told(*tied[::-1]).profile("c", clock.instant(_DAY))["city"] == "X"


@pytest.mark.parametrize("op", ["eq", "ne", "in", "not_in", "contains", "starts_with", "older_than", "within_last"])
def test_a_missing_attribute_makes_the_condition_false(op: str) -> None:
    """Whatever the operator, and its negation true; one that was removed is missing."""
    threshold: Any = ["x"] if op in ("in", "not_in") else "P1D"
    for documents in ([], [profile(card_since="2024-01-01"), profile("2024-01-02T00:00:00Z", card_since=None)]):
        rule = {"profile": "card_since", "op": op, "value": threshold}
        assert not holds(rule, *documents)
        assert holds({"not": rule}, *documents)
        assert not holds({"profile": "card_since", "op": "exists"}, *documents)
        assert holds({"profile": "card_since", "op": "exists", "value": False}, *documents)
        assert not holds({"profile": "age", "op": op if op in ("eq", "ne") else "lt", "value": 200}, *documents)


@pytest.mark.parametrize(
    ("name", "op", "threshold", "expected"),
    [
        ("city", "eq", "Lyon", True), ("city", "eq", "lyon", False), ("city", "ne", "Paris", True), ("city", "starts_with", "Ly", True),
        ("city", "contains", "yo", True), ("city", "in", ["Lyon"], True), ("city", "not_in", ["Lyon"], False), ("city", "exists", True, True),
        ("household_size", "gte", 3, True), ("household_size", "between", [1, 2], False), ("household_size", "between", [3, 9], True),
        ("consent", "eq", False, True), ("consent", "eq", True, False), ("consent", "exists", None, True),
        ("tags", "contains", "vip", True), ("tags", "contains", "vi", False), ("tags", "in", ["x", "new"], True), ("tags", "not_in", ["vip"], False),
        ("card_since", "lt", "2024-02-02", True), ("card_since", "gte", "2024-02-02", False),
        ("card_since", "between", ["2024-01-01", "2024-02-01"], True),
        ("postal_code", "eq", "01000", True), ("postal_code", "eq", "1000", False),
    ],
)  # fmt: skip
def test_operators_on_attributes(name: str, op: str, threshold: Any, *, expected: bool) -> None:
    """As on fields; a false consent is one that is there."""
    known = profile(city="Lyon", household_size=3, consent=False, tags=["vip", "new"], card_since="2024-02-01", postal_code="01000")
    assert holds({"profile": name, "op": op, "value": threshold}, known) is expected


def test_ages_change_at_local_midnight() -> None:
    """Of the birthday in Paris, two hours before that of Greenwich in summer."""
    born = profile(birth_date="2004-05-15")
    for at, age, days in (("2024-05-14T21:59:59.999Z", 19, 1), ("2024-05-14T22:00:00Z", 20, 0), ("2024-05-15T22:00:00Z", 20, 364)):
        assert holds({"profile": "age", "op": "eq", "value": age}, born, at=at)
        assert holds({"profile": "birthday_in_days", "op": "eq", "value": days}, born, at=at)


def test_spans_since_a_date() -> None:
    """A card of 31 January is older than a month from local midnight of 29 February on; before its own day it is neither."""
    card = profile(card_since="2024-01-31")
    expected = {
        "2024-01-30T22:59:59.999Z": (False, False),
        "2024-01-30T23:00:00Z": (False, True),
        "2024-02-28T22:59:59.999Z": (False, True),
        "2024-02-28T23:00:00Z": (True, False),
    }
    for at, answers in expected.items():
        assert tuple(holds({"profile": "card_since", "op": op, "value": "P1M"}, card, at=at) for op in ("older_than", "within_last")) == answers


def test_near_is_the_great_circle() -> None:
    """A degree of a meridian is 6,371.0088 km times pi over 180: 111.195080 km. Somebody without a place is not near."""
    north, south = profile(location={"lat": 44.0, "lon": 5.0}), {"lat": 43.0, "lon": 5.0}
    assert holds({"near": south | {"km": 111.1951}}, north)
    assert not holds({"near": south | {"km": 111.1950}}, north)
    # On the equator too, across the date line; at 60 degrees the way along the circle of latitude is not the shortest.
    assert holds({"near": {"lat": 0, "lon": -179.5, "km": 111.1951}}, profile(location={"lat": 0, "lon": 179.5}))
    assert not holds({"near": {"lat": 0, "lon": -179.5, "km": 111.195}}, profile(location={"lat": 0, "lon": 179.5}))
    # Half of the great circle over the pole: 60 degrees, 6,671.7048 km.
    assert holds({"near": {"lat": 60, "lon": 0, "km": 6671.705}}, profile(location={"lat": 60, "lon": 180}))
    assert not holds({"near": {"lat": 60, "lon": 0, "km": 6671.704}}, profile(location={"lat": 60, "lon": 180}))
    assert holds({"near": south | {"km": 0}}, profile(location=south))
    assert not holds({"near": south | {"km": 30_000}})


def test_groups() -> None:
    """All, any, not, within each other."""
    yes, no = ({"metric": {"measure": "count", "event": "checkout"}, "op": "eq", "value": number} for number in (0, 1))
    assert [holds({"all": [a, b]}) for a, b in ((yes, yes), (yes, no), (no, no))] == [True, False, False]
    assert [holds({"any": [a, b]}) for a, b in ((yes, yes), (yes, no), (no, no))] == [True, True, False]
    assert holds({"not": {"all": [yes, {"any": [no, {"not": yes}]}]}})


def test_in_is_not_excluded_and_included_or_held() -> None:
    """Excluded beats included; included needs no rule and no event; everyone known is asked, also who never bought."""
    history, at = told(sale(), fact("visit", _DAY, store_id="7", customer_id="d")), clock.instant(NOON)
    bought = {"metric": {"measure": "count", "event": "checkout"}, "op": "gte", "value": 1}
    assert model.members({"id": "s", "rule": bought}, history, at) == {"c"}
    assert model.members({"id": "s", "rule": {"not": bought}}, history, at) == {"d"}
    assert model.members({"id": "s", "rule": bought, "include": ["x", "y"], "exclude": ["c", "y"]}, history, at) == {"x"}
    assert model.members({"id": "s", "include": ["c"]}, history, at) == {"c"}


def test_one_rule_of_many_conditions() -> None:
    """Four purchases and more than 150 euros in three months, near, 20 to 30, and the coupon never used."""
    last = {"window": {"last": "P3M"}}
    coupon = {"measure": "count", "event": "coupon-redemption", "where": [{"field": "coupon_id", "op": "eq", "value": "SPRING"}]}
    rule: Json = {
        "all": [
            {"metric": {"measure": "count", "event": "checkout"} | last, "op": "gte", "value": 4},
            {"metric": {"measure": "sum", "event": "checkout", "field": "total"} | last, "op": "gt", "value": "150.00"},
            {"near": {"lat": 43.6047, "lon": 1.4442, "km": 30}},
            {"profile": "age", "op": "between", "value": [20, 30]},
            {"not": {"metric": coupon, "op": "gte", "value": 1}},
        ]
    }
    person = profile(birth_date="1999-02-03", location={"lat": 43.62, "lon": 1.40})
    months = (2, 3, 4, 5)
    bought = [sale(f"2024-0{month}-10T10:00:00Z", total="40.00") for month in months]
    cheap = [sale(f"2024-0{month}-10T10:00:00Z", total="37.50") for month in months]
    used = fact("coupon-redemption", "2024-05-09T10:00:00Z", coupon_id="SPRING")
    # That of February, at 11:00 in Paris, leaves at 11:00 summer time, an hour before that of May comes.
    assert not holds(rule, person, *bought, at="2024-05-10T10:00:00Z")
    fifth = sale("2024-04-30T10:00:00Z", total="40.00")
    assert holds(rule, person, *bought, fifth)
    assert not holds(rule, person, *cheap, sale("2024-04-30T10:00:00Z", total="37.50")), "150.00 is not more than 150.00"
    assert not holds(rule, person, *bought[1:])
    assert not holds(rule, *bought, fifth)
    for far in ({"location": {"lat": 45.0, "lon": 1.44}}, {"birth_date": "1980-01-01"}, {"birth_date": None}):
        assert not holds(rule, person, *bought, fifth, profile("2024-02-01T00:00:00Z", **far))
    assert not holds(rule, person, *bought, fifth, used)
    assert holds(rule, person, *bought, fifth, used | {"coupon_id": "FALL"})
    # From 10:00 of 10 May, four; March's, at 11:00 in winter, leaves on 10 June at 11:00 in summer.
    segment, history = {"id": "regulars", "rule": rule}, told(person, *bought, fifth)
    assert model.until(segment, history, "c", clock.instant("2024-05-10T09:30:00Z")) == clock.instant("2024-05-10T10:00:00Z")
    assert model.until(segment, history, "c", clock.instant(NOON)) == clock.instant("2024-06-10T09:00:00Z")


def test_until_is_the_next_flip_within_the_horizon() -> None:
    """Each of these changes by time alone, at the instant computed by hand; a manual member never does."""
    at = clock.instant(NOON)
    born = profile(birth_date="2004-06-01", card_since="2024-05-01")
    bought = sale("2024-05-10T10:00:00Z")
    expected: list[tuple[Json, Json, str | None]] = [
        ({"metric": {"measure": "count", "event": "checkout", "window": {"last": "P14D"}}, "op": "gte", "value": 1}, bought, "2024-05-24T10:00:00Z"),
        ({"metric": {"measure": "days_since_last", "event": "checkout"}, "op": "gt", "value": 30}, bought, "2024-06-10T10:00:00Z"),
        ({"metric": {"measure": "days_since_last", "event": "checkout"}, "op": "eq", "value": 5}, bought, "2024-05-16T10:00:00Z"),
        ({"profile": "age", "op": "gte", "value": 20}, born, "2024-05-31T22:00:00Z"),
        ({"profile": "birthday_in_days", "op": "lte", "value": 7}, born, "2024-05-24T22:00:00Z"),
        ({"profile": "card_since", "op": "older_than", "value": "P1M"}, born, "2024-05-31T22:00:00Z"),
        ({"profile": "city", "op": "exists"}, profile("2024-05-15T12:05:00Z", city="Lyon"), "2024-05-15T12:05:00Z"),
        ({"metric": {"measure": "count", "event": "checkout"}, "op": "gte", "value": 1}, bought, None),
        ({"profile": "age", "op": "gte", "value": 22}, born, None),
    ]
    for rule, document, flip in expected:
        found = model.until({"id": "s", "rule": rule}, told(document), "c", at)
        assert found == (None if flip is None else clock.instant(flip)), rule
        assert model.until({"id": "s", "rule": rule, "include": ["c"]}, told(document), "c", at) is None
    thirty_days, flip_at = {"id": "s", "rule": expected[1][0]}, clock.instant("2024-06-10T10:00:00Z")
    assert model.until(thirty_days, told(bought), "c", flip_at - 2 * clock.DAY, horizon_days=2) == flip_at
    assert model.until(thirty_days, told(bought), "c", flip_at - 2 * clock.DAY - 1, horizon_days=2) is None
    assert model.until({"id": "s", "include": ["c"]}, told(bought), "c", at) is None


def test_other_zones() -> None:
    """The same card in Auckland is a month old half a day before."""
    auckland = PARIS | {"timezone": "Pacific/Auckland"}
    rule = {"profile": "card_since", "op": "older_than", "value": "P1M"}
    history = told(profile(card_since="2024-05-15"), tenant=auckland)
    at = clock.instant("2024-06-14T12:00:00Z")
    assert [model.holds(rule, history, "c", instant) for instant in (at - 1, at)] == [False, True]
    assert Fraction(at, clock.DAY) == Fraction(39777, 2)
