"""The judge's calendar, judged: answers worked out by hand, and a search that asks every quarter of an hour."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import pytest

from tests.oracle import clock

PARIS, NEW_YORK = "Europe/Paris", "America/New_York"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01T00:00:01Z", 1_000),
        ("1970-01-01T01:00:00.5+01:00", 500),
        ("1970-01-01t00:00:00.002z", 2),
        ("1970-01-01T00:00:00.0019999Z", 1),
        ("1970-01-01T00:00:00.0009999999Z", 0),
        ("1969-12-31T23:59:59.9995Z", -1),
    ],
)
def test_instants_are_milliseconds_cut_off(text: str, expected: int) -> None:
    """Digits below the millisecond are dropped, never rounded into the next; before the epoch they are floored."""
    assert clock.instant(text) == expected


@pytest.mark.parametrize(
    ("start", "duration", "zone", "expected"),
    [
        # Exact spans do not know what the clocks on the wall do.
        ("2024-03-30T12:00:00+01:00", "P1D", PARIS, "2024-03-31T13:00:00+02:00"),
        ("2024-01-01T00:00:00Z", "P2W", PARIS, "2024-01-15T00:00:00Z"),
        ("2024-01-01T00:00:00Z", "PT1H30M5S", PARIS, "2024-01-01T01:30:05Z"),
        # Months keep the local time, over both changes of the clock.
        ("2024-03-01T12:00:00+01:00", "P1M", PARIS, "2024-04-01T12:00:00+02:00"),
        ("2024-10-01T12:00:00.250+02:00", "P3M", PARIS, "2025-01-01T12:00:00.250+01:00"),
        # The local day counts, not the day in Greenwich: 30 January there is the 31st here.
        ("2024-01-30T23:30:00Z", "P1M", PARIS, "2024-02-28T23:30:00Z"),
        # Clipped to the month's end; a year after a leap day is 28 February.
        ("2024-01-31T10:00:00+01:00", "P1M", PARIS, "2024-02-29T10:00:00+01:00"),
        ("2023-01-31T10:00:00+01:00", "P1M", PARIS, "2023-02-28T10:00:00+01:00"),
        ("2024-02-29T10:00:00+01:00", "P1Y", PARIS, "2025-02-28T10:00:00+01:00"),
        ("2024-11-30T10:00:00+01:00", "P1Y3M", PARIS, "2026-02-28T10:00:00+01:00"),
        # 02:30 does not exist on 31 March: forward by the gap, to 03:30.
        # (29 February + 1 month is 29 March 02:30, and 48 exact hours on the clocks read 03:30 as well.)
        ("2024-02-29T02:30:00+01:00", "P1M2D", PARIS, "2024-03-31T03:30:00+02:00"),
        ("2024-01-31T02:30:00+01:00", "P2M", PARIS, "2024-03-31T03:30:00+02:00"),
        ("2024-02-10T02:30:00-05:00", "P1M", NEW_YORK, "2024-03-10T03:30:00-04:00"),
        ("2024-09-06T02:10:00+10:30", "P1M", "Australia/Lord_Howe", "2024-10-06T02:40:00+11:00"),
        # 02:30 comes twice on 27 October: the earlier, which is summer time.
        ("2024-09-27T02:30:00+02:00", "P1M", PARIS, "2024-10-27T02:30:00+02:00"),
        ("2024-10-03T01:30:00-04:00", "P1M", NEW_YORK, "2024-11-03T01:30:00-04:00"),
        # From the later 02:30 of 27 October as well: a year on, there is one such time only.
        ("2024-10-27T02:30:00+01:00", "P1M", PARIS, "2024-11-27T02:30:00+01:00"),
        # Months first, in local time; then the exact rest.
        ("2024-01-31T10:00:00+01:00", "P1M1DT2H", PARIS, "2024-03-01T12:00:00+01:00"),
        ("2023-01-30T10:00:00+01:00", "P1Y2M10DT2H", PARIS, "2024-04-09T13:00:00+02:00"),
    ],
)
def test_a_duration_later(start: str, duration: str, zone: str, expected: str) -> None:
    """Months are added to local time and clipped, gaps are jumped, of two the earlier; the rest is exact."""
    assert clock.later(clock.instant(start), duration, zone) == clock.instant(expected)


def test_expiry_is_not_monotone() -> None:
    """Two events an hour apart leave in the other order: the first at 03:30 for 02:30 that is not there, the second at 03:00."""
    first, second = clock.instant("2024-01-31T02:30:00+01:00"), clock.instant("2024-01-31T03:00:00+01:00")
    assert first < second
    assert clock.later(first, "P2M", PARIS) > clock.later(second, "P2M", PARIS)


@pytest.mark.parametrize("zone", [PARIS, NEW_YORK, "Pacific/Auckland", "Australia/Lord_Howe", "Asia/Kolkata", "Africa/Cairo", "UTC"])
def test_a_local_time_is_where_a_search_finds_it(zone: str) -> None:
    """Reading the clock on the wall every quarter of an hour, all year: a time is at the first instant that shows it."""
    start, end = clock.instant("2024-01-01T00:00:00Z"), clock.instant("2025-01-01T00:00:00Z")
    shown: dict[datetime, int] = {}
    for at in range(start, end, 900_000):
        shown.setdefault(clock.local(at, zone).replace(tzinfo=None, fold=0), at)
    assert {naive: clock.from_local(naive, zone) for naive in shown} == shown
    quarter = timedelta(minutes=15)
    first, last = min(shown), max(shown)
    skipped = [naive for step in range((last - first) // quarter) if (naive := first + step * quarter) not in shown]
    # At most one gap in a year, so its length is that of all that is skipped.
    for naive in skipped:
        assert clock.local(clock.from_local(naive, zone), zone).replace(tzinfo=None) == naive + len(skipped) * quarter
    assert bool(skipped) is (zone not in ("Asia/Kolkata", "UTC"))


def test_local_midnight_is_the_first_moment_of_the_day() -> None:
    """In Cairo the clocks went forward at midnight of 26 April 2024: that day began at 01:00."""
    assert clock.midnight(date(2024, 4, 26), "Africa/Cairo") == clock.instant("2024-04-26T01:00:00+03:00")
    assert clock.midnight(date(2024, 4, 27), "Africa/Cairo") == clock.instant("2024-04-27T00:00:00+03:00")


@pytest.mark.parametrize(
    ("day", "duration", "expected"),
    [
        ("2024-01-31", "P1M", "2024-02-29T00:00:00+01:00"),
        ("2024-03-01", "P3M", "2024-06-01T00:00:00+02:00"),
        # 24 hours from midnight of the 31st of March, a day of 23 hours.
        ("2024-03-31", "P1D", "2024-04-01T01:00:00+02:00"),
        ("2024-02-29", "P1M2D", "2024-03-31T00:00:00+01:00"),
    ],
)
def test_a_duration_after_a_date(day: str, duration: str, expected: str) -> None:
    """Months are added to the date, days are 24 hours from the local midnight that begins it."""
    assert clock.day_later(date.fromisoformat(day), duration, PARIS) == clock.instant(expected)


@pytest.mark.parametrize(
    ("born", "today", "years", "days"),
    [
        ("1990-06-15", "2024-06-14", 33, 1),
        ("1990-06-15", "2024-06-15", 34, 0),
        ("1990-06-15", "2024-06-16", 34, 364),
        ("1990-06-15", "2023-06-16", 33, 365),
        ("1990-12-31", "2024-01-01", 33, 365),
        # Born on a leap day: 1 March in other years.
        ("2004-02-29", "2023-02-28", 18, 1),
        ("2004-02-29", "2023-03-01", 19, 0),
        ("2004-02-29", "2024-02-28", 19, 1),
        ("2004-02-29", "2024-02-29", 20, 0),
        ("2004-02-29", "2024-03-01", 20, 365),
        # 2100 is not a leap year.
        ("2004-02-29", "2100-02-28", 95, 1),
        ("2024-06-15", "2024-06-15", 0, 0),
    ],
)
def test_ages_and_birthdays(born: str, today: str, years: int, days: int) -> None:
    """Age is in whole years; days are counted to the next birthday, 0 on the day."""
    assert clock.age(date.fromisoformat(born), date.fromisoformat(today)) == years
    assert clock.days_to_birthday(date.fromisoformat(born), date.fromisoformat(today)) == days
