"""Decoding: from the bytes of one event to the event, or to a refusal with the place and what would have been right.

Whatever cannot be read is an answer, never a crash: broken JSON, bytes that are no UTF-8, nesting without end.
"""

from __future__ import annotations

from typing import Final

import msgspec

from schemas.errors import Refusal
from schemas.events import MAX_EVENT_BYTES, CustomerMerge, Event, has_control
from schemas.faults import misread

_decoder: Final = msgspec.json.Decoder(Event)


def decode_event(document: bytes | memoryview) -> Event:
    """Read one event; raise `Refusal` with the place and what would have been right."""
    if len(document) > MAX_EVENT_BYTES:
        raise Refusal(f"an event has at most {MAX_EVENT_BYTES} bytes, this one has {len(document)}", reason="too_large")
    try:
        event = _decoder.decode(document)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _refusal(document, error) from None
    event_id: str = event.event_id
    if not event_id.isprintable() and has_control(event_id):
        raise _control("event_id")
    customer_id: str | None = event.customer_id
    if customer_id is not None and not customer_id.isprintable() and has_control(customer_id):
        raise _control("customer_id")
    if type(event) is CustomerMerge and has_control(event.into):
        raise _control("into")
    return event  # type: ignore[no-any-return]


def _control(name: str) -> Refusal:
    return Refusal(f"{name} must not contain control characters", pointer=f"/{name}")


def _refusal(document: bytes | memoryview, error: Exception) -> Refusal:
    found = misread(document, Event, error)
    if found.pointer == "/type" and str(error).startswith("Invalid value"):
        return Refusal(found.detail, pointer=found.pointer, reason="unknown_type")
    return found
