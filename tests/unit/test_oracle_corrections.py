"""The judge, judged, on facts about facts: voids, merges and erasures."""

from __future__ import annotations

from typing import Any

import pytest

from tests.oracle import clock, model
from tests.oracle.examples import NOON, Json, beside, bought, fact, profile, sale, told, value

_COUNT: Json = {"measure": "count"}
_DAY = "2024-05-01T10:00:00Z"
_LATE = "2024-06-01T00:00:00Z"


def void(at: str = _DAY, store_id: str = "7", receipt_id: str = "r", **body: Any) -> Json:
    """A document that voids."""
    return fact("checkout-void", at, store_id=store_id, receipt_id=receipt_id, **body)


def till(at: str = _DAY, total: str = "10.00", **body: Any) -> Json:
    """A checkout with a store and a receipt."""
    return sale(at, total, **({"store_id": "7", "receipt_id": "r"} | body))


def merge(customer_id: str, into: str, at: str = NOON, **body: Any) -> Json:
    """A document that merges."""
    return fact("customer-merge", at, customer_id=customer_id, into=into, **body)


def erase(customer_id: str, at: str = NOON, **body: Any) -> Json:
    """A document that erases."""
    return fact("customer-erase", at, customer_id=customer_id, **body)


def count(history: model.History, customer: str, at: str = _LATE) -> int:
    """How many checkouts a customer has."""
    return int(model.value_of(_COUNT | {"event": "checkout"}, history, customer, clock.instant(at)))


def test_a_void_before_or_after() -> None:
    """What is voided has never been, also when the void comes first, and also in the time before the void."""
    for documents in ([till(), void()], [void(), till()], [void("2024-05-04T10:00:00Z"), till()], [till(), void("2024-04-28T10:00:00Z")]):
        assert [value(_COUNT, *documents, at=at) for at in (_DAY, NOON)] == [0, 0]
        assert value({"measure": "days_since_last"}, *documents) is None
    assert value({"measure": "sum", "field": "total"}, till(total="5.00"), sale(total="3.00"), void()) == 3
    assert value({"measure": "sum", "field": "total"}, till(total="5.00", kind="return"), sale(total="3.00"), void()) == 3, "a return as well"


@pytest.mark.parametrize("sign", [-1, 1])
def test_seven_days_either_side(sign: int) -> None:
    """Exactly seven times 24 hours still voids, a millisecond more does not; the clocks that change within do not matter."""
    changed = "2024-03-29T10:00:00+01:00"
    for ms, left in ((0, 0), (1, 1), (-1, 0)):
        assert value(_COUNT, till(changed), void(beside(changed, sign * (7 * clock.DAY + ms)))) == left


def test_a_void_means_both_store_and_receipt() -> None:
    """Another store, another receipt, a receipt without them, another customer: all stay; every checkout with both goes."""
    others = [till(store_id="07"), till(receipt_id="R"), till(store_id=None), till(receipt_id=None), sale(), till("2024-05-09T10:00:00Z")]
    assert value(_COUNT, *others, void()) == 6
    assert value(_COUNT, *others, till(), till("2024-05-02T10:00:00Z"), void()) == 6
    assert value(_COUNT, till(), void(customer_id="d")) == 1
    assert value(_COUNT, till(), void(customer_id="d"), at=NOON) == 1


def test_redemptions_stay() -> None:
    """A void is about checkouts; a redemption or a visit with the same names is not one."""
    used = fact("coupon-redemption", _DAY, coupon_id="A", receipt_id="r", store_id="7")
    assert value({"measure": "count", "event": "coupon-redemption"}, used, void()) == 1


def test_a_voided_id_is_still_taken() -> None:
    """The same event told again says nothing new; the customer stays known; a void that was told before it voids once and for all."""
    first = till()
    assert value(_COUNT, first, void(), first) == 0
    assert value(_COUNT, first, void(event_id=first["event_id"])) == 1, "the id is taken by the checkout"
    assert told(void()).known == {"c"}


