"""Facts as the documents that they were: fields by name, amounts as decimal strings, absent ones left out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any, Final

from msgspec import Raw

from schemas.amounts import MICRO, decimal_text, short_text
from schemas.facts import MERGE, PROFILE, TYPE_NUMBERS, VOID, Fact
from schemas.instants import iso
from schemas.vocabulary import EVENT_FIELDS, ITEM_FIELDS, Kind

TYPES: Final = {number: name for name, number in TYPE_NUMBERS.items()}
_CUSTOM: Final = TYPE_NUMBERS["custom"]


def document(fact: Fact, exponent: int) -> dict[str, Any]:
    """Return an event as a document; money has the `exponent` of the tenant's currency."""
    found: dict[str, Any] = {"event_id": fact.event_id, "type": TYPES[fact.type], "occurred_at": iso(fact.at_ms)}
    if fact.imported:
        found["import"] = True
    if fact.type == PROFILE:
        return found | {"attributes": said(fact)}
    if fact.type == VOID:
        return found | dict(zip(("receipt_id", "store_id"), fact.body, strict=True))
    if fact.type == MERGE:
        return found | {"into": fact.body[0]}
    if fact.type == _CUSTOM:
        return found | {"name": fact.body[0], "properties": {name: Raw(text.encode()) for name, text in fact.body[1].items()}}
    found |= _named(EVENT_FIELDS[TYPES[fact.type]], fact.body, exponent)
    return found | {"items": [_named(ITEM_FIELDS, item, exponent) for item in zip(*fact.items, strict=True)]} if fact.items else found


def profile(facts: Iterable[Fact], at_ms: int) -> dict[str, Any]:
    """Return the attributes as they were said by an instant: of each the later word, then the greater id; null removes."""
    found: dict[str, Any] = {}
    for fact in sorted((one for one in facts if one.type == PROFILE and one.at_ms <= at_ms), key=lambda one: (one.at_ms, one.event_id)):
        found |= said(fact)
    return {name: value for name, value in sorted(found.items()) if value is not None}


def said(fact: Fact) -> dict[str, Any]:
    """Return the attributes of a profile event, None for what it removes."""
    known, others = fact.body[0], fact.body[1]
    return {name: _attribute(name, value) for name, value in known.items()} | {
        name: None if text is None else Raw(text.encode()) for name, text in others.items()
    }


def _attribute(name: str, value: Any) -> Any:
    return {"lat": value[0], "lon": value[1]} if name == "location" and value is not None else value


def _named(fields: Sequence[tuple[str, Kind]], values: Sequence[Any], exponent: int) -> dict[str, Any]:
    pairs = zip(fields, values, strict=False)
    return {name: _shown(value, kind, exponent) for (name, kind), value in pairs if value is not None and value != ()}


def _shown(value: Any, kind: Kind, exponent: int) -> Any:
    if kind is Kind.MONEY:
        return decimal_text(value, exponent)
    return Decimal(short_text(Decimal(value).scaleb(-MICRO))) if kind is Kind.NUMBER else value
