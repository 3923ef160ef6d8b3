"""A customer as a question sees one: what was decided and what happened, to be read and not to be changed."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from schemas.facts import Fact
from services.segmenter.engine.decisions import Customer
from services.segmenter.engine.row import Row
from services.segmenter.rows import Slot, decode_row


class Person:
    """One customer of a partition. `history` reads all facts, including those that are not written yet."""

    __slots__ = ("_slot", "customer_id", "history", "tenant")

    def __init__(self, tenant: str, customer_id: str, slot: Slot, history: Callable[[], list[Fact]]) -> None:
        self.tenant = tenant
        self.customer_id = customer_id
        self.history = history
        self._slot = slot

    @property
    def events(self) -> int:
        """How many facts are kept."""
        return self._slot.events

    @property
    def row(self) -> Row:
        """What was decided last, as a copy (its parts are never changed in place)."""
        slot = self._slot
        customer: Customer | None = slot.customer
        if customer is not None:
            return replace(customer.row)
        return Row(-1) if slot.row is None else decode_row(slot.row)
