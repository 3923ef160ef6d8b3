"""One partition of customers: records in, steps out. The pure heart of the segmenter, driven by whoever owns the partition.

It holds every customer of the partition, applies records, lets deadlines pass, adopts definitions, and gathers what was
decided into a `Step` that must be written as a whole or not at all. It never waits, reads no clock and knows no Kafka.

Invariants: a record moves exactly one outcome counter; the outcomes of a topic add up to its next offset (counting gaps);
`restore` of what the steps wrote gives the same partition again.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence

from schemas import projection
from schemas.errors import Refusal
from schemas.manual import decode_manual
from schemas.partitions import split_key
from schemas.questions import Asked
from schemas.topics import Topics
from services.segmenter import reach
from services.segmenter.applying import Applying
from services.segmenter.columns.keeping import Keeping
from services.segmenter.columns.table import Table
from services.segmenter.customers import Customers
from services.segmenter.dropping import Dropping
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
        self._customers = Customers(self, limits)
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
        return len(self._customers.slots)

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
        return [*self._customers.slots, *self._relations.stones.keys()]

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
        return min(self._customers.next_deadline_ms(), self._standings.lists.next_ms())

    def projected(self, key: bytes) -> tuple[str, str, int, bytes]:
        """Return tenant, customer, version and what is shown of a customer as of the last step taken, nothing of one who is gone."""
        tenant, customer_id = split_key(key)
        slot = self._relations.removed.get(key) or self._customers.slots.get(key)
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
        return projection.Marker(progress.epoch, as_of_ms, dict(progress.offsets), progress.swept, len(self._customers.slots), sweep, ahead=ahead)

    def person(self, key: bytes) -> Person | None:
        """Return a customer for a question to read, None for one who is not known."""
        slot = self._customers.slots.get(key)
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
            self._customers.fresh()
        elif key[:1] == b"h":
            record, number = split_chunk_key(key)
            self._customers.restoring(record).restore_chunk(number, value)
        elif key[:1] == b"r":
            self._customers.restoring(key[1:]).row = value
        elif key[:1] == b"c":
            self._standings.cuts[key[1:].decode()] = {} if value is None else decode_cuts(value)
        elif key[:1] == b"e":
            self._standings.lists.restore(key[1:].decode(), None if value is None else decode_came(value))
        else:
            self._relations.restore(key, value)

    def ready(self, now_ms: int) -> None:
        """End the restoring and begin a new epoch."""
        self._sweeping.begin(now_ms)
        for key, slot in self._customers.ready():
            self._sweeping.stand(key, slot)
        self._standings.loaded()
        self._progress.epoch += 1
        self._standings.epoch = self._progress.epoch
        self._gathering.moved = True

    def close(self) -> None:
        """Let go of all customers: a collector that was told to leave them alone would keep them."""
        self._customers.clear()
        self._applying.pending.clear()
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

    # ---- time and definitions

    def tick(self, now_ms: int, limit: int) -> int:
        """Take up to `limit` customers whose deadline has come through their deadlines; return how many."""
        self._moved_to(now_ms)
        count, lists = 0, self._standings.lists
        while count < limit and lists.next_ms() <= now_ms:
            self._sweeping.release(lists.lose_patience(now_ms))
            count += 1
        while count < limit and self._customers.next_deadline_ms() <= now_ms:
            self._customers.look(self._customers.take_due(), now_ms)
            count += 1
        return count

    def _moved_to(self, now_ms: int) -> None:
        """Decide from now on as of an instant that others may see: no fact of this step is decided at an earlier one."""
        self._progress.clock_ms = max(self._progress.clock_ms, now_ms)
        self._applying.moved_to(now_ms)

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
        return self._customers.refresh(now_ms, limit)

    @property
    def stale(self) -> int:
        """How many customers wait for their `until` to be found anew."""
        return len(self._customers.stale)

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
        step = gathering.finished(self._progress, self._customers.slots)
        if fresh:
            step.rows[FRESH] = b""
        self._customers.forget()
        self._gathering = Gathering()
        self._relations.removed.clear()
        return step

    def _freshened(self, gathering: Gathering) -> bool:
        """Return whether to write that everybody's `until` is right: whoever restores this need not find those before it anew.

        A step has it as its last record; there is one for that alone when nothing else came in between.
        """
        fresh, still = not self._customers.stale, self._still
        self._still = fresh and not self._marked and gathering.empty
        if gathering.empty and not (self._still and still):
            return False
        self._marked = fresh
        return fresh
