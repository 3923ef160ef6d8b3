# ruff: noqa: SLF001 - a part of the partition in a file of its own: what it decides of a customer touches all the others
"""The customers of one partition: each at rest in a slot, opened to be looked at, and closed again with what came of it.

Opening brings a customer to an instant under the plan in force, whatever was missed since the last look; closing keeps the deadline, the
transitions and, for as long as there is room, the live state. All of that state is in rows and chunks as well: dropped, it is only slower.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Iterator
from typing import TYPE_CHECKING

from schemas.facts import Fact
from schemas.instants import NEVER
from schemas.partitions import split_key
from schemas.transitions import Transition
from services.segmenter.engine.decisions import CLOCK, Customer
from services.segmenter.engine.live import Live
from services.segmenter.engine.plan import Plan
from services.segmenter.engine.row import Row
from services.segmenter.plans import Limits
from services.segmenter.slots import Slot

if TYPE_CHECKING:
    from services.segmenter.partition import Partition


class Customers:
    """Everybody who is known in a partition, by record key.

    `stale`: those whose `until` is to be found anew, longest waiting first.
    """

    def __init__(self, partition: Partition, limits: Limits) -> None:
        self._partition, self._limits = partition, limits
        self.slots: dict[bytes, Slot] = {}
        self.stale: OrderedDict[bytes, None] = OrderedDict()  # a dict searches all that were taken off its front
        self._deadlines: list[tuple[int, bytes]] = []
        self._lives: OrderedDict[bytes, Slot] = OrderedDict()
        self._live_facts = 0
        self._turn = 0

    # ---- coming back

    def restoring(self, key: bytes) -> Slot:
        """Return the slot of a customer of whom a record is being restored."""
        slot = self.slots.get(key)
        if slot is None:
            slot = self.slots[key] = Slot()
        slot.turn = self._turn
        return slot

    def fresh(self) -> None:
        """Hear, while restoring, that the `until` of all who have come was right."""
        self._turn += 1

    def ready(self) -> Iterator[tuple[bytes, Slot]]:
        """End the restoring; yield everybody of whom something is left."""
        for key, slot in list(self.slots.items()):
            slot.restored()
            if slot.row is None and not slot.chunks:
                del self.slots[key]
                continue
            if slot.deadline_ms < NEVER:
                self._deadlines.append((slot.deadline_ms, key))
            yield key, slot
            if slot.turn == self._turn:  # what its `until` became after the last row was written is not known
                self.stale[key] = None
        heapq.heapify(self._deadlines)

    def clear(self) -> None:
        """Let go of everybody."""
        for held in (self.slots, self._lives, self.stale, self._deadlines):
            held.clear()

    # ---- one at a time

    def create(self, key: bytes, plan: Plan, tenant: str, customer_id: str, now_ms: int) -> tuple[Slot, Customer]:
        """Take in a newcomer, open."""
        partition = self._partition
        slot = self.slots[key] = Slot()
        slot.revision = plan.revision
        row = partition._relations.stones.revived(tenant, customer_id, plan.revision)
        row.waiting = sorted(partition._standings.unsettled(plan))
        customer = slot.customer = Customer(tenant, customer_id, row, Live(plan, _nothing, now_ms))
        partition._standings.waits(key, row)
        partition._gathering.project(key, slot)
        partition._columns.meet(key, slot)
        return slot, customer

    def open(self, key: bytes, slot: Slot, tenant: str, customer_id: str, now_ms: int) -> tuple[Customer, list[Transition]]:
        """Return a customer brought to now under the plan in force, and the transitions that this took."""
        out: list[Transition] = []
        partition = self._partition
        plan = partition.plans.of(tenant)
        customer: Customer | None = slot.customer
        if customer is not None and customer.pending is not None:
            customer.settle(out)
            self.until_moved(key, customer)
        if customer is not None and customer.live.plan is plan:
            customer.advance(now_ms, out)
            return customer, out
        row = slot.latest or Row(-1)
        row.revision, row.deadline_ms = slot.revision, slot.deadline_ms
        former = None if customer is None else customer.live
        live = Live(plan, partition._gathering.history(key, slot), min(now_ms, slot.deadline_ms), former)
        customer = slot.customer = Customer(tenant, customer_id, row, live)
        if row.revision != plan.revision:
            self._adopt(key, slot, customer, now_ms, out)
        else:
            if slot.deadline_ms <= now_ms:
                customer.decide_all(slot.deadline_ms, now_ms, CLOCK, out)
            customer.advance(now_ms, out)
        return customer, out

    def _adopt(self, key: bytes, slot: Slot, customer: Customer, now_ms: int, out: list[Transition]) -> None:
        """Decide a customer under definitions that are new to it."""
        partition, plan, row = self._partition, customer.live.plan, customer.row
        standings, news = partition._standings, partition.plans.news(customer.tenant, row.revision)
        standings.rescored(plan, key, row, customer.live.scores, adopted=True)
        ranks, waiting = row.ranks, row.waiting
        customer.adopt(now_ms, out, standings.ranks(key, row), standings.unsettled(plan))
        standings.waits(key, row)
        slot.revision = plan.revision
        partition._gathering.write_row(key, slot)
        if row.ranks != ranks or not set(row.waiting).issuperset(waiting) or not news.moved.isdisjoint(row.members):
            self.until_moved(key, customer)

    def close(self, key: bytes, slot: Slot, customer: Customer, out: list[Transition], now_ms: int) -> None:
        """Keep what came of a look at a customer."""
        partition, live = self._partition, customer.live
        if live.rescored:
            live.rescored = False
            if partition._standings.rescored(live.plan, key, customer.row, live.scores):
                partition._gathering.write_row(key, slot)
        deadline_ms = customer.soonest_ms
        if deadline_ms < slot.deadline_ms or slot.deadline_ms <= now_ms:
            self.due_at(key, slot, deadline_ms)
        if out:
            partition._gathering.put_out(key, slot, out)
        lives = self._lives
        lives[key] = slot
        lives.move_to_end(key)
        self._live_facts += slot.events - slot.counted
        slot.counted = slot.events

    def look(self, key: bytes, now_ms: int) -> Customer:
        """Open a customer, and close it with what that came to."""
        slot = self.slots[key]
        tenant, customer_id = split_key(key)
        customer, out = self.open(key, slot, tenant, customer_id, now_ms)
        self.close(key, slot, customer, out, now_ms)
        return customer

    # ---- until when they are members

    def until_moved(self, key: bytes, customer: Customer) -> None:
        """Have the `until` of the memberships found anew, for something has moved them."""
        if customer.row.members:
            self.stale[key] = None

    def refresh(self, now_ms: int, limit: int) -> list[bytes]:
        """Find the `until` of up to `limit` customers anew; return those of whom something else is shown now."""
        changed = []
        for _ in range(min(limit, len(self.stale))):
            key, _ = self.stale.popitem(last=False)
            slot = self.slots.get(key)
            row = None if slot is None else slot.latest
            if slot is None or row is None or not row.members:
                continue
            customer = self.look(key, now_ms)
            if customer.refresh(now_ms):
                self._partition._gathering.project(key, slot)
                changed.append(key)
        return changed

    # ---- deadlines

    def due_at(self, key: bytes, slot: Slot, deadline_ms: int) -> None:
        """Have a customer looked at when its deadline comes."""
        slot.deadline_ms = deadline_ms
        self._partition._gathering.write_row(key, slot)
        if deadline_ms < NEVER:
            heapq.heappush(self._deadlines, (deadline_ms, key))

    def next_deadline_ms(self) -> int:
        """Return the earliest deadline, `NEVER` if there is none."""
        heap = self._deadlines
        while heap and ((slot := self.slots.get(heap[0][1])) is None or slot.deadline_ms != heap[0][0]):
            heapq.heappop(heap)
        return heap[0][0] if heap else NEVER

    def take_due(self) -> bytes:
        """Return whose deadline is earliest, and forget it; asked when `next_deadline_ms` has named one."""
        return heapq.heappop(self._deadlines)[1]

    # ---- room

    def forget(self) -> None:
        """Drop the live state of those not looked at for longest, where there are too many."""
        limits = self._limits
        while self._lives and (len(self._lives) > limits.live_customers or self._live_facts > limits.live_facts):
            key, slot = next(iter(self._lives.items()))
            self._dead(key)
            slot.customer = None

    def remove(self, key: bytes) -> None:
        """Know a customer no more."""
        self._dead(key)
        self.slots.pop(key, None)
        self.stale.pop(key, None)

    def _dead(self, key: bytes) -> None:
        slot = self._lives.pop(key, None)
        if slot is not None:
            self._live_facts -= slot.counted
            slot.counted = 0


def _nothing(_since_ms: int, _items: bool) -> tuple[Fact, ...]:  # noqa: FBT001 - as `History` has it
    return ()
