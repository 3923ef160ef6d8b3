"""Cursors of pages: opaque to clients, checked like any other input when they come back."""

from __future__ import annotations

import base64
import binascii
from typing import Any, Final, TypeVar

import msgspec

from services.api.errors import Refused

T = TypeVar("T")
_MAX_CHARACTERS: Final = 2_048


def encode_cursor(place: Any) -> str:
    """Write a place as a cursor."""
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(place)).rstrip(b"=").decode()


def decode_cursor(cursor: str, type_: type[T]) -> T:
    """Read a cursor; raises `Refused` (422) when it is none that this API gave."""
    if len(cursor) > _MAX_CHARACTERS:
        raise bad_cursor()
    try:
        return msgspec.msgpack.decode(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True), type=type_)
    except (ValueError, binascii.Error, msgspec.MsgspecError, RecursionError):
        raise bad_cursor() from None


def bad_cursor() -> Refused:
    """Return the answer for a cursor that this API did not give."""
    return Refused(422, "cursor is not one that this API gave", pointer="/cursor")
