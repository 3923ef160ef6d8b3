"""Who is in a segment at an instant, from all documents, by brute force."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

from tests.oracle import clock

Json = dict[str, Any]
_MONEY = {"total", "discount", "value", "items.amount", "items.discount"}
_DECIMALS = {"JPY": 0, "KRW": 0, "KWD": 3, "TND": 3}


class History:
    """All documents of a tenant that were accepted."""

    def __init__(self, tenant: Json) -> None:
        self.tenant = tenant
        self.zone: str = tenant["timezone"]
        self.documents: dict[str, list[Json]] = {}
        self.known: set[str] = set()

    def add(self, document: Json) -> None:
        """Accept a document: the first of an id counts, a receipt without a customer is nobody's."""
        customer = document.get("customer_id")
        if customer is None:
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
    if field == "hour":
        return clock.local(clock.instant(document["occurred_at"]), zone).hour
    if field == "weekday":
        return clock.local(clock.instant(document["occurred_at"]), zone).isoweekday()
    value = (item or {}).get(field[6:]) if field.startswith("items.") else document.get(field)
    if field == "kind" and value is None:
        return "sale"
    if field == "coupon_ids":
        return value or []
    if value is not None and (field in _MONEY or field == "items.quantity"):
        return number(value)
    return value


def compare(value: Any, op: str, threshold: Any) -> bool:
    """What an operator says of a value and what the rule gives it."""
    if op == "exists":
        return (value is not None) is (True if threshold is None else threshold)
    if value is None:
        return False
    if isinstance(value, Fraction):
        threshold = [number(t) for t in threshold] if isinstance(threshold, list) else number(threshold)
    values = value if isinstance(value, list) else [value]
    answers = {
        "eq": lambda: value == threshold,
        "ne": lambda: value != threshold,
        "gt": lambda: value > threshold,
        "gte": lambda: value >= threshold,
        "lt": lambda: value < threshold,
        "lte": lambda: value <= threshold,
        "between": lambda: threshold[0] <= value <= threshold[1],
        "in": lambda: any(one in threshold for one in values),
        "not_in": lambda: not any(one in threshold for one in values),
        "contains": lambda: threshold in value,
        "starts_with": lambda: value.startswith(threshold),
    }
    return bool(answers[op]())


def matches(metric: Json, document: Json, zone: str) -> list[Json | None] | None:
    """The line items that a metric sees of an event ([None] where it asks for none), None when it does not see the event."""
    where = metric.get("where", [])
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
    """The events that count for a metric at an instant, with the line items that do."""
    last = (metric.get("window") or {}).get("last")
    for document in history.of(customer, at, metric["event"]):
        happened = clock.instant(document["occurred_at"])
        if last is not None and clock.later(happened, last, history.zone) <= at:
            continue
        items = matches(metric, document, history.zone)
        if items is not None:
            yield document, items


def value_of(metric: Json, history: History, customer: str, at: int) -> Any:
    """A metric's value at an instant."""
    measure = metric["measure"]
    seen = list(seen_by(metric, history, customer, at))
    if measure == "count":
        return Fraction(len(seen))
    if measure.startswith("days_since"):
        instants = [clock.instant(document["occurred_at"]) for document, _ in seen]
        if not instants:
            return None
        return Fraction((at - (min(instants) if measure.endswith("first") else max(instants))) // clock.DAY)
    values: list[Any] = []
    total = Fraction(0)
    for document, items in seen:
        for item in items:
            value = field_of(document, item, metric["field"], history.zone)
            found = value if isinstance(value, list) else [] if value is None else [value]
            values.extend(found)
            sign = -1 if document.get("kind") == "return" else 1
            if measure == "sum":
                total += sum(sign * number(one) for one in found)
    if measure == "sum":
        return total
    if measure == "distinct":
        return Fraction(len(set(values)))
    if not values:
        return None
    if measure == "favourite":
        most = max(values.count(value) for value in values)
        favourite = [value for value in values if values.count(value) == most][-1]
        return Fraction(favourite) if isinstance(favourite, int) else favourite
    numbers = [number(value) if not isinstance(value, Fraction) else value for value in values]
    return {"avg": sum(numbers, Fraction(0)) / len(numbers), "min": min(numbers), "max": max(numbers)}[measure]


def attribute(condition: Json, history: History, customer: str, at: int) -> bool:
    """What a profile condition says at an instant."""
    profile = history.profile(customer, at)
    name, op, threshold = condition["profile"], condition["op"], condition.get("value")
    today = clock.local(at, history.zone).date()
    if name in ("age", "birthday_in_days"):
        born = profile.get("birth_date")
        measure = clock.age if name == "age" else clock.days_to_birthday
        return compare(None if born is None else Fraction(measure(date.fromisoformat(born), today)), op, threshold)
    value = profile.get(name)
    if op in ("older_than", "within_last"):
        if value is None:
            return False
        day = date.fromisoformat(value)
        end = clock.day_later(day, str(threshold), history.zone)
        return at >= end if op == "older_than" else clock.midnight(day, history.zone) <= at < end
    if isinstance(value, int) and not isinstance(value, bool):
        value = Fraction(value)
    return compare(value, op, threshold)


def near(place: Json, location: Json | None) -> bool:
    """Whether a location lies within a place's circle, on a sphere of 6,371.0088 km."""
    if location is None:
        return False
    lat1, lon1, lat2, lon2 = (math.radians(x) for x in (location["lat"], location["lon"], place["lat"], place["lon"]))
    h = math.sin((lat2 - lat1) / 2) ** 2 + math.cos(lat1) * math.cos(lat2) * math.sin((lon2 - lon1) / 2) ** 2
    return 2 * 6371.0088 * math.asin(min(1.0, math.sqrt(h))) <= place["km"]


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
        for member in rule.get("all") or rule.get("any"):
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


def until(segment: Json, history: History, customer: str, at: int, horizon: int = 400 * clock.DAY) -> int | None:
    """The next instant at which membership flips if nothing new happens, None beyond the horizon."""
    now = is_member(segment, history, customer, at)
    rule = segment.get("rule")
    for instant in boundaries(rule, history, customer, at, at + horizon) if rule is not None else []:
        if is_member(segment, history, customer, instant) is not now:
            return instant
    return None
