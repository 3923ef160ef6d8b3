"""A customer as a question sees one: what was decided and what happened, to be read and not to be changed."""

from __future__ import annotations

from msgspec.structs import replace

from schemas.facts import Fact
from services.segmenter.engine.decisions import CLOCK, Customer
from services.segmenter.engine.live import History, Live, whole
from services.segmenter.engine.plan import Plan
from services.segmenter.engine.row import Row
from services.segmenter.slots import Slot, facts_of


class Person:
    """One customer of a partition. `read` reads facts, including those that are not written yet."""

    __slots__ = ("_slot", "customer_id", "read", "tenant")

    def __init__(self, tenant: str, customer_id: str, slot: Slot, read: History) -> None:
        self.tenant = tenant
        self.customer_id = customer_id
        self.read = read
        self._slot = slot

    def history(self) -> list[Fact]:
        """Return all facts."""
        return whole(self.read)

    @property
    def live(self) -> Live | None:
        """The live state while it is remembered, with what was applied and is not decided yet."""
        customer: Customer | None = self._slot.customer
        return None if customer is None else customer.live

    @property
    def events(self) -> int:
        """How many facts are kept."""
        return self._slot.events

    def mentions(self, text: bytes) -> bool:
        """Whether the bytes occur anywhere in the history: quick, for a search that decodes only where they do."""
        return any(text in chunk for chunk in self._slot.chunks.values()) or self._slot.events > sum(map(facts_of, self._slot.chunks.values()))

    @property
    def place(self) -> int:
        """Where the customer's values are kept in columns, -1 if nowhere."""
        return -1 if self._slot.marks is None else self._slot.place

    @property
    def revision(self) -> int:
        """The definitions offset under which every segment was decided."""
        return self._slot.revision

    @property
    def row(self) -> Row:
        """What was decided last, as a copy (its parts are never changed in place)."""
        slot = self._slot
        row = slot.latest or Row(-1)
        return row if slot.customer is None else replace(row)

    def at_work(self, plan: Plan, now_ms: int) -> Customer:
        """Return a customer of its own, brought to now under a plan: with the deadlines passed and the facts decided that are due.

        The plan's segments must have been decided for this customer (`revision`).
        """
        slot, row = self._slot, self.row
        known: Customer | None = slot.customer
        row.members = {segment_id: membership for segment_id, membership in row.members.items() if segment_id in plan.segments}
        row.entered = {segment_id: since_ms for segment_id, since_ms in row.entered.items() if segment_id in plan.segments}
        pending = known is not None and known.pending is not None
        since_ms = known.pending_ms if known is not None and pending else min(now_ms, slot.deadline_ms)
        found = Customer(self.tenant, self.customer_id, row, Live(plan, self.read, since_ms))
        found.decide_all(since_ms, now_ms, CLOCK, [])
        found.advance(now_ms, [])
        return found
