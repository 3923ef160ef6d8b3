"""A sweep that looks at what is new alone: it says what a look at everything says, and what it leaves unwritten is known all the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from schemas.instants import DAY_MS, iso
from services.segmenter.plans import Plans
from tests.support.simulation import Simulation

NOW = 1_795_342_500_000
TENANT = {"id": "demo", "timezone": "Europe/Paris", "currency": "EUR", "country": "FR"}
PEOPLE = [str(number) for number in range(8)]


def bought(times: int, last: str = "P14D") -> dict[str, Any]:
    """At least so many checkouts of late."""
    return {"metric": {"measure": "count", "event": "checkout", "window": {"last": last}}, "op": "gte", "value": times}


REGULARS = {"id": "regulars", "rule": bought(2)}
LOYAL = {"id": "loyal", "rule": {"all": [{"segment": "regulars"}, bought(3, "P30D")]}}
LOW = {"id": "low", "rule": bought(1), "tier": {"family": "f", "level": 1}, "min_stay": "P3D"}
HIGH = {"id": "high", "rule": bought(4), "tier": {"family": "f", "level": 2}}
HERE = {"id": "here", "rule": bought(1, "P60D"), "tier": {"family": "g", "level": 1}}
AWAY = {
    "id": "away",
    "rule": {"metric": {"measure": "days_since_last", "event": "checkout"}, "op": "gte", "value": 20},
    "tier": {"family": "g", "level": 2},
}
TOP = {"id": "top", "rule": bought(5, "P7D"), "tier": {"family": "f", "level": 3}}


def _away_and_back(shop: Simulation) -> None:
    shop.archive("low")
    shop.bring_back("low")


EDITS: dict[str, Callable[[Simulation], None]] = {
    "new": lambda shop: shop.save({"id": "new", "rule": bought(3, "P20D")}),
    "new on a list": lambda shop: shop.save({"id": "new", "rule": bought(99), "include": ["1", "stranger"]}),
    "of one on whom another depends": lambda shop: shop.save({"id": "regulars", "rule": bought(3)}, replaces=1),
    "wider, so that who is in another leaves it": lambda shop: shop.save(HIGH | {"rule": bought(2)}, replaces=1),
    "out of the family": lambda shop: shop.save({"id": "high", "rule": bought(4)}, replaces=1),
    "of a stay": lambda shop: shop.save({name: LOW[name] for name in ("id", "rule", "tier")}, replaces=1),
    "of a level that time alone would have brought": lambda shop: shop.save({"id": "away", "rule": AWAY["rule"]}, replaces=1),
    "of such a level, away": lambda shop: shop.archive("away"),
    "above all": lambda shop: shop.save(TOP),
    "away": lambda shop: shop.archive("high"),
    "back": _away_and_back,
    "of a rank": lambda shop: shop.save({"id": "best", "rule": {"rank": {"metric": bought(1)["metric"], "order": "desc", "top": 2}}}),
    "of an attribute": lambda shop: shop.declare("shoe_size", "integer"),
}


def shop_of(live_customers: int) -> Simulation:
    """Eight customers with none to seven checkouts; of each but those who are kept decoded, only rows and chunks."""
    shop = Simulation(TENANT, NOW, live_customers=live_customers)
    for segment in (REGULARS, LOYAL, HIGH, LOW, AWAY, HERE):
        shop.save(segment)
    for number, name in enumerate(PEOPLE):
        for place in range(number):
            at = iso(NOW - (place * 3 + number) * DAY_MS)
            shop.post({"type": "checkout", "event_id": f"{name}-{place}", "occurred_at": at, "total": "10.00", "customer_id": name})
    return shop


def told(shop: Simulation) -> list[tuple[Any, ...]]:
    """What was published, customer by customer."""
    return sorted(
        (t["customer_id"], t["seq"], t["segment_id"], t["change"], t["at"], t["until"], t["cause"]["kind"], str(t["values"]))
        for t in shop.transitions
    )


def refreshed(shop: Simulation) -> dict[str, Any]:
    """The memberships as whoever takes over finds them, who asks anew until when each of them stands."""
    twin = shop.twin()
    while twin.stale:
        twin.refresh(shop.now_ms, 100)
    twin.take()
    return shop.memberships(twin)


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("late", [0, 1, 5])
@pytest.mark.parametrize("edit", EDITS)
def test_of_customers_at_rest_a_sweep_says_what_it_says_of_those_who_are_decoded(edit: str, late: int, *, restart: bool) -> None:
    """At once or days later, also with an owner who begins after it: the same transitions then and as time passes, the same `until`."""
    shops = [shop_of(live_customers) for live_customers in (20_000, 0)]
    for shop in shops:
        shop.pass_to(NOW + late * DAY_MS)
        shop.refresh()
        EDITS[edit](shop)
        if restart:
            shop.restart()
        else:
            shop.refresh()
            assert shop.memberships() == refreshed(shop)
        shop.pass_to(NOW + 40 * DAY_MS)
    assert told(shops[0]) == told(shops[1])
    assert shops[0].memberships() == shops[1].memberships()


def test_nothing_is_written_of_whom_a_definition_changes_nothing() -> None:
    """Only of those who enter is a row; whoever takes the partition over knows that the others have been decided."""
    shop = shop_of(0)
    before, start = dict(shop.changelog), len(shop.transitions)
    shop.save({"id": "new", "rule": bought(6, "P90D")})
    assert {t["customer_id"] for t in shop.transitions[start:]} == {"6", "7"}
    assert {key for key, value in shop.changelog.items() if before.get(key) != value} == {b"p", b"rdemo:6", b"rdemo:7"}
    shop.restart()
    shop.now_ms += 1
    start = len(shop.transitions)
    shop.post({"type": "checkout", "event_id": "x", "occurred_at": iso(NOW), "total": "10.00", "customer_id": "5"})
    assert [(t["segment_id"], t["cause"]["kind"]) for t in shop.transitions[start:] if t["segment_id"] == "new"] == [("new", "event")]


@pytest.mark.parametrize("then", ["their events", "another definition", "an entry by hand", "nothing"])
def test_what_a_sweep_has_decided_counts_before_it_is_written_and_is_shown_after(then: str) -> None:
    """Whatever comes in the same step begins with it, and so do questions; who reads the projection is told what Kafka has."""
    shops = [shop_of(live_customers) for live_customers in (20_000, 0)]
    for shop in shops:
        shop.save({"id": "new", "rule": bought(6, "P90D")}, sweep=False)
        shop.save({"id": "other", "rule": bought(99, "P90D")}, sweep=False)
        while shop.partition.sweep(shop.now_ms, 100):
            pass
        assert shop.members("new") == set()
        asked = shop.partition.person(b"demo:6")
        assert asked is not None
        assert "new" in asked.row.members
        if then == "their events":
            shop.hold(*checkouts("x", "567"))
        elif then == "another definition":
            shop.save({"id": "third", "rule": {"all": [{"segment": "new"}, bought(7, "P90D")]}}, sweep=False)
            while shop.partition.sweep(shop.now_ms, 100):
                pass
        elif then == "an entry by hand":
            shop.by_hand("other", "include", ["6"], present=True)
        shop.rank()
        assert shop.members("new") >= {"6", "7"}
        shop.refresh()
        assert shop.memberships() == refreshed(shop)
    assert told(shops[0]) == told(shops[1])
    assert shops[0].memberships() == shops[1].memberships()


def test_who_enters_by_time_alone_is_looked_at_then() -> None:
    """A bound of the new segment that is nearer than any other is written, and holds after a restart."""
    shop = shop_of(0)
    waiting = {"metric": {"measure": "days_since_last", "event": "checkout"}, "op": "gte", "value": 5}
    shop.save({"id": "gone", "rule": {"all": [waiting, bought(1, "P1Y")]}})
    shop.restart()
    shop.pass_to(NOW + 6 * DAY_MS)
    entered = {
        t["customer_id"]: t["at"]
        for t in shop.transitions
        if t["segment_id"] == "gone" and t["change"] == "entered" and t["cause"]["kind"] == "clock"
    }
    assert entered == {str(number): iso(NOW + (5 - number) * DAY_MS) for number in range(1, 5)}


def test_a_sweep_that_is_broken_off_looks_at_everybody_again() -> None:
    """Nobody was told anything yet of whom nothing was written."""
    shop = shop_of(0)
    shop.save({"id": "new", "rule": bought(6, "P90D")}, sweep=False)
    shop.partition.sweep(shop.now_ms, 6)
    shop.restart()
    shop.sweep()
    assert shop.members("new") == {"6", "7"}


def numbered(shop: Simulation) -> int:
    """Return the number of a plan that is compiled now: each has the next one."""
    return Plans(shop.catalog).of("demo").number


def anew(shop: Simulation) -> int:
    """Let a partition compile its plans anew; return the number before the first of them."""
    shop.partition.plans = Plans(shop.catalog)
    return numbered(shop)


def checkouts(prefix: str, names: Iterable[str]) -> list[dict[str, Any]]:
    """One more checkout of each of these."""
    return [{"type": "checkout", "event_id": prefix + name, "occurred_at": iso(NOW), "total": "10.00", "customer_id": name} for name in names]


@pytest.mark.parametrize(("how", "plans_of_news"), [("events", 0), ("a sweep", 4)])
def test_customers_left_at_many_revisions_cost_few_plans(how: str, plans_of_news: int) -> None:
    """Their events ask for the plan in force alone; a sweep, which finds them in any order, asks for one more for each revision."""
    shop = shop_of(0)
    for number, names in enumerate(("03", "14", "25")):
        shop.put({"id": f"new{number}", "rule": bought(50 + number)})
        shop.post(*checkouts("x", names))
    shop.put({"id": "last", "rule": bought(99)})
    before = anew(shop)
    if how == "events":
        shop.post(*checkouts("y", "06317425"))
    else:
        shop.sweep()
    assert numbered(shop) - before - 1 == 1 + plans_of_news


def test_of_more_revisions_than_are_told_apart_a_sweep_says_the_same() -> None:
    """It looks at more of the customers who were left in between, and asks for no more plans than there may be."""
    shops = [Simulation(TENANT, NOW, live_customers=live_customers) for live_customers in (20_000, 0)]
    names = [str(number) for number in range(60)]
    for shop in shops:
        for name in names[1:]:
            shop.post(*checkouts("x", [name]))
        for number, name in enumerate(names):
            shop.put({"id": f"new{number % 40}", "rule": bought(1 + number % 3)}, replaces=number // 40)
            shop.post(*checkouts("y", [name]))
        shop.put({"id": "last", "rule": {"all": [{"segment": "new1"}, bought(1)]}})
        before = anew(shop)
        shop.sweep()
        compiled = numbered(shop) - before - 1
        shop.refresh()
        assert shop.memberships() == refreshed(shop)
    assert told(shops[0]) == told(shops[1])
    assert shops[0].memberships() == shops[1].memberships()
    assert 2 < compiled <= 1 + 24 + 1
