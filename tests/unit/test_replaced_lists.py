"""Replacing a manual list publishes the difference between before and after, whatever happens before its entries are there."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from schemas.definitions import SegmentRestored
from schemas.instants import iso
from services.segmenter.lists import PATIENCE_MS
from tests.support.cluster import Cluster
from tests.support.simulation import Simulation
from tests.unit.test_partition import NOW, TENANT, checkout

CREW: dict[str, Any] = {"id": "crew", "include": ["ann", "bob", "cy"], "exclude": ["dan"]}
BUYERS = {"metric": {"measure": "count", "event": "checkout", "window": {"last": "P14D"}}, "op": "gte", "value": 1}


@pytest.fixture
def shop() -> Simulation:
    """A tenant with one segment: a list by hand, and nobody but dan known by an event."""
    simulation = Simulation(TENANT, NOW)
    simulation.post(checkout("d", NOW, customer="dan"))
    simulation.save(CREW)
    simulation.transitions.clear()
    return simulation


def edit(shop: Simulation, segment: dict[str, Any], *, replaces: int = 1, sweep: bool = True) -> None:
    """Save a version of which the entries are still to come."""
    outcome = shop.put(segment, replaces=replaces)
    assert outcome.accepted, outcome
    if sweep:
        shop.sweep()


def said(shop: Simulation) -> list[tuple[str, str, str]]:
    """Return what was put out, in the order of the customers."""
    return sorted((t["customer_id"], t["change"], t["cause"]["kind"]) for t in shop.transitions)


def live(shop: Simulation) -> bool:
    """Whether the partition answers for the definitions in force."""
    return shop.partition.marker(shop.now_ms).definitions == shop.catalog.offset


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("sweep", [True, False])
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"include": ["ann", "bob", "cy"]}, []),
        ({"include": ["bob", "cy", "eve"]}, [("ann", "exited"), ("eve", "entered")]),
        ({"include": ["bob", "cy"], "exclude": ["ann"]}, [("ann", "exited")]),
        ({"include": ["dan"], "exclude": []}, [("ann", "exited"), ("bob", "exited"), ("cy", "exited"), ("dan", "entered")]),
        ({"exclude": ["bob"]}, [("bob", "exited")]),
        ({"exclude": ["dan", "bob"], "rule": BUYERS}, [("bob", "exited")]),
        ({"include": ["dan"], "exclude": ["ann"], "rule": BUYERS}, [("ann", "exited"), ("bob", "exited"), ("cy", "exited"), ("dan", "entered")]),
        ({"include": [], "exclude": ["dan"]}, [("ann", "exited"), ("bob", "exited"), ("cy", "exited")]),
    ],
)
def test_exactly_the_difference(shop: Simulation, change: dict[str, Any], expected: list[tuple[str, str]], *, sweep: bool, restart: bool) -> None:
    """Who is on both publishes nothing, also when the owner changes after every entry, or the sweep comes last."""
    edit(shop, {"id": "crew"} | change, sweep=sweep)
    for name in ("include", "exclude"):
        for customer in change.get(name, ()):
            assert shop.transitions == [], "nothing is told before everything is there"
            shop.by_hand("crew", name, [customer], present=True, announced=True)
            if restart:
                shop.restart()
    shop.sweep()
    shop.rank()
    assert said(shop) == [(*one, "definition") for one in expected]
    assert live(shop)


def test_by_rule_before_and_by_hand_after_is_no_difference() -> None:
    """A new rule lets nobody go whom the new list brings back."""
    shop = Simulation(TENANT, NOW)
    shop.post(checkout("a", NOW, customer="ann"), checkout("b", NOW, customer="bob"))
    shop.save({"id": "crew", "rule": BUYERS})
    shop.transitions.clear()
    shop.save({"id": "crew", "include": ["ann"]}, replaces=1)
    assert said(shop) == [("bob", "exited", "definition")]


def test_until_the_list_is_whole_members_stay_and_the_partition_does_not_answer(shop: Simulation) -> None:
    """The last entry ends the wait, and nothing before it; one by hand is none of those that were announced."""
    edit(shop, {"id": "crew", "include": ["bob", "eve"]})
    shop.by_hand("crew", "include", ["fay", "cy"], present=True)
    shop.by_hand("crew", "include", ["bob"], present=True, announced=True)
    shop.post(checkout("b", NOW, customer="bob"), checkout("a", NOW, customer="ann"))
    shop.rank()
    assert (said(shop), live(shop), shop.members("crew")) == ([], False, {"ann", "bob", "cy"})
    shop.by_hand("crew", "include", ["eve"], present=True, announced=True)
    shop.rank()
    assert live(shop)
    assert said(shop) == [("ann", "exited", "definition"), ("eve", "entered", "definition"), ("fay", "entered", "definition")]


def test_taken_off_by_hand_in_between(shop: Simulation) -> None:
    """What is asked for by hand after the definition counts, whether the entry of the list came before or not."""
    edit(shop, {"id": "crew", "include": ["ann", "bob", "cy"]})
    shop.by_hand("crew", "include", ["ann", "bob", "cy"], present=True, announced=True)
    shop.by_hand("crew", "include", ["ann"], present=False)
    shop.rank()
    assert [(customer, change) for customer, change, _ in said(shop)] == [("ann", "exited")]


@pytest.mark.parametrize("swept", [True, False])
def test_of_two_edits_the_last_counts(shop: Simulation, *, swept: bool) -> None:
    """The entries of a list that was replaced before they came change nothing; who is on the first and the last stays."""
    edit(shop, {"id": "crew", "include": ["bob", "gil"]}, sweep=swept)
    first = shop.catalog.segment("demo", "crew")
    assert first is not None
    shop.by_hand("crew", "include", ["gil"], present=True, announced=True)
    edit(shop, {"id": "crew", "include": ["ann", "bob"]}, replaces=2)
    shop.fill({"id": "crew", "include": ["ann", "bob"]})
    assert said(shop) == [("cy", "exited", "definition")]
    assert live(shop)


def test_a_version_without_lists_waits_on(shop: Simulation) -> None:
    """Another version in between, or another segment, neither ends the wait nor begins it anew."""
    edit(shop, {"id": "crew", "include": ["bob", "eve"]})
    shop.by_hand("crew", "include", ["bob"], present=True, announced=True)
    edit(shop, {"id": "crew", "rule": BUYERS}, replaces=2)
    shop.save({"id": "other", "rule": BUYERS})
    assert [one for one in said(shop) if one[0] != "dan"] == []
    shop.by_hand("crew", "include", ["eve"], present=True, announced=True)
    shop.rank()
    assert live(shop)
    assert [one[:2] for one in said(shop) if one[0] != "dan"] == [("ann", "exited"), ("cy", "exited"), ("eve", "entered")]


def test_archived_in_between(shop: Simulation) -> None:
    """Everybody leaves once; what comes then is set aside, and a segment that is restored waits for nothing."""
    edit(shop, {"id": "crew", "include": ["bob", "eve"]})
    shop.by_hand("crew", "include", ["bob"], present=True, announced=True)
    shop.archive("crew")
    assert said(shop) == [(who, "exited", "definition") for who in ("ann", "bob", "cy")]
    assert live(shop)
    assert not [key for key in shop.changelog if key[:1] == b"e"], "nothing is kept of what nobody waits for"
    shop.by_hand("crew", "include", ["eve"], present=True, announced=True)
    assert shop.outcomes()["dead_lettered/unknown_segment"] == 1
    shop.define(SegmentRestored(tenant="demo", at_ms=NOW, segment_id="crew", replaces=3))
    shop.sweep()
    assert (live(shop), shop.members("crew")) == (True, set())


@pytest.mark.parametrize("restart", [False, True])
def test_entries_that_never_come_are_not_waited_for_for_ever(shop: Simulation, *, restart: bool) -> None:
    """After a minute it is decided with what is there, for good; entries that are late count all the same."""
    edit(shop, {"id": "crew", "include": ["bob", "eve"]})
    shop.by_hand("crew", "include", ["bob"], present=True, announced=True)
    shop.pass_to(NOW + PATIENCE_MS - 1)
    shop.rank()
    assert (said(shop), live(shop)) == ([], False)
    shop.pass_to(NOW + PATIENCE_MS)
    if restart:
        shop.restart()
    shop.sweep()
    shop.rank()
    assert said(shop) == [("ann", "exited", "definition"), ("cy", "exited", "definition")]
    assert live(shop)
    shop.restart()
    shop.by_hand("crew", "include", ["eve"], present=True, announced=True)
    assert (shop.members("crew"), live(shop)) == ({"bob", "eve"}, True)


@pytest.fixture
def town() -> Cluster:
    """Four partitions; the crew are four people, two of whom went by other names before, at home in other partitions."""
    cluster = Cluster(TENANT, NOW, 4)
    cluster.save({"id": "crew", "include": ["ann", "bob", "cy", "eve"]})
    for old, into in (("annie", "anna"), ("anna", "ann"), ("rob", "bob")):
        cluster.now_ms += 1
        cluster.post({"type": "customer-merge", "event_id": old, "customer_id": old, "into": into, "occurred_at": iso(cluster.now_ms)})
        cluster.rest()
    assert len({cluster.home(who) for who in ("annie", "anna", "ann")}) == 3
    assert cluster.home("rob") != cluster.home("bob")
    cluster.transitions.clear()
    return cluster


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(
    ("include", "expected"),
    [
        (["annie", "rob", "cy", "eve"], []),
        (["anna", "bob"], [("cy", "exited"), ("eve", "exited")]),
        (["rob", "dan", "annie"], [("cy", "exited"), ("dan", "entered"), ("eve", "exited")]),
        (["cy", "eve"], [("ann", "exited"), ("bob", "exited")]),
    ],
)
def test_a_merged_id_on_the_new_list_is_who_it_means(town: Cluster, include: list[str], expected: list[tuple[str, str]], seed: int) -> None:
    """What is published is the difference between people, in whatever order partitions work and whoever dies meanwhile."""
    town.save({"id": "crew", "include": include}, replaces=1, random=Random(seed))
    assert sorted((change["customer_id"], change["change"]) for change in town.transitions) == expected
    assert {change["cause"]["kind"] for change in town.transitions} <= {"definition"}
    assert town.members("crew") == {{"annie": "ann", "anna": "ann", "rob": "bob"}.get(who, who) for who in include}
    for number, partition in enumerate(town.partitions):
        while partition.sweep(town.now_ms, 100):
            pass
        assert partition.marker(town.now_ms).definitions == town.catalog.offset, number


def test_a_merge_after_a_list_was_replaced_makes_nobody_wait(town: Cluster) -> None:
    """A later edit, and a restart: what was there once is not expected again."""
    town.save({"id": "crew", "include": ["ann", "bob", "cy", "eve"]}, replaces=1)
    town.now_ms += 1
    town.post({"type": "customer-merge", "event_id": "e", "customer_id": "eve", "into": "cy", "occurred_at": iso(town.now_ms)})
    town.rest()
    town.save({"id": "others", "include": ["dan"]})
    for number in range(4):
        town.restart(number)
    town.sweep()
    assert all(partition.marker(town.now_ms).definitions == town.catalog.offset for partition in town.partitions)
