"""The judge, judged, on ratios: exact, and missing where there is nothing to divide by."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from tests.oracle import clock, model
from tests.oracle.examples import NOON, Json, fact, holds, sale, told, value

_SENT, _OPENED = {"measure": "count", "event": "email-send"}, {"measure": "count", "event": "email-open"}


def ratio(numerator: Json, denominator: Json, **rest: Any) -> Json:
    """A metric."""
    return {"measure": "ratio", "numerator": numerator, "denominator": denominator} | rest


def mails(sent: int, opened: int) -> list[Json]:
    """So many sends and opens, each on a day of May."""
    instants = [f"2024-05-{day:02}T10:00:00Z" for day in range(1, 15)]
    return [*(fact("email-send", at) for at in instants[:sent]), *(fact("email-open", at) for at in instants[:opened])]


def test_an_open_rate_is_exact() -> None:
    """One of three is more than 0.3333333333333333 and less than 0.3333333333333334; two of five is 0.4."""
    rate, third = ratio(_OPENED, _SENT), mails(3, 1)
    assert value(rate, *third) == Fraction(1, 3)
    assert holds({"metric": rate, "op": "gt", "value": 0.3333333333333333}, *third)
    assert holds({"metric": rate, "op": "lt", "value": 0.3333333333333334}, *third)
    assert holds({"metric": rate, "op": "eq", "value": 0.4}, *mails(5, 2))
    assert holds({"metric": rate, "op": "between", "value": [0.4, 0.5]}, *mails(5, 2))


def test_nothing_to_divide_by() -> None:
    """No send: no rate, however many opens; any condition is false and its negation true. Nothing opened of something is 0."""
    rate = ratio(_OPENED, _SENT)
    for documents in (mails(0, 0), mails(0, 2)):
        assert value(rate, *documents) is None
        assert not holds({"metric": rate, "op": "lt", "value": 1}, *documents)
        assert holds({"not": {"metric": rate, "op": "ne", "value": 1}}, *documents)
        assert holds({"metric": rate, "op": "exists", "value": False}, *documents)
    assert value(rate, *mails(4, 0)) == 0
    assert holds({"metric": rate, "op": "exists"}, *mails(4, 0))


def test_too_little_to_divide_by() -> None:
    """Fewer than five sends say nothing; five do."""
    rate = ratio(_OPENED, _SENT, min_denominator=5)
    assert [value(rate, *mails(sent, 1)) for sent in (4, 5)] == [None, Fraction(1, 5)]
    amounts = ratio({"measure": "count", "event": "checkout"}, {"measure": "sum", "event": "checkout", "field": "total"}, min_denominator="10.50")
    assert [value(amounts, sale(total=total)) for total in ("10.49", "10.50")] == [None, Fraction(2, 21)]


def test_a_part_without_a_value() -> None:
    """An average of nothing is no numerator and no denominator."""
    average, count = {"measure": "avg", "event": "checkout", "field": "discount"}, {"measure": "count", "event": "checkout"}
    assert value(ratio(average, count), sale()) is None
    assert value(ratio(count, average), sale()) is None
    assert value(ratio(average, count), sale(discount="3.00"), sale()) == Fraction(3, 2)
    assert value(ratio(count, average), sale(discount="3.00"), sale()) == Fraction(2, 3)


def test_a_discount_share() -> None:
    """Returns subtract above and below: (5 - 1) / (50 - 10); when more came back than was sold, both signs are kept."""
    discount, total = ({"measure": "sum", "event": "checkout", "field": field} for field in ("discount", "total"))
    sold, back = sale(total="50.00", discount="5.00"), sale(total="10.00", discount="1.00", kind="return")
    assert value(ratio(discount, total), sold, back) == Fraction(1, 10)
    assert value(ratio(discount, total), back, sale(total="0.00", discount="3.00")) == Fraction(-1, 5)
    assert value(ratio(discount, total, min_denominator=0), back) is None, "-10 is less than 0"
    assert value(ratio(discount, total), sold, sale(total="50.00", kind="return")) is None


def test_each_part_has_its_own_event_filter_and_window() -> None:
    """Coffee of the last 14 days among all checkouts of the year; redemptions for each checkout."""
    coffee = {
        "measure": "count",
        "event": "checkout",
        "where": [{"field": "items.category", "op": "eq", "value": "COFFEE"}],
        "window": {"last": "P14D"},
    }
    year = {"measure": "count", "event": "checkout", "window": {"calendar": "this_year"}}
    cup = {"items": [{"category": "COFFEE"}]}
    documents = [
        sale("2023-12-31T10:00:00Z", **cup),
        sale("2024-04-01T10:00:00Z", **cup),
        sale("2024-05-10T10:00:00Z", **cup),
        sale("2024-05-11T10:00:00Z"),
    ]
    assert value(ratio(coffee, year), *documents) == Fraction(1, 3)
    used = fact("coupon-redemption", "2024-05-10T10:00:00Z", coupon_id="A")
    assert value(ratio({"measure": "count", "event": "coupon-redemption"}, year), used, *documents) == Fraction(1, 3)
    kinds = {"measure": "distinct", "event": "checkout", "field": "store_id"}
    assert value(ratio(kinds, year), sale(store_id="a"), sale(store_id="b"), sale(store_id="b")) == Fraction(2, 3)


def test_days_in_a_ratio() -> None:
    """Days since the last for each checkout: 14 over 1 at noon of the 15th, 15 over 1 two hours before noon of the 16th."""
    days, count = {"measure": "days_since_last", "event": "checkout"}, {"measure": "count", "event": "checkout"}
    bought = sale("2024-05-01T10:00:00Z")
    assert [value(ratio(days, count), bought, at=at) for at in (NOON, "2024-05-16T09:59:59.999Z", "2024-05-16T10:00:00Z")] == [14, 14, 15]
    segment = {"id": "s", "rule": {"metric": ratio(days, count), "op": "gt", "value": 20}}
    assert model.until(segment, told(bought), "c", clock.instant(NOON)) == clock.instant("2024-05-22T10:00:00Z")


def test_until_of_a_ratio() -> None:
    """Two of three until a send leaves at its 30 days; then one of two when its open leaves as well."""
    rate = ratio(_OPENED | {"window": {"last": "P30D"}}, _SENT | {"window": {"last": "P1M"}})
    documents = [fact("email-send", f"2024-05-0{day}T10:00:00Z") for day in (1, 2, 3)] + [
        fact("email-open", f"2024-05-0{day}T11:00:00Z") for day in (1, 2)
    ]
    segment = {"id": "s", "rule": {"metric": rate, "op": "gt", "value": 0.5}}
    history, at = told(*documents), clock.instant(NOON)
    # The open of the 1st leaves after 30 days, on the 31st; the send of the 1st only on the 1st of June.
    assert model.until(segment, history, "c", at) == clock.instant("2024-05-31T11:00:00Z")
    # One of two on 1 June is not more than a half; the second open has left before the second send: 0 of 2, 0 of 1, and then nothing.
    assert model.until(segment, history, "c", clock.instant("2024-05-31T11:00:00Z")) is None