def test_histories_join() -> None:
    """All that both did counts for the survivor; the other is gone, and asking for it gives the survivor's answer; later facts follow."""
    history = told(sale(customer_id="old"), sale(customer_id="new"), merge("old", "new"))
    assert history.known == {"new"}
    assert (count(history, "new"), count(history, "old")) == (2, 2)
    history.add(sale(customer_id="old"))
    history.add(sale("2024-05-20T10:00:00Z", customer_id="new"))
    assert (count(history, "new"), count(history, "old")) == (4, 4)
    segment, at = {"id": "s", "rule": bought(4)}, clock.instant("2024-05-20T10:00:00Z")
    assert model.members(segment, history, at) == {"new"}
    assert model.is_member(segment, history, "old", at)
    assert model.until({"id": "s", "rule": bought(4, window={"last": "P30D"})}, history, "old", at) == clock.instant("2024-05-31T10:00:00Z")


def test_a_merge_makes_known_who_lives_on() -> None:
    """Though nothing was ever heard of the one or of the other; it holds at all times, also before its own."""
    assert told(merge("a", "b")).known == {"b"}
    history = told(sale(customer_id="a"), merge("a", "b", at=_LATE))
    assert count(history, "b", NOON) == 1


def test_chains_are_followed() -> None:
    """In whichever order they are told; what is told of any of them later as well."""
    for merges in ([merge("a", "b"), merge("b", "c")], [merge("b", "c"), merge("a", "b")]):
        history = told(*(sale(customer_id=name) for name in "abc"), *merges)
        assert history.known == {"c"}
        assert [count(history, name) for name in "abc"] == [3, 3, 3]
        history.add(sale(customer_id="a"))
        assert [count(history, name) for name in "abc"] == [4, 4, 4]
    away = told(*(sale(customer_id=name) for name in "abc"), merge("a", "b"), merge("a", "c"))
    assert away.known == {"c"}, "whom a means now, lives on as c"
    assert count(away, "b") == 3


@pytest.mark.parametrize("merges", [[("a", "a")], [("a", "b"), ("b", "a")], [("a", "b"), ("b", "c"), ("c", "a")], [("a", "b"), ("a", "b")]])
def test_a_merge_that_would_close_a_cycle_is_refused(merges: list[tuple[str, str]]) -> None:
    """The last of these: it changes nothing, makes nobody known, and its id is not taken."""
    history = told(*(merge(old, new) for old, new in merges[:-1]))
    before = set(history.known)
    refused = merge(*merges[-1])
    assert history.add(refused) is False
    assert history.known == before
    assert history.add(sale(customer_id="a", event_id=refused["event_id"])) is True


def test_an_id_in_both_counts_once() -> None:
    """The body that was accepted first, whichever customer's it was; told again to either, it says nothing new."""
    first, second = sale(total="1.00", customer_id="new", event_id="same"), sale(total="9.00", customer_id="old", event_id="same")
    total = {"measure": "sum", "event": "checkout", "field": "total"}
    for order, expected in (((first, second), 1), ((second, first), 9)):
        history = told(*order, merge("old", "new"), first, second, sale(total="70.00", customer_id="old", event_id="same"))
        assert model.value_of(total, history, "new", clock.instant(_LATE)) == expected
    three = told(*(sale(total=total_, customer_id=name, event_id="same") for name, total_ in (("b", "2.00"), ("c", "4.00"), ("a", "1.00"))))
    for one in (merge("a", "c"), merge("c", "b")):
        three.add(one)
    assert model.value_of(total, three, "a", clock.instant(_LATE)) == 2


def test_profiles_join() -> None:
    """The later word on each attribute, whoever it was said of; of one instant the greater id."""
    old = [
        fact("profile", f"2024-01-0{day}T00:00:00Z", customer_id="old", attributes=told_)
        for day, told_ in ((1, {"city": "Lyon"}), (3, {"gender": "f"}))
    ]
    new = [
        fact("profile", f"2024-01-0{day}T00:00:00Z", customer_id="new", attributes=told_) for day, told_ in ((2, {"city": "Paris", "gender": "m"}),)
    ]
    history = told(*new, *old, merge("old", "new"))
    assert history.profile("new", clock.instant(NOON)) == {"city": "Paris", "gender": "f"}
    tied = [
        fact("profile", _DAY, customer_id=name, attributes={"city": city}, event_id=event_id)
        for name, city, event_id in (("old", "X", "b"), ("new", "Y", "a"))
    ]
    assert told(*tied, merge("old", "new")).profile("new", clock.instant(NOON)) == {"city": "X"}


