"""The tenant's calendar: durations and dates in its time zone, exact to the millisecond.

Months are added to local time and clipped to the month's end; a local time that does not exist moves forward by the gap; of
an ambiguous one the earlier is meant. So `plus` is not monotone: 31 January + 1 month can come before 29 January + 1 month.
"""

from __future__ import annotations

import calendar
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from schemas.instants import MINUTE_MS, Duration, from_ms, to_ms

_BUCKET_MS: Final = 15 * MINUTE_MS
"""Offsets, their changes and local midnights fall on quarters of an hour in every zone since 1972, so within one bucket
adding months is adding a constant."""

_BUCKETS_KEPT: Final = 200_000
_EXACT_SINCE_MS: Final = to_ms(datetime(1972, 2, 1, tzinfo=UTC))


def add_months(day: date, months: int) -> date:
    """Return the date `months` later, clipped to the month's end."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


class Calendar:
    """Local time of one zone."""

    def __init__(self, timezone: str) -> None:
        self.timezone = timezone
        self._zone = ZoneInfo(timezone)
        self._shifts: dict[tuple[int, int], int] = {}
        self._hours: dict[int, int] = {}

    def local(self, at_ms: int) -> datetime:
        """Return the local time of an instant."""
        return from_ms(at_ms).astimezone(self._zone)

    def hour(self, at_ms: int) -> int:
        """Return the local hour of an instant, 0 to 23."""
        bucket = at_ms // _BUCKET_MS
        hour = self._hours.get(bucket)
        if hour is None:
            if at_ms < _EXACT_SINCE_MS:
                return self.local(at_ms).hour
            if len(self._hours) >= _BUCKETS_KEPT:
                self._hours.clear()
            hour = self._hours[bucket] = self.local(at_ms).hour
        return hour

    def midnight(self, day: date) -> int:
        """Return the instant at which a local day begins."""
        return to_ms(datetime.combine(day, time(), self._zone))

    def plus(self, at_ms: int, span: Duration) -> int:
        """Return the instant a duration later: its months in local time, then its exact part."""
        if not span.months:
            return at_ms + span.exact_ms
        if at_ms < _EXACT_SINCE_MS:
            return self._months_later(at_ms, span.months) + span.exact_ms
        key = (at_ms // _BUCKET_MS, span.months)
        shift = self._shifts.get(key)
        if shift is None:
            if len(self._shifts) >= _BUCKETS_KEPT:
                self._shifts.clear()
            start_ms = key[0] * _BUCKET_MS
            shift = self._shifts[key] = self._months_later(start_ms, span.months) - start_ms
        return at_ms + shift + span.exact_ms

    def date_plus(self, day: date, span: Duration) -> int:
        """Return the instant a duration after the local midnight that begins `day`."""
        return self.midnight(add_months(day, span.months)) + span.exact_ms

    def _months_later(self, at_ms: int, months: int) -> int:
        local = self.local(at_ms)
        moved = datetime.combine(add_months(local.date(), months), local.time(), self._zone)
        # fold=0 reads a gap with the offset before it, which lands the gap's length later, and an overlap as its first pass
        return to_ms(moved.replace(fold=0))


def age_on(born: date, today: date) -> int:
    """Return the age in whole years; who was born on 29 February ages on 1 March in other years."""
    return today.year - born.year - ((today.month, today.day) < (born.month, born.day))


def birthday_in(born: date, year: int) -> date:
    """Return the day of a year on which an age changes."""
    try:
        return born.replace(year=year)
    except ValueError:
        return date(year, 3, 1)


def next_birthday(born: date, today: date) -> date:
    """Return the first birthday on or after `today`."""
    this_year = birthday_in(born, today.year)
    return this_year if this_year >= today else birthday_in(born, today.year + 1)


TOMORROW: Final = timedelta(days=1)
