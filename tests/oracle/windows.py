"""Which events a window holds at an instant."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from tests.oracle import clock

Json = dict[str, Any]
MONTHS = ["january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december"]
# Later than every instant that a document or a rule can write.
_FOREVER = 10**18


def is_inside(window: Json | None, happened: int, at: int, zone: str) -> bool:
    """Whether a window holds, at one instant, what happened at another: nothing that has yet to happen."""
    if happened > at:
        return False
    if not window:
        return True
    if "last" in window:
        return at < clock.later(happened, window["last"], zone)
    start, end = span(window, at, zone)
    return start <= happened < end


def span(window: Json, at: int, zone: str) -> tuple[int, int]:
    """The first instant of a calendar or fixed window, and the first after it, as they are at an instant."""
    if "calendar" in window:
        first, after = days(window["calendar"], clock.local(at, zone).date())
        return clock.midnight(first, zone), clock.midnight(after, zone)
    start, end = window.get("from"), window.get("to")
    return -_FOREVER if start is None else clock.edge(start, zone), _FOREVER if end is None else clock.edge(end, zone)


def days(word: str, today: date) -> tuple[date, date]:
    """The first day that a calendar word means on a day, and the first after those it means."""
    month = today.replace(day=1)
    if word == "today":
        return today, today + timedelta(days=1)
    if word == "this_week":
        monday = today - timedelta(days=today.weekday())
        return monday, monday + timedelta(days=7)
    if word == "this_month":
        return month, clock.month_later(month, 1)
    if word == "last_month":
        return clock.month_later(month, -1), month
    if word == "this_quarter":
        quarter = date(today.year, {1: 1, 2: 4, 3: 7, 4: 10}[(today.month + 2) // 3], 1)
        return quarter, clock.month_later(quarter, 3)
    if word == "this_year":
        return date(today.year, 1, 1), date(today.year + 1, 1, 1)
    if word == "last_year":
        return date(today.year - 1, 1, 1), date(today.year, 1, 1)
    if word in MONTHS:
        number = MONTHS.index(word) + 1
        # The latest that has begun: this year's, or last year's while this year's is to come.
        named = date(today.year if number <= today.month else today.year - 1, number, 1)
    else:
        named = date.fromisoformat(f"{word}-01")
    return named, clock.month_later(named, 1)
