# ruff: noqa: SLF001 - a part of the partition in a file of its own: it looks at customers as the rest does
"""Sweeping: new definitions reach every customer of a partition, and so does what they wait for, the ends of ranks and replaced lists.

A sweep is over when all have been decided under the definitions that it began with and nothing is waited for any more; until then
the marker tells how far it is.

Of most customers only what is new is looked at, with a live state of that alone. Of those for whom it changes nothing, nothing is
written: the progress says that they have been decided (`stand`), and after a crash before it does they are looked at once more.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from schemas import projection
from schemas.partitions import split_key
from schemas.transitions import Transition
from services.segmenter.engine.decisions import Customer
from services.segmenter.engine.rankings import asks_for_ranks
from services.segmenter.gathering import encode_row
from services.segmenter.rows import decode_row

if TYPE_CHECKING:
    from services.segmenter.partition import Partition
    from services.segmenter.slots import Slot


class Sweeping:
    """The sweep of one partition. One that a restart breaks off begins anew with those who have not been decided."""

    def __init__(self, partition: Partition) -> None:
        self._partition = partition
        self._keys: Iterator[bytes] | None = None
        self._sweep = projection.Sweep(0, 0, 0)
        self._measured = 0

    @property
    def under_way(self) -> projection.Sweep | None:
        """How far the sweep is, None while there is none."""
        return self._sweep if self._keys is not None else None

    @property
    def measured(self) -> int:
        """The definitions that everybody has been decided under, but for what is waited for."""
        return max(self._measured, self._partition._progress.swept)

    def begin(self, now_ms: int) -> None:
        """Know what the definitions in force ask for, before customers are restored."""
        self._take_up(self._partition.plans.catalog.tenants, now_ms)

    def sweep(self, now_ms: int, limit: int) -> bool:
        """Decide up to `limit` customers; return whether more are left."""
        partition = self._partition
        catalog, swept = partition.plans.catalog, partition._progress.swept
        if self._keys is None or (self._sweep.done >= self._sweep.total and self._sweep.offset < catalog.offset):
            if swept >= catalog.offset:
                return False
            changed = {tenant for tenant, revision in catalog.revisions.items() if revision > swept}
            # All at once, so it must be quick: a quarter of a million keys in some twenty milliseconds, however many tenants changed.
            tenants = {tenant.encode() for tenant in changed}
            keys = [key for key in partition._customers.slots if key.partition(b":")[0] in tenants]
            self._take_up(changed, now_ms)
            self._keys, self._sweep = iter(keys), projection.Sweep(catalog.offset, 0, len(keys))
        for key in itertools.islice(self._keys, limit):
            self._sweep.done += 1
            slot = partition._customers.slots.get(key)
            if slot is not None and slot.revision < catalog.revisions[split_key(key)[0]] and not self._hear(key, slot, now_ms):
                partition._customers.look(key, now_ms)
        if self._sweep.done < self._sweep.total:
            return True
        self._measured = self._sweep.offset
        self._end()
        return self._measured < catalog.offset

    def _hear(self, key: bytes, slot: Slot, now_ms: int) -> bool:
        """Decide what is new for a customer at rest; return False where that is not enough."""
        partition = self._partition
        if slot.customer is not None or slot.deadline_ms <= now_ms:
            return False
        tenant, customer_id = split_key(key)
        news = partition.plans.news(tenant, slot.revision)
        if news.plan is None or not partition._standings.unsettled(partition.plans.of(tenant)).isdisjoint(news.plan.segments):
            return False
        row = slot.latest
        if row is None:
            return False
        # Whoever is in a segment that changed has a stay that ends, and lower levels that may have waited for it.
        if row.waiting or not (row.members.keys() <= news.settled and row.entered.keys() <= news.settled and row.manual.keys() <= news.live):
            return False
        if not news.moved.isdisjoint(row.members):
            return False  # the row is written, for whoever takes over must know that its `until` is to be found anew
        slot.revision = news.revision
        if not news.plan.segments:
            return True  # what changed is archived
        out: list[Transition] = []
        customer = Customer(tenant, customer_id, row, partition._gathering.passing(key, slot, news.plan, now_ms))
        customer.hear(news.revision, now_ms, out)
        if out or customer.soonest_ms < slot.deadline_ms:
            if customer.soonest_ms < slot.deadline_ms:
                partition._customers.due_at(key, slot, customer.soonest_ms)
            if out:
                partition._gathering.put_out(key, slot, out)
            # Its live state is of what is new alone, and nobody's any more: kept until the step ends, thousands would be walked by collections.
            slot.decided = encode_row(slot, row)
        return True

    def _end(self) -> None:
        """Everybody has been decided, unless segments wait for a cut or a list."""
        partition, standings = self._partition, self._partition._standings
        if self._keys is not None and self._measured == self._sweep.offset and not standings.waiting and not standings.lists.waiting:
            partition._progress.swept = self._sweep.offset
            self._keys = None
            partition._gathering.moved = True

    def _take_up(self, tenants: Iterable[str], now_ms: int) -> None:
        """Keep the rankings of the definitions in force, and wait for the entries that were announced, but not for ever."""
        catalog, standings = self._partition.plans.catalog, self._partition._standings
        for tenant in tenants:
            segments = catalog.segments.get(tenant, {}).values()
            # Also of tenants without customers here: others wait to hear so.
            if standings.knows(tenant) or any(map(asks_for_ranks, segments)):
                standings.under(self._partition.plans.of(tenant))
            standings.lists.under(tenant, catalog.revisions[tenant], segments)
        standings.lists.hold(tenants, now_ms)

    def release(self, tenants: Iterable[str]) -> None:
        """Have those looked at who waited for lists of these tenants."""
        for tenant in tenants:
            self._partition._standings.release(tenant)
        self._partition._gathering.moved = True
        self._end()

    # ---- ranks

    def stand(self, key: bytes, slot: Slot) -> None:
        """Take in a customer who is restored: the scores, and that a sweep which is over has been there, though it wrote nothing."""
        partition = self._partition
        tenant, _ = split_key(key)
        if slot.row is not None:
            slot.revision = max(slot.revision, min(partition._progress.swept, partition.plans.catalog.revisions[tenant]))
        # Beyond what was swept, a row may wait for a list.
        if slot.row is not None and (partition._standings.knows(tenant) or partition.plans.catalog.revisions[tenant] > partition._progress.swept):
            partition._standings.restored(partition.plans.of(tenant), key, decode_row(slot.row))

    def rank(self, now_ms: int, limit: int) -> None:
        """Decide up to `limit` of those whom rulings made due."""
        partition = self._partition
        for key in partition._standings.take_due(limit):
            slot = partition._customers.slots.get(key)
            if slot is not None:
                self._rank(key, slot, now_ms)
        if not partition._standings.due:
            self._end()

    def _rank(self, key: bytes, slot: Slot, now_ms: int) -> None:
        partition, standings = self._partition, self._partition._standings
        row = slot.latest
        if row is None:
            raise AssertionError(f"{key!r} is due by a ruling and was never decided")
        unsettled = standings.unsettled(partition.plans.of(split_key(key)[0]))
        if standings.ranks(key, row) == row.ranks and unsettled.issuperset(row.waiting):
            return
        customer = partition._customers.look(key, now_ms)
        out: list[Transition] = []
        customer.ranked(standings.ranks(key, customer.row), unsettled, now_ms, out)
        standings.waits(key, customer.row)
        partition._gathering.write_row(key, slot)
        partition._customers.close(key, slot, customer, out, now_ms)
        partition._customers.until_moved(key, customer)
