"""Reads the windows of metrics and sequences: the last span of time, a word of the calendar, or two fixed ends."""

from __future__ import annotations

import re
from datetime import date, datetime, time
from functools import cache
from typing import Any, Final
from zoneinfo import ZoneInfo

from schemas.errors import Refusal, shown
from schemas.instants import DAY_MS, Duration, iso, parse_date, parse_instant, to_ms
from schemas.reading import EARLIEST_MS
from schemas.rule_context import RuleContext
from schemas.rule_values import duration, object_of, only
from schemas.rules import CALENDAR_WORDS, MONTHS, Between, CalendarWindow, Last, Window

_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_MONTH: Final = re.compile(r"2[01]\d\d-(0[1-9]|1[0-2])", re.ASCII)  # no event is older than 2000
_FIRST_MS: Final = to_ms(datetime.fromisoformat("1970-01-01T00:00:00Z"))
_LAST_MS: Final = to_ms(datetime.fromisoformat("2200-01-01T00:00:00Z"))
_REACH_MONTHS: Final = {"last_month": 2, "this_quarter": 3, "this_year": 12, "last_year": 24, **dict.fromkeys(MONTHS, 12)}
"""How far back the windows that are longer than a month can begin: a month's name as far as its last one, a year ago at most."""
_ONE_OF: Final = "a window is exactly one of last, calendar, or from and to (of which one may be absent)"
_REACH_DAYS: Final = {"today": 1, "this_week": 7}


def read_window(parent: dict[str, Any], parent_at: str, context: RuleContext) -> Window | None:
    """Read the window of a metric or sequence, None when it is absent (for ever)."""
    if "window" not in parent:
        return None
    at = f"{parent_at}/window"
    node = object_of(parent["window"], at, "a window")
    said = [word for word in ("last", "calendar") if word in node] + ["from and to"] * ("from" in node or "to" in node)
    if len(said) > 1:
        raise Refusal(f"{_ONE_OF}; this one has {', '.join(said)}", pointer=at)
    if "last" in node:
        only(node, ("last",), at)
        span = duration(node["last"], f"{at}/last")
        check_kept(span, f"{at}/last", context)
        return Last(span)
    if "calendar" in node:
        only(node, ("calendar",), at)
        return CalendarWindow(_word(node["calendar"], f"{at}/calendar", context))
    only(node, ("last", "calendar", "from", "to"), at)
    if not node:
        raise Refusal(_ONE_OF, pointer=at)
    first_ms, end_ms = (_end(node[name], f"{at}/{name}", context.timezone) if name in node else None for name in ("from", "to"))
    if first_ms is not None and end_ms is not None and first_ms >= end_ms:
        raise Refusal(f"from comes before to: {shown(node['from'])} is not before {shown(node['to'])}", pointer=f"{at}/to")
    if context.saving and end_ms is not None and end_ms <= EARLIEST_MS:
        raise Refusal(f"{shown(node['to'])} is before every event: none is older than {iso(EARLIEST_MS)}", pointer=f"{at}/to")
    return Between(first_ms, end_ms, node.get("from"), node.get("to"))


def check_kept(span: Duration, at: str, context: RuleContext) -> None:
    """Refuse a span that is longer than the kept history. Months are compared as months, the rest with the months at their shortest."""
    kept = context.history_months
    if kept is None or (span.months <= kept and span.exact_ms <= _shortest_days(kept - span.months) * DAY_MS):
        return
    raise Refusal(f"{span} is longer than the history that is kept, {kept} months (P{kept}M)", pointer=at)


def check_outlasts(window: Window, within: Duration, at: str) -> None:
    """Refuse the window of a sequence that does not happen, if what it waits for would be over only once the event has left."""
    inside = isinstance(window, Last) and window.span.months <= within.months and window.span.exact_ms <= within.exact_ms
    oldest = oldest_ms(window)
    if inside or (oldest is not None and oldest <= shortest_ms(within)):
        raise Refusal(f"nobody would ever be in: the window must be longer than within, {within}, or an event has left before it is over", pointer=at)


def oldest_ms(window: Window | None) -> int | None:
    """Return a bound that the age of an event inside a window stays below; None where the window does not say."""
    if isinstance(window, Last):
        return window.span.exact_ms + _longest_ms(window.span.months)
    if isinstance(window, CalendarWindow) and window.word in CALENDAR_WORDS:
        days = _REACH_DAYS.get(window.word)
        return _longest_ms(_REACH_MONTHS.get(window.word, 1)) if days is None else (days + 1) * DAY_MS
    return None


def shortest_ms(span: Duration) -> int:
    """Return what a span never falls short of."""
    return span.exact_ms + (max(_shortest_days(span.months) - 1, 0) * DAY_MS if span.months else 0)


def _longest_ms(months: int) -> int:
    # A day more, by which a zone can move: an hour each autumn, a day where an island changes sides.
    return (_longest_days(months) + 1) * DAY_MS if months else 0


def midnight_ms(day: date, timezone: str) -> int:
    """Return the instant at which a local day begins: where midnight does not exist the end of the gap, of two the earlier."""
    return to_ms(datetime.combine(day, time(), ZoneInfo(timezone)))


def _word(word: Any, at: str, context: RuleContext) -> str:
    if not isinstance(word, str) or (word not in CALENDAR_WORDS and not _MONTH.fullmatch(word)):
        raise Refusal(f'unknown calendar window {shown(word)}; one of {", ".join(CALENDAR_WORDS)}, or a month like "2026-05"', pointer=at)
    kept, reach = context.history_months, _REACH_MONTHS.get(word, 1)
    if kept is not None and reach > kept:
        raise Refusal(f"{word} can begin {reach} months ago, before the history that is kept, {kept} months", pointer=at)
    return word


def _end(text: Any, at: str, timezone: str) -> int:
    if not isinstance(text, str):
        raise Refusal(f"{shown(text)} is not an instant; write a date, or RFC 3339 with an offset", pointer=at)
    found = midnight_ms(parse_date(text, at), timezone) if _DATE.fullmatch(text) else parse_instant(text, at)
    if not _FIRST_MS <= found < _LAST_MS:
        raise Refusal(f"{shown(text)} is not between 1970 and 2200", pointer=at)
    return found


@cache
def _shortest_days(months: int) -> int:
    """Return how few days so many months in a row can have."""
    return min(_days(months))


@cache
def _longest_days(months: int) -> int:
    """Return how many days so many months in a row can have."""
    return max(_days(months))


def _days(months: int) -> list[int]:
    """Return the days of so many months in a row over the starts of four years, one of them leap."""
    starts = [2021 * 12 + start for start in range(48)]
    return [(_first_of(start + months) - _first_of(start)).days for start in starts]


def _first_of(month: int) -> date:
    return date(month // 12, month % 12 + 1, 1)
