"""Until when memberships stand is found anew whatever moves it, and whenever the worker dies."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from schemas.instants import DAY_MS, iso
from services.segmenter.rows import FRESH
from tests.support.cluster import Cluster
from tests.support.fleet import Fleet
from tests.support.simulation import TOPICS, Simulation, Written, entry_of
from tests.unit.test_news import NOW, TENANT, bought

Json = dict[str, Any]
REGULARS = {"id": "regulars", "rule": bought(1)}


def sale(event_id: str, at_ms: int = NOW, customer: str = "a") -> Json:
    """A checkout of somebody."""
    return {"type": "checkout", "event_id": event_id, "occurred_at": iso(at_ms), "total": "10.00", "customer_id": customer, "tenant": "demo"}


def applied(shop: Simulation, *events: Json) -> None:
    """Apply events now, in the step under way."""
    start = shop.partition.offsets.get("checkouts", 0)
    shop.partition.apply("checkouts", [Written(start + i, None, json.dumps(event).encode()) for i, event in enumerate(events)], shop.now_ms)


def away(days: int) -> Json:
    """No checkout for so long."""
    return {"metric": {"measure": "days_since_last", "event": "checkout"}, "op": "gte", "value": days}


def found(shop: Simulation) -> None:
    """Find every `until`, and rest until it is written that all are right."""
    for _ in range(3):
        shop.refresh()
    assert FRESH in shop.changelog


def until(shop: Simulation, segment_id: str, customer: str = "a") -> int | None:
    """Until when somebody is in a segment, as of what has been found."""
    return shop.memberships()[customer][segment_id][1]


def _on_the_list_already(shop: Simulation) -> None:
    segment = shop.catalog.segment("demo", "listed")
    assert segment is not None
    start = shop.partition.offsets.get(TOPICS.manual_entries, 0)
    entry = entry_of(segment, "include", "a", "again", present=True)
    shop.partition.apply(TOPICS.manual_entries, [Written(start, None, entry)], shop.now_ms)


def _a_deadline(shop: Simulation) -> None:
    assert shop.partition.tick(shop.now_ms, 100)


def _a_definition(shop: Simulation) -> None:
    assert shop.put({"id": "other", "rule": bought(50)}).accepted
    applied(shop, sale("2", NOW + DAY_MS))


MEETINGS: dict[str, Callable[[Simulation], None]] = {
    "the same event again": lambda shop: applied(shop, sale("x", shop.now_ms, "b"), sale("2", NOW + DAY_MS)),
    "an entry that is there": _on_the_list_already,
    "a deadline": _a_deadline,
    "a definition": _a_definition,
}


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("meeting", MEETINGS)
def test_a_fact_moves_it_whatever_the_customer_meets_next(meeting: str, *, restart: bool) -> None:
    """The fact is pending, and decided by a look at the customer within the same step."""
    shop = Simulation(TENANT, NOW)
    for segment in (REGULARS, {"id": "recent", "rule": bought(1, "P1D")}, {"id": "listed", "rule": None, "include": ["a"]}):
        shop.save(segment)
    shop.post(sale("0", NOW + 20), sale("1"))
    shop.refresh()
    shop.now_ms = NOW + DAY_MS
    applied(shop, sale("2", shop.now_ms))
    shop.now_ms += 30
    MEETINGS[meeting](shop)
    found(shop)
    if restart:
        shop.restart()
        shop.refresh()
    assert until(shop, "regulars") == NOW + DAY_MS + 14 * DAY_MS


def test_a_definition_moves_it_though_the_worker_dies_before_it_is_found() -> None:
    """Of a customer whose membership hangs on a segment that was changed, while the customer is in neither version of it."""
    shop = Simulation(TENANT, NOW, live_customers=0)
    shop.save({"id": "away", "rule": away(60)})
    shop.save({"id": "near", "rule": {"not": {"segment": "away"}}})
    shop.post(sale("1"))
    found(shop)
    assert until(shop, "near") == NOW + 60 * DAY_MS
    shop.save({"id": "away", "rule": away(90)}, replaces=1)
    shop.restart()
    shop.refresh()
    assert until(shop, "near") == NOW + 90 * DAY_MS


@pytest.mark.parametrize("live_customers", [0, 1_000])
def test_a_cut_moves_it_though_a_sweep_is_there_before_it_is_applied(live_customers: int) -> None:
    """A segment waited for its first cut; another definition comes in between the cut and the look at whom it releases."""
    fleet = Fleet(TENANT, NOW, 1, live_customers=live_customers)
    shop = fleet.parts[0]
    fleet.save(REGULARS)
    shop.post(sale("1"))
    fleet.rest()
    best = {"rank": {"metric": bought(1)["metric"], "order": "desc", "top": 3}}
    shop.save({"id": "regulars", "rule": {"all": [best, bought(1, "P20D")]}}, replaces=1)
    shop.refresh()
    while not shop.partition.ranks_due:
        fleet.exchange()
    shop.save({"id": "other", "rule": bought(50)})
    shop.rank()
    shop.refresh()
    assert until(shop, "regulars") == NOW + 20 * DAY_MS


def test_in_a_cluster_too_a_row_that_is_written_again_stands_behind_what_was_right_before() -> None:
    """Its changelogs are in the order of the latest records, as Kafka's are: whoever restarts knows whose `until` is to be found."""
    shop = Cluster(TENANT, NOW, partitions=1)
    shop.save(REGULARS)
    shop.post(sale("1"))
    shop.rest()
    shop.partitions[0].refresh(NOW, 100)
    for _ in range(3):
        shop.write(0)
    shop.restart(0)
    assert not shop.partitions[0].stale
    shop.post(sale("2"))
    shop.rest()
    shop.restart(0)
    assert shop.partitions[0].stale


@pytest.mark.parametrize("restart", [False, True])
def test_an_end_too_far_away_to_be_looked_at_is_found_when_it_comes_nearer(*, restart: bool) -> None:
    """The weekly round sees to it, also of customers whose `until` was right when it was written."""
    shop = Simulation(TENANT, NOW, live_customers=0)
    shop.save({"id": "near", "rule": {"not": away(405)}})
    shop.save({"id": "ever", "rule": {"metric": {"measure": "count", "event": "checkout"}, "op": "gte", "value": 1}})
    shop.post(sale("1"), sale("2", customer="b"))
    found(shop)
    assert until(shop, "near") is None
    shop.pass_to(NOW + 7 * DAY_MS)
    if restart:
        shop.restart()
    assert not shop.partition.stale
    shop.drop()
    shop.refresh()
    assert until(shop, "near") == NOW + 405 * DAY_MS
    shop.pass_to(NOW + 405 * DAY_MS)
    assert shop.memberships()["a"].keys() == {"ever"}
    shop.drop()
    assert not shop.partition.stale  # nothing will change for anybody
