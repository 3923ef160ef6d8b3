"""The one place that reads the wall clock. Everything else is told what time it is."""

from __future__ import annotations

import time

_ahead_ms = 0


def now_ms() -> int:
    """Return the wall clock in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000 + _ahead_ms


def set_wrong(ahead_ms: int) -> None:
    """Have this process's clock be wrong by so much, for tests of what comes of that; negative: behind."""
    global _ahead_ms  # noqa: PLW0603 - there is one clock
    _ahead_ms = ahead_ms
