"""The judge, judged, on ranks: who is foremost among the tenant's customers."""

from __future__ import annotations

from typing import Any

import pytest

from tests.oracle import clock, model
from tests.oracle.examples import NOON, PARIS, Json, bought, fact, sale, told

_COUNT = {"measure": "count", "event": "checkout"}
_SUM = {"measure": "sum", "event": "checkout", "field": "total"}


def foremost(history: model.History, metric: Json, order: str = "desc", at: str = NOON, **size: Any) -> set[str]:
    """Everyone of whom a rank holds."""
    segment = {"id": "s", "rule": {"rank": {"metric": metric, "order": order} | size}}
    return model.members(segment, history, clock.instant(at))


def spent(**totals: str) -> model.History:
    """A judge who has heard of one checkout of each customer."""
    return told(*(sale(total=total, customer_id=customer) for customer, total in totals.items()))


def test_the_top_ones() -> None:
    """From the greatest down, or from the least up; amounts and not texts; more than there are is everybody."""
    history = spent(a="9.50", b="10.00", c="100.00")
    assert [foremost(history, _SUM, top=n) for n in (1, 2, 3, 4)] == [{"c"}, {"b", "c"}, {"a", "b", "c"}, {"a", "b", "c"}]
    assert [foremost(history, _SUM, "asc", top=n) for n in (1, 2)] == [{"a"}, {"a", "b"}]


@pytest.mark.parametrize(
    ("percent", "of_five", "of_three"), [(1, 1, 1), (20, 1, 1), (21, 2, 1), (33, 2, 1), (34, 2, 2), (60, 3, 2), (67, 4, 3), (100, 5, 3)]
)
def test_so_many_in_a_hundred(percent: int, of_five: int, of_three: int) -> None:
    """A part of one is one: 33 of 100 are 0.99 of three, 34 are 1.02."""
    five = spent(a="1.00", b="2.00", c="3.00", d="4.00", e="5.00")
    three = spent(a="1.00", b="2.00", c="3.00")
    assert foremost(five, _SUM, percent=percent) == set("edcba"[:of_five])
    assert foremost(three, _SUM, "asc", percent=percent) == set("abc"[:of_three])


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_ties_go_by_the_bytes_of_the_id(order: str) -> None:
    """Both ways the lesser bytes first: capitals, small letters, accents, and what lies beyond the first plane last."""
    names = ["10", "9", "A", "a", "z", "é", "～", "😀"]  # noqa: RUF001 -- U+FF5E: after U+1F600 in UTF-16, before it in UTF-8
    history = told(*(sale(customer_id=name) for name in reversed(names)))
    assert [foremost(history, _SUM, order, top=n) for n in range(1, 9)] == [set(names[:n]) for n in range(1, 9)]


def test_only_who_has_a_value() -> None:
    """An average of nothing has no place and is not counted: half of two is one. A count of nothing is 0 and has a place."""
    seen = [fact("visit", "2024-05-01T10:00:00Z", store_id="7", customer_id=name) for name in "xyz"]
    history = told(sale(total="1.00", customer_id="a"), sale(total="3.00", customer_id="b"), *seen)
    average = {"measure": "avg", "event": "checkout", "field": "total"}
    assert foremost(history, average, percent=50) == {"b"}
    assert foremost(history, average, top=5) == {"a", "b"}
    assert foremost(history, _COUNT, percent=50) == {"a", "b", "x"}
    assert foremost(history, _COUNT, "asc", top=2) == {"x", "y"}


def test_whoever_a_list_names_is_a_customer() -> None:
    """Somebody named by any segment has a count of 0, and half of two is one."""
    history, at = told(sale(customer_id="m")), clock.instant(NOON)
    segment = {"id": "s", "rule": {"rank": {"metric": _COUNT, "order": "asc", "percent": 50}}}
    assert model.members(segment, history, at) == {"m"}
    assert model.members(segment, history, at, [{"id": "t", "include": ["k"]}]) == {"k"}
    assert model.members(segment | {"exclude": ["k"]}, history, at) == set()


def test_a_rank_looks_through_windows_filters_and_time() -> None:
    """The last 14 days: b leads from the 10th of May until its checkout leaves, a before and after."""
    history = told(sale("2024-05-01T10:00:00Z", "1.00", customer_id="a"), sale("2024-05-10T10:00:00Z", "5.00", customer_id="b"), tenant=PARIS)
    last = _SUM | {"window": {"last": "P14D"}}
    asked = ["2024-05-10T09:59:59.999Z", "2024-05-10T10:00:00Z", "2024-05-24T09:59:59.999Z", "2024-05-24T10:00:00Z"]
    assert [foremost(history, last, top=1, at=at) for at in asked] == [{"a"}, {"b"}, {"b"}, {"a"}]
    web = _COUNT | {"where": [{"field": "channel", "op": "eq", "value": "web"}]}
    assert foremost(told(sale(customer_id="a"), sale(customer_id="b", channel="web")), web, top=1) == {"b"}


def test_who_is_gone_has_no_place() -> None:
    """One who was merged counts for the survivor, one who was erased for nobody."""
    history = spent(a="5.00", b="6.00", c="7.00")
    history.add(fact("customer-merge", NOON, customer_id="a", into="b"))
    assert foremost(history, _SUM, top=1) == {"b"}, "5 and 6 are 11"
    history.add(fact("customer-erase", NOON, customer_id="b"))
    assert foremost(history, _SUM, percent=50) == {"c"}


def test_a_rank_alone_has_no_until() -> None:
    """Though time changes it; what stands beside it changes at its own instant, while the rank stays what it is."""
    history = told(sale("2024-05-01T10:00:00Z", "1.00", customer_id="a"), sale("2024-05-10T10:00:00Z", "5.00", customer_id="b"))
    at = clock.instant(NOON)
    rank = {"rank": {"metric": _SUM | {"window": {"last": "P14D"}}, "order": "desc", "top": 1}}
    assert model.until({"id": "s", "rule": rank}, history, "b", at) is None
    # From noon of the 15th: b, foremost now and so taken to remain it, has one in the last 20 days until the 30th.
    recent = bought(1, window={"last": "P20D"})
    assert model.until({"id": "s", "rule": {"all": [rank, recent]}}, history, "b", at) == clock.instant("2024-05-30T10:00:00Z")
    assert model.until({"id": "s", "rule": {"all": [rank, recent]}}, history, "a", at) is None
    assert model.until({"id": "s", "rule": {"any": [rank, recent]}}, history, "a", at) == clock.instant("2024-05-21T10:00:00Z")


def test_rank_cells_build_on_ranks() -> None:
    """The best fifth in frequency, and not among the best two fifths in amount."""
    totals = {"a": ["1.00"] * 5, "b": ["100.00"], "c": ["50.00"], "d": ["2.00", "2.00"], "e": ["1.00"]}
    history = told(*(sale(total=total, customer_id=customer) for customer, several in totals.items() for total in several))
    often = {"rank": {"metric": _COUNT, "order": "desc", "percent": 20}}
    much = {"rank": {"metric": _SUM, "order": "desc", "percent": 40}}
    at = clock.instant(NOON)
    assert model.members({"id": "s", "rule": {"all": [often, {"not": much}]}}, history, at) == {"a"}
    assert model.members({"id": "s", "rule": {"all": [often, much]}}, history, at) == set()
