"""The judge, judged, on what a tenant declares: attributes and properties of custom events, each with a type."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from tests.oracle import clock, model
from tests.oracle.examples import NOON, PARIS, Json, fact, holds, profile, told, value

_DAY = "2024-05-01T10:00:00Z"
_FITTING: dict[str, list[Any]] = {
    "text": ["", "x", "42"],
    "integer": [0, -3, 42],
    "number": [0, 1.5, -0.25, 7],
    "money": [0, 10, 1.5, "10", "10.50", "-0.01"],
    "boolean": [True, False],
    "date": ["2024-02-29"],
    "texts": [[], ["x"], ["x", "42"]],
    "place": [{"lat": 43.6, "lon": 1}],
}
_OTHER: dict[str, list[Any]] = {
    "text": [42, True, ["x"], {}],
    "integer": [1.5, True, False, "x", "42", [1]],
    "number": [True, "x", "1.5", [1], {}],
    "money": [True, "x", "", "1,50", "10.505", 0.001, [1]],
    "boolean": [0, 1, "true", "x", []],
    "date": ["x", "2023-02-29", "2024-2-9", "20240229", "2024-02-29T00:00:00Z", 20240229],
    "texts": ["x", [1], ["x", 1], ["x", None], {}],
    "place": ["x", {"lat": 1}, {"lat": "1", "lon": 2}, {"lat": 1, "lon": True}, [1, 2]],
}
_CASES = [(kind, told_, fits) for fits, table in ((True, _FITTING), (False, _OTHER)) for kind, all_ in table.items() for told_ in all_]


def quiz(at: str = _DAY, **properties: Any) -> Json:
    """A custom event with properties."""
    return fact("custom", at, name="quiz", properties=properties)


@pytest.mark.parametrize(("kind", "told_", "fits"), _CASES)
def test_what_is_not_of_its_type_is_missing(kind: str, told_: Any, fits: bool) -> None:  # noqa: FBT001
    """Of an attribute and of a property, whatever it looks like: a text of digits is no number, one and zero are no truths."""
    declared = {"extra": kind, "properties.extra": kind}
    there = {"profile": "extra", "op": "exists"}
    assert holds(there, profile(extra=told_), declared=declared) is fits
    assert holds({"not": there}, profile(extra=told_), declared=declared) is not fits
    asked = {"measure": "count", "event": "custom", "name": "quiz", "where": [{"field": "properties.extra", "op": "exists"}]}
    assert value(asked, quiz(extra=told_), declared=declared) == int(fits)


@pytest.mark.parametrize(
    ("currency", "amount", "fits"),
    [("JPY", 10, True), ("JPY", "10.5", False), ("KWD", "10.505", True), ("KWD", 0.0001, False), ("EUR", "10.50", True)],
)
def test_money_has_the_currencys_decimals(currency: str, amount: Any, fits: bool) -> None:  # noqa: FBT001
    """None in yen, three in Kuwait."""
    there = {"profile": "credit", "op": "exists"}
    assert holds(there, profile(credit=amount), declared={"credit": "money"}, tenant=PARIS | {"currency": currency}) is fits


@pytest.mark.parametrize(
    ("name", "op", "threshold", "expected"),
    [
        ("nick", "eq", "007", True), ("nick", "eq", "7", False), ("nick", "starts_with", "00", True), ("nick", "in", ["7", "007"], True),
        ("size", "gte", 42, True), ("size", "between", [43, 50], False), ("size", "not_in", [41, 43], True),
        ("score", "eq", 0.3, True), ("score", "gt", 0.3, False),
        ("credit", "eq", "10.5", True), ("credit", "lt", 10.51, True), ("credit", "in", ["1", 10.5], True),
        ("member", "eq", False, True), ("member", "ne", False, False),
        ("joined", "lt", "2024-03-01", True), ("joined", "between", ["2024-03-01", "2024-04-01"], False), ("joined", "eq", "2024-02-29", True),
        ("likes", "contains", "tea", True), ("likes", "contains", "te", False), ("likes", "in", ["x", "tea"], True), ("likes", "not_in", ["x"], True),
        ("home", "exists", True, True), ("home", "exists", False, False),
    ],
)  # fmt: skip
def test_operators_on_declared_attributes(name: str, op: str, threshold: Any, *, expected: bool) -> None:
    """As on those that are known; 0.3 is three tenths."""
    kinds = ["text", "integer", "number", "money", "boolean", "date", "texts", "place"]
    declared = dict(zip(["nick", "size", "score", "credit", "member", "joined", "likes", "home"], kinds, strict=True))
    known = profile(nick="007", size=42, score=0.3, credit="10.50", member=False, joined="2024-02-29", likes=["tea"], home={"lat": 1, "lon": 2})
    assert holds({"profile": name, "op": op, "value": threshold}, known, declared=declared) is expected
    missing = profile(nick=7, size="42", score="0.3", credit="ten", member=0, joined="29.2.2024", likes="tea", home="here")
    assert holds({"profile": name, "op": op, "value": threshold}, missing, declared=declared) is (op == "exists" and not expected)


def test_a_name_of_an_event_field_is_no_type() -> None:
    """An attribute called total is what it was declared to be."""
    declared = {"total": "text"}
    assert holds({"profile": "total", "op": "eq", "value": "007"}, profile(total="007"), declared=declared)
    assert not holds({"profile": "total", "op": "eq", "value": "7"}, profile(total="007"), declared=declared)


def test_spans_since_a_declared_date() -> None:
    """A month after 31 January is 29 February, at local midnight; who has no real date is neither."""
    joined, declared = profile(joined="2024-01-31"), {"joined": "date"}
    older, within = ({"profile": "joined", "op": op, "value": "P1M"} for op in ("older_than", "within_last"))
    for at, answers in (("2024-02-28T22:59:59.999Z", (False, True)), ("2024-02-28T23:00:00Z", (True, False))):
        assert (holds(older, joined, at=at, declared=declared), holds(within, joined, at=at, declared=declared)) == answers
        for written in ("2024-01-32", 20240131):
            assert not holds({"any": [older, within]}, profile(joined=written), at=at, declared=declared)
    history = told(joined, profile("2024-02-01T00:00:00Z", joined="soon"), profile("2024-02-02T00:00:00Z", joined="2024-01-31"), declared=declared)
    expected = clock.instant("2024-02-28T23:00:00Z")
    assert model.until({"id": "s", "rule": older}, history, "c", clock.instant("2024-02-03T00:00:00Z")) == expected


def test_measures_of_properties() -> None:
    """Sums of amounts and of whole numbers are exact; what is of another type weighs nothing."""
    declared = {
        "properties.level": "integer",
        "properties.price": "money",
        "properties.theme": "text",
        "properties.tags": "texts",
        "properties.won": "boolean",
    }
    played = [
        quiz("2024-05-01T10:00:00Z", level=1, price="0.10", theme="a", tags=["x", "y"], won=True),
        quiz("2024-05-02T10:00:00Z", level=3, price=0.2, theme="b", tags=["y"], won=False),
        quiz("2024-05-03T10:00:00Z", level="5", price="x", theme=7, tags="x", won=1),
        quiz("2024-05-04T10:00:00Z"),
    ]
    asked = {
        ("sum", "level"): 4, ("sum", "price"): Fraction(3, 10), ("avg", "level"): 2, ("avg", "price"): Fraction(3, 20),
        ("min", "level"): 1, ("max", "price"): Fraction(1, 5), ("distinct", "theme"): 2, ("distinct", "tags"): 2, ("distinct", "won"): 2,
        ("favourite", "theme"): "b", ("favourite", "tags"): "y", ("favourite", "won"): False,
    }  # fmt: skip
    for (measure, name), expected in asked.items():
        metric = {"measure": measure, "event": "custom", "name": "quiz", "field": f"properties.{name}"}
        assert value(metric, *played, declared=declared) == expected, (measure, name)
    assert value({"measure": "avg", "event": "custom", "name": "quiz", "field": "properties.level"}, played[2], declared=declared) is None


def test_filters_on_properties() -> None:
    """Each by its type; a missing one makes the filter false; only events of the name; in a sequence too."""
    declared = {"properties.level": "integer", "properties.theme": "text"}
    played = [quiz(level=3, theme="7"), quiz(level=5, theme="07"), quiz(level=True), fact("custom", _DAY, name="poll", properties={"level": 3})]

    def count(field: str, op: str, threshold: Any) -> int:
        where = [{"field": f"properties.{field}", "op": op, "value": threshold}]
        return int(value({"measure": "count", "event": "custom", "name": "quiz", "where": where}, *played, declared=declared))

    assert [count("level", op, 3) for op in ("eq", "ne", "gte", "gt")] == [1, 1, 2, 1]
    assert [count("level", "in", [3, 5]), count("level", "not_in", [3]), count("level", "between", [1, 4])] == [2, 1, 1]
    assert [count("theme", "eq", "7"), count("theme", "contains", "7"), count("theme", "exists", False)] == [1, 2, 1]
    hard = {"event": "custom", "name": "quiz", "where": [{"field": "properties.level", "op": "gt", "value": 4}]}
    rule = {"sequence": {"first": hard, "then": {"event": "custom", "name": "poll"}, "within": "PT1H", "happens": True}}
    assert holds(rule, *played, declared=declared)
    assert not holds(rule, played[0], played[3], declared=declared)


def test_an_event_without_properties_has_none() -> None:
    """Nor one whose properties are null, or that has others."""
    declared = {"properties.level": "integer"}
    asked = {"measure": "count", "event": "custom", "name": "quiz", "where": [{"field": "properties.level", "op": "exists", "value": False}]}
    bare = fact("custom", _DAY, name="quiz")
    assert value(asked, bare, bare | {"event_id": "2", "properties": None}, quiz(other=1), quiz(level=None), at=NOON, declared=declared) == 4
