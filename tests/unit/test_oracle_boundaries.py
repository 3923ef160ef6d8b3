"""The judge, judged, on what time alone changes: each next flip by hand, and none beyond the horizon."""

from __future__ import annotations

from typing import Any

import pytest

from tests.oracle import clock, model
from tests.oracle.examples import NOON, PARIS, Json, bought, fact, sale, told


def flips(rule: Json, *documents: Json, at: str, zone: str = "Europe/Paris", horizon_days: int = 400) -> str | None:
    """The next instant at which a rule of customer c changes, in Greenwich."""
    history = told(*documents, tenant=PARIS | {"timezone": zone})
    found = model.until({"id": "s", "rule": rule}, history, "c", clock.instant(at), horizon_days)
    return None if found is None else clock.moment(found).isoformat().removesuffix("+00:00")


@pytest.mark.parametrize(
    ("word", "happened", "at", "flip", "zone"),
    [
        # An event leaves a word at the local midnight on which it begins to mean other days.
        ("today", "2024-03-31T08:00:00Z", "2024-03-31T10:00:00Z", "2024-03-31T22:00:00", "Europe/Paris"),
        ("today", "2024-10-27T08:00:00Z", "2024-10-27T10:00:00Z", "2024-10-27T23:00:00", "Europe/Paris"),
        ("today", "2024-11-03T12:00:00Z", "2024-11-03T14:00:00Z", "2024-11-04T05:00:00", "America/New_York"),
        ("today", "2024-03-10T12:00:00Z", "2024-03-10T14:00:00Z", "2024-03-11T04:00:00", "America/New_York"),
        ("today", "2024-04-25T12:00:00Z", "2024-04-25T14:00:00Z", "2024-04-25T22:00:00", "Africa/Cairo"),
        ("this_week", "2024-03-29T08:00:00Z", "2024-03-30T10:00:00Z", "2024-03-31T22:00:00", "Europe/Paris"),
        ("this_week", "2024-03-29T08:00:00Z", "2024-03-30T10:00:00Z", "2024-03-31T18:30:00", "Asia/Kolkata"),
        ("this_month", "2024-02-01T08:00:00Z", "2024-02-29T10:00:00Z", "2024-02-29T23:00:00", "Europe/Paris"),
        ("this_quarter", "2024-04-02T08:00:00Z", "2024-05-15T10:00:00Z", "2024-06-30T22:00:00", "Europe/Paris"),
        ("this_year", "2024-04-02T08:00:00Z", "2024-05-15T10:00:00Z", "2024-12-31T23:00:00", "Europe/Paris"),
        ("this_year", "2024-04-02T08:00:00Z", "2024-05-15T10:00:00Z", "2024-12-31T11:00:00", "Pacific/Auckland"),
        # And comes into one at such a midnight as well.
        ("last_month", "2024-05-02T08:00:00Z", "2024-05-15T10:00:00Z", "2024-05-31T22:00:00", "Europe/Paris"),
        ("last_month", "2024-05-02T08:00:00Z", "2024-06-15T10:00:00Z", "2024-06-30T22:00:00", "Europe/Paris"),
        ("last_year", "2024-05-02T08:00:00Z", "2024-05-15T10:00:00Z", "2024-12-31T23:00:00", "Europe/Paris"),
        # Of a month, when the next of its name begins; that of a year never changes.
        ("may", "2024-05-02T08:00:00Z", "2024-05-15T10:00:00Z", "2025-04-30T22:00:00", "Europe/Paris"),
        ("april", "2024-05-02T08:00:00Z", "2024-05-15T10:00:00Z", None, "Europe/Paris"),
        ("2024-05", "2024-05-02T08:00:00Z", "2024-05-15T10:00:00Z", None, "Europe/Paris"),
    ],
)
def test_until_of_calendar_words(word: str, happened: str, at: str, flip: str | None, zone: str) -> None:
    """In the tenant's zone; the same whether the rule holds or its negation."""
    rule = bought(1, window={"calendar": word})
    assert flips(rule, sale(happened), at=at, zone=zone) == flip
    assert flips({"not": rule}, sale(happened), at=at, zone=zone) == flip


