"""The judge, judged, on what follows what: each edge at its exact millisecond."""

from __future__ import annotations

from typing import Any

import pytest

from tests.oracle import clock, model
from tests.oracle.examples import PARIS, Json, beside, fact, holds, sale, told

_OPEN, _WEEK_ON = "2024-05-01T10:00:00Z", "2024-05-08T10:00:00Z"


def then(*, happens: bool, within: str = "P7D", first: Json | None = None, then: Json | None = None, **rest: Any) -> Json:
    """A rule: an open, then a checkout, unless told otherwise."""
    ends = {"first": first or {"event": "email-open"}, "then": then or {"event": "checkout"}}
    return {"sequence": ends | {"within": within, "happens": happens} | rest}


def both(*documents: Json, at: str, **rest: Any) -> tuple[bool, bool]:
    """Whether it happened, and whether it failed to."""
    return holds(then(happens=True, **rest), *documents, at=at), holds(then(happens=False, **rest), *documents, at=at)


def test_the_time_to_follow_is_half_open() -> None:
    """At the same instant and up to a millisecond before the seven days are over; not before, and not on their end."""
    opened = fact("email-open", _OPEN)
    for at, followed in ((beside(_OPEN, -1), False), (_OPEN, True), (beside(_WEEK_ON, -1), True), (_WEEK_ON, False)):
        assert both(opened, sale(at), at="2024-05-20T00:00:00Z") == (followed, not followed)


def test_it_has_failed_to_happen_when_its_time_is_over() -> None:
    """Until then nothing is known: neither holds; a checkout on the end itself is too late, one before it in time."""
    opened = fact("email-open", _OPEN)
    assert [both(opened, at=at) for at in (_OPEN, beside(_WEEK_ON, -1), _WEEK_ON)] == [(False, False), (False, False), (False, True)]
    in_time, late = sale(beside(_WEEK_ON, -1)), sale(_WEEK_ON)
    assert [both(opened, in_time, at=at) for at in (beside(_WEEK_ON, -2), beside(_WEEK_ON, -1), _WEEK_ON)] == [
        (False, False),
        (True, False),
        (True, False),
    ]
    assert [both(opened, late, at=at) for at in (beside(_WEEK_ON, -1), _WEEK_ON)] == [(False, False), (False, True)]
    assert both(sale(), at=_WEEK_ON) == (False, False), "nothing began"


def test_one_of_several_is_enough() -> None:
    """Of two opens one was followed and one was not: both hold. One checkout follows both when it comes in time for both."""
    first, second = fact("email-open", _OPEN), fact("email-open", "2024-05-05T10:00:00Z")
    at = "2024-05-20T00:00:00Z"
    assert both(first, second, sale("2024-05-10T10:00:00Z"), at=at) == (True, True)
    assert both(first, second, sale("2024-05-06T10:00:00Z"), at=at) == (True, False)
    assert both(first, second, at=at) == (False, True)


def test_another_event_follows() -> None:
    """A checkout does not follow itself, though it matches both; a second one on the same millisecond does."""
    twice: Json = {"first": {"event": "checkout"}, "within": "P14D"}
    one, same = sale(_OPEN), sale(_OPEN)
    assert both(one, at="2024-06-01T00:00:00Z", **twice) == (False, True)
    assert both(one, same, at="2024-06-01T00:00:00Z", **twice) == (True, False)
    assert both(one, sale("2024-05-15T09:59:59.999Z"), at="2024-05-20T00:00:00Z", **twice) == (True, False)
    assert both(one, one, at="2024-06-01T00:00:00Z", **twice) == (False, True), "told twice, it is one"


def test_bought_twice_in_14_days_for_more_than_an_amount() -> None:
    """Only checkouts above it count on either side."""
    large = {"event": "checkout", "where": [{"field": "total", "op": "gt", "value": "100.00"}]}
    rule = then(happens=True, within="P14D", first=large, then=large)
    assert holds(rule, sale("2024-05-01T10:00:00Z", "100.01"), sale("2024-05-10T10:00:00Z", "150.00"))
    assert not holds(rule, sale("2024-05-01T10:00:00Z", "100.00"), sale("2024-05-10T10:00:00Z", "150.00"))
    assert not holds(rule, sale("2024-05-10T10:00:00Z", "150.00"), sale("2024-05-11T10:00:00Z", "99.00"))


@pytest.mark.parametrize(
    ("first", "within", "end", "zone"),
    [
        # Clipped to the month's end: February has 29 days.
        ("2024-01-31T10:00:00+01:00", "P1M", "2024-02-29T10:00:00+01:00", "Europe/Paris"),
        # Months keep the local time, days are 24 hours.
        ("2024-03-15T10:00:00+01:00", "P1M", "2024-04-15T10:00:00+02:00", "Europe/Paris"),
        ("2024-03-25T10:00:00+01:00", "P7D", "2024-04-01T11:00:00+02:00", "Europe/Paris"),
        # 02:30 is not there in Paris, and 01:30 comes twice in New York: the earlier.
        ("2024-01-31T02:30:00+01:00", "P2M", "2024-03-31T03:30:00+02:00", "Europe/Paris"),
        ("2024-10-03T01:30:00-04:00", "P1M", "2024-11-03T01:30:00-04:00", "America/New_York"),
        ("2024-11-02T10:00:00-04:00", "PT24H", "2024-11-03T09:00:00-05:00", "America/New_York"),
    ],
)
def test_months_to_follow_are_local(first: str, within: str, end: str, zone: str) -> None:
    """It has failed to happen at exactly the end, and what comes a millisecond before is in time."""
    tenant, opened = PARIS | {"timezone": zone}, fact("email-open", first)
    failed, happened = then(happens=False, within=within), then(happens=True, within=within)
    assert [holds(failed, opened, at=at, tenant=tenant) for at in (beside(end, -1), end)] == [False, True]
    assert [holds(happened, opened, sale(at), at="2025-01-01T00:00:00Z", tenant=tenant) for at in (beside(end, -1), end)] == [True, False]


