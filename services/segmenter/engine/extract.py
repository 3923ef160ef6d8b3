"""Extractors: what one fact contributes to one series, or None when the metric's filter does not match it.

Returns are negative in sums; every other measure sees sales only, unless a filter names `kind`.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any, Final

from schemas.amounts import MICRO
from schemas.facts import ITEM_POSITIONS, TYPE_NUMBERS, Fact
from schemas.rules import Metric, Value, Where
from schemas.vocabulary import EVENT_FIELDS, Kind
from services.segmenter.engine.calendar import Calendar
from services.segmenter.engine.operators import test

_DIGITS: Final = {Kind.MONEY: 0, Kind.NUMBER: MICRO, Kind.INTEGER: 0}
"""Decimals that facts keep as an integer; those of money are the currency's."""

Getter = Callable[[Fact], Any]
Extractor = Callable[[Fact], Any]
_ITEM: Final = "items."
_CHECKOUT: Final = TYPE_NUMBERS["checkout"]
KIND_PLACE: Final = next(i for i, (name, _) in enumerate(EVENT_FIELDS["checkout"]) if name == "kind")


def scaled(value: Value, kind: Kind, exponent: int) -> Any:
    """Return a rule's value in the units that facts use: minor units for money, millionths for quantities, exactly."""
    if isinstance(value, tuple):
        return tuple(scaled(member, kind, exponent) for member in value)
    if kind in _DIGITS and not isinstance(value, bool | str):
        exact = Fraction(value) * 10 ** (exponent if kind is Kind.MONEY else _DIGITS[kind])
        return int(exact) if exact.denominator == 1 else exact
    return value


def threshold(value: Value, op: str, kind: Kind, exponent: int) -> Any:
    """Return a comparison's right-hand side in the facts' units; what `exists` is asked stays a truth value."""
    return value if op == "exists" else scaled(value, kind, exponent)


def extractor(metric: Metric, calendar: Calendar, exponent: int) -> Extractor:
    """Return the function that takes a fact of the metric's event to its contribution.

    For `count` and `days_since_*` that is True, for `sum` the amount, for `avg` (sum, number of values), else the tuple of values.
    A checkout's function may be given returns only if `sees_returns` says so.
    """
    matches = _event_filter(metric, calendar, exponent)
    items = _item_filter(metric, exponent)
    field = metric.field
    if field is None:
        if items is None:
            return lambda fact: True if matches is None or matches(fact) else None
        return lambda fact: True if (matches is None or matches(fact)) and any(map(items, fact.items)) else None
    values = _values(metric, calendar, items)
    if metric.measure == "sum":
        return _sum_extractor(matches, values, signed=metric.event == "checkout")
    if metric.measure == "avg":
        return lambda fact: (sum(found), len(found)) if (matches is None or matches(fact)) and (found := values(fact)) else None
    return lambda fact: (values(fact) or None) if matches is None or matches(fact) else None


def sees_returns(metric: Metric) -> bool:
    """Whether a metric over checkouts sees returns: sums do, and whatever filters by `kind` itself."""
    return metric.measure == "sum" or any(where.field == "kind" for where in metric.where)


def _sum_extractor(matches: Callable[[Fact], bool] | None, values: Callable[[Fact], tuple[Any, ...]], *, signed: bool) -> Extractor:
    def extract(fact: Fact) -> int | None:
        if matches is not None and not matches(fact):
            return None
        found = values(fact)
        if not found:
            return None
        total: int = found[0] if len(found) == 1 else sum(found)
        return -total if signed and fact.body[KIND_PLACE] == "return" else total

    return extract


def _event_filter(metric: Metric, calendar: Calendar, exponent: int) -> Callable[[Fact], bool] | None:
    tests: list[tuple[Getter, Callable[[Any], bool]]] = []
    if metric.name is not None:
        tests.append((_at(0), test("eq", metric.name)))
    tests.extend((_getter(metric.event, w.field, calendar), _test_of(w, exponent)) for w in metric.where if not w.field.startswith(_ITEM))
    if len(tests) > 1:
        return lambda fact: all([passes(get(fact)) for get, passes in tests])
    for get, passes in tests:
        return lambda fact: passes(get(fact))
    return None


def _item_filter(metric: Metric, exponent: int) -> Callable[[tuple[Any, ...]], bool] | None:
    tests = [(ITEM_POSITIONS[w.field.removeprefix(_ITEM)], _test_of(w, exponent)) for w in metric.where if w.field.startswith(_ITEM)]
    if len(tests) > 1:
        return lambda item: all([passes(item[place]) for place, passes in tests])
    for place, passes in tests:
        return lambda item: passes(item[place])
    return None


def _test_of(where: Where, exponent: int) -> Callable[[Any], bool]:
    return test(where.op, threshold(where.value, where.op, where.kind, exponent))


def _values(metric: Metric, calendar: Calendar, items: Callable[[tuple[Any, ...]], bool] | None) -> Callable[[Fact], tuple[Any, ...]]:
    field = metric.field or ""
    if field.startswith(_ITEM):
        place = ITEM_POSITIONS[field.removeprefix(_ITEM)]
        if items is None:
            return lambda fact: tuple([item[place] for item in fact.items if item[place] is not None])
        return lambda fact: tuple([item[place] for item in fact.items if item[place] is not None and items(item)])
    get = _getter(metric.event, field, calendar)

    def values(fact: Fact) -> tuple[Any, ...]:
        if items is not None and not any(map(items, fact.items)):
            return ()
        value = get(fact)
        if value is None:
            return ()
        return tuple(value) if isinstance(value, tuple | list) else (value,)

    return values


def _getter(event: str, field: str, calendar: Calendar) -> Getter:
    if field == "hour":
        return lambda fact: calendar.hour(fact.at_ms)
    if field == "weekday":
        return lambda fact: calendar.local(fact.at_ms).isoweekday()
    return _at(next(i for i, (name, _) in enumerate(EVENT_FIELDS[event]) if name == field))


def _at(place: int) -> Getter:
    return lambda fact: fact.body[place]
