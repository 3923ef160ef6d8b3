"""Deliveries: one transition for one endpoint, as the dispatcher remembers it on the topic `deliveries`, and as it is pushed.

Key `p` holds the progress of a partition, `d` and the delivery's id one delivery. The last record of a key counts.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final, Literal

import msgspec
from msgspec import Struct

State = Literal["pending", "delivered", "exhausted", "cancelled"]
PROGRESS: Final = b"p"
_NAMES: Final = {"entered": "segment.entered", "exited": "segment.exited"}


class Attempt(Struct, array_like=True):
    """One HTTP try: when, the status (None when there was no answer), how long, and what went wrong."""

    at_ms: int
    status: int | None
    duration_ms: int
    error: str | None


class Delivery(Struct, array_like=True):
    """One transition on its way to one endpoint.

    `transition` is its JSON as it was published, so that every attempt sends the same bytes; empty once the delivery has ended.
    `next_ms` is when the next attempt is due, `reason` why it was cancelled, `offset` the transition's place in its partition.
    """

    id: str
    tenant: str
    endpoint_id: str
    customer_id: str
    change: str
    at: str
    transition: bytes
    created_ms: int
    next_ms: int
    state: State = "pending"
    reason: str = ""
    attempts: list[Attempt] = []
    offset: int = 0

    @property
    def body(self) -> bytes:
        """The webhook's body: type, timestamp, and the transition byte for byte."""
        head = f'{{"type":"{_NAMES[self.change]}","timestamp":"{self.at}","data":'
        return head.encode() + self.transition + b"}"


class DispatchProgress(Struct, array_like=True):
    """The next offset of `membership-changes` whose deliveries are not yet all ended or remembered."""

    offset: int


class Announced(Struct):
    """What the dispatcher reads of a transition."""

    id: str
    tenant: str
    customer_id: str
    segment_id: str
    change: str
    at: str
    decided_at: str
    cause: AnnouncedCause
    seq: int = 0


class AnnouncedCause(Struct, rename={"imported": "import"}):
    """What the dispatcher reads of a cause."""

    kind: str
    imported: bool = False


encode: Final = msgspec.msgpack.Encoder().encode
decode_delivery: Final = msgspec.msgpack.Decoder(Delivery).decode
decode_progress: Final = msgspec.msgpack.Decoder(DispatchProgress).decode
decode_announced: Final = msgspec.json.Decoder(Announced).decode


def delivery_id(transition_id: str, endpoint_id: str) -> str:
    """Return the `webhook-id`: the same for every attempt, and after any crash."""
    return "msg_" + blake2b(f"{transition_id}\0{endpoint_id}".encode(), digest_size=15).hexdigest()


def delivery_key(identifier: str) -> bytes:
    """Return the record key of a delivery."""
    return b"d" + identifier.encode()