def test_the_window_is_about_the_first() -> None:
    """Opened in the last 30 days and seven days ago or more: from the 8th of May to the 31st. What follows may lie where it likes."""
    opened, rest = fact("email-open", _OPEN), {"last": "P30D"}
    leaves = "2024-05-31T10:00:00Z"
    asked = [holds(then(happens=False, window=rest), opened, at=at) for at in (beside(_WEEK_ON, -1), _WEEK_ON, beside(leaves, -1), leaves)]
    assert asked == [False, True, True, False]
    bought = sale("2024-05-07T10:00:00Z")
    assert [holds(then(happens=True, window=rest), opened, bought, at=at) for at in (beside(leaves, -1), leaves)] == [True, False]
    assert not holds(then(happens=False, window={"last": "P7D"}), opened, at=_WEEK_ON), "it has left when its time is over"
    april = {"calendar": "april"}
    assert not holds(then(happens=True, window=april), opened, bought)
    assert holds(then(happens=True, window=april), fact("email-open", "2024-04-30T10:00:00Z"), sale("2024-05-03T10:00:00Z"))


def test_sales_unless_a_filter_names_the_kind() -> None:
    """On either side; a return follows a sale when it is asked for."""
    sold, back = sale(_OPEN), sale("2024-05-02T10:00:00Z", kind="return")
    returned = {"event": "checkout", "where": [{"field": "kind", "op": "eq", "value": "return"}]}
    at = "2024-05-20T00:00:00Z"
    assert both(sold, back, at=at, first={"event": "checkout"}) == (False, True)
    assert both(sold, back, at=at, first={"event": "checkout"}, then=returned) == (True, False)
    assert both(back, sale("2024-05-03T10:00:00Z"), at=at, first={"event": "checkout"}, then={"event": "visit"}) == (False, True)
    assert both(back, at=at, first={"event": "checkout"}, then={"event": "visit"}) == (False, False)


def test_filters_names_and_lines() -> None:
    """A campaign's open, then coffee; of custom events those of one name."""
    opened = {"event": "email-open", "where": [{"field": "campaign_id", "op": "eq", "value": "spring"}]}
    coffee = {"event": "checkout", "where": [{"field": "items.category", "op": "eq", "value": "COFFEE"}]}
    spring, fall = (fact("email-open", _OPEN, campaign_id=name) for name in ("spring", "fall"))
    cup, tea = (sale("2024-05-02T10:00:00Z", items=[{"category": category}]) for category in ("COFFEE", "TEA"))
    rule = then(happens=True, first=opened, then=coffee)
    assert [holds(rule, *documents) for documents in ((spring, cup), (fall, cup), (spring, tea))] == [True, False, False]
    quiz, poll = ({"event": "custom", "name": name} for name in ("quiz", "poll"))
    done = [fact("custom", _OPEN, name="quiz"), fact("custom", "2024-05-02T10:00:00Z", name="poll")]
    assert [holds(then(happens=True, first=a, then=b), *done) for a, b in ((quiz, poll), (poll, quiz), (quiz, quiz))] == [True, False, False]


def test_what_is_to_come_has_not_followed() -> None:
    """A checkout ahead of the clock follows from its own instant; one that was voided never did."""
    opened, ahead = fact("email-open", _OPEN), sale("2024-05-02T10:00:00Z", store_id="7", receipt_id="r")
    assert [both(opened, ahead, at=at) for at in ("2024-05-02T09:59:59.999Z", "2024-05-02T10:00:00Z")] == [(False, False), (True, False)]
    void = fact("checkout-void", "2024-05-03T10:00:00Z", store_id="7", receipt_id="r")
    assert both(opened, ahead, void, at="2024-05-20T00:00:00Z") == (False, True)


def test_until_of_a_sequence() -> None:
    """What did not happen holds from the end of its time until the first leaves; what did, until then; each to the millisecond."""
    opened, ask = told(fact("email-open", _OPEN)), clock.instant
    segment = {"id": "s", "rule": then(happens=False, window={"last": "P30D"})}
    assert model.until(segment, opened, "c", ask(_OPEN)) == ask(_WEEK_ON)
    assert model.until(segment, opened, "c", ask(_WEEK_ON)) == ask("2024-05-31T10:00:00Z")
    happened = {"id": "s", "rule": then(happens=True, window={"last": "P1M"})}
    bought = told(fact("email-open", _OPEN), sale("2024-05-02T10:00:00Z"))
    assert model.until(happened, bought, "c", ask("2024-05-02T10:00:00Z")) == ask("2024-06-01T10:00:00Z")
    assert model.until(happened, bought, "c", ask("2024-05-02T09:00:00Z")) == ask("2024-05-02T10:00:00Z")
    assert model.until({"id": "s", "rule": then(happens=False)}, bought, "c", ask(_OPEN)) is None