def test_until_of_fixed_windows() -> None:
    """What has happened stays where it is; what is ahead of the clock comes at its own instant."""
    window: Json = {"from": "2024-05-15", "to": "2024-05-16"}
    ahead = sale("2024-05-15T12:04:00Z")
    assert flips(bought(1, window=window), ahead, at=NOON) == "2024-05-15T12:04:00"
    assert flips(bought(1, window=window), ahead, at="2024-05-15T12:04:00Z") is None
    days = {"metric": {"measure": "days_since_first", "event": "checkout", "window": window}, "op": "gte", "value": 2}
    assert flips(days, ahead, at="2024-05-15T12:04:00Z") == "2024-05-17T12:04:00"


def test_until_is_null_beyond_the_horizon() -> None:
    """A year and more ahead of 400 days: on the last of them it is still seen."""
    rule = bought(1, window={"calendar": "may"})
    assert flips(rule, sale("2024-05-02T08:00:00Z"), at="2024-05-15T22:00:00Z", horizon_days=350) == "2025-04-30T22:00:00"
    assert flips(rule, sale("2024-05-02T08:00:00Z"), at="2024-05-15T21:59:59.999Z", horizon_days=350) is None


def test_days_in_a_rank_change_every_day() -> None:
    """Who has not bought for longest: a by a whole day from the 3rd on; the ids decide on the hours in which the whole days are equal."""
    rank = {"rank": {"metric": {"measure": "days_since_last", "event": "checkout"}, "order": "desc", "top": 1}}
    history = told(sale("2024-05-01T20:00:00Z", customer_id="b"), sale("2024-05-02T10:00:00Z", customer_id="a"))
    at, end = clock.instant("2024-05-02T10:00:00Z"), clock.instant("2024-05-04T00:00:00Z")
    found = model.boundaries(rank, history, "a", at, end)
    assert {clock.instant(text) for text in ("2024-05-02T20:00:00Z", "2024-05-03T10:00:00Z", "2024-05-03T20:00:00Z")} <= set(found)
    who = {instant: model.members({"id": "s", "rule": rank}, history, instant) for instant in [at, *found]}
    assert [who[clock.instant(text)] for text in ("2024-05-02T10:00:00Z", "2024-05-02T20:00:00Z", "2024-05-03T10:00:00Z")] == [{"a"}, {"b"}, {"a"}]


def test_boundaries_lie_between_two_instants() -> None:
    """After the first, up to and with the second; for a rank those of everybody, else those of the customer; of all segments, and by any id."""
    start, end = clock.instant("2024-05-01T10:00:00Z"), clock.instant("2024-05-15T10:00:00Z")
    history = told(sale("2024-05-01T10:00:00Z"), sale("2024-05-03T10:00:00Z", customer_id="d"))
    window = {"last": "P14D"}

    def found(rule: Json | None, customer: str = "c", segments: Any = ()) -> list[str]:
        instants = model.boundaries(rule, history, customer, start, end, segments)
        return [clock.moment(at).isoformat()[5:16] for at in instants]

    rank = {"rank": {"metric": {"measure": "count", "event": "checkout", "window": {"last": "P7D"}}, "order": "desc", "top": 1}}
    assert found(bought(1, window=window)) == ["05-15T10:00"]
    assert found(bought(1, window=window), "d") == ["05-03T10:00"]
    assert found(rank) == ["05-03T10:00", "05-08T10:00", "05-10T10:00"]
    scheduled = {"id": "s", "rule": {"any": [bought(1), {"not": bought(1, window={"calendar": "this_week"})}]}, "starts_at": "2024-05-02T00:00:00Z"}
    assert found(None, segments=[scheduled]) == ["05-02T00:00", "05-05T22:00", "05-12T22:00"]
    history.add(fact("customer-merge", "2024-05-04T10:00:00Z", customer_id="d", into="c"))
    assert found(bought(1), "d") == found(bought(1)) == ["05-03T10:00", "05-04T10:00"]