def test_a_void_of_one_reaches_the_others_checkout_after_the_merge() -> None:
    """The till knew the old card; before they are one, a void of another customer's receipt voids nothing."""
    documents = [till(customer_id="new"), void(customer_id="old")]
    assert count(told(*documents), "new") == 1
    assert count(told(*documents, merge("old", "new")), "new") == 0
    assert count(told(merge("old", "new"), *documents), "old") == 0


def test_an_erased_customer_is_gone_at_once() -> None:
    """With everything, also what lay after the erasure's own instant; nobody is in anything by a list or a rule, and nobody is known."""
    history = told(sale(), sale("2024-05-20T10:00:00Z"), sale(customer_id="d"), erase("c"))
    assert history.known == {"d"}
    assert count(history, "c") == 0
    segment = {"id": "s", "rule": {"not": bought(5)}, "include": ["c"]}
    assert model.members(segment, history, clock.instant(_LATE)) == {"d"}
    assert not model.is_member({"id": "s", "include": ["c"]}, history, "c", clock.instant(_LATE))


def test_late_facts_from_before_an_erasure_are_refused() -> None:
    """Those at its instant as well; a millisecond later somebody begins anew, and an id that was known may come again."""
    was = sale("2024-05-20T10:00:00Z")
    history = told(sale(), was, erase("c"))
    assert [history.add(sale(at)) for at in (_DAY, NOON, beside(NOON, 1))] == [False, False, True]
    assert history.add(was) is True
    assert (history.known, count(history, "c")) == ({"c"}, 2)
    assert history.add(erase("c")) is False, "the same erasure once more is from before"
    assert count(history, "c") == 2
    assert history.add(profile("2024-05-15T11:59:59Z", city="Lyon")) is False


def test_an_erasure_of_one_never_heard_of() -> None:
    """Makes nobody known, and refuses what comes late; the latest erasure counts, whatever order they come in."""
    history = told(erase("c"))
    assert history.known == set()
    assert history.add(sale()) is False
    history.add(erase("c", _LATE))
    assert [history.add(sale(at)) for at in (_LATE, beside(_LATE, 1))] == [False, True]


def test_an_erasure_is_of_the_person() -> None:
    """By any id, with all that was joined; late facts for every id of that time are refused, and later ones still follow."""
    for name in ("old", "new"):
        history = told(sale(customer_id="old"), sale(customer_id="new"), merge("old", "new", at=_DAY), erase(name))
        assert (history.known, count(history, "new")) == (set(), 0)
        assert [history.add(sale(customer_id=one)) for one in ("old", "new")] == [False, False]
        assert history.add(sale("2024-05-20T10:00:00Z", customer_id="old")) is True
        assert (history.known, count(history, "new")) == ({"new"}, 1)
    # Facts of an id that was not erased are not from before, whomever it joins later; nor does a lesser erasure lift a greater one.
    history = told(erase("new", _LATE), merge("old", "new", at=NOON), erase("old", NOON))
    assert history.add(sale("2024-05-20T10:00:00Z", customer_id="old")) is True
    assert history.add(sale("2024-05-20T10:00:00Z", customer_id="new")) is False


def test_what_was_erased_does_not_come_back_with_a_merge() -> None:
    """Neither when the erased id lives on nor when it disappears into another."""
    for old, into in (("a", "b"), ("b", "a")):
        history = told(sale(customer_id="a"), sale(customer_id="b"), erase("a"), merge(old, into, at=_LATE))
        assert (history.known, count(history, "a")) == ({into}, 1)


def test_an_id_that_is_taken_neither_merges_nor_erases() -> None:
    """The first accepted body of an id counts, whatever the second would do."""
    first = sale()
    history = told(first)
    assert history.add(erase("c", event_id=first["event_id"])) is False
    assert history.add(merge("c", "d", event_id=first["event_id"])) is False
    assert history.known == {"c"}


def test_a_list_may_name_an_erased_customer_again() -> None:
    """Entries go with the customer; one list that is saved anew brings back its own entry and no other's."""
    history, at = told(sale(), erase("c")), clock.instant(_LATE)
    one, two = {"id": "one", "include": ["c", "x"]}, {"id": "two", "include": ["c"]}
    assert [model.members(segment, history, at) for segment in (one, two)] == [{"x"}, set()]
    history.name("one", ["c"])
    assert [model.members(segment, history, at) for segment in (one, two)] == [{"c", "x"}, set()]
    assert history.known == {"c"}
