"""The row: what must be remembered of a customer because it was decided rather than derived."""

from __future__ import annotations

from msgspec import Struct

from schemas.instants import NEVER


class Row(Struct, array_like=True, gc=False):
    """What must be remembered of a customer besides the history, because it was decided rather than derived.

    `revision`: the tenant's definitions under which every segment was decided. `deadline_ms`: not later than the next
    instant at which anything flips by itself. `seq` and `last_at_ms`: the last transition's. `members`: segment →
    (since, until). `manual`: segment → (definition offset of the include entry, of the exclude entry), -1 for none. `entered`:
    segment with a `min_stay` → the last entry that still holds the customer.
    """

    revision: int
    deadline_ms: int = NEVER
    seq: int = 0
    last_at_ms: int = 0
    members: dict[str, tuple[int, int]] = {}
    manual: dict[str, tuple[int, int]] = {}
    entered: dict[str, int] = {}
