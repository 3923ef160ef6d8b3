"""Durations in local time: months clipped, gaps and overlaps as the contract says, the cache as exact as the direct way."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.instants import DAY_MS, Duration, parse_duration, parse_instant, to_ms
from services.segmenter.engine.calendar import Calendar, age_on, next_birthday

ZONES = ["Europe/Paris", "America/New_York", "Pacific/Auckland", "Asia/Kolkata", "Australia/Lord_Howe", "America/Sao_Paulo", "UTC"]
FIRST, LAST = to_ms(datetime(2000, 1, 1, tzinfo=UTC)), to_ms(datetime(2035, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("start", "span", "end"),
    [
        ("2026-01-31T10:00:00+01:00", "P1M", "2026-02-28T10:00:00+01:00"),  # clipped to the month's end
        ("2024-01-31T10:00:00+01:00", "P1M", "2024-02-29T10:00:00+01:00"),  # in a leap year to the 29th
        ("2024-02-29T10:00:00+01:00", "P1Y", "2025-02-28T10:00:00+01:00"),
        ("2026-02-28T02:30:00+01:00", "P1M", "2026-03-28T02:30:00+01:00"),
        ("2026-02-28T02:30:00+01:00", "P1M1D", "2026-03-29T03:30:00+02:00"),  # days are 24 hours: local 02:30 does not exist
        ("2026-01-29T02:30:00+01:00", "P2M", "2026-03-29T03:30:00+02:00"),  # a gap moves forward by its length
        ("2026-09-25T02:30:00+02:00", "P1M", "2026-10-25T02:30:00+02:00"),  # of an ambiguous time the earlier
        ("2026-03-28T12:00:00+01:00", "P1D", "2026-03-29T13:00:00+02:00"),  # 24 hours across the change
        ("2026-01-01T00:00:00+01:00", "PT36H", "2026-01-02T12:00:00+01:00"),
    ],
)
def test_a_duration_later_in_paris(start: str, span: str, end: str) -> None:
    """Worked by hand from the calendar of Europe/Paris."""
    assert Calendar("Europe/Paris").plus(parse_instant(start), parse_duration(span)) == parse_instant(end)


def test_expiry_is_not_monotone() -> None:
    """31 January 10:00 plus a month comes before 29 January 12:00 plus a month."""
    paris, month = Calendar("Europe/Paris"), Duration(1, 0)
    earlier, later = parse_instant("2026-01-29T12:00:00+01:00"), parse_instant("2026-01-31T10:00:00+01:00")
    assert earlier < later
    assert paris.plus(earlier, month) > paris.plus(later, month)


@given(st.sampled_from(ZONES), st.integers(FIRST, LAST), st.integers(1, 30))
def test_remembered_shifts_are_exact(zone: str, at_ms: int, months: int) -> None:
    """Adding months by bucket equals adding them to that very instant, in every zone and across every change."""
    calendar = Calendar(zone)
    calendar.plus(at_ms - at_ms % 900_000, Duration(months, 0))
    assert calendar.plus(at_ms, Duration(months, 0)) == calendar._months_later(at_ms, months)


@given(st.sampled_from(ZONES), st.integers(FIRST, LAST), st.integers(0, 30), st.integers(1, 90))
def test_the_longest_span_is_an_upper_bound(zone: str, at_ms: int, months: int, days: int) -> None:
    """No event stays inside a window for longer than `longest_ms`."""
    span = Duration(months, days * DAY_MS)
    assert at_ms < Calendar(zone).plus(at_ms, span) <= at_ms + span.longest_ms


@pytest.mark.parametrize(
    ("born", "today", "age"),
    [("2000-02-29", "2021-02-28", 20), ("2000-02-29", "2021-03-01", 21), ("2000-02-29", "2024-02-29", 24), ("1990-06-15", "2026-06-14", 35)],
)
def test_age(born: str, today: str, age: int) -> None:
    """Ages change on the birthday; who was born on 29 February ages on 1 March in other years."""
    assert age_on(date.fromisoformat(born), date.fromisoformat(today)) == age


def test_the_next_birthday_of_a_leap_day() -> None:
    """1 March in other years, 29 February in leap years, and the day itself counts."""
    born = date(2000, 2, 29)
    assert next_birthday(born, date(2026, 2, 1)) == date(2026, 3, 1)
    assert next_birthday(born, date(2028, 2, 29)) == date(2028, 2, 29)
