"""Opaque places in the streams: the `position` of a 202, which `?after=` takes, and the cursor of the change feed.

A token is base64url of msgpack `{topic or "": {partition: next offset}}`. It names no tenant: it can only make a reader
wait or start elsewhere, never see more than its key may.
"""

from __future__ import annotations

import base64
import binascii
from typing import Final

import msgspec

from schemas.errors import Refusal

Offsets = dict[str, dict[int, int]]
_MAX_TOKEN: Final = 32_768
"""A thousand partitions make 12,000 characters; servers take request lines of 64 KiB."""

_decoder: Final = msgspec.msgpack.Decoder(Offsets)


def encode_position(offsets: Offsets) -> str:
    """Write the next offsets of each topic's partitions as a token."""
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(offsets)).rstrip(b"=").decode()


def decode_position(token: str, *, partitions: int, name: str = "after") -> Offsets:
    """Read a token; raise `Refusal` when it is not one that this installation gave."""
    try:
        if len(token) > _MAX_TOKEN:
            raise ValueError
        offsets = _decoder.decode(base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True))
        valid = all(0 <= p < partitions and 0 <= o < 1 << 62 for places in offsets.values() for p, o in places.items())
        if not valid:
            raise ValueError
    except (ValueError, binascii.Error, msgspec.MsgspecError, RecursionError):
        raise Refusal(f"{name} is not a token that this API gave", pointer=f"/{name}", reason="position") from None
    return offsets
