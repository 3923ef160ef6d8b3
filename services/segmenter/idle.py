"""What can wait of a partition, in slices: backfill, then ranks, then refreshes, then what has left the history, then columns.

It knows what is next and how much of it fits into a slice. When a slice may be had, and how many of them, is the pump's to say.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from typing import Final

from services.segmenter.core import PartitionCore
from services.segmenter.pacing import Pace

_REFRESH_EVERY_S: Final = 0.5
"""How often a slice of refreshes gets its turn while live records wait: what it finds is soon out of date again."""

Measured = Callable[[Pace], AbstractContextManager[list[int]]]
"""Measures one slice of computation, for a pace; the body appends how many units it did."""


class Idle:
    """The idle work of one core. `offset`: how far the definitions are; `behind`: the partitions of the process whose live records wait."""

    def __init__(self, core: PartitionCore, slice_ms: float, measured: Measured, offset: Callable[[], int], behind: Collection[int]) -> None:
        self._core, self._measured, self._offset, self._behind = core, measured, offset, behind
        self._swept_at = -1
        self._refresh_next_s = 0.0
        self._sweep_pace, self._rank_pace, self._refresh_pace, self._drop_pace, self._keep_pace = (Pace(slice_ms) for _ in range(5))
        self.again: list[bytes] = []
        """Those who are to be projected again although no row of theirs was written."""

    def due(self, now_ms: int) -> bool:
        """Whether there is something to do."""
        core = self._core
        return self._swept_at != self._offset() or core.ranks_due > 0 or self._refreshes() or self._drops(now_ms) or self._keeps(now_ms)

    def _refreshes(self) -> bool:
        return self._core.stale > 0 and (not self._behind or time.perf_counter() >= self._refresh_next_s)

    def _drops(self, now_ms: int) -> bool:
        return not self._behind and self._core.drops_due(now_ms)

    def _keeps(self, now_ms: int) -> bool:
        return not self._behind and self._core.keeps_due(now_ms)

    def work(self, now_ms: int) -> None:
        """Do a slice of what is due."""
        core, offset = self._core, self._offset()
        if self._swept_at != offset:
            limit = self._sweep_pace.limit
            with self._measured(self._sweep_pace) as units:
                if core.sweep(now_ms, limit):
                    units.append(limit)
                else:
                    self._swept_at = offset
        elif core.ranks_due:
            limit = min(self._rank_pace.limit, core.ranks_due)
            with self._measured(self._rank_pace) as units:
                core.rank(now_ms, limit)
                units.append(limit)
        elif self._refreshes():
            limit = min(self._refresh_pace.limit, core.stale)
            with self._measured(self._refresh_pace) as units:
                self.again += core.refresh(now_ms, limit)
                units.append(limit)
            self._refresh_next_s = time.perf_counter() + _REFRESH_EVERY_S
        elif self._drops(now_ms):
            limit = self._drop_pace.limit
            with self._measured(self._drop_pace) as units:
                if core.drop(now_ms, limit):
                    units.append(limit)
        elif self._keeps(now_ms):
            limit = self._keep_pace.limit
            with self._measured(self._keep_pace) as units:
                if core.keep(now_ms, limit):
                    units.append(limit)
