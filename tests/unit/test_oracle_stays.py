"""The judge, judged, on decisions one after another: each entry and exit of a short life, with the instants worked out by hand."""

from __future__ import annotations

import pytest

from tests.oracle import clock, model
from tests.oracle.examples import PARIS, Json, bought, fact, sale
from tests.oracle.stays import Stays

_FIRST = "2024-05-01T10:00:00Z"
_FORTNIGHT = {"last": "P14D"}
_WEEKS: Json = {"id": "s", "rule": bought(1, window=_FORTNIGHT), "min_stay": "P30D"}


def life(*segments: Json, at: str = "2024-04-01T00:00:00Z") -> Stays:
    """A tenant without customers and with these segments."""
    stays = Stays(model.History(PARIS), clock.instant(at))
    stays.define(segments, stays.at)
    return stays


def story(stays: Stays) -> list[tuple[str, str, str, str]]:
    """What was decided: segment, customer, entry or exit, and when."""
    return [(change.segment_id, change.customer, change.change, clock.moment(change.at).isoformat()[:16]) for change in stays.changes]


def heard(stays: Stays, *documents: Json, at: str = "") -> Stays:
    """The same life after these documents, each told when it happened unless said otherwise."""
    for document in documents:
        stays.accept(document, clock.instant(at or document["occurred_at"]))
    return stays


def passed(stays: Stays, at: str) -> Stays:
    """The same life some time later."""
    stays.pass_to(clock.instant(at))
    return stays


def test_without_a_stay_facts_decide() -> None:
    """In from the checkout until it leaves the window, however long nobody looked; then again."""
    stays = passed(heard(life(_WEEKS | {"min_stay": None}), sale(_FIRST)), "2024-08-01T00:00:00Z")
    heard(stays, sale("2024-08-01T00:00:00Z"))
    assert story(stays) == [
        ("s", "c", "entered", "2024-05-01T10:00"),
        ("s", "c", "exited", "2024-05-15T10:00"),
        ("s", "c", "entered", "2024-08-01T00:00"),
    ]


def test_a_stay_lasts_from_the_decision() -> None:
    """Thirty days of 24 hours; of a late fact from when it was heard. The rule, which held until the 15th, no longer matters."""
    assert story(passed(heard(life(_WEEKS), sale(_FIRST)), "2024-08-01T00:00:00Z"))[1:] == [("s", "c", "exited", "2024-05-31T10:00")]
    late = passed(heard(life(_WEEKS), sale(_FIRST), at="2024-05-05T08:00:00Z"), "2024-08-01T00:00:00Z")
    assert story(late) == [("s", "c", "entered", "2024-05-05T08:00"), ("s", "c", "exited", "2024-06-04T08:00")]
    saved = life()
    heard(saved, sale(_FIRST)).define([_WEEKS], clock.instant("2024-05-06T00:00:00Z"))
    assert story(passed(saved, "2024-08-01T00:00:00Z")) == [("s", "c", "entered", "2024-05-06T00:00"), ("s", "c", "exited", "2024-06-05T00:00")]


def test_a_stay_of_months_is_local() -> None:
    """From 31 January a month, to 29 February; from 29 February 02:30 in Paris to the same time of 29 March; over the changed clock two months."""
    for entered, stay, left in (
        ("2024-01-31T09:00:00Z", "P1M", "2024-02-29T09:00"),
        ("2024-02-29T01:30:00Z", "P1M", "2024-03-29T01:30"),
        ("2024-01-31T01:30:00Z", "P2M", "2024-03-31T01:30"),
        ("2024-03-15T09:00:00Z", "P1M", "2024-04-15T08:00"),
    ):
        stays = heard(life(_WEEKS | {"min_stay": stay}, at="2024-01-01T00:00:00Z"), sale(entered))
        assert story(passed(stays, "2024-12-01T00:00:00Z"))[1:] == [("s", "c", "exited", left)]


