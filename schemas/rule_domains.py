"""What each field, attribute and metric can be, as far as that is plain: what events are refused for, and what measures can make of it."""

from __future__ import annotations

from typing import Any, Final

from msgspec.structs import replace

from schemas.amounts import MICRO, currency_exponent
from schemas.domains import GREATEST, Domain, passes
from schemas.instants import DAY_MS
from schemas.rule_context import PROPERTIES, RuleContext
from schemas.rule_values import NUMERIC
from schemas.rule_windows import oldest_ms
from schemas.rules import Metric
from schemas.vocabulary import ALWAYS_GIVEN, ATTRIBUTE_RANGES, CHOICES, DERIVED_FIELDS, FIELD_RANGES, Kind

_SALES: Final = ("sale",)
_POSITIVE: Final = "; amounts of a return are positive as well, filter by kind"


def field_domain(event: str, name: str | None, field: str, kind: Kind, context: RuleContext) -> Domain | None:
    """Return what a field of an event (custom ones have a `name`) can be; None where that is not asked."""
    if context.currency is None:
        return None
    given = field in dict(DERIVED_FIELDS) or field in ALWAYS_GIVEN.get(event, ())
    values: tuple[str | int | bool, ...] = CHOICES.get(field, ())
    if field in FIELD_RANGES:
        first, last = FIELD_RANGES[field]
        values = tuple(range(first, last + 1))
    elif field == "currency":
        values = (context.currency,)
    elif event == "custom" and field == "name" and name is not None:
        values = (name,)
    found = replace(_of_kind(field, kind, context.currency), given=given)
    if values:
        return replace(found, values=values)
    if kind not in NUMERIC or field.startswith(PROPERTIES):
        return found
    return replace(found, least=0, most=GREATEST, advice=_POSITIVE if event == "checkout" and kind is Kind.MONEY else "")


def attribute_domain(name: str, kind: Kind, context: RuleContext) -> Domain | None:
    """Return what a profile attribute can be; None where that is not asked."""
    if context.currency is None:
        return None
    found = _of_kind(name, kind, context.currency)
    least, most = ATTRIBUTE_RANGES.get(name, (None, None))
    return replace(found, least=least, most=most)


def metric_domain(metric: Metric, context: RuleContext) -> Domain | None:
    """Return what the value of a metric can be; None where that is not asked."""
    if context.currency is None:
        return None
    if metric.measure == "ratio":
        return _ratio(metric, context)
    counted = Domain(metric.measure, Kind.INTEGER, least=0, decimals=0)
    if metric.measure == "count":
        return replace(counted, given=True)
    if metric.field is None:
        oldest = oldest_ms(metric.window)
        return counted if oldest is None else replace(counted, most=(oldest - 1) // DAY_MS, advice=" in this window")
    field = field_domain(metric.event, metric.name, metric.field, context.fields(metric.event)[metric.field], context)
    assert field is not None, "the context asks"
    seen: tuple[Any, ...] = _seen(metric, metric.field, field.values)
    if metric.measure == "distinct":
        return replace(counted, name=f"distinct {metric.field}", given=True, most=len(seen) if field.values else None)
    named = replace(field, name=f"{metric.measure} of {metric.field}", kind=metric.kind, given=False, values=seen)
    if metric.measure in ("min", "max", "favourite"):
        return named
    if metric.measure == "avg":
        ends = (min(seen), max(seen)) if seen else (field.least, field.most)
        return replace(named, values=(), least=ends[0], most=ends[1], decimals=None)
    return _sum(metric, replace(named, values=(), given=True, most=None, least=0 if seen else field.least))


def _sum(metric: Metric, found: Domain) -> Domain:
    """Returns subtract: among sales a sum is 0 or more, among returns 0 or less."""
    if metric.event != "checkout" or found.least is None:
        return replace(found, advice="")
    kinds = _seen(metric, "kind", CHOICES["kind"], every=True)
    if kinds == _SALES:
        return replace(found, advice="")
    if "sale" not in kinds:
        return replace(found, least=None, most=0, advice="; returns subtract, so compare their sum with a negative amount")
    return replace(found, least=None, advice="")


def _ratio(metric: Metric, context: RuleContext) -> Domain:
    upper, lower = metric.numerator, metric.denominator
    assert upper is not None, "a ratio has both"
    assert lower is not None, "a ratio has both"
    above, below = metric_domain(upper, context), metric_domain(lower, context)
    signed = above is None or below is None or above.least is None or below.least is None
    found = Domain("ratio", Kind.NUMBER, least=None if signed else 0)
    if _is_part(upper, lower):
        return replace(found, most=1, advice=": a part of the whole, so that 30 percent is 0.3")
    return found


def _is_part(upper: Metric, lower: Metric) -> bool:
    """Whether one metric counts some of the events that another counts; a filter by kind lets it see returns, which the other may not."""
    same = (upper.measure, upper.event, upper.name, upper.window) == ("count", lower.event, lower.name, lower.window)
    more = set(upper.where) - set(lower.where)
    return same and lower.measure == "count" and set(lower.where) <= set(upper.where) and all(one.field != "kind" for one in more)


def _seen(metric: Metric, field: str, values: tuple[Any, ...], *, every: bool = False) -> tuple[Any, ...]:
    """Return those of a field's values that a metric's filters let through; only sums see returns without being asked (`every`)."""
    asked = [one for one in metric.where if one.field == field]
    if field == "kind" and not asked and not every:
        return _SALES
    return tuple(value for value in values if all(passes(one.op, one.value, value) for one in asked))


def _of_kind(name: str, kind: Kind, currency: str) -> Domain:
    decimals = {Kind.MONEY: currency_exponent(currency), Kind.NUMBER: MICRO, Kind.INTEGER: 0}.get(kind)
    return Domain(name, kind, (False, True) if kind is Kind.BOOLEAN else (), decimals=decimals)
