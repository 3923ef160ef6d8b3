"""Who is in a segment at an instant, from all documents, by brute force."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

from tests.oracle import clock

Json = dict[str, Any]
# What is a number is so by its name, never by its looks: store "007" is not store "7", but an amount of "10.0" is one of 10.
_NUMBERS = {
    "total", "discount", "points_earned", "items.quantity", "items.amount", "items.discount", "value", "points", "collected", "spent",
    "hour", "weekday", "household_size",
}  # fmt: skip
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": lambda value, threshold: bool(value == threshold),
    "ne": lambda value, threshold: bool(value != threshold),
    "gt": lambda value, threshold: bool(value > threshold),
    "gte": lambda value, threshold: bool(value >= threshold),
    "lt": lambda value, threshold: bool(value < threshold),
    "lte": lambda value, threshold: bool(value <= threshold),
    "between": lambda value, ends: bool(ends[0] <= value <= ends[1]),
    "in": lambda value, some: any(one in some for one in _each(value)),
    "not_in": lambda value, some: not any(one in some for one in _each(value)),
    "contains": lambda value, part: part in value,
    "starts_with": lambda value, start: bool(value.startswith(start)),
}


def _each(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


class History:
    """All documents of a tenant that were accepted."""

    def __init__(self, tenant: Json) -> None:
        self.tenant = tenant
        self.zone: str = tenant["timezone"]
        self.documents: dict[str, list[Json]] = {}
        self.known: set[str] = set()

    def add(self, document: Json) -> None:
        """Accept a document: the first of an id counts, a receipt without a customer is nobody's, another tenant's is not seen."""
        customer = document.get("customer_id")
        if customer is None or document.get("tenant", self.tenant["id"]) != self.tenant["id"]:
            return
        self.known.add(customer)
        mine = self.documents.setdefault(customer, [])
        if all(other["event_id"] != document["event_id"] for other in mine):
            mine.append(document)

    def of(self, customer: str, at: int, kind: str) -> list[Json]:
        """A customer's documents of a type that have happened by an instant, in order."""
        mine = [d for d in self.documents.get(customer, []) if d["type"] == kind and clock.instant(d["occurred_at"]) <= at]
        return sorted(mine, key=lambda d: (clock.instant(d["occurred_at"]), d["event_id"]))

    def profile(self, customer: str, at: int) -> Json:
        """The attributes at an instant: the latest word on each, then the greater id; null removes."""
        merged: Json = {}
        for document in self.of(customer, at, "profile"):
            merged |= document["attributes"]
        return {name: value for name, value in merged.items() if value is not None}


def number(value: Any) -> Fraction:
    """A JSON number or decimal text, exactly."""
    return Fraction(Decimal(str(value)))


def field_of(document: Json, item: Json | None, field: str, zone: str) -> Any:
    """A field of an event or of one of its line items, None when it is not there."""
    here = clock.local(clock.instant(document["occurred_at"]), zone)
    if field == "hour":
        return number(here.hour)
    if field == "weekday":
        return number(here.isoweekday())
    value = (item or {}).get(field.removeprefix("items.")) if field.startswith("items.") else document.get(field)
    # The two fields with a default: a receipt that does not say is a sale, and one that names no coupon has none.
    if value is None and document["type"] == "checkout" and field in ("kind", "coupon_ids"):
        return "sale" if field == "kind" else []
    return number(value) if value is not None and field in _NUMBERS else value


def compare(value: Any, op: str, threshold: Any) -> bool:
    """What an operator says of a value and what the rule gives it."""
    if op == "exists":
        return (value is not None) is (True if threshold is None else threshold)
    if value is None:
        return False
    if isinstance(value, Fraction):
        threshold = [number(one) for one in threshold] if isinstance(threshold, list) else number(threshold)
    return _OPERATORS[op](value, threshold)


def is_return(document: Json) -> bool:
    """Whether what a document says subtracts."""
    return bool(document["type"] == "checkout" and document.get("kind") == "return")


def matches(metric: Json, document: Json, zone: str) -> list[Json | None] | None:
    """The line items that a metric sees of an event ([None] where it asks for none), None when it does not see the event."""
    where = metric.get("where") or []
    if metric["event"] == "custom" and document["name"] != metric["name"]:
        return None
    if metric["event"] == "checkout" and metric["measure"] != "sum" and all(w["field"] != "kind" for w in where):
        where = [*where, {"field": "kind", "op": "eq", "value": "sale"}]
    of_event = [w for w in where if not w["field"].startswith("items.")]
    of_items = [w for w in where if w["field"].startswith("items.")]
    if not all(compare(field_of(document, None, w["field"], zone), w["op"], w.get("value")) for w in of_event):
        return None
    items = document.get("items") or []
    seen = [item for item in items if all(compare(field_of(document, item, w["field"], zone), w["op"], w.get("value")) for w in of_items)]
    if str(metric.get("field", "")).startswith("items."):
        return list(seen)
    return None if of_items and not seen else [None]


def seen_by(metric: Json, history: History, customer: str, at: int) -> Iterator[tuple[Json, list[Json | None]]]:
    """The events that count for a metric at an instant, in order, with the line items that do."""
    last = (metric.get("window") or {}).get("last")
    for document in history.of(customer, at, metric["event"]):
        happened = clock.instant(document["occurred_at"])
        if last is not None and clock.later(happened, last, history.zone) <= at:
            continue
        items = matches(metric, document, history.zone)
        if items is not None:
            yield document, items


