"""The retry schedule, as data, and the one function that reads it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

SCHEDULE_S: Final = (0.0, 5.0, 5 * 60.0, 30 * 60.0, 2 * 3600.0, 5 * 3600.0, 10 * 3600.0, 10 * 3600.0)
"""Seconds before each attempt, counted from the one before it."""

JITTER: Final = 0.1
"""Each delay is drawn from within a tenth of its length, so that what failed together does not return together."""

MOST_RETRY_AFTER_S: Final = 24 * 3600.0
"""A receiver may ask to be left alone for at most a day."""


def delay_s(
    attempts: int, draw: float, retry_after_s: float = 0.0, schedule_s: Sequence[float] = SCHEDULE_S, most_retry_after_s: float = MOST_RETRY_AFTER_S
) -> float | None:
    """Return the seconds until the next attempt after `attempts` have failed, None when there is none.

    `draw` is a random number from 0 to 1; `retry_after_s` what the receiver asked for, which only lengthens the delay,
    by `most_retry_after_s` at most.
    """
    if attempts >= len(schedule_s):
        return None
    planned_s = schedule_s[attempts] * (1 + JITTER * (2 * draw - 1))
    return max(planned_s, min(retry_after_s, most_retry_after_s))
