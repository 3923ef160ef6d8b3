"""The judge's calendar and fixed windows, judged: their first and last instants worked out by hand, and a reader of the clock on the wall."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracle import clock, windows
from tests.oracle.examples import PARIS, Json, beside, sale, value

_ZONES = ["Europe/Paris", "America/New_York", "Pacific/Auckland", "Asia/Kolkata", "Africa/Cairo", "America/Havana"]


def count(window: Json, *instants: str, at: str, zone: str = "Europe/Paris") -> int:
    """How many of the checkouts at these instants a window holds at an instant."""
    return int(value({"measure": "count", "window": window}, *(sale(one) for one in instants), at=at, tenant=PARIS | {"timezone": zone}))


@pytest.mark.parametrize(
    ("word", "at", "start", "end", "zone"),
    [
        # The days of the changed clocks have 23 and 25 hours.
        ("today", "2024-03-31T12:00:00+02:00", "2024-03-31T00:00:00+01:00", "2024-04-01T00:00:00+02:00", "Europe/Paris"),
        ("today", "2024-10-27T12:00:00+01:00", "2024-10-27T00:00:00+02:00", "2024-10-28T00:00:00+01:00", "Europe/Paris"),
        ("today", "2024-03-10T12:00:00-04:00", "2024-03-10T00:00:00-05:00", "2024-03-11T00:00:00-04:00", "America/New_York"),
        ("today", "2024-11-03T12:00:00-05:00", "2024-11-03T00:00:00-04:00", "2024-11-04T00:00:00-05:00", "America/New_York"),
        ("today", "2024-02-29T00:00:00+01:00", "2024-02-29T00:00:00+01:00", "2024-03-01T00:00:00+01:00", "Europe/Paris"),
        # A midnight that is not there, and one that comes twice.
        ("today", "2024-04-26T12:00:00+03:00", "2024-04-26T01:00:00+03:00", "2024-04-27T00:00:00+03:00", "Africa/Cairo"),
        ("today", "2024-11-03T12:00:00-05:00", "2024-11-03T00:00:00-04:00", "2024-11-04T00:00:00-05:00", "America/Havana"),
        # Weeks begin on Monday: on a Sunday it is the last, on a Monday this one; 30 December 2024 was one.
        ("this_week", "2024-03-31T23:59:59.999+02:00", "2024-03-25T00:00:00+01:00", "2024-04-01T00:00:00+02:00", "Europe/Paris"),
        ("this_week", "2024-04-01T00:00:00+02:00", "2024-04-01T00:00:00+02:00", "2024-04-08T00:00:00+02:00", "Europe/Paris"),
        ("this_week", "2025-01-01T12:00:00+01:00", "2024-12-30T00:00:00+01:00", "2025-01-06T00:00:00+01:00", "Europe/Paris"),
        ("this_week", "2024-11-03T12:00:00-05:00", "2024-10-28T00:00:00-04:00", "2024-11-04T00:00:00-05:00", "America/New_York"),
        # The same instant is February in Paris and January in New York.
        ("this_month", "2024-01-31T23:30:00Z", "2024-02-01T00:00:00+01:00", "2024-03-01T00:00:00+01:00", "Europe/Paris"),
        ("this_month", "2024-01-31T23:30:00Z", "2024-01-01T00:00:00-05:00", "2024-02-01T00:00:00-05:00", "America/New_York"),
        ("this_month", "2024-10-31T23:59:59.999+01:00", "2024-10-01T00:00:00+02:00", "2024-11-01T00:00:00+01:00", "Europe/Paris"),
        ("last_month", "2024-03-31T23:59:59.999+02:00", "2024-02-01T00:00:00+01:00", "2024-03-01T00:00:00+01:00", "Europe/Paris"),
        ("last_month", "2024-04-01T00:00:00+02:00", "2024-03-01T00:00:00+01:00", "2024-04-01T00:00:00+02:00", "Europe/Paris"),
        ("last_month", "2024-01-31T12:00:00+01:00", "2023-12-01T00:00:00+01:00", "2024-01-01T00:00:00+01:00", "Europe/Paris"),
        ("last_month", "2024-12-01T00:00:00-05:00", "2024-11-01T00:00:00-04:00", "2024-12-01T00:00:00-05:00", "America/New_York"),
        ("this_quarter", "2024-03-31T23:59:59.999+02:00", "2024-01-01T00:00:00+01:00", "2024-04-01T00:00:00+02:00", "Europe/Paris"),
        ("this_quarter", "2024-04-01T00:00:00+02:00", "2024-04-01T00:00:00+02:00", "2024-07-01T00:00:00+02:00", "Europe/Paris"),
        ("this_quarter", "2024-09-30T12:00:00+02:00", "2024-07-01T00:00:00+02:00", "2024-10-01T00:00:00+02:00", "Europe/Paris"),
        ("this_quarter", "2024-12-31T23:59:59.999+01:00", "2024-10-01T00:00:00+02:00", "2025-01-01T00:00:00+01:00", "Europe/Paris"),
        ("this_year", "2024-12-31T23:59:59.999+01:00", "2024-01-01T00:00:00+01:00", "2025-01-01T00:00:00+01:00", "Europe/Paris"),
        ("this_year", "2024-12-31T11:00:00Z", "2025-01-01T00:00:00+13:00", "2026-01-01T00:00:00+13:00", "Pacific/Auckland"),
        ("last_year", "2024-12-31T23:59:59.999+01:00", "2023-01-01T00:00:00+01:00", "2024-01-01T00:00:00+01:00", "Europe/Paris"),
        ("last_year", "2025-01-01T00:00:00+01:00", "2024-01-01T00:00:00+01:00", "2025-01-01T00:00:00+01:00", "Europe/Paris"),
        ("2024-02", "2024-06-01T12:00:00Z", "2024-02-01T00:00:00+01:00", "2024-03-01T00:00:00+01:00", "Europe/Paris"),
        ("2023-12", "2024-06-01T12:00:00Z", "2023-12-01T00:00:00-05:00", "2024-01-01T00:00:00-05:00", "America/New_York"),
        # The latest May that has begun: last year's until the last moment of April.
        ("may", "2024-04-30T23:59:59.999+02:00", "2023-05-01T00:00:00+02:00", "2023-06-01T00:00:00+02:00", "Europe/Paris"),
        ("may", "2024-05-01T00:00:00+02:00", "2024-05-01T00:00:00+02:00", "2024-06-01T00:00:00+02:00", "Europe/Paris"),
        ("may", "2024-12-31T12:00:00+01:00", "2024-05-01T00:00:00+02:00", "2024-06-01T00:00:00+02:00", "Europe/Paris"),
        ("december", "2024-11-30T23:59:59.999+01:00", "2023-12-01T00:00:00+01:00", "2024-01-01T00:00:00+01:00", "Europe/Paris"),
        ("december", "2024-12-01T00:00:00+01:00", "2024-12-01T00:00:00+01:00", "2025-01-01T00:00:00+01:00", "Europe/Paris"),
        ("january", "2024-01-01T00:00:00+01:00", "2024-01-01T00:00:00+01:00", "2024-02-01T00:00:00+01:00", "Europe/Paris"),
        ("february", "2024-12-01T12:00:00+01:00", "2024-02-01T00:00:00+01:00", "2024-03-01T00:00:00+01:00", "Europe/Paris"),
        ("november", "2024-12-15T12:00:00-05:00", "2024-11-01T00:00:00-04:00", "2024-12-01T00:00:00-05:00", "America/New_York"),
    ],
)
def test_what_a_calendar_word_holds(word: str, at: str, start: str, end: str, zone: str) -> None:
    """From its first instant to the last before its end, in the tenant's zone; what is yet to happen is not in it."""
    window = {"calendar": word}
    assert windows.span(window, clock.instant(at), zone) == (clock.instant(start), clock.instant(end))
    assert [count(window, one, at=at, zone=zone) for one in (beside(start, -1), start)] == [0, 1]
    if clock.instant(end) <= clock.instant(at):
        assert [count(window, one, at=at, zone=zone) for one in (beside(end, -1), end)] == [1, 0]
    else:
        assert count(window, start, at, at=at, zone=zone) == 2, "both ends of what has passed of it"
        assert count(window, at, at=beside(end, -1), zone=zone) == 1
        assert count(window, beside(at, 1), at=at, zone=zone) == 0
        # A month by its name is meant until the next one of that name begins, all others until they end.
        assert count(window, start, at=end, zone=zone) == (1 if word in windows.MONTHS else 0)


