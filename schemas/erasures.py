"""What those who serve transitions are told of erased ids, on the topic `erasures`: nothing that names anybody."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct


class Erased(Struct, array_like=True):
    """The transitions of whoever has this hash (`schemas.identity`) up to `seq` are of a life that was erased."""

    tenant: str
    hashed: bytes
    seq: int


encode_erased: Final = msgspec.msgpack.Encoder().encode
decode_erased: Final = msgspec.msgpack.Decoder(Erased).decode
