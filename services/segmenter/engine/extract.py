"""Extractors: what one fact contributes to one series, or None when the metric's filter does not match it.

Returns are negative in sums; every other measure sees sales only, unless a filter names `kind`.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Final

from schemas.amounts import MICRO
from schemas.facts import ITEM_POSITIONS, Columns
from schemas.reading import declared_value
from schemas.rule_context import PROPERTIES
from schemas.rule_values import NUMERIC
from schemas.rules import Metric, Value, Where
from schemas.vocabulary import EVENT_FIELDS, Kind
from services.segmenter.engine.calendar import Calendar
from services.segmenter.engine.operators import Test

_ITEM: Final = "items."
KIND_PLACE: Final = next(i for i, (name, _) in enumerate(EVENT_FIELDS["checkout"]) if name == "kind")
_HOUR: Final = -1
_WEEKDAY: Final = -2
_PROPERTIES_PLACE: Final = 1
_REMEMBERED: Final = 10_000


def decimals(kind: Kind, exponent: int) -> int:
    """Return how many decimals facts keep of a kind within an integer: those of money are the currency's."""
    return exponent if kind is Kind.MONEY else MICRO if kind is Kind.NUMBER else 0


def scaled(value: Value, kind: Kind, exponent: int) -> Any:
    """Return a rule's value in the units that facts use: minor units for money, millionths for quantities, exactly."""
    if isinstance(value, tuple):
        return tuple([scaled(member, kind, exponent) for member in value])
    if kind in NUMERIC and not isinstance(value, (bool, str)):
        exact = Fraction(value) * 10 ** decimals(kind, exponent)
        return int(exact) if exact.denominator == 1 else exact
    return value


def test_of(op: str, value: Value, kind: Kind, exponent: int) -> Test:
    """Return the test of a comparison, its right-hand side in the facts' units; what `exists` is asked stays a truth value."""
    return Test(op, value if op == "exists" else scaled(value, kind, exponent))


class Vocabulary:
    """What a tenant's fields mean: local time, the currency's decimals, and the kinds of what was declared."""

    def __init__(self, calendar: Calendar, exponent: int, declared: Mapping[str, Kind]) -> None:
        self.calendar = calendar
        self.exponent = exponent
        self.declared = declared


class _Property:
    """A declared property of custom events, stored as JSON text; the texts that were seen are remembered with their values."""

    def __init__(self, name: str, kind: Kind, exponent: int) -> None:
        self._name = name
        self._kind = kind
        self._exponent = exponent
        self._values: dict[str, Any] = {}

    def of(self, body: tuple[Any, ...]) -> Any:
        """Return the property's value in the facts' units, None where it is absent or not of its kind."""
        texts: dict[str, str] = body[_PROPERTIES_PLACE]
        text = texts.get(self._name)
        if text is None:
            return None
        if text not in self._values:
            if len(self._values) >= _REMEMBERED:
                self._values.clear()
            self._values[text] = declared_value(text, self._kind, self._exponent)
        return self._values[text]


class _Field:
    """A field of an event: a place in its body, a property, or what is derived from its instant."""

    def __init__(self, event: str, name: str, tenant: Vocabulary) -> None:
        self.found: _Property | None = None
        self.place = _HOUR
        if name.startswith(PROPERTIES):
            self.found = _Property(name.removeprefix(PROPERTIES), tenant.declared[name], tenant.exponent)
        else:
            self.place = _place(event, name)


class _FieldTest:
    """A test of one field of an event."""

    def __init__(self, field: _Field, test: Test) -> None:
        self.field = field
        self.test = test


class _ItemTest:
    """A test of one field of a line item."""

    def __init__(self, place: int, test: Test) -> None:
        self.place = place
        self.test = test


