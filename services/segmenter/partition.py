"""One partition of customers: records in, steps out. The pure heart of the segmenter, driven by whoever owns the partition.

It holds every customer of the partition, applies records, lets deadlines pass, adopts definitions, and gathers what was
decided into a `Step` that must be written as a whole or not at all. It never waits, reads no clock and knows no Kafka.

Invariants: a record moves exactly one outcome counter; the outcomes of a topic add up to its next offset (counting gaps);
`restore` of what the steps wrote gives the same partition again.
"""

from __future__ import annotations

import heapq
import itertools
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence

from schemas import projection
from schemas.errors import Refusal
from schemas.facts import Fact
from schemas.instants import NEVER
from schemas.manual import decode_manual
from schemas.partitions import split_key
from schemas.questions import Asked
from schemas.topics import Topics
from schemas.transitions import Transition
from services.segmenter import reach
from services.segmenter.applying import Applying
from services.segmenter.columns.keeping import Keeping
from services.segmenter.columns.table import Table
from services.segmenter.dropping import Dropping
from services.segmenter.engine.decisions import CLOCK, Customer
from services.segmenter.engine.live import Live
from services.segmenter.engine.plan import Plan
from services.segmenter.engine.row import Row
from services.segmenter.gathering import Gathering
from services.segmenter.plans import Limits, Plans
from services.segmenter.questions.answers import inquiry
from services.segmenter.questions.inquiry import Inquiry
from services.segmenter.questions.person import Person
from services.segmenter.ranks.messages import Message, Summary
from services.segmenter.ranks.standings import Standings
from services.segmenter.relations import Relations, definitions_of
from services.segmenter.rows import (
    FRESH,
    PROGRESS,
    Progress,
    came_key,
    cuts_key,
    decode_came,
    decode_cuts,
    decode_progress,
    decode_row,
    encode,
    split_chunk_key,
)
from services.segmenter.slots import Slot
from services.segmenter.steps import Record, Step
from services.segmenter.sweeping import Sweeping


