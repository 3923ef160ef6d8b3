"""Waiting for a condition, instead of sleeping and hoping."""

from __future__ import annotations

import time
from collections.abc import Callable

_EVERY_S = 0.02


def wait_until(holds: Callable[[], bool], timeout_s: float = 10.0) -> None:
    """Return as soon as `holds()` is true; raise TimeoutError when it is not within `timeout_s`."""
    until = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > until:
            raise TimeoutError(f"not within {timeout_s} s")
        time.sleep(_EVERY_S)
