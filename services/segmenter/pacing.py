"""Keeps computation in slices of a few milliseconds, so that nobody on the event loop waits for long."""

from __future__ import annotations

from typing import Final

_MOST: Final = 4_096
_WEIGHT: Final = 0.2
"""How much the newest slice says about the next: a few slices suffice to follow a change, one outlier does not."""


class Pace:
    """How many units of one kind of work fit into a slice, learned from the slices before."""

    def __init__(self, slice_ms: float, first: int = 32) -> None:
        self.slice_s = slice_ms / 1000
        self._unit_s = self.slice_s / first

    @property
    def limit(self) -> int:
        """Units to do at once; at least one."""
        return max(1, min(_MOST, int(self.slice_s / self._unit_s)))

    def observe(self, units: int, spent_s: float) -> None:
        """Learn that `units` took so long; no unit teaches nothing."""
        if units > 0:
            self._unit_s += _WEIGHT * (max(spent_s / units, 1e-7) - self._unit_s)
