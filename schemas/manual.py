"""Manual entries: a customer put into a segment, or kept out of it, by hand. They live with the customer, not the definition."""

from __future__ import annotations

from typing import Final, Literal

import msgspec
from msgspec import Struct

from schemas.errors import Refusal
from schemas.events import CustomerId, EventId, Tenant


class ManualEntry(Struct, kw_only=True):
    """Put on or take off one list of a segment for one customer.

    `since` is the offset of the definition that the list belongs to: replacing the whole list raises the segment's own, and
    with it every older entry ends without being touched. `announced`: that definition has counted this entry.
    """

    event_id: EventId
    tenant: Tenant
    customer_id: CustomerId
    segment_id: str
    entries: Literal["include", "exclude"]
    present: bool
    since: int
    announced: bool = False


_decoder: Final = msgspec.json.Decoder(ManualEntry)
encode_manual: Final = msgspec.json.Encoder().encode


def decode_manual(document: bytes) -> ManualEntry:
    """Read a manual entry; raise `Refusal` on anything else."""
    try:
        return _decoder.decode(document)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal(str(error)[:300], reason="malformed") from None
