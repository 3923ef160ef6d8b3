"""Decoding: from the bytes of one event to the event, or to a refusal with the place and what would have been right.

Whatever cannot be read is an answer, never a crash: broken JSON, bytes that are no UTF-8, nesting without end.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from schemas.errors import Refusal, pointer_token
from schemas.events import MAX_EVENT_BYTES, TYPES, CustomerMerge, Event, has_control

_decoder: Final = msgspec.json.Decoder(Event)
_PLACE: Final = re.compile(r" - at `\$(.*)`$")
_MISSING: Final = re.compile(r"missing required field `(.*?)`")
_UNKNOWN_TYPE: Final = re.compile(r"Invalid value '(.*)'$")
_STEP: Final = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")


def decode_event(document: bytes | memoryview) -> Event:
    """Read one event; raise `Refusal` with the place and what would have been right."""
    if len(document) > MAX_EVENT_BYTES:
        raise Refusal(f"an event has at most {MAX_EVENT_BYTES} bytes, this one has {len(document)}", reason="too_large")
    try:
        event = _decoder.decode(document)
    except msgspec.ValidationError as error:
        raise _refusal(str(error)) from None
    except msgspec.DecodeError as error:
        raise Refusal(str(error), reason="malformed") from None
    except UnicodeDecodeError:
        raise Refusal(f"not UTF-8 at byte {_first_bad_byte(bytes(document))}", reason="malformed") from None
    except RecursionError:
        raise Refusal("nested too deeply; an event has four levels at most", reason="malformed") from None
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


def _first_bad_byte(document: bytes) -> int:
    try:
        document.decode()
    except UnicodeDecodeError as error:
        return error.start
    return 0


def pointer_of(path: str) -> str:
    """Turn msgspec's path `.items[0].amount` into the JSON Pointer `/items/0/amount`."""
    return "".join("/" + pointer_token(name or index) for name, index in _STEP.findall(path))


def _refusal(message: str) -> Refusal:
    place = _PLACE.search(message)
    pointer = pointer_of(place.group(1)) if place else ""
    detail = message[: place.start()] if place else message
    if missing := _MISSING.search(detail):
        return Refusal(f"{missing.group(1)} is missing", pointer=f"{pointer}/{missing.group(1)}", reason="missing_field")
    if pointer == "/type" and (unknown := _UNKNOWN_TYPE.search(detail)):
        return Refusal(f"unknown event type {unknown.group(1)!r}; one of {', '.join(map(str, TYPES))}", pointer="/type", reason="unknown_type")
    return Refusal(detail[:300], pointer=pointer)
