"""What each condition says of a customer at an instant, and who is in a segment."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from fractions import Fraction
from typing import Any, NamedTuple

from tests.oracle import clock, keeping, windows
from tests.oracle.boundaries import under
from tests.oracle.history import History
from tests.oracle.metrics import matches, value_of
from tests.oracle.values import compare, number, typed

Json = dict[str, Any]


class World(NamedTuple):
    """All that an answer depends on, besides who is asked about and when."""

    history: History
    segments: Sequence[Json]
    # The last entry into each (segment, customer) that still protects; what is decided from facts alone has none.
    entered: Mapping[tuple[str, str], int]
    # When time alone is looked at, ranks stay as they are: of whom each holds, by its name.
    ranks: Mapping[str, list[str]] | None = None


def everyone(world: World) -> set[str]:
    """The tenant's customers: known by a document or named by a list."""
    lists = [world.history.named(segment, which) for segment in world.segments for which in ("include", "exclude")]
    return world.history.known.union(*lists)


def is_in(world: World, segment: Json, customer: str, at: int) -> bool:
    """Whether a customer is in a segment: qualified, and for no higher level of its family."""
    tier = segment.get("tier")
    higher = [s for s in world.segments if tier and s.get("tier") and s["tier"]["family"] == tier["family"] and s["tier"]["level"] > tier["level"]]
    return qualifies(world, segment, customer, at) and not any(qualifies(world, other, customer, at) for other in higher)


def qualifies(world: World, segment: Json, customer: str, at: int) -> bool:
    """The formula of In, without what a family says: in its time, not excluded, and included, held by the rule or by a stay."""
    history = world.history
    starts_at, ends_at = segment.get("starts_at"), segment.get("ends_at")
    if (starts_at and at < clock.edge(starts_at, history.zone)) or (ends_at and at >= clock.edge(ends_at, history.zone)):
        return False
    if customer in history.named(segment, "exclude"):
        return False
    if customer in history.named(segment, "include"):
        return True
    if segment.get("rule") is not None and holds(world, segment["rule"], customer, at):
        return True
    entered = world.entered.get((segment["id"], customer))
    return entered is not None and bool(segment.get("min_stay")) and at < clock.later(entered, segment["min_stay"], history.zone)


def holds(world: World, rule: Json, customer: str, at: int) -> bool:
    """Whether a rule holds of a customer at an instant, from scratch."""
    history = world.history
    if "all" in rule:
        return all(holds(world, member, customer, at) for member in rule["all"])
    if "any" in rule:
        return any(holds(world, member, customer, at) for member in rule["any"])
    if "not" in rule:
        return not holds(world, rule["not"], customer, at)
    if "near" in rule:
        return near(rule["near"], history.profile(customer, at).get("location"))
    if "profile" in rule:
        return attribute(rule, history, customer, at)
    if "sequence" in rule:
        return sequence(rule["sequence"], history, customer, at)
    if "segment" in rule:
        return any(is_in(world, other, customer, at) for other in world.segments if other["id"] == rule["segment"])
    if "rank" in rule:
        return customer in (ranked(world, rule["rank"], at) if world.ranks is None else world.ranks[keeping.name(rule["rank"])])
    return compare(value_of(rule["metric"], history, customer, at), rule["op"], rule.get("value"))


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
    if name in history.declared:
        value = typed(value, history.declared[name], history.tenant["currency"])
    elif name == "household_size" and value is not None:
        value = number(value)
    if value is not None and op in ("older_than", "within_last"):
        day = date.fromisoformat(value)
        end = clock.day_later(day, str(threshold), history.zone)
        return at >= end if op == "older_than" else clock.midnight(day, history.zone) <= at < end
    return compare(value, op, threshold)


def near(place: Json, location: Json | None) -> bool:
    """Whether a location lies within a place's circle, on a sphere of 6,371.0088 km."""
    if location is None:
        return False
    lat1, lon1, lat2, lon2 = (math.radians(x) for x in (location["lat"], location["lon"], place["lat"], place["lon"]))
    h = math.sin((lat2 - lat1) / 2) ** 2 + math.cos(lat1) * math.cos(lat2) * math.sin((lon2 - lon1) / 2) ** 2
    return bool(2 * 6371.0088 * math.asin(min(1.0, math.sqrt(h))) <= place["km"])


def sequence(asked: Json, history: History, customer: str, at: int) -> bool:
    """Whether some `first` in the window was followed in time; or, of what does not happen, whether one's time is over without."""
    for first in _seen(asked["first"], history, customer, at):
        begun = clock.instant(first["occurred_at"])
        if begun < history.counts_from(asked) or not windows.is_inside(asked.get("window"), begun, at, history.zone):
            continue
        end = clock.later(begun, asked["within"], history.zone)
        followed = any(
            begun <= clock.instant(then["occurred_at"]) < end
            for then in _seen(asked["then"], history, customer, at)
            if then["event_id"] != first["event_id"]
        )
        if followed if asked["happens"] else at >= end and not followed:
            return True
    return False


def _seen(asked: Json, history: History, customer: str, at: int) -> Iterator[Json]:
    """The events that an end of a sequence sees."""
    return (document for document in history.of(customer, at, asked["event"]) if matches(asked, document, history) is not None)


def ranked(world: World, rank: Json, at: int) -> list[str]:
    """Those whom a rank holds of, the foremost first: of all who have a value, so many or so many in a hundred, a part of one counting as one."""
    values = {customer: value_of(rank["metric"], world.history, customer, at) for customer in everyone(world)}
    order = sorted((customer for customer, value in values.items() if value is not None), key=str.encode)
    # Sorting keeps the order of equals, also when it sorts backwards.
    order.sort(key=lambda customer: values[customer], reverse=rank["order"] == "desc")
    return order[: rank["top"] if "top" in rank else math.ceil(number(rank["percent"]) * Fraction(len(order), 100))]


def standing(world: World, at: int) -> dict[str, list[str]]:
    """Of whom each rank holds at an instant, by its name."""
    ranks = [rank for segment in world.segments for rank in under(segment.get("rule"), "rank")]
    return {keeping.name(rank): ranked(world, rank, at) for rank in ranks}