def test_a_month_that_has_not_begun_is_empty() -> None:
    """One that is written with its year means that year's, and only that."""
    assert count({"calendar": "2025-05"}, "2024-05-10T10:00:00Z", at="2024-06-01T00:00:00Z") == 0
    assert count({"calendar": "2025-05"}, "2024-05-10T10:00:00Z", "2025-05-10T10:00:00Z", at="2025-06-01T00:00:00Z") == 1


@pytest.mark.parametrize(
    ("window", "start", "end"),
    [
        # Dates are local midnights, over a change of the clock too; instants are themselves.
        ({"from": "2024-03-30", "to": "2024-04-01"}, "2024-03-30T00:00:00+01:00", "2024-04-01T00:00:00+02:00"),
        ({"from": "2024-03-30T10:00:00-05:00", "to": "2024-03-31T12:00:00.250Z"}, "2024-03-30T15:00:00Z", "2024-03-31T12:00:00.250Z"),
        ({"from": "2024-03-30", "to": "2024-03-30T18:00:00Z"}, "2024-03-30T00:00:00+01:00", "2024-03-30T18:00:00Z"),
    ],
)
def test_a_fixed_window_is_half_open(window: Json, start: str, end: str) -> None:
    """Its first instant is in it, its last is not; with one side open it goes on without an end."""
    at = "2024-06-01T00:00:00Z"
    assert [count(window, one, at=at) for one in (beside(start, -1), start, beside(end, -1), end)] == [0, 1, 1, 0]
    from_alone, to_alone = {"from": window["from"]}, {"to": window["to"]}
    assert [count(from_alone, one, at=at) for one in (beside(start, -1), start, end)] == [0, 1, 1]
    assert [count(to_alone, one, at=at) for one in ("2022-12-01T00:00:00Z", beside(end, -1), end)] == [1, 1, 0]
    assert count(from_alone, end, at=beside(end, -1)) == 0, "not before it has happened"


