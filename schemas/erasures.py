"""What those who serve transitions are told of erased ids, on the topic `erasures`: nothing that names anybody."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct

from schemas.catalog import Catalog
from schemas.identity import hash_of


class Erased(Struct, array_like=True):
    """The transitions of whoever has this hash (`schemas.identity`) up to `seq` are of a life that was erased."""

    tenant: str
    hashed: bytes
    seq: int


encode_erased: Final = msgspec.msgpack.Encoder().encode
decode_erased: Final = msgspec.msgpack.Decoder(Erased).decode


class Erasures:
    """Whose transitions must not be served any more, up to which."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._seqs: dict[tuple[str, bytes], int] = {}

    def apply(self, document: bytes) -> None:
        """Take note of an erased id. Its lives follow each other, so the greatest `seq` counts."""
        erased = decode_erased(document)
        key = erased.tenant, erased.hashed
        self._seqs[key] = max(erased.seq, self._seqs.get(key, 0))

    def last_seq(self, tenant: str, customer_id: str) -> int:
        """Return up to which of its transitions an id was erased, -1 for one that never was."""
        if not self._seqs or (known := self._catalog.tenants.get(tenant)) is None:
            return -1
        return self._seqs.get((tenant, hash_of(known.salt, tenant, customer_id)), -1)
