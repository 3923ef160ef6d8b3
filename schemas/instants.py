"""Instants and durations as the product counts them: integer milliseconds since the epoch, ISO 8601 at the edges.

Digits below the millisecond are cut off (floored), so that two processes never differ on which side of a bound a fact lies.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Final, NamedTuple

from schemas.errors import Refusal, shown

NEVER: Final = (1 << 62) - 1
"""Later than every instant: nothing but a new fact can change the answer."""

SECOND_MS: Final = 1_000
MINUTE_MS: Final = 60_000
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 86_400_000

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MS: Final = timedelta(milliseconds=1)
_DAYS_REMEMBERED: Final = 10_000
_day_texts: dict[int, str] = {}
_TWO: Final = [f"{number:02}" for number in range(60)]
_THREE: Final = [f"{number:03}" for number in range(1000)]
_DAYS_MS: Final[dict[str, int]] = {}
_MINUTES_MS: Final = {f"T{hour}:{minute}:": (h * 60 + m) * MINUTE_MS for h, hour in enumerate(_TWO[:24]) for m, minute in enumerate(_TWO)}
_SECONDS_MS: Final = {second: number * SECOND_MS for number, second in enumerate(_TWO)}
_RESTS_MS: Final = {"Z": 0} | {f".{rest}Z": number for number, rest in enumerate(_THREE)}
"""The parts of an instant in UTC as most write it, each with its milliseconds; days are remembered as they come."""
_RFC3339: Final = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:?\d\d)", re.IGNORECASE | re.ASCII)
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)  # fromisoformat alone reads week dates as well
_DURATION: Final = re.compile(
    r"P(?!$)(?:(\d{1,4})Y)?(?:(\d{1,5})M)?(?:(\d{1,5})W)?(?:(\d{1,6})D)?(?:T(?!$)(?:(\d{1,7})H)?(?:(\d{1,8})M)?(?:(\d{1,9})S)?)?",
    re.ASCII,
)


def to_ms(instant: datetime) -> int:
    """Return the milliseconds since the epoch of an aware datetime, exactly, floored."""
    return (instant - _EPOCH) // _MS


def from_ms(instant_ms: int) -> datetime:
    """Return the UTC datetime of an instant."""
    return _EPOCH + timedelta(milliseconds=instant_ms)


def iso(instant_ms: int) -> str:
    """Write an instant as RFC 3339 in UTC with milliseconds, `2026-11-22T10:15:00.250Z`."""
    day, rest_ms = divmod(instant_ms, DAY_MS)
    date_text = _day_texts.get(day)
    if date_text is None:
        if len(_day_texts) >= _DAYS_REMEMBERED:
            _day_texts.clear()
        date_text = _day_texts[day] = (_EPOCH + timedelta(days=day)).date().isoformat()
    minutes, ms = divmod(rest_ms, MINUTE_MS)
    hour, minute = divmod(minutes, 60)
    second, ms = divmod(ms, SECOND_MS)
    return "".join([date_text, "T", _TWO[hour], ":", _TWO[minute], ":", _TWO[second], ".", _THREE[ms], "Z"])


def iso_or_none(instant_ms: int) -> str | None:
    """Write an instant, or None for `NEVER`."""
    return None if instant_ms >= NEVER else iso(instant_ms)


def parse_instant(text: str, pointer: str = "") -> int:
    """Read RFC 3339 with an offset; raise `Refusal` when it is anything else."""
    minute_ms, second_ms, rest_ms = _MINUTES_MS.get(text[10:17]), _SECONDS_MS.get(text[17:19]), _RESTS_MS.get(text[19:])
    if minute_ms is None or second_ms is None or rest_ms is None:
        return _in_any_form(text, pointer)
    day_ms = _DAYS_MS.get(text[:10])
    if day_ms is None:
        found_ms = _in_any_form(text, pointer)
        if len(_DAYS_MS) >= _DAYS_REMEMBERED:
            _DAYS_MS.clear()
        day_ms = _DAYS_MS[text[:10]] = found_ms - found_ms % DAY_MS
    return day_ms + minute_ms + second_ms + rest_ms


def _in_any_form(text: str, pointer: str) -> int:
    if _RFC3339.fullmatch(text):
        try:
            return to_ms(datetime.fromisoformat(text.upper()))
        except (ValueError, OverflowError):
            pass
    raise Refusal(f"{shown(text)} is not an instant; write RFC 3339 with an offset, like 2026-11-22T10:15:00.250Z", pointer=pointer)


def parse_date(text: object, pointer: str = "") -> date:
    """Read `YYYY-MM-DD`; raise `Refusal` when it is anything else."""
    if isinstance(text, str) and _DATE.fullmatch(text):
        try:
            return date.fromisoformat(text)
        except ValueError:
            pass
    raise Refusal(f"{shown(text)} is not a date; write YYYY-MM-DD", pointer=pointer)


class Duration(NamedTuple):
    """A span of calendar months followed by a span of exact milliseconds (ISO 8601; a day is 24 hours, a week seven of them)."""

    months: int
    exact_ms: int

    @property
    def longest_ms(self) -> int:
        """An upper bound of the span: a month has at most 31 days, and a zone moves by at most a day."""
        return self.exact_ms + (self.months * 31 + (1 if self.months else 0)) * DAY_MS

    def __str__(self) -> str:
        """Write the canonical form: years, months, days and time, each only where it is not nothing."""
        years, months = divmod(self.months, 12)
        days, rest_ms = divmod(self.exact_ms, DAY_MS)
        hours, rest_ms = divmod(rest_ms, HOUR_MS)
        minutes, rest_ms = divmod(rest_ms, MINUTE_MS)
        day_part = "".join(f"{n}{unit}" for n, unit in ((years, "Y"), (months, "M"), (days, "D")) if n)
        time_part = "".join(f"{n}{unit}" for n, unit in ((hours, "H"), (minutes, "M"), (rest_ms // SECOND_MS, "S")) if n)
        return f"P{day_part}" + (f"T{time_part}" if time_part else "")


def parse_duration(text: object, pointer: str = "") -> Duration:
    """Read an ISO 8601 duration longer than nothing, such as `PT2H`, `P14D`, `P3M`, `P1Y`; raise `Refusal` otherwise."""
    match = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if match is not None:
        years, months, weeks, days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
        exact_s = ((weeks * 7 + days) * 24 + hours) * 3600 + minutes * 60 + seconds
        found = Duration(years * 12 + months, exact_s * SECOND_MS)
        if found.months or found.exact_ms:
            return found
    raise Refusal(f"{shown(text)} is not a duration; write ISO 8601 like PT2H, P14D, P3M or P1Y", pointer=pointer)
