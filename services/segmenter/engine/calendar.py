"""The tenant's calendar: durations and dates in its time zone, exact to the millisecond.

Months are added to local time and clipped to the month's end; a local time that does not exist moves forward by the gap; of
an ambiguous one the earlier is meant. So `plus` is not monotone: 31 January + 1 month can come before 29 January + 1 month.
"""

from __future__ import annotations

import calendar
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from schemas.instants import DAY_MS, HOUR_MS, NEVER, Duration, from_ms, to_ms
from schemas.rules import MONTHS

_EXACT_SINCE_MS: Final = to_ms(datetime(1972, 2, 1, tzinfo=UTC))
"""Since then no zone has changed its offset twice within two days: one that is the same at both ends of a day was so all day."""

_REMEMBERED: Final = 200_000
_DAYS_RANGE: Final = 1 << 22
"""More than there are days until the year 9999. Days lie next to each other, which suits a dict; in steps they would all but collide."""
_VARIES: Final = -1
"""No offset and no shift is this: both are whole seconds."""
_MS: Final = timedelta(milliseconds=1)
_EPOCH_DAY: Final = date(1970, 1, 1)
TOMORROW: Final = timedelta(days=1)


def add_months(day: date, months: int) -> date:
    """Return the date `months` later, clipped to the month's end."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


class Calendar:
    """Local time of one zone."""

    def __init__(self, timezone: str) -> None:
        self.timezone = timezone
        self._zone = ZoneInfo(timezone)
        self._shifts: dict[int, tuple[int, int, int]] = {}
        self._offsets: dict[int, int] = {}

    def local(self, at_ms: int) -> datetime:
        """Return the local time of an instant."""
        return from_ms(at_ms).astimezone(self._zone)

    def hour(self, at_ms: int) -> int:
        """Return the local hour of an instant, 0 to 23."""
        return self._hour_and_weekday(at_ms)[0]

    def weekday(self, at_ms: int) -> int:
        """Return the local day of the week of an instant, 1 Monday to 7."""
        return self._hour_and_weekday(at_ms)[1]

    def _hour_and_weekday(self, at_ms: int) -> tuple[int, int]:
        day = at_ms // DAY_MS
        offset_ms = self._offsets.get(day)
        if offset_ms is None:
            offset_ms = self._offset_of(day)
        if offset_ms == _VARIES or at_ms < _EXACT_SINCE_MS:
            local = self.local(at_ms)
            return local.hour, local.isoweekday()
        local_ms = at_ms + offset_ms
        # The first of January 1970 was a Thursday.
        return local_ms % DAY_MS // HOUR_MS, (local_ms // DAY_MS + 3) % 7 + 1

    def _offset_of(self, day: int) -> int:
        """Return the offset of local time on a UTC day, `_VARIES` if it changes on that day."""
        start, end = self.local(day * DAY_MS).utcoffset(), self.local((day + 1) * DAY_MS).utcoffset()
        if len(self._offsets) >= _REMEMBERED:
            self._offsets.clear()
        offset_ms = self._offsets[day] = start // _MS if start is not None and start == end else _VARIES
        return offset_ms

    def midnight(self, day: date) -> int:
        """Return the instant at which a local day begins."""
        return to_ms(datetime.combine(day, time(), self._zone))

    def plus(self, at_ms: int, span: Duration) -> int:
        """Return the instant a duration later: its months in local time, then its exact part."""
        months, exact_ms = span
        if not months:
            return at_ms + exact_ms
        if at_ms >= _EXACT_SINCE_MS:
            day = at_ms // DAY_MS
            found = self._shifts.get(months * _DAYS_RANGE + day)
            if found is None:
                found = self._remember(day, months)
            shift_ms = found[1] if at_ms < found[0] else found[2]
            if shift_ms != _VARIES:
                return at_ms + shift_ms + exact_ms
        return self._months_later(at_ms, months) + exact_ms

    def _remember(self, day: int, months: int) -> tuple[int, int, int]:
        """Find by how much adding months moves the instants of a UTC day: before its local midnight, and from it on."""
        today = self.local(day * DAY_MS).date()
        midnight_ms = self.midnight(today + TOMORROW)
        offset_ms = self._offset_of(day)
        if offset_ms == _VARIES:
            found = (midnight_ms, _VARIES, _VARIES)
        else:
            found = (midnight_ms, self._shift(today, months, offset_ms), self._shift(today + TOMORROW, months, offset_ms))
        if len(self._shifts) >= _REMEMBERED:
            self._shifts.clear()
        self._shifts[months * _DAYS_RANGE + day] = found
        return found

    def _shift(self, day: date, months: int, offset_ms: int) -> int:
        """Return the way from a time of a local day at an offset to the same time months later, if the offset there is one as well."""
        target = add_months(day, months)
        target_ms = self.midnight(target)
        if self.midnight(target + TOMORROW) - target_ms != DAY_MS:
            return _VARIES
        return target_ms - ((day - _EPOCH_DAY).days * DAY_MS - offset_ms)

    def ago(self, at_ms: int, span: Duration) -> int:
        """Return the instant a duration earlier: its months in local time, then its exact part."""
        return self._months_later(at_ms, -span.months) - span.exact_ms

    def date_plus(self, day: date, span: Duration) -> int:
        """Return the instant a duration after the local midnight that begins `day`."""
        return self.midnight(add_months(day, span.months)) + span.exact_ms

    def _months_later(self, at_ms: int, months: int) -> int:
        local = self.local(at_ms)
        moved = datetime.combine(add_months(local.date(), months), local.time(), self._zone)
        # fold=0 reads a gap with the offset before it, which lands the gap's length later, and an overlap as its first pass
        return to_ms(moved.replace(fold=0))

    def interval(self, word: str, at_ms: int) -> tuple[int, int, int]:
        """Return the interval `[start, end)` that a calendar word means at an instant, and from when on it means another one."""
        today = self.local(at_ms).date()
        if word[:1].isdigit():
            first = date(int(word[:4]), int(word[5:7]), 1)
            return self.midnight(first), self.midnight(add_months(first, 1)), NEVER
        first_of_month = today.replace(day=1)
        if word in MONTHS:
            number = MONTHS.index(word) + 1
            first = date(today.year - (today.month < number), number, 1)
            return self.midnight(first), self.midnight(add_months(first, 1)), self.midnight(add_months(first, 12))
        if word == "today":
            start, end = today, today + TOMORROW
        elif word == "this_week":
            start = today - TOMORROW * today.weekday()
            end = start + TOMORROW * 7
        elif word in ("this_month", "last_month"):
            start, end = first_of_month, add_months(first_of_month, 1)
        elif word == "this_quarter":
            start = first_of_month.replace(month=(today.month - 1) // 3 * 3 + 1)
            end = add_months(start, 3)
        else:
            start = date(today.year, 1, 1)
            end = add_months(start, 12)
        if word.startswith("last_"):
            before = add_months(start, -1 if word == "last_month" else -12)
            return self.midnight(before), self.midnight(start), self.midnight(end)
        return self.midnight(start), self.midnight(end), self.midnight(end)


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


@lru_cache(maxsize=256)
def calendar_of(timezone: str) -> Calendar:
    """Return the calendar of a zone, one for all: what it remembers is dear."""
    return Calendar(timezone)
