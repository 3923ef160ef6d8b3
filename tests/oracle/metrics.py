"""What a metric makes of a customer's events."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from tests.oracle import clock, windows
from tests.oracle.history import History
from tests.oracle.values import compare, each, field_of, number

Json = dict[str, Any]


def is_return(document: Json) -> bool:
    """Whether what a document says subtracts."""
    return bool(document["type"] == "checkout" and document.get("kind") == "return")


def matches(asked: Json, document: Json, history: History) -> list[Json | None] | None:
    """The line items that a metric, or an end of a sequence, sees of an event of its type ([None] where it asks for none).

    None when it does not see the event.
    """
    where = asked.get("where") or []
    if asked.get("name") is not None and document.get("name") != asked["name"]:
        return None
    if asked["event"] == "checkout" and asked.get("measure") != "sum" and all(w["field"] != "kind" for w in where):
        where = [*where, {"field": "kind", "op": "eq", "value": "sale"}]
    of_event = [w for w in where if not w["field"].startswith("items.")]
    of_items = [w for w in where if w["field"].startswith("items.")]
    if not all(compare(field_of(document, None, w["field"], history), w["op"], w.get("value")) for w in of_event):
        return None
    items = document.get("items") or []
    seen = [item for item in items if all(compare(field_of(document, item, w["field"], history), w["op"], w.get("value")) for w in of_items)]
    if str(asked.get("field", "")).startswith("items."):
        return list(seen)
    return None if of_items and not seen else [None]


def seen_by(metric: Json, history: History, customer: str, at: int) -> Iterator[tuple[Json, list[Json | None]]]:
    """The events that count for a metric at an instant, in order, with the line items that do."""
    for document in history.of(customer, at, metric["event"]):
        happened = clock.instant(document["occurred_at"])
        if happened >= history.counts_from(metric) and windows.is_inside(metric.get("window"), happened, at, history.zone):
            items = matches(metric, document, history)
            if items is not None:
                yield document, items


def value_of(metric: Json, history: History, customer: str, at: int) -> Any:
    """A metric's value at an instant: an exact number, or a text for a favourite; None where there is nothing to measure."""
    if metric["measure"] == "ratio":
        return ratio(metric, history, customer, at)
    seen = list(seen_by(metric, history, customer, at))
    instants = [clock.instant(document["occurred_at"]) for document, _ in seen]
    if metric["measure"] == "count":
        return Fraction(len(seen))
    if metric["measure"] in ("days_since_first", "days_since_last"):
        choose = min if metric["measure"] == "days_since_first" else max
        return Fraction((at - choose(instants)) // clock.DAY) if instants else None
    found = [(document, field_of(document, item, metric["field"], history)) for document, items in seen for item in items]
    if metric["measure"] == "sum":
        return sum((-value if is_return(document) else value for document, value in found if value is not None), Fraction(0))
    return measured(metric["measure"], [one for _, value in found if value is not None for one in each(value)])


def ratio(metric: Json, history: History, customer: str, at: int) -> Fraction | None:
    """One metric over another, exactly: None where either has no value, the lower is 0, or it is less than is asked for."""
    over, under = (value_of(metric[part], history, customer, at) for part in ("numerator", "denominator"))
    least = metric.get("min_denominator")
    if over is None or under is None or under == 0 or (least is not None and under < number(least)):
        return None
    return Fraction(over / under)


def measured(measure: str, values: list[Any]) -> Any:
    """What a measure makes of the values that count, in the order in which they occurred."""
    if measure == "distinct":
        return Fraction(len(set(values)))
    if not values:
        return None
    if measure == "favourite":
        most = max(values.count(value) for value in values)
        return [value for value in values if values.count(value) == most][-1]
    if measure == "avg":
        return sum(values, Fraction(0)) / len(values)
    return {"min": min, "max": max}[measure](values)
