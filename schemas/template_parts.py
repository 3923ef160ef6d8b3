"""The pieces that predefined segments are put together from: rules as plain JSON, and the template that carries one."""

from __future__ import annotations

from typing import Any, Final, Literal

from msgspec import Struct

from schemas.definitions import Tier

Json = dict[str, Any]
Group = Literal["activity", "value", "status", "habits", "offers", "payment", "place and profile", "rfm"]
YEAR: Final = {"last": "P1Y"}
HALF_YEAR: Final = {"last": "P6M"}
QUARTER: Final = {"last": "P3M"}


class Template(Struct, frozen=True):
    """A predefined segment. Names of coupons, campaigns, categories and places in it are examples to be replaced."""

    id: str
    group: Group
    name: str
    name_fr: str
    description: str
    rule: Json
    tier: Tier | None = None

    def body(self) -> Json:
        """Return the body of `POST /v1/segments` that saves it as it is."""
        body: Json = {"id": self.id, "name": self.name, "description": self.description, "rule": self.rule}
        return body if self.tier is None else body | {"tier": {"family": self.tier.family, "level": self.tier.level}}


def all_of(*rules: Json) -> Json:
    """Every rule holds."""
    return {"all": list(rules)}


def any_of(*rules: Json) -> Json:
    """At least one rule holds."""
    return {"any": list(rules)}


def none_of(*rules: Json) -> Json:
    """No rule holds."""
    return {"not": rules[0] if len(rules) == 1 else any_of(*rules)}


def compared(metric: Json, op: str, value: Any) -> Json:
    """A metric compared with a value."""
    return {"metric": metric, "op": op, "value": value}


def metric(
    measure: str, event: str = "checkout", *where: Json, field: str | None = None, window: Json | None = None, name: str | None = None
) -> Json:
    """A metric over the events of a type that pass all filters."""
    parts = {"name": name, "field": field, "where": list(where) or None, "window": window}
    return {"measure": measure, "event": event} | {word: part for word, part in parts.items() if part is not None}


def ratio(numerator: Json, denominator: Json, least: int | str) -> Json:
    """One metric divided by another that is large enough to tell."""
    return {"measure": "ratio", "numerator": numerator, "denominator": denominator, "min_denominator": least}


def where(field: str, op: str, value: Any) -> Json:
    """A filter on one field."""
    return {"field": field, "op": op, "value": value}


def profile(attribute: str, op: str, value: Any) -> Json:
    """A profile attribute compared with a value."""
    return {"profile": attribute, "op": op, "value": value}


def rank(of: Json, order: Literal["asc", "desc"], percent: int) -> Json:
    """Among the first percents of all customers that have a value."""
    return {"rank": {"metric": of, "order": order, "percent": percent}}


def bought(times: int, window: Json | None = None, *filters: Json) -> Json:
    """At least so many checkouts in a window."""
    return compared(metric("count", "checkout", *filters, window=window), "gte", times)
