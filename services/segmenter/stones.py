# ruff: noqa: SLF001 - a part of the partition in a file of its own: it writes with the partition's step
"""Stones: what is left of the ids at home in a partition that have no row because they were merged or erased. See docs/adr/0012.

Found by the salted hash of the id. The ids that Redis must still be made to forget are kept here too, by their names.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from schemas import projection
from schemas.partitions import record_key
from services.segmenter.engine.row import Erasure, Row
from services.segmenter.posting import Post, tenant_of

if TYPE_CHECKING:
    from services.segmenter.partition import Partition


class Stone(Struct, array_like=True):
    """What is left of an id that has no row: `seq` and `last_at_ms` go on in a new life.

    `into` is the sealed id that it was merged into, empty for none, since decision `number`. `customer_id` is empty once erased.
    `homes`: as in a row, for facts about ids that were merged before still follow to a new life.
    """

    seq: int = 0
    last_at_ms: int = 0
    number: int = 0
    erasure: Erasure | None = None
    customer_id: str = ""
    into: bytes = b""
    homes: list[int] = []


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Stone).decode


class Stones:
    """The stones of one partition."""

    def __init__(self, partition: Partition, post: Post) -> None:
        self._partition, self._post = partition, post
        self._stones: dict[bytes, Stone] = {}
        self._leaving: dict[bytes, None] = {}

    def restore(self, kind: bytes, name: bytes, value: bytes | None) -> None:
        """Take one record of the changelog: `s` a stone, `g` an id that the projection must forget; None removes it."""
        if value is None:
            {b"s": self._stones, b"g": self._leaving}[kind].pop(name, None)  # type: ignore[attr-defined]
        elif kind == b"s":
            self._stones[name] = _decode(value)
        else:
            self._leaving[name] = None

    def keys(self) -> Iterable[bytes]:
        """Return the record keys of ids without a row that the projection must show, or must be made to forget."""
        return self.shown_by(self._stones)

    def shown_by(self, names: Iterable[bytes]) -> Iterable[bytes]:
        """Return those of the stones with these names, and of all that the projection must be made to forget."""
        stones = [(name, stone) for name in names if (stone := self._stones.get(name)) is not None and stone.customer_id]
        return [*(record_key(tenant_of(name), stone.customer_id) for name, stone in stones), *self._leaving]

    def shown(self, tenant: str, customer_id: str) -> bytes:
        """Return what the projection shows of an id without a row: whom it means, or nothing."""
        stone = self._stones.get(self._post.name(tenant, customer_id))
        if stone is None or not stone.customer_id:
            return b""
        return projection.encode(self._post.opened(tenant, customer_id, stone.into))

    def revived(self, tenant: str, customer_id: str, revision: int) -> Row:
        """Return the first row of an id's life, which goes on where an erased one ended."""
        if not self._stones and not self._leaving:
            return Row(revision)
        self.stay(record_key(tenant, customer_id))
        name = self._post.name(tenant, customer_id)
        stone = self._stones.pop(name, None)
        if stone is None:
            return Row(revision)
        self._partition._gathering.put(b"s" + name, None)
        return Row(revision, seq=stone.seq, last_at_ms=stone.last_at_ms, erasure=stone.erasure, homes=stone.homes)

    def named(self, name: bytes) -> Stone | None:
        """Return the stone of this name."""
        return self._stones.get(name)

    def of(self, tenant: str, customer_id: str) -> Stone | None:
        """Return the stone of an id."""
        return self._stones.get(self._post.name(tenant, customer_id)) if self._stones else None

    def lead_on(self, tenant: str) -> bool:
        """Whether any id of a tenant that is at home here means somebody else. Looks at all stones."""
        return any(stone.into and tenant_of(name) == tenant for name, stone in self._stones.items())

    def keep(self, name: bytes, stone: Stone) -> None:
        """Keep a stone as it is now."""
        self._stones[name] = stone
        self._partition._gathering.put(b"s" + name, _encode(stone))

    def go(self, key: bytes) -> None:
        """Have the projection forget an id, and remember that until it has."""
        self._leaving[key] = None
        self._partition._gathering.put(b"g" + key, b"1")
        self._partition._gathering.touch(key)

    def stay(self, key: bytes) -> None:
        """Have nothing to be forgotten of an id any more."""
        if key in self._leaving:
            del self._leaving[key]
            self._partition._gathering.put(b"g" + key, None)