def test_a_rule_that_holds_longer_keeps() -> None:
    """A second checkout on 25 May: in until it leaves on 8 June, for nobody left and came again in between."""
    stays = passed(heard(life(_WEEKS), sale(_FIRST), sale("2024-05-25T10:00:00Z")), "2024-08-01T00:00:00Z")
    assert story(stays)[1:] == [("s", "c", "exited", "2024-06-08T10:00")]
    again = passed(heard(stays, sale("2024-08-01T10:00:00Z")), "2024-12-01T00:00:00Z")
    assert story(again)[2:] == [("s", "c", "entered", "2024-08-01T10:00"), ("s", "c", "exited", "2024-08-31T10:00")], "each entry has its stay"


def test_an_entry_by_time_alone_has_its_own_instant() -> None:
    """Seven days without a checkout, for an hour at least: entered on the 8th; a checkout a half hour later does not end it before 11:00."""
    quiet = {"id": "s", "rule": {"metric": {"measure": "days_since_last", "event": "checkout"}, "op": "gte", "value": 7}, "min_stay": "PT1H"}
    stays = passed(heard(life(quiet), sale(_FIRST), sale("2024-05-08T10:30:00Z")), "2024-05-09T00:00:00Z")
    assert story(stays) == [("s", "c", "entered", "2024-05-08T10:00"), ("s", "c", "exited", "2024-05-08T11:00")]


def test_deadlines_come_before_facts() -> None:
    """A checkout on the very instant at which the last one leaves: out, and in again."""
    stays = heard(life(_WEEKS | {"min_stay": None}), sale(_FIRST), sale("2024-05-15T10:00:00Z"))
    assert story(stays)[1:] == [("s", "c", "exited", "2024-05-15T10:00"), ("s", "c", "entered", "2024-05-15T10:00")]


def test_a_void_ends_a_stay() -> None:
    """Out at once when nothing else holds; when the rule still does, in only as long as it does."""
    wrong = sale(_FIRST, store_id="7", receipt_id="r")
    void = fact("checkout-void", "2024-05-03T10:00:00Z", store_id="7", receipt_id="r")
    assert story(heard(life(_WEEKS), wrong, void))[1:] == [("s", "c", "exited", "2024-05-03T10:00")]
    stays = passed(heard(life(_WEEKS), wrong, sale("2024-05-02T10:00:00Z"), void), "2024-08-01T00:00:00Z")
    assert story(stays)[1:] == [("s", "c", "exited", "2024-05-16T10:00")]
    # Another customer's void, and one that was refused because its id is taken, end nothing.
    for other in (void | {"customer_id": "d"}, void | {"event_id": wrong["event_id"]}):
        assert story(passed(heard(life(_WEEKS), wrong, other), "2024-08-01T00:00:00Z"))[1:] == [("s", "c", "exited", "2024-05-31T10:00")]


def test_a_merge_ends_stays_of_both() -> None:
    """Each bought once and is in; together they bought twice, which is not once."""
    once = _WEEKS | {"rule": bought(1) | {"op": "eq"}}
    one, other = sale(_FIRST, customer_id="a"), sale("2024-05-02T10:00:00Z", customer_id="b")
    stays = heard(life(once), one, other, fact("customer-merge", "2024-05-03T10:00:00Z", customer_id="a", into="b"))
    assert story(stays)[2:] == [("s", "a", "exited", "2024-05-03T10:00"), ("s", "b", "exited", "2024-05-03T10:00")]
    joined = heard(life(_WEEKS), one, fact("customer-merge", "2024-05-03T10:00:00Z", customer_id="a", into="b"))
    assert story(passed(joined, "2024-08-01T00:00:00Z")) == [
        ("s", "a", "entered", "2024-05-01T10:00"),
        ("s", "a", "exited", "2024-05-03T10:00"),
        ("s", "b", "entered", "2024-05-03T10:00"),
        ("s", "b", "exited", "2024-06-02T10:00"),
    ]


