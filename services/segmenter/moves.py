"""What partitions send each other about people, on the topic `customer-moves`: see docs/adr/0012.

`definitions` is the catalog offset of the sender: the receiver must have read as far. `number` is the place of a decision among
those of its tenant.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct

from schemas.errors import Refusal
from schemas.facts import Fact


class Origin(Struct, array_like=True):
    """The record that a move comes from, and where it stood."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes


class Following(Struct, array_like=True, tag="following"):
    """A record about an id that was merged, for `customer_id`, whom the id means. First heard of at `heard_ms`."""

    definitions: int
    tenant: str
    customer_id: str
    number: int
    heard_ms: int
    origin: Origin


class Proposal(Struct, array_like=True, tag="proposal"):
    """A merge or an erasure of `customer_id`, to be decided where the tenant lives."""

    definitions: int
    tenant: str
    customer_id: str
    heard_ms: int
    origin: Origin


class Leaving(Struct, array_like=True, tag="leaving"):
    """A merge that was accepted: `customer_id` disappears, `into` lives on. `fact` is the event, which takes its id."""

    definitions: int
    tenant: str
    customer_id: str
    into: str
    number: int
    fact: Fact


class Arriving(Struct, array_like=True, tag="arriving"):
    """What somebody who disappeared leaves to `customer_id`: chunks of history, manual entries as in a row, and where its ids live."""

    definitions: int
    tenant: str
    customer_id: str
    number: int
    event_id: str
    imported: bool
    chunks: list[bytes]
    manual: dict[str, tuple[int, int]]
    homes: list[int] = []


class Pointing(Struct, array_like=True, tag="pointing"):
    """Whoever has this hash was merged before, and means `into` from now on.

    `customer_id` is told of an id that was erased, and then heard of again.
    """

    definitions: int
    tenant: str
    hashed: bytes
    into: str
    number: int
    customer_id: str = ""


class Forgetting(Struct, array_like=True, tag="forgetting"):
    """An erasure, for one of the person's ids; `customer_id` is told of the one that lives, for it has a row.

    `at_ms` is the erasure's own instant, `heard_ms` when it was first heard of.
    """

    definitions: int
    tenant: str
    hashed: bytes
    customer_id: str
    number: int
    event_id: str
    imported: bool
    at_ms: int
    heard_ms: int


class Listed(Struct, array_like=True, tag="listed"):
    """Partition `home` has taken in all that the definition at `since` announced to it of a list, and sent on what is others'."""

    definitions: int
    tenant: str
    segment_id: str
    entries: str
    since: int
    home: int


Move = Following | Proposal | Leaving | Arriving | Pointing | Forgetting | Listed

_decoder: Final = msgspec.msgpack.Decoder(Move)
encode_move: Final = msgspec.msgpack.Encoder().encode


def decode_move(document: bytes) -> Move:
    """Read a move; raise `Refusal` on anything else."""
    try:
        return _decoder.decode(document)  # type: ignore[no-any-return]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal(str(error)[:300], reason="malformed") from None
