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
_PIECES: Final = 16
"""Of a slice, between which the clock is looked at."""
_PIECE_MOST: Final = 8
"""Customers between two looks at the clock, however cheap those before were."""

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
            if not self._in_pieces(self._sweep_pace, lambda limit: core.sweep(now_ms, limit)):
                self._swept_at = offset
        elif core.ranks_due:
            self._in_pieces(self._rank_pace, lambda limit: self._rank(now_ms, limit))
        elif self._refreshes():
            self._in_pieces(self._refresh_pace, lambda limit: self._refresh(now_ms, limit))
            self._refresh_next_s = time.perf_counter() + _REFRESH_EVERY_S
        elif self._drops(now_ms):
            self._in_pieces(self._drop_pace, lambda limit: core.drop(now_ms, limit))
        elif self._keeps(now_ms):
            self._in_pieces(self._keep_pace, lambda limit: core.keep(now_ms, limit))

    def _rank(self, now_ms: int, limit: int) -> bool:
        self._core.rank(now_ms, limit)
        return self._core.ranks_due > 0

    def _refresh(self, now_ms: int, limit: int) -> bool:
        self.again += self._core.refresh(now_ms, limit)
        return self._core.stale > 0

    def _in_pieces(self, pace: Pace, work: Callable[[int], bool]) -> bool:
        """Work for a slice; return whether more is left. The clock is looked at on the way: one customer may take as long as a hundred others."""
        piece = max(1, min(_PIECE_MOST, pace.limit // _PIECES))
        with self._measured(pace) as units:
            until_s, more = time.perf_counter() + pace.slice_s, True
            while more:
                more = work(piece)
                units.append(piece)
                if time.perf_counter() >= until_s:
                    break
        return more
