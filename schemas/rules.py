"""The rule language: its tree, its canonical JSON, and the limits of both. `schemas.rule_parser` reads it.

The tree is what the engine compiles, the canonical JSON what is stored and shown: two rules that mean the same by their
letters (defaults left out, durations written differently) have the same canonical form, so equal metrics are shared.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from schemas.instants import Duration
from schemas.vocabulary import Kind

MAX_DEPTH: Final = 12
MAX_CONDITIONS: Final = 200
MAX_LIST: Final = 1_000
MAX_WHERE: Final = 20
MAX_TEXT: Final = 256

Measure = Literal["count", "sum", "avg", "min", "max", "distinct", "favourite", "days_since_first", "days_since_last"]
MEASURES: Final[tuple[Measure, ...]] = ("count", "sum", "avg", "min", "max", "distinct", "favourite", "days_since_first", "days_since_last")
Op = Literal["eq", "ne", "gt", "gte", "lt", "lte", "between", "in", "not_in", "contains", "starts_with", "exists", "older_than", "within_last"]
Value = str | bool | int | Decimal | Duration | tuple[Any, ...]


class Where(Struct, frozen=True):
    """A filter on one field of an event, or of its line items where `field` begins with `items.`."""

    field: str
    op: Op
    value: Value
    kind: Kind


class Metric(Struct, frozen=True):
    """An aggregate over a customer's events, through a filter, in a window. `window` None is for ever; `kind` is its value's."""

    measure: Measure
    event: str
    kind: Kind
    name: str | None = None
    field: str | None = None
    where: tuple[Where, ...] = ()
    window: Duration | None = None


class MetricCondition(Struct, frozen=True):
    """A metric compared with a value."""

    metric: Metric
    op: Op
    value: Value


class ProfileCondition(Struct, frozen=True):
    """A profile attribute, or a derived one, compared with a value."""

    attribute: str
    op: Op
    value: Value
    kind: Kind


class Near(Struct, frozen=True):
    """Within `km` of a place, on the great circle."""

    lat: float
    lon: float
    km: float


class All(Struct, frozen=True):
    """Every rule of the group holds."""

    rules: tuple[Rule, ...]


class Any_(Struct, frozen=True):  # noqa: N801 - `Any` is the language's word, and Python's
    """At least one rule of the group holds."""

    rules: tuple[Rule, ...]


class Not(Struct, frozen=True):
    """The rule does not hold."""

    rule: Rule


Condition = MetricCondition | ProfileCondition | Near
Rule = All | Any_ | Not | MetricCondition | ProfileCondition | Near

encode: Final = msgspec.json.Encoder(decimal_format="number").encode


def canonical(rule: Rule) -> dict[str, Any]:
    """Return the canonical JSON of a rule; parsing it gives the same tree."""
    if isinstance(rule, All):
        return {"all": [canonical(member) for member in rule.rules]}
    if isinstance(rule, Any_):
        return {"any": [canonical(member) for member in rule.rules]}
    if isinstance(rule, Not):
        return {"not": canonical(rule.rule)}
    if isinstance(rule, Near):
        return {"near": {"lat": rule.lat, "lon": rule.lon, "km": rule.km}}
    if isinstance(rule, ProfileCondition):
        return {"profile": rule.attribute, "op": rule.op, "value": value_json(rule.value, rule.kind)}
    return {"metric": canonical_metric(rule.metric), "op": rule.op, "value": value_json(rule.value, rule.metric.kind)}


def canonical_metric(metric: Metric) -> dict[str, Any]:
    """Return the canonical JSON of a metric."""
    out: dict[str, Any] = {"measure": metric.measure, "event": metric.event}
    if metric.name is not None:
        out["name"] = metric.name
    if metric.field is not None:
        out["field"] = metric.field
    if metric.where:
        out["where"] = [{"field": w.field, "op": w.op, "value": value_json(w.value, w.kind)} for w in metric.where]
    if metric.window is not None:
        out["window"] = {"last": str(metric.window)}
    return out


def value_json(value: Value, kind: Kind) -> Any:
    """Return the JSON of a value: money as decimal strings, durations as ISO 8601."""
    if isinstance(value, Duration):
        return str(value)
    if isinstance(value, tuple):
        return [value_json(member, kind) for member in value]
    if kind is Kind.MONEY and isinstance(value, int | Decimal) and not isinstance(value, bool):
        return f"{value:f}" if isinstance(value, Decimal) else str(value)
    return value


def conditions(rule: Rule, pointer: str = "") -> list[tuple[str, Condition]]:
    """List a rule's conditions, each with the JSON Pointer of its place in the canonical form."""
    if isinstance(rule, All | Any_):
        word = "all" if isinstance(rule, All) else "any"
        return [found for index, member in enumerate(rule.rules) for found in conditions(member, f"{pointer}/{word}/{index}")]
    if isinstance(rule, Not):
        return conditions(rule.rule, f"{pointer}/not")
    return [(pointer, rule)]
