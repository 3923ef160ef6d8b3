"""The one place that reads the wall clock. Everything else is told what time it is."""

from __future__ import annotations

import time


def now_ms() -> int:
    """Return the wall clock in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000