def value_of(metric: Json, history: History, customer: str, at: int) -> Any:
    """A metric's value at an instant: an exact number, or a text for a favourite; None where there is nothing to measure."""
    seen = list(seen_by(metric, history, customer, at))
    instants = [clock.instant(document["occurred_at"]) for document, _ in seen]
    if metric["measure"] == "count":
        return Fraction(len(seen))
    if metric["measure"] in ("days_since_first", "days_since_last"):
        choose = min if metric["measure"] == "days_since_first" else max
        return Fraction((at - choose(instants)) // clock.DAY) if instants else None
    found = [(document, field_of(document, item, metric["field"], history.zone)) for document, items in seen for item in items]
    if metric["measure"] == "sum":
        return sum((-value if is_return(document) else value for document, value in found if value is not None), Fraction(0))
    return measured(metric["measure"], [one for _, value in found if value is not None for one in _each(value)])


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


def attribute(condition: Json, history: History, customer: str, at: int) -> bool:
    """What a profile condition says at an instant."""
    profile = history.profile(customer, at)
    name, op, threshold = condition["profile"], condition["op"], condition.get("value")
    if name in ("age", "birthday_in_days"):
        today = clock.local(at, history.zone).date()
        count = clock.age if name == "age" else clock.days_to_birthday
        born = profile.get("birth_date")
        return compare(None if born is None else number(count(date.fromisoformat(born), today)), op, threshold)
    value = profile.get(name)
    if value is not None and op in ("older_than", "within_last"):
        day = date.fromisoformat(value)
        end = clock.day_later(day, str(threshold), history.zone)
        return at >= end if op == "older_than" else clock.midnight(day, history.zone) <= at < end
    return compare(number(value) if value is not None and name in _NUMBERS else value, op, threshold)


def near(place: Json, location: Json | None) -> bool:
    """Whether a location lies within a place's circle, on a sphere of 6,371.0088 km."""
    if location is None:
        return False
    lat1, lon1, lat2, lon2 = (math.radians(x) for x in (location["lat"], location["lon"], place["lat"], place["lon"]))
    h = math.sin((lat2 - lat1) / 2) ** 2 + math.cos(lat1) * math.cos(lat2) * math.sin((lon2 - lon1) / 2) ** 2
    return bool(2 * 6371.0088 * math.asin(min(1.0, math.sqrt(h))) <= place["km"])


def holds(rule: Json, history: History, customer: str, at: int) -> bool:
    """Whether a rule holds of a customer at an instant, from scratch."""
    if "all" in rule:
        return all(holds(member, history, customer, at) for member in rule["all"])
    if "any" in rule:
        return any(holds(member, history, customer, at) for member in rule["any"])
    if "not" in rule:
        return not holds(rule["not"], history, customer, at)
    if "near" in rule:
        return near(rule["near"], history.profile(customer, at).get("location"))
    if "profile" in rule:
        return attribute(rule, history, customer, at)
    return compare(value_of(rule["metric"], history, customer, at), rule["op"], rule.get("value"))


def is_member(segment: Json, history: History, customer: str, at: int) -> bool:
    """Not excluded, and included or the rule holds."""
    if customer in (segment.get("exclude") or ()):
        return False
    if customer in (segment.get("include") or ()):
        return True
    rule = segment.get("rule")
    return rule is not None and holds(rule, history, customer, at)


def members(segment: Json, history: History, at: int) -> set[str]:
    """Everyone who is in."""
    everyone = history.known | set(segment.get("include") or ()) | set(segment.get("exclude") or ())
    return {customer for customer in everyone if is_member(segment, history, customer, at)}


def conditions(rule: Json) -> Iterator[Json]:
    """The leaves of a rule."""
    if "not" in rule:
        yield from conditions(rule["not"])
    elif "all" in rule or "any" in rule:
        for member in [*rule.get("all", []), *rule.get("any", [])]:
            yield from conditions(member)
    else:
        yield rule


def boundaries(rule: Json, history: History, customer: str, start: int, end: int) -> list[int]:
    """Every instant between two at which time alone could change an answer; far more than really do."""
    found: set[int] = set()
    documents = history.documents.get(customer, [])
    happened = [clock.instant(document["occurred_at"]) for document in documents]
    found.update(happened)
    for leaf in conditions(rule):
        metric = leaf.get("metric", {})
        if last := (metric.get("window") or {}).get("last"):
            found.update(clock.later(at, last, history.zone) for at in happened)
        if str(metric.get("measure", "")).startswith("days_since"):
            limits = leaf["value"] if isinstance(leaf.get("value"), list) else [leaf.get("value", 0)]
            days = {int(limit) + extra for limit in limits for extra in (0, 1) if not isinstance(limit, bool)}
            found.update(at + day * clock.DAY for at in happened for day in days)
        if leaf.get("profile") in ("age", "birthday_in_days"):
            day = clock.local(start, history.zone).date()
            while clock.midnight(day, history.zone) <= end:
                found.add(clock.midnight(day, history.zone))
                day += timedelta(days=1)
        if leaf.get("op") in ("older_than", "within_last"):
            for document in documents:
                if value := document.get("attributes", {}).get(leaf["profile"]):
                    day = date.fromisoformat(value)
                    found.update({clock.midnight(day, history.zone), clock.day_later(day, leaf["value"], history.zone)})
    return sorted(at for at in found if start < at <= end)


def until(segment: Json, history: History, customer: str, at: int, horizon_days: int = 400) -> int | None:
    """The next instant at which membership flips if nothing new happens, None beyond the horizon."""
    now = is_member(segment, history, customer, at)
    rule = segment.get("rule")
    for instant in boundaries(rule, history, customer, at, at + horizon_days * clock.DAY) if rule is not None else []:
        if is_member(segment, history, customer, instant) is not now:
            return instant
    return None
