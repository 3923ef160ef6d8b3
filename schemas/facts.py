"""Facts: events as the engine keeps them, with exact integers in place of text, fields by position, nothing derived.

The encoding is a msgpack array whose line items come last, column by column in bytes of their own: who does not need them passes over
them in one step, and who needs a few of their fields decodes no others. A chunk of history is a msgpack array of such facts that grows
by appending bytes. Chunks of version 0.1, whose line items are rows within the array, are read all the same.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Any, Final

import msgspec
from msgspec import Struct

from schemas.vocabulary import EVENT_FIELDS, ITEM_FIELDS

_PEOPLE: Final = ("customer-merge", "customer-erase")
TYPE_NUMBERS: Final[dict[str, int]] = {name: number for number, name in enumerate((*EVENT_FIELDS, "profile", "checkout-void", *_PEOPLE))}
"""The number of each type in stored facts; it only grows at the end."""

PROFILE: Final = TYPE_NUMBERS["profile"]
VOID: Final = TYPE_NUMBERS["checkout-void"]
MERGE: Final = TYPE_NUMBERS["customer-merge"]
"""Kept for its id alone. This number and those above it say who is whom, and nothing that a rule could look at."""
ERASE: Final = TYPE_NUMBERS["customer-erase"]
IMPORTED: Final = 1
SYNTHETIC: Final = 2
ACCEPTED_BITS: Final = 8
"""Above these many bits of flags stands the instant at which the fact was accepted, 0 where nobody noted it."""
_CHUNK_HEAD: Final = b"\xdc"  # msgpack array16
_SHORT_ARRAY: Final = 15
CHUNK_LIMIT: Final = 65_535
ITEM_POSITIONS: Final[dict[str, int]] = {name: place for place, (name, _) in enumerate(ITEM_FIELDS)}
Columns = tuple[tuple[Any, ...], ...]


class Brief(Struct, array_like=True, gc=False):
    """An event without its line items: what most questions need of it, for a fifth of the time.

    `type` is a number of `TYPE_NUMBERS`; `body` holds the fields in the vocabulary's order: money in minor units, points as
    integers, absent ones None. For a profile it is `(declared, undeclared)`: typed values by name, and the JSON text of the
    rest; for a custom event `(name, properties as JSON texts)`; for a void `(receipt_id, store_id)`; for a merge `(into,)`.
    """

    type: int
    event_id: str
    at_ms: int
    flags: int
    body: tuple[Any, ...]


class Fact(Brief, array_like=True, gc=False):
    """One event of a customer, ready to be counted.

    `items` holds the line items, quantities in millionths, by column: for each of `ITEM_FIELDS` the values of all items, in their order.
    It is empty where there are none.
    """

    items: Columns = ()

    @property
    def imported(self) -> bool:
        """Whether its transitions are kept from webhooks that did not ask for imports."""
        return bool(self.flags & IMPORTED)

    @property
    def accepted_ms(self) -> int:
        """When it was accepted: of two facts that share an id the first counts."""
        return self.flags >> ACCEPTED_BITS

    def same_as(self, other: Fact) -> bool:
        """Whether two facts of one id say the same; how they were sent is no part of it."""
        return self.stated() == other.stated()

    def stated(self) -> bytes:
        """Return the encoding of what the fact says, without id and flags."""
        return _encoder.encode((self.type, self.at_ms, self.body, self.items))


class Stored(Brief, array_like=True, gc=False):
    """A fact as it lies in a chunk: its line items are not decoded yet, or are the rows of version 0.1."""

    items: bytes | list[tuple[Any, ...]] = b""


_encoder: Final = msgspec.msgpack.Encoder()
_chunk_decoder: Final = msgspec.msgpack.Decoder(list[Stored])
_brief_decoder: Final = msgspec.msgpack.Decoder(list[Brief])
_columns_decoder: Final = msgspec.msgpack.Decoder(Columns)


class ItemReader:
    """Reads some fields of line items, by their places in `ITEM_FIELDS`."""

    def __init__(self, places: Container[int]) -> None:
        columns = tuple([tuple[Any, ...] if place in places else msgspec.Raw for place in range(len(ITEM_FIELDS))])
        self._decode = msgspec.msgpack.Decoder(tuple[columns]).decode  # type: ignore[valid-type]

    def of(self, fact: Brief) -> Columns:
        """Return the columns of a fact's line items; in those that are not read may be anything."""
        if isinstance(fact, Stored):
            items = fact.items
            if not items:
                return ()
            if not isinstance(items, bytes):
                return _padded(tuple(zip(*items, strict=True)))
            try:
                return self._decode(items)
            except msgspec.ValidationError:
                return _padded(_columns_decoder.decode(items))
        return fact.items if isinstance(fact, Fact) else ()


def _padded(columns: Columns) -> Columns:
    """Return columns of line items that were written when there were fewer fields, with the others."""
    return columns + ((None,) * len(columns[0]),) * (len(ITEM_FIELDS) - len(columns))


_every_field: Final = ItemReader(range(len(ITEM_FIELDS)))


def opened(fact: Brief) -> Fact:
    """Return a fact with its line items decoded."""
    return fact if isinstance(fact, Fact) else Fact(fact.type, fact.event_id, fact.at_ms, fact.flags, fact.body, _every_field.of(fact))


def chunk_of(facts: list[Fact]) -> bytes:
    """Encode facts, at most `CHUNK_LIMIT` of them, as one chunk of history."""
    encode, count = _encoder.encode, len(facts)
    # As `Stored` has it; of a tuple it is quicker.
    stored = [(fact.type, fact.event_id, fact.at_ms, fact.flags, fact.body, encode(fact.items)) if fact.items else fact for fact in facts]
    encoded = encode(stored)
    # A short array has a head of one byte; a chunk's is always the longer one, so that chunks can be joined.
    return encoded if count > _SHORT_ARRAY else _CHUNK_HEAD + count.to_bytes(2, "big") + encoded[1:]


def joined(chunks: Iterable[bytes]) -> bytes:
    """Join chunks into one that holds all their facts in order, without decoding any."""
    parts = list(chunks)
    count = sum(int.from_bytes(part[1:3], "big") for part in parts)
    if count > CHUNK_LIMIT:
        raise ValueError(f"a chunk holds at most {CHUNK_LIMIT} facts, not {count}")
    return _CHUNK_HEAD + count.to_bytes(2, "big") + b"".join(part[3:] for part in parts)


def facts_in(chunk: bytes) -> list[Fact]:
    """Decode a chunk of history."""
    return [opened(fact) for fact in stored_in(chunk)]


def stored_in(chunk: bytes) -> list[Stored]:
    """Decode a chunk of history, its line items not yet."""
    return _chunk_decoder.decode(chunk)


def briefs_in(chunk: bytes) -> list[Brief]:
    """Decode a chunk of history without the line items."""
    return _brief_decoder.decode(chunk)
