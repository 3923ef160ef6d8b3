"""Limits: how much may be held at once, and how much one key may send. No clock: `now_s` is passed in."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Final

_BUCKETS_KEPT: Final = 10_000


class Budget:
    """A number of bytes that many holders share."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.held_bytes = 0

    def take(self, size_bytes: int) -> bool:
        """Take bytes if they are there; an empty budget always takes, so that nothing is too large for ever."""
        if self.held_bytes and self.held_bytes + size_bytes > self.limit_bytes:
            return False
        self.held_bytes += size_bytes
        return True

    def give_back(self, size_bytes: int) -> None:
        """Give back bytes that were taken."""
        self.held_bytes -= size_bytes


class RateLimits:
    """A token bucket for each key, in events.

    A batch is let in while the bucket is not empty and is charged in full afterwards, so that a batch larger than the burst
    still passes and is paid for by waiting longer after it.
    """

    def __init__(self, events_per_s: float, burst_events: int) -> None:
        self._rate = events_per_s
        self._burst = float(burst_events)
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_s(self, key_id: str, now_s: float) -> int:
        """Return 0 if the key may send now, else after how many whole seconds it may."""
        level = self._level(key_id, now_s)
        return 0 if level > 0 else max(1, math.ceil(-level / self._rate))

    def charge(self, key_id: str, events: int, now_s: float) -> None:
        """Take the tokens of a batch that was let in."""
        self._buckets[key_id] = (self._level(key_id, now_s) - events, now_s)
        self._buckets.move_to_end(key_id)
        if len(self._buckets) > _BUCKETS_KEPT:
            self._buckets.popitem(last=False)

    def _level(self, key_id: str, now_s: float) -> float:
        level, at_s = self._buckets.get(key_id, (self._burst, now_s))
        return min(self._burst, level + max(0.0, now_s - at_s) * self._rate)
