"""The vocabulary: what rules can ask about: each event's fields, each profile attribute, and their kinds.

A fact keeps its fields by position in these lists, so they only ever grow at the end: what is stored stays readable.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Kind(StrEnum):
    """What a value is. Kinds come from here, never from how a value looks: store "007" is not store "7"."""

    TEXT = "text"
    TEXTS = "texts"
    MONEY = "money"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    DATE = "date"
    PLACE = "place"


_TEXT, _TEXTS, _MONEY, _INT = Kind.TEXT, Kind.TEXTS, Kind.MONEY, Kind.INTEGER

EVENT_FIELDS: Final[dict[str, tuple[tuple[str, Kind], ...]]] = {
    "checkout": (
        ("receipt_id", _TEXT),
        ("store_id", _TEXT),
        ("channel", _TEXT),
        ("kind", _TEXT),
        ("total", _MONEY),
        ("discount", _MONEY),
        ("currency", _TEXT),
        ("payment_method", _TEXT),
        ("points_earned", _INT),
        ("coupon_ids", _TEXTS),
    ),
    "coupon-redemption": (
        ("coupon_id", _TEXT),
        ("campaign_id", _TEXT),
        ("receipt_id", _TEXT),
        ("value", _MONEY),
        ("points", _INT),
        ("reward_id", _TEXT),
    ),
    "email-send": (("campaign_id", _TEXT), ("message_id", _TEXT)),
    "email-open": (("campaign_id", _TEXT), ("message_id", _TEXT)),
    "email-click": (("campaign_id", _TEXT), ("message_id", _TEXT)),
    "points": (("collected", _INT), ("spent", _INT)),
    "visit": (("store_id", _TEXT),),
    "custom": (("name", _TEXT),),
}
"""Fields of each event that a rule can name, in the order in which a fact keeps them."""

ITEM_FIELDS: Final[tuple[tuple[str, Kind], ...]] = (
    ("product_id", _TEXT),
    ("category", _TEXT),
    ("department", _TEXT),
    ("brand", _TEXT),
    ("quantity", Kind.NUMBER),
    ("amount", _MONEY),
    ("discount", _MONEY),
)
"""Fields of a checkout's line items, in the order in which a fact keeps them; rules write `items.` before them."""

DERIVED_FIELDS: Final[tuple[tuple[str, Kind], ...]] = (("hour", _INT), ("weekday", _INT))
"""Derived from `occurred_at` in the tenant's zone: 0 to 23, and 1 Monday to 7."""

CHOICES: Final[dict[str, tuple[str, ...]]] = {"channel": ("store", "web", "app", "phone"), "kind": ("sale", "return")}
"""The fields of a checkout that are one of a few words."""

ALWAYS_GIVEN: Final[dict[str, tuple[str, ...]]] = {
    "checkout": ("kind", "total", "coupon_ids"),
    "coupon-redemption": ("coupon_id",),
    "email-send": ("campaign_id",),
    "email-open": ("campaign_id",),
    "email-click": ("campaign_id",),
    "visit": ("store_id",),
    "custom": ("name",),
}
"""The fields that each event has, sent or by default; the derived ones are there as well."""

ATTRIBUTES: Final[dict[str, Kind]] = {
    "birth_date": Kind.DATE,
    "gender": _TEXT,
    "location": Kind.PLACE,
    "city": _TEXT,
    "region": _TEXT,
    "postal_code": _TEXT,
    "country": _TEXT,
    "card_number": _TEXT,
    "card_since": Kind.DATE,
    "occupation": _TEXT,
    "income_band": _TEXT,
    "household_size": _INT,
    "marital_status": _TEXT,
    "education": _TEXT,
    "housing": _TEXT,
    "consent": Kind.BOOLEAN,
    "tags": _TEXTS,
}
"""The profile attributes that every tenant has."""

DERIVED_ATTRIBUTES: Final[dict[str, Kind]] = {"age": _INT, "birthday_in_days": _INT}
"""Derived from `birth_date` and the local date."""

FIELD_RANGES: Final[dict[str, tuple[int, int]]] = {"hour": (0, 23), "weekday": (1, 7)}
ATTRIBUTE_RANGES: Final[dict[str, tuple[int, int | None]]] = {"age": (0, None), "birthday_in_days": (0, 365)}
"""From where to where what is derived can lie. A birthday on 29 February is never further away than another."""

EVENT_TYPES: Final = tuple(EVENT_FIELDS)
"""The event types that metrics aggregate."""