def test_dates_of_a_fixed_window_are_the_tenants() -> None:
    """The first of May begins in Auckland ten hours before it begins in Paris."""
    window, happened = {"from": "2024-05-01"}, "2024-04-30T12:00:00Z"
    assert [count(window, happened, at="2024-06-01T00:00:00Z", zone=zone) for zone in ("Pacific/Auckland", "Europe/Paris")] == [1, 0]


def test_every_measure_looks_through_its_window() -> None:
    """Of sales in March, April and May, asked on 15 May at noon in Greenwich."""
    sales = [sale(f"2024-0{month}-10T10:00:00Z", total=total) for month, total in ((3, "1.00"), (4, "2.00"), (5, "4.00"))]
    words = ["this_month", "last_month", "this_quarter", "this_year", "last_year", "march", "june"]
    sums = [value({"measure": "sum", "field": "total", "window": {"calendar": word}}, *sales) for word in words]
    assert sums == [4, 2, 6, 7, 0, 1, 0]
    assert value({"measure": "avg", "field": "total", "window": {"calendar": "this_quarter"}}, *sales) == Fraction(3)
    assert value({"measure": "avg", "field": "total", "window": {"calendar": "last_year"}}, *sales) is None
    assert value({"measure": "days_since_first", "window": {"calendar": "this_quarter"}}, *sales) == 35
    assert value({"measure": "days_since_last", "window": {"to": "2024-05-01"}}, *sales) == 35


_SAME: dict[str, Callable[[datetime, datetime], bool]] = {
    "today": lambda then, now: then.date() == now.date(),
    "this_week": lambda then, now: then.isocalendar()[:2] == now.isocalendar()[:2],
    "this_month": lambda then, now: (then.year, then.month) == (now.year, now.month),
    "last_month": lambda then, now: then.year * 12 + then.month + 1 == now.year * 12 + now.month,
    "this_quarter": lambda then, now: (then.year, (then.month - 1) // 3) == (now.year, (now.month - 1) // 3),
    "this_year": lambda then, now: then.year == now.year,
    "last_year": lambda then, now: then.year == now.year - 1,
    "2024-05": lambda then, now: (then.year, then.month) == (2024, 5) <= (now.year, now.month),
    # The same May: no other has begun since.
    "may": lambda then, now: then.month == 5 and (now.year - then.year) * 12 + now.month - 5 < 12,
}


@settings(max_examples=1_000)
@given(st.sampled_from(sorted(_SAME)), st.sampled_from(_ZONES), st.integers(0, 800 * 24 * 4), st.integers(-50, 200) | st.integers(0, 400 * 24 * 4))
def test_a_calendar_word_is_read_off_the_wall(word: str, zone: str, quarters: int, ago: int) -> None:
    """An event is inside when the clocks on the wall, then and now, say so; every quarter of an hour of two years and more."""
    at = clock.instant("2023-06-01T00:00:00Z") + quarters * 900_000
    happened = at - ago * 900_000
    then, now = clock.local(happened, zone), clock.local(at, zone)
    assert windows.is_inside({"calendar": word}, happened, at, zone) is (ago >= 0 and _SAME[word](then, now))
