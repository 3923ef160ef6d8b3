"""The shops' time zone, and the two conversions that the data need."""

from __future__ import annotations

import datetime as dt
from functools import cache
from zoneinfo import ZoneInfo

TIME_ZONE = "America/New_York"
"""Read as UTC and shown in this zone, each of the 2,102 redemption dates is a day on which its household shopped; read as
local time, one in nine is not. The shops' busiest hour is then 17:00 instead of 22:00."""

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_ZONE = ZoneInfo(TIME_ZONE)


def local_date(at_ms: int) -> dt.date:
    """Give the shops' date at an instant."""
    return (EPOCH + dt.timedelta(milliseconds=at_ms)).astimezone(_ZONE).date()


@cache
def local_instant_ms(date: str, hour: int) -> int:
    """Give the instant, in milliseconds, at which the shops' clocks show this full hour of a date."""
    local = dt.datetime.combine(dt.date.fromisoformat(date), dt.time(hour), _ZONE)
    return (local - EPOCH) // dt.timedelta(milliseconds=1)