class Extractor:
    """Takes a fact of the metric's event (its instant, fields and line items) to its contribution: here True, for `count`.

    A checkout's extractor may be given returns only if `sees_returns` says so.
    """

    def __init__(self, metric: Metric, tenant: Vocabulary) -> None:
        self._calendar = tenant.calendar
        self._event_tests: list[_FieldTest] = []
        self._item_tests: list[_ItemTest] = []
        if metric.name is not None:
            self._event_tests.append(_FieldTest(_Field("custom", "name", tenant), Test("eq", metric.name)))
        for where in metric.where:
            found = test_of(where.op, where.value, where.kind, tenant.exponent)
            if where.field.startswith(_ITEM):
                self._item_tests.append(_ItemTest(ITEM_POSITIONS[where.field.removeprefix(_ITEM)], found))
            else:
                self._event_tests.append(_FieldTest(_Field(metric.event, where.field, tenant), found))
        field = metric.field
        self._of_items = field is not None and field.startswith(_ITEM)
        self._item_place = ITEM_POSITIONS[field.removeprefix(_ITEM)] if field is not None and self._of_items else -1
        self._measured = None if field is None or self._of_items else _Field(metric.event, field, tenant)
        self._subtracts_returns = metric.event == "checkout"
        self.item_places = {found.place for found in self._item_tests} | ({self._item_place} if self._of_items else set())
        """The fields of line items that are looked at."""
        self.looks_at_items: bool = bool(self.item_places)

    def of(self, at_ms: int, body: tuple[Any, ...], items: Columns) -> Any:
        """Return what a fact contributes, None for nothing."""
        return True if self._matches(at_ms, body, items) else None

    def _matches(self, at_ms: int, body: tuple[Any, ...], items: Columns) -> bool:
        """Whether the event passes, and a line item where any is asked for."""
        for found in self._event_tests:
            if not found.test.passes(self._field(found.field, at_ms, body)):
                return False
        return not self._item_tests or self._of_items or bool(self._passing(items))

    def _passing(self, items: Columns) -> list[int]:
        """Return the places of the line items that pass."""
        passing: list[int] = []
        if not items:
            return passing
        first = True
        for found in self._item_tests:
            test, column = found.test, items[found.place]
            if first:
                passing = [place for place, value in enumerate(column) if test.passes(value)]
            else:
                passing = [place for place in passing if test.passes(column[place])]
            first = False
        return passing

    def _field(self, field: _Field, at_ms: int, body: tuple[Any, ...]) -> Any:
        if field.found is not None:
            return field.found.of(body)
        place = field.place
        if place >= 0:
            return body[place]
        return self._calendar.hour(at_ms) if place == _HOUR else self._calendar.weekday(at_ms)

    def _values(self, at_ms: int, body: tuple[Any, ...], items: Columns) -> tuple[Any, ...]:
        """Return the values of the metric's field in a fact that passes."""
        if self._of_items:
            if not items:
                return ()
            column = items[self._item_place]
            if not self._item_tests:
                return column if _whole(column) else tuple([value for value in column if value is not None])
            return tuple([column[place] for place in self._passing(items) if column[place] is not None])
        value = None if self._measured is None else self._field(self._measured, at_ms, body)
        if value is None:
            return ()
        return tuple(value) if isinstance(value, (tuple, list)) else (value,)


class SumExtractor(Extractor):
    """For `sum`: the amount, negative for a return."""

    def of(self, at_ms: int, body: tuple[Any, ...], items: Columns) -> Any:
        """Return the fact's amount."""
        if not self._matches(at_ms, body, items):
            return None
        values = self._values(at_ms, body, items)
        if not values:
            return None
        total: int = values[0] if len(values) == 1 else sum(values)
        return -total if self._subtracts_returns and body[KIND_PLACE] == "return" else total


class AverageExtractor(Extractor):
    """For `avg`: the sum of the values and their number."""

    def of(self, at_ms: int, body: tuple[Any, ...], items: Columns) -> Any:
        """Return the fact's (sum, number of values)."""
        if not self._matches(at_ms, body, items):
            return None
        values = self._values(at_ms, body, items)
        return (sum(values), len(values)) if values else None


class ValuesExtractor(Extractor):
    """For `min`, `max`, `distinct` and `favourite`: the values."""

    def of(self, at_ms: int, body: tuple[Any, ...], items: Columns) -> Any:
        """Return the fact's values."""
        if not self._matches(at_ms, body, items):
            return None
        return self._values(at_ms, body, items) or None


class RoleExtractor(Extractor):
    """For a sequence: the role in which the event counts."""

    def __init__(self, metric: Metric, tenant: Vocabulary, role: int) -> None:
        super().__init__(metric, tenant)
        self._role = role

    def of(self, at_ms: int, body: tuple[Any, ...], items: Columns) -> Any:
        """Return the role."""
        return self._role if self._matches(at_ms, body, items) else None


def extractor(metric: Metric, tenant: Vocabulary) -> Extractor:
    """Return the extractor of a metric's measure."""
    if metric.measure in ("count", "days_since_first", "days_since_last"):
        return Extractor(metric, tenant)
    if metric.measure == "sum":
        return SumExtractor(metric, tenant)
    if metric.measure == "avg":
        return AverageExtractor(metric, tenant)
    return ValuesExtractor(metric, tenant)


def _whole(column: tuple[Any, ...]) -> bool:
    """Whether every line item has the field, as most do: then the column need not be copied."""
    for value in column:
        if value is None:
            return False
    return True


def sees_returns(measure: str, where: tuple[Where, ...]) -> bool:
    """Whether a metric over checkouts sees returns: sums do, and whatever filters by `kind` itself."""
    return measure == "sum" or any([found.field == "kind" for found in where])


def _place(event: str, field: str) -> int:
    if field == "hour":
        return _HOUR
    if field == "weekday":
        return _WEEKDAY
    return next(i for i, (name, _) in enumerate(EVENT_FIELDS[event]) if name == field)
