# ruff: noqa: SLF001 - a part of the partition in a file of its own: it looks at customers as the rest does
"""Keeping: the tables of a partition are filled in idle moments, and filled again where facts or time have made values doubtful.

A round looks for what is doubtful and tells it anew. The first one after a start gives everybody a place; until that is done, and where
there is no room for columns, questions look at everybody one by one. No answer depends on how far a round is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from schemas.instants import NEVER
from schemas.partitions import split_key
from services.segmenter.columns.table import Table

if TYPE_CHECKING:
    from services.segmenter.engine.decisions import Customer
    from services.segmenter.partition import Partition
    from services.segmenter.slots import Slot

_EVERY_MS: Final = 10_000
"""Whoever buys three times in a row is told anew once; at a thousand events a second ten thousand wait to be, which a question looks at."""
_PLACES: Final = 64
"""Places that are given for the price of a unit."""
_TOGETHER: Final = 1_024
_SEATS: Final = 8
"""Rows that are looked at for the price of a unit."""


class Keeping:
    """The columns of one partition."""

    def __init__(self, partition: Partition) -> None:
        self._partition = partition
        self._tables: dict[str, Table] = {}
        self._begun = self._whole = False
        self._steps: Iterator[int] | None = None
        self._now_ms = self._next_ms = 0

    # ---- customers who come and go

    def meet(self, key: bytes, slot: Slot) -> None:
        """Give a newcomer a place, unless nobody has one yet."""
        if self._begun:
            self._table(split_key(key)[0]).meet(key, slot)

    def part(self, key: bytes, slot: Slot) -> None:
        """Take the place of one who is no more."""
        if slot.marks is not None:
            self._tables[split_key(key)[0]].part(slot)

    def _table(self, tenant: str) -> Table:
        table = self._tables.get(tenant)
        if table is None:
            table = self._tables[tenant] = Table(self._partition.plans.of(tenant))
        return table

    # ---- questions

    def table(self, tenant: str) -> Table | None:
        """Return a tenant's table under the plan in force, None while not everybody has a place in it."""
        table = self._tables.get(tenant) if self._whole else None
        if table is not None:
            self._under(tenant, table)
        return table

    def _under(self, tenant: str, table: Table) -> None:
        limits, customers = self._partition._limits, self._partition.customers
        # Everybody's columns take the same share of the room, whoever the tenant is, and the share changes as customers become an eighth more.
        step = 1 << max(0, customers.bit_length() - 4)
        room_bytes = limits.column_bytes // (customers // step * step + step) if len(table.keys) >= limits.column_customers else 0
        table.under(self._partition.plans.of(tenant), room_bytes)

    # ---- rounds

    def due(self, now_ms: int) -> bool:
        """Whether a round is under way or should be."""
        return self._partition._limits.column_bytes > 0 and (self._steps is not None or now_ms >= self._next_ms)

    def work(self, now_ms: int, limit: int) -> bool:
        """Do about `limit` units; return whether the round goes on. One is about a customer whose history is read."""
        self._now_ms = now_ms
        if self._steps is None:
            self._steps = self._round()
        done = 0
        for units in self._steps:
            done += units
            if done >= limit:
                return True
        self._steps, self._next_ms = None, now_ms + _EVERY_MS
        return False

    def _round(self) -> Iterator[int]:
        if not self._whole:
            yield from self._enrol()
        for tenant, table in list(self._tables.items()):
            self._under(tenant, table)
            told, seated = table.doubtful(self._now_ms)
            yield 1
            for place in _each(told):
                yield self._tell(table, place)
            for number, place in enumerate(_each(seated)):
                self._seat(table, place)
                if number % _SEATS == 0:
                    yield 1

    def _enrol(self) -> Iterator[int]:
        self._begun = True
        for number, key in enumerate(list(self._partition._customers.slots)):
            slot = self._partition._customers.slots.get(key)
            if slot is not None and slot.marks is None:
                self._table(split_key(key)[0]).meet(key, slot)
            if number % _PLACES == 0:
                yield 1
        self._whole = True

    def _tell(self, table: Table, place: int) -> int:
        key = table.keys[place]
        slot = self._partition._customers.slots.get(key)
        if slot is None:
            return 1
        plan, customer = table.plan, slot.customer
        decoded = customer is not None and customer.live.plan is plan
        live = customer.live if decoded else self._partition._gathering.passing(key, slot, plan, self._now_ms)
        state, known_ms = live.seen_at(self._now_ms)
        table.tell(place, state, self._now_ms, known_ms)
        self._seat(table, place)
        return 1 + (0 if decoded else slot.events // 16)

    def _seat(self, table: Table, place: int) -> None:
        """Keep a customer's memberships, unless something is still to be decided."""
        key = table.keys[place]
        slot = self._partition._customers.slots.get(key)
        if slot is None or slot.revision < table.plan.revision:
            return
        customer: Customer | None = slot.customer
        if customer is not None and customer.pending is not None:
            return
        row = slot.latest
        if row is not None:
            table.seat(place, row, self._now_ms, slot.deadline_ms)

    def close(self) -> None:
        """Let go of all columns."""
        self._tables.clear()
        self._whole = False
        self._steps, self._next_ms = None, NEVER


def _each(places: NDArray[np.intp]) -> Iterator[int]:
    """Yield places, a few at a time as Python's own numbers: of a quarter of a million these take ten megabytes."""
    for start in range(0, len(places), _TOGETHER):
        yield from places[start : start + _TOGETHER].tolist()