class Partition:
    """The customers of one partition and everything decided about them."""

    def __init__(self, number: int, plans: Plans, topics: Topics, limits: Limits) -> None:
        self.number = number
        self.plans = plans
        self._topics = topics
        self._limits = limits
        self._progress = Progress()
        self._slots: dict[bytes, Slot] = {}
        self._deadlines: list[tuple[int, bytes]] = []
        self._lives: OrderedDict[bytes, Slot] = OrderedDict()
        self._live_facts = 0
        self._stale: OrderedDict[bytes, None] = OrderedDict()  # a dict searches all that were taken off its front
        self._turn = 0
        self._marked = self._still = False
        self._versions = itertools.count(1)
        self._gathering = Gathering()
        self._applying = Applying(self)
        self._relations = Relations(self)
        self._standings = Standings(number)
        self._sweeping = Sweeping(self)
        self._dropping = Dropping(self)
        self._columns = Keeping(self)

    # ---- what the owner reads

    @property
    def epoch(self) -> int:
        """The number of this ownership: one more than that of any owner before."""
        return self._progress.epoch

    @property
    def customers(self) -> int:
        """How many customers are known."""
        return len(self._slots)

    @property
    def offsets(self) -> dict[str, int]:
        """The next offset to apply of each input topic."""
        return self._progress.offsets

    @property
    def outcomes(self) -> dict[str, dict[str, int]]:
        """What became of the records of each input topic: outcome → count."""
        return self._progress.outcomes

    @property
    def clock_ms(self) -> int:
        """The latest instant decided at; the owner's clock must not be behind it."""
        return self._progress.clock_ms

    def keys(self) -> Iterable[bytes]:
        """Return the record keys of all customers."""
        return [*self._slots, *self._relations.stones.keys()]

    def shown_by(self, changed: Iterable[bytes]) -> Iterable[bytes]:
        """Return the record keys of whom records with these changelog keys may have changed what is shown, and of all that must be forgotten."""
        changed = list(changed)
        rows = [key[1:] for key in changed if key[:1] in (b"r", b"g")]
        return [*rows, *self._relations.stones.shown_by([key[1:] for key in changed if key[:1] == b"s"])]

    def definitions_needed(self) -> int:
        """Return the catalog offset that this partition was decided under: a worker that has read less must not touch it."""
        return self._progress.definitions

    def waits_for(self, topic: str, records: Sequence[Record]) -> int:
        """Return the catalog offset that must have been read before these records can be applied."""
        if topic == self._topics.moves:
            return definitions_of(records)
        if topic != self._topics.manual_entries:
            return 0
        needed = 0
        for record in records:
            try:
                needed = max(needed, decode_manual(record.value or b"").since + 1)
            except Refusal:
                continue
        return needed

    def next_deadline_ms(self) -> int:
        """Return the next instant at which some customer must be looked at, `NEVER` if none."""
        return min(self._next_look_ms(), self._standings.lists.next_ms())

    def _next_look_ms(self) -> int:
        heap = self._deadlines
        while heap and ((slot := self._slots.get(heap[0][1])) is None or slot.deadline_ms != heap[0][0]):
            heapq.heappop(heap)
        return heap[0][0] if heap else NEVER

    def projected(self, key: bytes) -> tuple[str, str, int, bytes]:
        """Return tenant, customer, version and what is shown of a customer as of the last step taken, nothing of one who is gone."""
        tenant, customer_id = split_key(key)
        slot = self._relations.removed.get(key) or self._slots.get(key)
        if slot is None:
            return tenant, customer_id, next(self._versions), self._relations.stones.shown(tenant, customer_id)
        row = Row(-1) if slot.row is None else decode_row(slot.row)
        return tenant, customer_id, next(self._versions), projection.encode_memberships(row.members, row.homes)

    def removed(self, key: bytes) -> None:
        """Hear that the projection shows nothing of an id any more, as it should."""
        self._relations.confirmed(key)

    def marker(self, now_ms: int) -> projection.Marker:
        """Return how far the partition has come: as of now, or as of just before the first deadline that is still due."""
        progress = self._progress
        as_of_ms = min(now_ms, self.next_deadline_ms() - 1)
        sweep = self._sweeping.under_way
        ahead = {topic: self.ahead(topic) for topic in progress.ahead}
        return projection.Marker(progress.epoch, as_of_ms, dict(progress.offsets), progress.swept, len(self._slots), sweep, ahead=ahead)

    def person(self, key: bytes) -> Person | None:
        """Return a customer for a question to read, None for one who is not known."""
        slot = self._slots.get(key)
        return None if slot is None else Person(*split_key(key), slot, self._gathering.history(key, slot))

    def inquiry(self, asked: Asked, now_ms: int) -> Inquiry:
        """Return a question about this partition's customers, ready to be worked on as of an instant."""
        return inquiry(self, asked, now_ms)

    # ---- coming back

    def restore(self, key: bytes, value: bytes | None) -> None:
        """Take one record of the changelog, in order."""
        if key == PROGRESS:
            if value is not None:
                self._progress = decode_progress(value)
        elif key == FRESH:
            self._turn += 1
        elif key[:1] == b"h":
            record, number = split_chunk_key(key)
            self._slot(record).restore_chunk(number, value)
        elif key[:1] == b"r":
            self._slot(key[1:]).row = value
        elif key[:1] == b"c":
            self._standings.cuts[key[1:].decode()] = {} if value is None else decode_cuts(value)
        elif key[:1] == b"e":
            self._standings.lists.restore(key[1:].decode(), None if value is None else decode_came(value))
        else:
            self._relations.restore(key, value)

    def ready(self, now_ms: int) -> None:
        """End the restoring and begin a new epoch."""
        self._sweeping.begin(now_ms)
        for key, slot in list(self._slots.items()):
            slot.restored()
            if slot.row is None and not slot.chunks:
                del self._slots[key]
                continue
            if slot.deadline_ms < NEVER:
                self._deadlines.append((slot.deadline_ms, key))
            self._sweeping.stand(key, slot)
            if slot.turn == self._turn:  # what its `until` became after the last row was written is not known
                self._stale[key] = None
        self._standings.loaded()
        heapq.heapify(self._deadlines)
        self._progress.epoch += 1
        self._standings.epoch = self._progress.epoch
        self._gathering.moved = True

    def _slot(self, key: bytes) -> Slot:
        slot = self._slots.get(key)
        if slot is None:
            slot = self._slots[key] = Slot()
        slot.turn = self._turn
        return slot

    def close(self) -> None:
        """Let go of all customers: a collector that was told to leave them alone would keep them."""
        for held in (self._slots, self._lives, self._stale, self._applying.pending, self._deadlines):
            held.clear()
        self._columns.close()

    # ---- records

    def apply(self, topic: str, records: Sequence[Record], now_ms: int) -> None:
        """Apply one contiguous run of records of a topic at an instant."""
        reach.in_order(self._progress, topic, records)
        self._applying.apply(topic, records, now_ms)

    def apply_ahead(self, topic: str, tenant: str, records: Sequence[Record], now_ms: int) -> None:
        """Apply records of one tenant, in order, before others of the same run; `pass_to` must follow when none of these is left."""
        reach.ran_ahead(self._progress, topic, tenant, records)
        self._applying.apply(topic, records, now_ms)

    def pass_to(self, topic: str, end: int, sizes: Mapping[str, int]) -> None:
        """Note that all before `end` have their outcomes, so many of each tenant's having been applied ahead."""
        reach.pass_to(self._progress, topic, end, sizes)

    def ahead(self, topic: str) -> dict[str, int]:
        """Return the next offset of those tenants who have come further in a topic than everybody has."""
        return reach.ahead(self._progress, topic)

    @property
    def undecided(self) -> int:
        """How many customers have facts that were applied and not decided yet."""
        return len(self._applying.pending)

    def settle(self, now_ms: int) -> None:
        """Decide what was applied before the step ends, unless its instant has not come yet."""
        self._applying.settle(now_ms)

    def _until_moved(self, key: bytes, customer: Customer) -> None:
        """Have the `until` of the memberships found anew, for something has moved them."""
        if customer.row.members:
            self._stale[key] = None

    def _create(self, key: bytes, plan: Plan, tenant: str, customer_id: str, now_ms: int) -> tuple[Slot, Customer]:
        slot = self._slots[key] = Slot()
        slot.revision = plan.revision
        row = self._relations.stones.revived(tenant, customer_id, plan.revision)
        row.waiting = sorted(self._standings.unsettled(plan))
        customer = slot.customer = Customer(tenant, customer_id, row, Live(plan, _nothing, now_ms))
        self._standings.waits(key, row)
        self._gathering.project(key, slot)
        self._columns.meet(key, slot)
        return slot, customer

    # ---- a customer at a time

    def _open(self, key: bytes, slot: Slot, tenant: str, customer_id: str, now_ms: int) -> tuple[Customer, list[Transition]]:
        """Return a customer brought to now under the plan in force, and the transitions that this took."""
        out: list[Transition] = []
        plan = self.plans.of(tenant)
        customer: Customer | None = slot.customer
        if customer is not None and customer.pending is not None:
            customer.settle(out)
            self._until_moved(key, customer)
        if customer is not None and customer.live.plan is plan:
            customer.advance(now_ms, out)
            return customer, out
        row = slot.latest or Row(-1)
        row.revision, row.deadline_ms = slot.revision, slot.deadline_ms
        former = None if customer is None else customer.live
        live = Live(plan, self._gathering.history(key, slot), min(now_ms, slot.deadline_ms), former)
        customer = slot.customer = Customer(tenant, customer_id, row, live)
        if row.revision != plan.revision:
            news = self.plans.news(tenant, row.revision)
            self._standings.rescored(plan, key, row, customer.live.scores, adopted=True)
            ranks, waiting = row.ranks, row.waiting
            customer.adopt(now_ms, out, self._standings.ranks(key, row), self._standings.unsettled(plan))
            self._standings.waits(key, row)
            slot.revision = plan.revision
            self._gathering.write_row(key, slot)
            if row.ranks != ranks or not set(row.waiting).issuperset(waiting) or not news.moved.isdisjoint(row.members):
                self._until_moved(key, customer)
        else:
            if slot.deadline_ms <= now_ms:
                customer.decide_all(slot.deadline_ms, now_ms, CLOCK, out)
            customer.advance(now_ms, out)
        return customer, out

    def _close(self, key: bytes, slot: Slot, customer: Customer, out: list[Transition], now_ms: int) -> None:
        """Keep what came of a look at a customer."""
        live = customer.live
        if live.rescored:
            live.rescored = False
            if self._standings.rescored(live.plan, key, customer.row, live.scores):
                self._gathering.write_row(key, slot)
        deadline_ms = customer.soonest_ms
        if deadline_ms < slot.deadline_ms or slot.deadline_ms <= now_ms:
            self._due_at(key, slot, deadline_ms)
        if out:
            self._gathering.put_out(key, slot, out)
        lives = self._lives
        lives[key] = slot
        lives.move_to_end(key)
        self._live_facts += slot.events - slot.counted
        slot.counted = slot.events

    def _due_at(self, key: bytes, slot: Slot, deadline_ms: int) -> None:
        slot.deadline_ms = deadline_ms
        self._gathering.write_row(key, slot)
        if deadline_ms < NEVER:
            heapq.heappush(self._deadlines, (deadline_ms, key))

    # ---- time and definitions

    def tick(self, now_ms: int, limit: int) -> int:
        """Take up to `limit` customers whose deadline has come through their deadlines; return how many."""
        self._moved_to(now_ms)
        count, lists = 0, self._standings.lists
        while count < limit and lists.next_ms() <= now_ms:
            self._sweeping.release(lists.lose_patience(now_ms))
            count += 1
        while count < limit and self._next_look_ms() <= now_ms:
            _, key = heapq.heappop(self._deadlines)
            self._look(key, now_ms)
            count += 1
        return count

    def _moved_to(self, now_ms: int) -> None:
        """Decide from now on as of an instant that others may see: no fact of this step is decided at an earlier one."""
        self._progress.clock_ms = max(self._progress.clock_ms, now_ms)
        self._applying.moved_to(now_ms)

    def _look(self, key: bytes, now_ms: int) -> Customer:
        slot = self._slots[key]
        tenant, customer_id = split_key(key)
        customer, out = self._open(key, slot, tenant, customer_id, now_ms)
        self._close(key, slot, customer, out, now_ms)
        return customer

    def sweep(self, now_ms: int, limit: int) -> bool:
        """Decide up to `limit` customers under definitions that are new to them; return whether more are left."""
        self._moved_to(now_ms)
        return self._sweeping.sweep(now_ms, limit)

    @property
    def ranks_due(self) -> int:
        """How many customers `rank` would look at."""
        return self._standings.due

    def rank(self, now_ms: int, limit: int) -> None:
        """Decide up to `limit` customers over whom a cut has passed, or for whom there is one at last."""
        self._moved_to(now_ms)
        self._sweeping.rank(now_ms, limit)

    def ranks_known(self, tenant: str) -> Iterable[str]:
        """Return the names of a tenant's ranks that have cuts in force."""
        return self._standings.cuts.get(tenant, {})

    def hear(self, message: Message) -> bool:
        """Take what others say about ranks; return whether there is something to do or to write."""
        return self._standings.hear(message) or self._standings.due > 0

    def speak(self, now_ms: int, limit: int) -> list[Summary]:
        """Return up to `limit` summaries that others must have now; each is repeated until it is answered."""
        return self._standings.speak(now_ms, self._sweeping.measured, limit)

    def refresh(self, now_ms: int, limit: int) -> list[bytes]:
        """Find the `until` of up to `limit` customers anew; return those whose projection changed. Work for idle moments."""
        self._moved_to(now_ms)
        changed = []
        for _ in range(min(limit, len(self._stale))):
            key, _ = self._stale.popitem(last=False)
            slot = self._slots.get(key)
            if slot is None or not self._has_members(slot):
                continue
            customer = self._look(key, now_ms)
            if customer.refresh(now_ms):
                self._gathering.project(key, slot)
                changed.append(key)
        return changed

    @property
    def stale(self) -> int:
        """How many customers wait for their `until` to be found anew."""
        return len(self._stale)

    @property
    def dropped_ms(self) -> int:
        """When the last whole round of `drop` began."""
        return self._progress.dropped_ms

    @dropped_ms.setter
    def dropped_ms(self, at_ms: int) -> None:
        self._progress.dropped_ms = at_ms
        self._gathering.moved = True

    def drops_due(self, now_ms: int) -> bool:
        """Whether `drop` has something to look at."""
        return self._dropping.due(now_ms)

    def drop(self, now_ms: int, limit: int) -> bool:
        """Let go of what has left the history of up to `limit` customers; return whether more are left. Work for idle moments."""
        self._moved_to(now_ms)
        return self._dropping.work(now_ms, limit)

    def keeps_due(self, now_ms: int) -> bool:
        """Whether `keep` has something to look at."""
        return self._columns.due(now_ms)

    def keep(self, now_ms: int, limit: int) -> bool:
        """Keep the values of about `limit` customers side by side; return whether more are left. Work for idle moments that writes nothing."""
        self._progress.clock_ms = max(self._progress.clock_ms, now_ms)
        return self._columns.work(now_ms, limit)

    def table(self, tenant: str) -> Table | None:
        """Return what is kept of a tenant's customers side by side, None where questions must look at each of them."""
        return self._columns.table(tenant)

    @staticmethod
    def _has_members(slot: Slot) -> bool:
        row = slot.latest
        return row is not None and bool(row.members)

    # ---- steps

    def take(self) -> Step | None:
        """Return everything since the last step, None when there is nothing to write."""
        self._applying.end()
        gathering = self._gathering
        for tenant, cuts in self._standings.take_cuts():
            gathering.put(cuts_key(tenant), encode(cuts) if cuts else None)
        for name, came in self._standings.lists.take():
            gathering.put(came_key(name), None if came is None else encode(came))
        fresh = self._freshened(gathering)
        if gathering.empty and not fresh:
            return None
        self._progress.definitions = max(self._progress.definitions, self.plans.catalog.offset)
        step = gathering.finished(self._progress, self._slots)
        if fresh:
            step.rows[FRESH] = b""
        self._forget()
        self._gathering = Gathering()
        self._relations.removed.clear()
        return step

    def _freshened(self, gathering: Gathering) -> bool:
        """Return whether to write that everybody's `until` is right: whoever restores this need not find those before it anew.

        A step has it as its last record; there is one for that alone when nothing else came in between.
        """
        fresh, still = not self._stale, self._still
        self._still = fresh and not self._marked and gathering.empty
        if gathering.empty and not (self._still and still):
            return False
        self._marked = fresh
        return fresh

    def _forget(self) -> None:
        """Drop the live state of those not looked at for longest; all of it is in rows and chunks."""
        limits = self._limits
        while self._lives and (len(self._lives) > limits.live_customers or self._live_facts > limits.live_facts):
            key, slot = next(iter(self._lives.items()))
            self._dead(key)
            slot.customer = None

    def _dead(self, key: bytes) -> None:
        """Count a customer no more among those whose live state is remembered."""
        slot = self._lives.pop(key, None)
        if slot is not None:
            self._live_facts -= slot.counted
            slot.counted = 0


def _nothing(_since_ms: int, _items: bool) -> tuple[Fact, ...]:  # noqa: FBT001 - as `History` has it
    return ()
