"""What a partition writes into its changelog, and how: rows, chunks of history, and the progress.

Keys: `p` for the progress; `u` where all rows before it have the `until` that the facts lead to; `r` and the record key for a row; `c`
and a tenant for the cuts of its ranks; `e` and tenant, segment and list for the entries of a list that came; `h`, the record key, NUL and
four bytes of number for a chunk of history; `s` and `g` for what `stones` keeps, `l` for a link, `f` and a tenant for the partitions from
which records follow. Ids have no control characters, so NUL ends the key. An event adds one small chunk; sixteen of those are joined into
one without decoding, so an event is rewritten once, not each time its customer buys.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct

from schemas.standings import Cut
from services.segmenter.engine.row import Row

PROGRESS: Final = b"p"
FRESH: Final = b"u"
_NUMBER_BYTES: Final = 4

encode: Final = msgspec.msgpack.Encoder().encode
decode_row: Final = msgspec.msgpack.Decoder(Row).decode


class RowHead(Struct, array_like=True, gc=False):
    """The first fields of a row: enough to know when to look at it, at a fraction of the cost."""

    revision: int
    deadline_ms: int


class Progress(Struct, array_like=True):
    """How far a partition has come, written with every step.

    `epoch` grows with each owner. `offsets`: next offset of each input topic; `outcomes`: what became of its records, by
    outcome, `gap` being offsets that hold no record (transaction markers, or expired before anyone read them). `clock_ms`: the
    latest instant decided at. `definitions`: the catalog offset decided under; `swept`: every customer is decided under it.
    `decisions`: how many merges and erasures were decided here. `dropped_ms`: everybody has been rid of what had left the history then.
    `ahead`: by topic, those tenants who have come further than everybody, with their next offset and how many records they have had
    beyond the offset of all: outcomes add up to the offset and these.
    """

    epoch: int = 0
    offsets: dict[str, int] = {}
    outcomes: dict[str, dict[str, int]] = {}
    clock_ms: int = 0
    definitions: int = 0
    swept: int = 0
    decisions: int = 0
    dropped_ms: int = 0
    ahead: dict[str, dict[str, tuple[int, int]]] = {}


class Came(Struct, array_like=True, frozen=True):
    """How many entries of a list have come of those that the definition at `since` announced.

    `owing`: partitions that have not said yet that they have sent on all that they had to.
    """

    since: int
    entries: int
    owing: list[int] = []


decode_head: Final = msgspec.msgpack.Decoder(RowHead).decode
decode_progress: Final = msgspec.msgpack.Decoder(Progress).decode
decode_came: Final = msgspec.msgpack.Decoder(Came).decode
decode_cuts: Final = msgspec.msgpack.Decoder(dict[str, Cut]).decode


def row_key(key: bytes) -> bytes:
    """Return the changelog key of a customer's row."""
    return b"r" + key


def cuts_key(tenant: str) -> bytes:
    """Return the changelog key of where a tenant's ranks end."""
    return b"c" + tenant.encode()


def came_key(name: str) -> bytes:
    """Return the changelog key of the entries of a list that came."""
    return b"e" + name.encode()


def chunk_key(key: bytes, number: int) -> bytes:
    """Return the changelog key of a chunk of a customer's history."""
    return b"h" + key + b"\0" + number.to_bytes(_NUMBER_BYTES, "big")


def split_chunk_key(changelog_key: bytes) -> tuple[bytes, int]:
    """Return the record key and the number of a chunk's changelog key."""
    return changelog_key[1 : -_NUMBER_BYTES - 1], int.from_bytes(changelog_key[-_NUMBER_BYTES:], "big")