def test_an_erasure_ends_a_stay() -> None:
    """Out at once; whoever begins anew does not find the old stay."""
    stays = heard(life(_WEEKS), sale(_FIRST), fact("customer-erase", "2024-05-03T10:00:00Z"), fact("visit", "2024-05-04T10:00:00Z", store_id="7"))
    assert story(stays)[1:] == [("s", "c", "exited", "2024-05-03T10:00")]


def test_an_edit_ends_stays_in_its_segment() -> None:
    """And in no other; a list that changes is no edit; a new version with the same rule is one."""
    other = _WEEKS | {"id": "t"}
    dearer = _WEEKS | {"rule": bought(2, window=_FORTNIGHT)}
    at = clock.instant("2024-05-20T00:00:00Z")
    for edited, left in (
        (dearer, "2024-05-20T00:00"),
        (_WEEKS | {"version": 2}, "2024-05-20T00:00"),
        (_WEEKS | {"include": ["x"]}, "2024-05-31T10:00"),
    ):
        stays = heard(life(_WEEKS, other), sale(_FIRST))
        stays.define([edited, other], at)
        passed(stays, "2024-08-01T00:00:00Z")
        assert [change for change in story(stays) if change[1:3] == ("c", "exited")] == sorted(
            [("s", "c", "exited", left), ("t", "c", "exited", "2024-05-31T10:00")], key=lambda change: change[3]
        )


def test_a_segment_that_is_gone_has_nobody() -> None:
    """Archived, it publishes its exits; saved again, its stays do not come back."""
    stays = heard(life(_WEEKS), sale(_FIRST))
    stays.define([], clock.instant("2024-05-20T00:00:00Z"))
    stays.define([_WEEKS], clock.instant("2024-05-21T00:00:00Z"))
    assert story(stays)[1:] == [("s", "c", "exited", "2024-05-20T00:00")]


@pytest.mark.parametrize("ended", [{"exclude": ["c"]}, {"ends_at": "2024-05-20T00:00:00Z"}])
def test_a_stay_holds_nobody_against_list_or_schedule(ended: Json) -> None:
    """Excluded, or after the end of the segment, somebody is out, however young the entry."""
    stays = heard(life(_WEEKS if "exclude" in ended else _WEEKS | ended), sale(_FIRST))
    if "exclude" in ended:
        stays.define([_WEEKS | ended], clock.instant("2024-05-20T00:00:00Z"))
    assert story(passed(stays, "2024-06-30T00:00:00Z"))[1:] == [("s", "c", "exited", "2024-05-20T00:00")]


def test_the_formula_asks_for_the_last_entry_and_nothing_else() -> None:
    """Who is no longer excluded while the last entry is young is in again, and that is an entry with a stay of its own."""
    stays = heard(life(_WEEKS), sale(_FIRST))
    stays.define([_WEEKS | {"exclude": ["c"]}], clock.instant("2024-05-20T00:00:00Z"))
    stays.define([_WEEKS], clock.instant("2024-05-25T00:00:00Z"))
    assert story(passed(stays, "2024-08-01T00:00:00Z"))[2:] == [("s", "c", "entered", "2024-05-25T00:00"), ("s", "c", "exited", "2024-06-24T00:00")]


