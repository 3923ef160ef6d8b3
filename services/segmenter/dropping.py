# ruff: noqa: SLF001 - a part of the partition in a file of its own: it looks at customers as the rest does
"""Dropping: what is older than the kept history leaves the chunks, unless something in force looks at it for ever.

Idle work, in rounds over all customers. No answer depends on whether a round has come to somebody yet: what is dropped is what no
window reaches any more, and what a metric without an end does not count.

The same rounds have the `until` found anew of those for whom it may have lain beyond what is looked ahead, and come nearer.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from schemas.facts import PROFILE
from schemas.instants import DAY_MS, NEVER
from schemas.partitions import split_key

if TYPE_CHECKING:
    from services.segmenter.partition import Partition
    from services.segmenter.slots import Slot

_EVERY_MS: Final = 7 * DAY_MS
"""A round reads every history once: some seconds for a hundred thousand customers."""
_SLACK_MS: Final = 8 * DAY_MS
"""What is older than the history by less stays: a metric counts from its definition on, and that may be read late or bear another clock."""


class Dropping:
    """The rounds of one partition. One that a restart breaks off begins anew."""

    def __init__(self, partition: Partition) -> None:
        self._partition = partition
        self._round: Iterator[bytes] | None = None
        self._began_ms = 0

    def due(self, now_ms: int) -> bool:
        """Whether a round is under way or should be."""
        return self._round is not None or now_ms - self._partition.dropped_ms >= _EVERY_MS

    def work(self, now_ms: int, limit: int) -> bool:
        """Look at up to `limit` customers; return whether the round goes on."""
        partition = self._partition
        if self._round is None:
            self._round, self._began_ms = iter(list(partition._customers.slots)), now_ms
        keys = list(itertools.islice(self._round, limit))
        for key in keys:
            slot = partition._customers.slots.get(key)
            if slot is not None:
                if _may_end_one_day(slot):
                    partition._customers.stale[key] = None
                self._drop(key, slot, now_ms)
        if len(keys) == limit:
            return True
        self._round = None
        partition.dropped_ms = self._began_ms
        return False

    def _drop(self, key: bytes, slot: Slot, now_ms: int) -> None:
        partition, tenant = self._partition, split_key(key)[0]
        gathering, from_ms = partition._gathering, partition.plans.history_from_ms(tenant, now_ms) - _SLACK_MS
        # Most have nothing that old, which is seen without their line items.
        if not any(fact.at_ms < from_ms and fact.type < PROFILE for fact in gathering.history(key, slot)(0, False)):
            return
        facts = gathering.facts(key, slot)
        kept = partition.plans.of(tenant).kept(facts, from_ms)
        if len(kept) < len(facts):
            live = partition._customers.look(key, now_ms).live
            gathering.rewrite(key, slot, kept)
            live.ids = {fact.event_id for fact in kept}


def _may_end_one_day(slot: Slot) -> bool:
    """Whether time alone will change something for a customer, and no end of some membership is known."""
    if slot.deadline_ms == NEVER:
        return False
    row = slot.latest
    return row is not None and any(until_ms == NEVER for _, until_ms in row.members.values())
