"""Instants, durations and local time, spelled out."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

DAY = 86_400_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# The same few texts and instants are asked about at every boundary; these functions look at their arguments alone.
_remembered = lru_cache(maxsize=100_000)


@_remembered
def instant(text: str) -> int:
    """Milliseconds of an RFC 3339 text, what is below a millisecond cut off."""
    return (datetime.fromisoformat(text.replace("Z", "+00:00").replace("z", "+00:00")) - _EPOCH) // timedelta(milliseconds=1)


def moment(at: int) -> datetime:
    """The UTC time of an instant."""
    return _EPOCH + timedelta(milliseconds=at)


def local(at: int, zone: str) -> datetime:
    """The local time of an instant."""
    return moment(at).astimezone(ZoneInfo(zone))


def midnight(day: date, zone: str) -> int:
    """The instant at which a local day begins."""
    return from_local(datetime.combine(day, time()), zone)


def edge(text: str, zone: str) -> int:
    """The instant that a rule writes as one, or as a date: the local midnight that begins it."""
    return midnight(date.fromisoformat(text), zone) if len(text) == len("2024-05-01") else instant(text)


@_remembered
def from_local(naive: datetime, zone: str) -> int:
    """The instant of a local time: the earlier of two; one that does not exist moved forward by the gap."""
    there = ZoneInfo(zone)
    fits = [
        at
        for offset in sorted({there.utcoffset(naive.replace(fold=fold)) for fold in (0, 1)}, reverse=True)  # type: ignore[type-var]
        for at in [(naive.replace(tzinfo=UTC) - offset - _EPOCH) // timedelta(milliseconds=1)]  # type: ignore[operator]
        if local(at, zone).replace(tzinfo=None) == naive
    ]
    if fits:
        return min(fits)
    before = there.utcoffset(naive - timedelta(days=1))
    assert before is not None
    return (naive.replace(tzinfo=UTC) - before - _EPOCH) // timedelta(milliseconds=1)


def parts(duration: str) -> tuple[int, int]:
    """A duration as (calendar months, exact milliseconds)."""
    days, _, clock = duration[1:].partition("T")
    found = {unit: int(number) for number, unit in re.findall(r"(\d+)([YMWD])", days)}
    time = {unit: int(number) for number, unit in re.findall(r"(\d+)([HMS])", clock)}
    exact = found.get("W", 0) * 7 * DAY + found.get("D", 0) * DAY
    exact += time.get("H", 0) * 3_600_000 + time.get("M", 0) * 60_000 + time.get("S", 0) * 1_000
    return found.get("Y", 0) * 12 + found.get("M", 0), exact


def month_later(day: date, months: int) -> date:
    """A date some months on, clipped to the month's last day."""
    count = day.year * 12 + day.month - 1 + months
    year, month = count // 12, count % 12 + 1
    for clipped in range(day.day, 0, -1):
        try:
            return date(year, month, clipped)
        except ValueError:
            continue
    raise AssertionError("every month has a first day")


@_remembered
def later(at: int, duration: str, zone: str) -> int:
    """The instant a duration after another: months in local time, then the exact rest."""
    months, exact = parts(duration)
    if months:
        here = local(at, zone).replace(tzinfo=None, fold=0)
        moved = month_later(here.date(), months)
        at = from_local(here.replace(year=moved.year, month=moved.month, day=moved.day), zone)
    return at + exact


def earlier(at: int, duration: str, zone: str) -> int:
    """The instant a duration before another: months in local time, then the exact rest."""
    months, exact = parts(duration)
    if months:
        here = local(at, zone).replace(tzinfo=None, fold=0)
        moved = month_later(here.date(), -months)
        at = from_local(here.replace(year=moved.year, month=moved.month, day=moved.day), zone)
    return at - exact


def day_later(day: date, duration: str, zone: str) -> int:
    """The instant a duration after the midnight that begins a date."""
    months, exact = parts(duration)
    return midnight(month_later(day, months), zone) + exact


def birthday(born: date, year: int) -> date:
    """The day of a year on which somebody grows older: who was born on 29 February, on 1 March of other years."""
    try:
        return born.replace(year=year)
    except ValueError:
        return date(year, 3, 1)


def age(born: date, today: date) -> int:
    """Whole years since a birth: this year's birthday counts from its first moment."""
    return today.year - born.year if birthday(born, today.year) <= today else today.year - born.year - 1


def days_to_birthday(born: date, today: date) -> int:
    """Days until the next birthday, counted one by one."""
    for days in range(370):
        day = today + timedelta(days=days)
        if birthday(born, day.year) == day:
            return days
    raise AssertionError("a year has a birthday")
