"""Deliveries: one transition for one endpoint, as the dispatcher remembers it on the topic `deliveries`, and as it is pushed.

Key `p` holds the progress of a partition, `d` and the delivery's key one delivery. The last record of a key counts. It is also the
log of deliveries: the record with which one has ended says how, and stays for 30 days.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final, Literal

import msgspec
from msgspec import Struct

State = Literal["pending", "delivered", "exhausted", "cancelled"]
PROGRESS: Final = b"p"
_NAMES: Final = {"entered": "segment.entered", "exited": "segment.exited"}


class Attempt(Struct, array_like=True, gc=False):
    """One HTTP try: when, the status (None when there was no answer), how long, and what went wrong."""

    at_ms: int
    status: int | None
    duration_ms: int
    error: str | None


class Delivery(Struct, array_like=True, gc=False):
    """One transition on its way to one endpoint.

    It holds nothing that leads back to it, so no collection walks the tens of thousands that may be pending.

    `transition` is its JSON as it was published, so that every attempt sends the same bytes; empty once the delivery has ended.
    `next_ms` is when the next attempt is due, or when it ended; `reason` why it was cancelled, `offset` the transition's place in its
    partition. `id` is the `webhook-id`, which a replay of the transition has as well; `replay` tells which one it is of. `on_since_ms` is
    since when the endpoint was on when it was queued, or its replay asked for, 0 where that is not known.
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
    attempts: tuple[Attempt, ...] = ()
    offset: int = 0
    transition_id: str = ""
    segment_id: str = ""
    seq: int = 0
    replay: str = ""
    on_since_ms: int = 0

    @property
    def key(self) -> str:
        """What tells this delivery from every other: a replay is one of its own."""
        return f"{self.id}:{self.replay}" if self.replay else self.id

    @property
    def body(self) -> bytes:
        """The webhook's body: type, timestamp, and the transition byte for byte."""
        head = f'{{"type":"{_NAMES[self.change]}","timestamp":"{self.at}","data":'
        return head.encode() + self.transition + b"}"


class DispatchProgress(Struct, array_like=True):
    """How far a partition is: written in the transaction of the states that it vouches for, as its last record.

    `offset` is the next one of `membership-changes` whose deliveries are not yet all ended or remembered. What is pending has its last
    record on `deliveries` at `since` or later. `failing` are the endpoints (tenant and id) that have taken nothing since an instant;
    `behind` those for which nothing was queued from an offset before `offset` on.
    """

    offset: int
    since: int = 0
    failing: list[tuple[str, str, int]] = []
    behind: list[tuple[str, str, int]] = []


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


def delivery_of(
    transition: Announced, document: bytes, endpoint_id: str, offset: int, now_ms: int, *, on_since_ms: int, replay: str = ""
) -> Delivery:
    """Return the delivery of a transition, which is `document` and lies at `offset`, to an endpoint; it is due now."""
    return Delivery(
        id=delivery_id(transition.id, endpoint_id),
        tenant=transition.tenant,
        endpoint_id=endpoint_id,
        customer_id=transition.customer_id,
        change=transition.change,
        at=transition.at,
        transition=document,
        created_ms=now_ms,
        next_ms=now_ms,
        offset=offset,
        transition_id=transition.id,
        segment_id=transition.segment_id,
        seq=transition.seq,
        replay=replay,
        on_since_ms=on_since_ms,
    )


def delivery_key(key: str) -> bytes:
    """Return the record key of a delivery."""
    return b"d" + key.encode()
