"""Reads the windows of metrics and sequences: the last span of time, a word of the calendar, or two fixed ends."""

from __future__ import annotations

import re
from datetime import date, datetime, time
from functools import cache
from typing import Any, Final
from zoneinfo import ZoneInfo

from schemas.errors import Refusal, shown
from schemas.instants import DAY_MS, Duration, parse_date, parse_instant, to_ms
from schemas.rule_context import RuleContext
from schemas.rule_values import duration, object_of, only
from schemas.rules import CALENDAR_WORDS, MONTHS, Between, CalendarWindow, Last, Window

_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_MONTH: Final = re.compile(r"2[01]\d\d-(0[1-9]|1[0-2])", re.ASCII)  # no event is older than 2000
_FIRST_MS: Final = to_ms(datetime.fromisoformat("1970-01-01T00:00:00Z"))
_LAST_MS: Final = to_ms(datetime.fromisoformat("2200-01-01T00:00:00Z"))
_REACH_MONTHS: Final = {"last_month": 2, "this_quarter": 3, "this_year": 12, "last_year": 24, **dict.fromkeys(MONTHS, 12)}
"""How far back the windows that are longer than a month can begin: a month's name as far as its last one, a year ago at most."""


def read_window(parent: dict[str, Any], parent_at: str, context: RuleContext) -> Window | None:
    """Read the window of a metric or sequence, None when it is absent (for ever)."""
    if "window" not in parent:
        return None
    at = f"{parent_at}/window"
    node = object_of(parent["window"], at, "a window")
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
        raise Refusal("a window says one of last, calendar, or from and to (one of the two may be absent)", pointer=at)
    first_ms, end_ms = (_end(node[name], f"{at}/{name}", context.timezone) if name in node else None for name in ("from", "to"))
    if first_ms is not None and end_ms is not None and first_ms >= end_ms:
        raise Refusal(f"from comes before to: {shown(node['from'])} is not before {shown(node['to'])}", pointer=f"{at}/to")
    return Between(first_ms, end_ms, node.get("from"), node.get("to"))


def check_kept(span: Duration, at: str, context: RuleContext) -> None:
    """Refuse a span that is longer than the kept history. Months are compared as months, the rest with the months at their shortest."""
    kept = context.history_months
    if kept is None or (span.months <= kept and span.exact_ms <= _shortest_days(kept - span.months) * DAY_MS):
        return
    raise Refusal(f"{span} is longer than the history that is kept, {kept} months (P{kept}M)", pointer=at)


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
    """Return how few days so many months in a row can have: the fewest over the starts of four years, one of them leap."""
    starts = [2021 * 12 + start for start in range(48)]
    return min((_first_of(start + months) - _first_of(start)).days for start in starts)


def _first_of(month: int) -> date:
    return date(month // 12, month % 12 + 1, 1)