def test_a_higher_level_overrides_a_stay() -> None:
    """Bronze for thirty days, but not while gold holds; a stay in gold keeps out of bronze, though the rule of bronze holds."""
    turnover = {"measure": "sum", "event": "checkout", "field": "total", "window": _FORTNIGHT}
    bronze = {"id": "bronze", "rule": {"metric": turnover, "op": "gte", "value": 5}, "tier": {"family": "f", "level": 1}, "min_stay": "P30D"}
    gold = {"id": "gold", "rule": {"metric": turnover, "op": "gte", "value": 50}, "tier": {"family": "f", "level": 2}}
    first, dear = sale(_FIRST, "10.00"), sale("2024-05-03T10:00:00Z", "45.00")
    stays = passed(heard(life(bronze, gold), first, dear), "2024-05-30T00:00:00Z")
    # 55 from the 3rd until the first leaves on the 15th; then 45 until the 17th, and by the stay of that entry on, to 14 June.
    assert story(stays) == [
        ("bronze", "c", "entered", "2024-05-01T10:00"),
        ("bronze", "c", "exited", "2024-05-03T10:00"),
        ("gold", "c", "entered", "2024-05-03T10:00"),
        ("bronze", "c", "entered", "2024-05-15T10:00"),
        ("gold", "c", "exited", "2024-05-15T10:00"),
    ]
    assert story(passed(stays, "2024-08-01T00:00:00Z"))[5:] == [("bronze", "c", "exited", "2024-06-14T10:00")]
    kept = passed(heard(life(bronze | {"min_stay": None}, gold | {"min_stay": "P13D"}), first, dear), "2024-08-01T00:00:00Z")
    # The stay in gold lasts until the 16th; then 45 are bronze until the 17th.
    assert story(kept)[3:] == [
        ("bronze", "c", "entered", "2024-05-16T10:00"),
        ("gold", "c", "exited", "2024-05-16T10:00"),
        ("bronze", "c", "exited", "2024-05-17T10:00"),
    ]


def test_a_reference_sees_who_stays() -> None:
    """In the other segment by its stay, somebody is a member for whoever asks."""
    asks = {"id": "asks", "rule": {"segment": "s"}}
    stays = passed(heard(life(_WEEKS, asks), sale(_FIRST)), "2024-08-01T00:00:00Z")
    assert story(stays) == [
        (name, "c", change, at) for change, at in (("entered", "2024-05-01T10:00"), ("exited", "2024-05-31T10:00")) for name in ("asks", "s")
    ]
    assert story(passed(heard(life(asks, _WEEKS), sale(_FIRST)), "2024-08-01T00:00:00Z")) == story(stays), "in whichever order they were saved"


def test_until_knows_stays_to_come() -> None:
    """The end of the stay, or of the rule when that is later; of an entry that is to come; through a reference; a rank stays what it is."""
    asks = {"id": "asks", "rule": {"segment": "s"}}
    stays = heard(life(_WEEKS, asks), sale(_FIRST))
    end = clock.instant("2024-05-31T10:00:00Z")
    assert [stays.until(name, "c") for name in ("s", "asks")] == [end, end]
    assert stays.until("s", "c", horizon_days=29) is None
    heard(stays, sale("2024-05-25T10:00:00Z"))
    assert stays.until("s", "c") == clock.instant("2024-06-08T10:00:00Z")
    assert len(stays.changes) == 2, "what is to come is not decided"
    quiet = {"id": "q", "rule": {"metric": {"measure": "days_since_last", "event": "checkout"}, "op": "eq", "value": 7}, "min_stay": "P3D"}
    stays = heard(life(quiet), sale(_FIRST))
    assert stays.until("q", "c") == clock.instant("2024-05-08T10:00:00Z")
    assert passed(stays, "2024-05-08T10:00:00Z").until("q", "c") == clock.instant("2024-05-11T10:00:00Z")
    first = {"id": "r", "rule": {"rank": {"metric": {"measure": "count", "event": "checkout", "window": _FORTNIGHT}, "order": "desc", "top": 1}}}
    ranked = heard(
        life(first), sale(_FIRST, customer_id="b"), sale("2024-05-02T10:00:00Z", customer_id="a"), sale("2024-05-02T11:00:00Z", customer_id="b")
    )
    assert ranked.until("r", "b") is None
    # One each from the 15th at ten o'clock, and a comes before b.
    assert story(passed(ranked, "2024-05-15T10:30:00Z"))[-2:] == [("r", "a", "entered", "2024-05-15T10:00"), ("r", "b", "exited", "2024-05-15T10:00")]
