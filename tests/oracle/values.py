"""Values: their types, fields of documents, and what an operator says of a value."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Any

from tests.oracle import clock
from tests.oracle.history import History

Json = dict[str, Any]
# What is a number is so by its name, never by its looks: store "007" is not store "7", but an amount of "10.0" is one of 10.
NUMBERS = {
    "total", "discount", "points_earned", "items.quantity", "items.amount", "items.discount", "value", "points", "collected", "spent",
    "hour", "weekday",
}  # fmt: skip
# Minor units of the currencies that do not have hundredths (ISO 4217).
_DECIMALS = {"JPY": 0, "KRW": 0, "BHD": 3, "JOD": 3, "KWD": 3, "OMR": 3, "TND": 3}
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": lambda value, threshold: bool(value == threshold),
    "ne": lambda value, threshold: bool(value != threshold),
    "gt": lambda value, threshold: bool(value > threshold),
    "gte": lambda value, threshold: bool(value >= threshold),
    "lt": lambda value, threshold: bool(value < threshold),
    "lte": lambda value, threshold: bool(value <= threshold),
    "between": lambda value, ends: bool(ends[0] <= value <= ends[1]),
    "in": lambda value, some: any(one in some for one in each(value)),
    "not_in": lambda value, some: not any(one in some for one in each(value)),
    "contains": lambda value, part: part in value,
    "starts_with": lambda value, start: bool(value.startswith(start)),
}


def each(value: Any) -> list[Any]:
    """The values of a list, or the one."""
    return value if isinstance(value, list) else [value]


def number(value: Any) -> Fraction:
    """A JSON number or decimal text, exactly."""
    return Fraction(Decimal(str(value)))


def typed(value: Any, kind: str, currency: str) -> Any:
    """A value of a declared type, a number as an exact one; None when it is of another type."""
    if kind in ("integer", "number", "money"):
        return _counted(value, kind, currency)
    fits = {
        "text": isinstance(value, str),
        "texts": isinstance(value, list) and all(isinstance(one, str) for one in value),
        "boolean": isinstance(value, bool),
        "date": isinstance(value, str) and _is_date(value),
        "place": isinstance(value, dict) and all(_is_number(value.get(name)) for name in ("lat", "lon")),
    }
    return value if fits[kind] else None


def _counted(value: Any, kind: str, currency: str) -> Fraction | None:
    """A whole number, a number, or an amount: that alone may be a decimal text, and has no more decimals than its currency."""
    written = kind == "money" and isinstance(value, str) and re.fullmatch(r"-?\d+(\.\d+)?", value)
    if not written and not _is_number(value):
        return None
    exact = number(value)
    units = {"integer": exact, "number": Fraction(0), "money": exact * 10 ** _DECIMALS.get(currency, 2)}[kind]
    return exact if units.denominator == 1 else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_date(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def field_of(document: Json, item: Json | None, field: str, history: History) -> Any:
    """A field of an event or of one of its line items, None when it is not there."""
    here = clock.local(clock.instant(document["occurred_at"]), history.zone)
    if field == "hour":
        return number(here.hour)
    if field == "weekday":
        return number(here.isoweekday())
    if field.startswith("properties."):
        told = (document.get("properties") or {}).get(field.removeprefix("properties."))
        return typed(told, history.declared[field], history.tenant["currency"])
    value = (item or {}).get(field.removeprefix("items.")) if field.startswith("items.") else document.get(field)
    # The two fields with a default: a receipt that does not say is a sale, and one that names no coupon has none.
    if value is None and document["type"] == "checkout" and field in ("kind", "coupon_ids"):
        return "sale" if field == "kind" else []
    return number(value) if value is not None and field in NUMBERS else value


def compare(value: Any, op: str, threshold: Any) -> bool:
    """What an operator says of a value and what the rule gives it."""
    if op == "exists":
        return (value is not None) is (True if threshold is None else threshold)
    if value is None:
        return False
    if isinstance(value, Fraction):
        threshold = [number(one) for one in threshold] if isinstance(threshold, list) else number(threshold)
    return _OPERATORS[op](value, threshold)
