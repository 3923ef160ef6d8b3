"""Reads metrics, their filters, and the matchers of sequences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from urllib.parse import quote

from schemas.domains import Asked, Domain
from schemas.errors import Refusal, listed, shown
from schemas.rule_context import PROPERTIES, RuleContext
from schemas.rule_domains import field_domain, metric_domain
from schemas.rule_values import NUMERIC, amount, comparison, each, list_of, object_of, only
from schemas.rule_windows import read_window
from schemas.rules import AGGREGATES, MAX_WHERE, MEASURES, Matcher, Measure, Metric, Where
from schemas.vocabulary import EVENT_TYPES, Kind

FIELDLESS: Final = ("count", "days_since_first", "days_since_last")
ADDING: Final = ("sum", "avg", "min", "max")
"""The measures of numbers; `distinct` and `favourite` take a field of any kind but a place."""


def read_metric(document: Any, at: str, context: RuleContext) -> Metric:
    """Read a metric."""
    node = object_of(document, at, "a metric")
    measure = node.get("measure")
    if measure == "ratio":
        return _ratio(node, at, context)
    if measure not in AGGREGATES:
        raise Refusal(f"unknown measure {shown(measure)}; one of {', '.join(MEASURES)}", pointer=f"{at}/measure")
    return _aggregate(measure, node, at, context)


def read_matcher(document: Any, at: str, context: RuleContext) -> Matcher:
    """Read one of the two events of a sequence."""
    node = object_of(document, at, "an event to match")
    event = _event(node, at)
    only(node, ("event", "name", "where"), at)
    name = _name(node, event, at)
    return Matcher(event, name, _filters(node, event, name, at, context))


def ranking_metric(metric: Metric, at: str, what: str) -> Metric:
    """Refuse a metric whose value is no number, and so neither has an order nor can be divided."""
    if metric.measure == "favourite":
        known = ", ".join(measure for measure in MEASURES if measure != "favourite")
        raise Refusal(f"{what} needs a metric with a number; one of {known}, not favourite", pointer=f"{at}/measure")
    return metric


def _aggregate(measure: Measure, node: dict[str, Any], at: str, context: RuleContext) -> Metric:
    event = _event(node, at)
    only(node, ("measure", "event", "name", "field", "where", "window"), at)
    name = _name(node, event, at)
    fields = context.fields(event)
    field, kind = _field(node, measure, fields, f"{at}/field")
    where = _filters(node, event, name, at, context)
    return Metric(measure, event, kind, name, field, where, read_window(node, at, context))


def _ratio(node: dict[str, Any], at: str, context: RuleContext) -> Metric:
    only(node, ("measure", "numerator", "denominator", "min_denominator"), at)
    parts: list[Metric] = []
    for name in ("numerator", "denominator"):
        here = f"{at}/{name}"
        if name not in node:
            raise Refusal(f"{name} is missing: a ratio divides one metric by another", pointer=here)
        part = object_of(node[name], here, "a metric")
        if part.get("measure") == "ratio":
            raise Refusal("a ratio of ratios is not one; divide two other metrics", pointer=f"{here}/measure")
        parts.append(ranking_metric(read_metric(part, here, context), here, "a ratio"))
    least, here = None, f"{at}/min_denominator"
    if "min_denominator" in node:
        least, known = amount(node["min_denominator"], parts[1].kind, here), metric_domain(parts[1], context)
        if known is not None and known.most is not None and least > known.most:
            raise Refusal(f"{shown(node['min_denominator'])} is never reached: {known.said()}", pointer=here)
        if least < 0:
            raise Refusal(f"min_denominator is 0 or more, not {shown(node['min_denominator'])}", pointer=here)
    return Metric("ratio", "", Kind.NUMBER, numerator=parts[0], denominator=parts[1], min_denominator=least)


def _event(node: dict[str, Any], at: str) -> str:
    event = node.get("event")
    if event not in EVENT_TYPES:
        raise Refusal(f"unknown event {shown(event)}; one of {', '.join(EVENT_TYPES)}", pointer=f"{at}/event")
    return str(event)


def _name(node: dict[str, Any], event: str, at: str) -> str | None:
    name = node.get("name")
    if not (isinstance(name, str) if event == "custom" else "name" not in node):
        raise Refusal("name is the custom event's name: required for custom events, and only there", pointer=f"{at}/name")
    return name


def _field(node: dict[str, Any], measure: str, fields: dict[str, Kind], at: str) -> tuple[str | None, Kind]:
    if measure in FIELDLESS:
        if "field" in node:
            raise Refusal(f"{measure} takes no field; filter with where, or use distinct or sum", pointer=at)
        return None, Kind.INTEGER
    field, adding = node.get("field"), measure in ADDING
    fitting = [name for name, kind in fields.items() if (kind in NUMERIC if adding else kind is not Kind.PLACE)]
    if field not in fitting:
        if not isinstance(field, str) or field not in fields:
            _declare_first(field, at)
        known = listed(fitting) or "none of this event's"
        raise Refusal(f"{measure} needs a {'numeric ' if adding else ''}field, not {shown(field)}; one of {known}", pointer=at)
    if measure == "distinct":
        return field, Kind.INTEGER
    kind = fields[field]
    return field, Kind.TEXT if kind is Kind.TEXTS else kind


def _filters(node: dict[str, Any], event: str, name: str | None, at: str, context: RuleContext) -> tuple[Where, ...]:
    filters, fields = list_of(node.get("where", []), f"{at}/where", "filters", MAX_WHERE, least=0), context.fields(event)

    def domain_of(field: str) -> Domain | None:
        return field_domain(event, name, field, fields[field], context)

    found = each(filters, f"{at}/where", lambda member, place: _where(member, fields, domain_of, place))
    asked: dict[str, list[Asked]] = {}
    for index, one in enumerate(found):
        asked.setdefault(one.field, []).append((one.op, one.value))
        domain = domain_of(one.field)
        if domain is not None and not domain.can_hold(asked[one.field]):
            said = f"no {one.field} passes this and what is asked of it before: all filters must hold; in and any say one of several"
            raise Refusal(said, pointer=f"{at}/where/{index}")
    return found


def _where(document: Any, fields: dict[str, Kind], domain_of: Callable[[str], Domain | None], at: str) -> Where:
    node = object_of(document, at, "a filter")
    only(node, ("field", "op", "value"), at)
    field = node.get("field")
    if not isinstance(field, str) or field not in fields:
        _declare_first(field, f"{at}/field")
        raise Refusal(f"unknown field {shown(field)}; one of {listed(fields)}", pointer=f"{at}/field")
    op, value = comparison(node, at, fields[field], domain_of(field))
    return Where(field, op, value, fields[field])


def _declare_first(field: Any, at: str) -> None:
    if isinstance(field, str) and field.startswith(PROPERTIES):
        said = f"{shown(field)} has no type yet, or this is no custom event"
        raise Refusal(f"{said}; declare it with PUT /v1/attributes/{quote(field[:80], safe='')}", pointer=at)
