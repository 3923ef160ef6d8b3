"""Merges and erasures, case by case: what travels, what is refused, what is kept, and what was on its way."""

from __future__ import annotations

import json
from collections import Counter
from random import Random
from typing import Any

import msgspec
import pytest

from schemas.identity import hash_of, opened, sealed
from schemas.instants import DAY_MS, iso
from schemas.partitions import partition_of, record_key
from schemas.projection import decode_homes
from services.segmenter import links
from services.segmenter.accounting import counted_at
from services.segmenter.engine.row import Row
from services.segmenter.rows import Progress, decode_progress, decode_row
from tests.support.cluster import Cluster

Json = dict[str, Any]
NOW = 1_795_342_500_000
TENANT = {"id": "demo", "timezone": "Europe/Paris", "currency": "EUR", "country": "FR"}
TWO = {"id": "two", "rule": {"metric": {"measure": "count", "event": "checkout", "window": {"last": "P14D"}}, "op": "gte", "value": 2}}
MOVES = "customer-moves"


@pytest.fixture
def town() -> Cluster:
    """Four partitions and one segment: two checkouts in fourteen days."""
    cluster = Cluster(TENANT, NOW, 4)
    cluster.save(TWO)
    return cluster


def sale(event_id: str, customer: str, at_ms: int = NOW, **more: Any) -> Json:
    """A checkout."""
    return {"type": "checkout", "event_id": event_id, "customer_id": customer, "occurred_at": iso(at_ms), "total": "5.00"} | more


def merge(old: str, into: str, event_id: str = "") -> Json:
    """A merge."""
    return {"type": "customer-merge", "event_id": event_id or f"{old}>{into}", "customer_id": old, "into": into, "occurred_at": iso(NOW)}


def erase(customer: str, at_ms: int = NOW) -> Json:
    """An erasure."""
    return {"type": "customer-erase", "event_id": f"erase-{customer}-{at_ms}", "customer_id": customer, "occurred_at": iso(at_ms)}


def told(cluster: Cluster, *documents: Json) -> None:
    """Post one after the other, a millisecond apart, each until all is at rest."""
    for document in documents:
        cluster.now_ms += 1
        cluster.post(document)
        cluster.rest()


def step(cluster: Cluster, number: int, topic: str) -> None:
    """Let one partition take one record."""
    cluster.apply(number, topic, 1)
    cluster.write(number)


def test_a_merge_as_it_is_told(town: Cluster) -> None:
    """The old id leaves with cause merge and keeps its `seq`; the survivor enters with the same cause; both name the event."""
    told(town, sale("a", "old"), sale("b", "old"), merge("old", "new"))
    entered, exited, joined = town.transitions
    assert (entered["customer_id"], entered["seq"]) == ("old", 1)
    assert (exited["customer_id"], exited["change"], exited["seq"], exited["until"]) == ("old", "exited", 2, None)
    assert (joined["customer_id"], joined["change"], joined["seq"]) == ("new", "entered", 1)
    assert exited["cause"] == joined["cause"] == {"kind": "merge", "event_id": "old>new"}
    assert town.redis["old"] == "new"
    assert town.memberships("old") == town.memberships("new")
    assert town.members("two") == {"new"}


def test_one_that_both_are_members_of_is_left_by_the_old_alone(town: Cluster) -> None:
    """The survivor stays since when it was: nothing is published for who does not move."""
    told(town, *(sale(name, "old") for name in "ab"), *(sale(name, "new") for name in "cd"), merge("old", "new"))
    assert [(change["customer_id"], change["change"]) for change in town.transitions[2:]] == [("old", "exited")]


def test_the_survivor_knows_where_facts_arrive_about_whom_it_joined(town: Cluster) -> None:
    """Along chains, after a restart, and in the life after an erasure: reads wait for these partitions."""
    told(town, sale("a", "c0"), merge("c0", "c1"), sale("b", "c2"), merge("c1", "c2"), merge("c3", "c4"), merge("c4", "c2"))
    expected = sorted({town.home(f"c{number}") for number in (0, 1, 3, 4)})
    assert homes(town, "c2") == expected
    town.restart(town.home("c2"))
    assert homes(town, "c2") == expected
    told(town, erase("c1", NOW + 10))
    assert "c2" not in town.redis
    town.now_ms += DAY_MS
    told(town, sale("c", "c0", town.now_ms))
    assert homes(town, "c2") == expected


def homes(town: Cluster, customer: str) -> list[int]:
    """Return from where facts follow to a customer, as readers see it."""
    return decode_homes(town.partitions[town.home(customer)].projected(record_key("demo", customer))[3])


def test_chains_are_one_hop_long(town: Cluster) -> None:
    """Whoever was merged before is pointed to the new survivor, so a later fact is sent on once."""
    told(town, *(merge(f"c{number}", f"c{number + 1}") for number in range(6)))
    assert {town.redis[f"c{number}"] for number in range(6)} == {"c6"}
    before = town.outcomes()["forwarded"]
    told(town, sale("late", "c0"))
    assert town.outcomes()["forwarded"] - before == 1
    assert town.memberships("c3") is not None


@pytest.mark.parametrize("merges", [[("a", "b"), ("b", "a")], [("a", "b"), ("b", "c"), ("c", "a")], [("a", "b"), ("a", "b")]])
def test_a_cycle_is_a_dead_letter_where_the_event_was(town: Cluster, merges: list[tuple[str, str]]) -> None:
    """With its bytes, its place and its reason; it changes nothing."""
    told(town, *(merge(old, into, f"m{place}") for place, (old, into) in enumerate(merges)))
    ((value, headers),) = town.dead_letters
    assert json.loads(value)["event_id"] == f"m{len(merges) - 1}"
    assert (headers["topic"], headers["reason"], headers["detail"]) == ("checkouts", "cycle", "/into: both ids mean the same customer already")
    assert headers["partition"] == str(town.home(merges[-1][0]))
    assert town.outcomes()["dead_lettered/cycle"] == 1


def test_a_dead_letter_is_found_where_it_is_counted(town: Cluster) -> None:
    """A merge that is refused where the tenant lives, a fact that is refused where it follows to, and one that is refused at home."""
    told(
        town, sale("a", "old"), merge("old", "new"), merge("new", "old"), sale("a", "old", total="6.00"), sale("b", "x"), sale("b", "x", total="6.00")
    )
    found = Counter((*counted_at(headers)[:2], "dead_lettered/" + headers["reason"]) for _, headers in town.dead_letters)
    counted = Counter(
        {
            (topic, partition.number, outcome): count
            for partition in town.partitions
            for topic, outcomes in partition.outcomes.items()
            for outcome, count in outcomes.items()
            if outcome.startswith("dead_lettered")
        }
    )
    assert found == counted
    assert found.total() == 3
    assert all(headers["topic"] == "checkouts" for _, headers in town.dead_letters), "what is told of its origin stays"


def test_the_same_merge_again_is_a_duplicate(town: Cluster) -> None:
    """Before the first has arrived and after."""
    for _ in range(2):
        town.post(merge("a", "b"))
    town.rest(Random(1))
    told(town, merge("a", "b"))
    assert (town.outcomes()["applied"], town.outcomes()["duplicate"], town.dead_letters) == (1, 2, [])


def test_a_person_has_a_limit_of_ids(town: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more is refused, and both stay who they were."""
    monkeypatch.setattr(links, "MAX_IDS", 4)
    told(town, merge("a", "x"), merge("b", "x"), merge("c", "x"), merge("d", "x"))
    assert town.outcomes()["dead_lettered/merge_limit"] == 1
    assert town.redis["c"] == "x"
    assert "d" not in town.redis


@pytest.mark.parametrize("first", ["old", "new"])
def test_of_two_facts_with_one_id_the_first_accepted_counts(town: Cluster, first: str) -> None:
    """Whichever customer's it was, and both are known by it afterwards."""
    town.save({"id": "rich", "rule": {"metric": {"measure": "sum", "event": "checkout", "field": "total"}, "op": "eq", "value": "9.00"}})
    second = {"old": "new", "new": "old"}[first]
    told(town, sale("same", first, total="9.00"), sale("same", second, total="1.00"), merge("old", "new"))
    assert town.members("rich") == {"new"}
    told(town, sale("same", "old", total="9.00"), sale("same", "new", total="1.00"))
    assert (town.outcomes()["duplicate"], town.outcomes()["dead_lettered/conflict"]) == (1, 1)


def test_entries_of_lists_join(town: Cluster) -> None:
    """What the old id was put on by hand holds the survivor, and it may be taken off under either id."""
    town.save({"id": "guests", "include": ["old"]})
    told(town, merge("old", "new"))
    assert town.members("guests") == {"new"}
    town.by_hand("guests", "include", ["old"], present=False)
    assert town.members("guests") == set()
    town.by_hand("guests", "exclude", ["old"])
    town.by_hand("guests", "include", ["new"])
    assert town.members("guests") == set()


@pytest.mark.parametrize("seed", range(8))
def test_what_is_on_its_way_when_a_person_is_erased_does_not_arrive(town: Cluster, seed: int) -> None:
    """A history, and a fact that follows, in whatever order they and the erasure get there; what comes after it is a new life."""
    registry = partition_of(b"demo", 4)
    old, new = (next(name for name in map(str, range(99)) if town.home(name) == (registry + place) % 4) for place in (1, 2))
    told(town, sale("a", old), sale("b", old))
    town.post(merge(old, new))
    for number, topic in ((town.home(old), "checkouts"), (registry, MOVES), (town.home(old), MOVES)):
        step(town, number, topic)
    assert town.redis[old] == new
    assert new not in town.redis, "the history is on its way"
    town.now_ms += 10
    town.post(sale("late", old, NOW + 1))
    step(town, town.home(old), "checkouts")  # and a fact follows it
    town.post(erase(new, NOW + 5))
    step(town, town.home(new), "checkouts")
    town.now_ms += 10
    town.post(sale("later", old, NOW + 15))
    town.rest(Random(seed))
    assert town.memberships(new) == {}
    told(town, sale("latest", new, NOW + 16))
    assert town.members("two") == {new}, "two facts of the new life, and no other"


def test_an_old_id_leads_to_the_new_life_once_it_is_heard_of_again(town: Cluster) -> None:
    """Not by what is from before, nor by what is told of the other; also after a restart, and no more after another erasure."""
    told(town, merge("old", "new"), erase("new"), sale("a", "old", NOW - 1))
    assert town.redis == {}
    told(town, sale("b", "new", NOW + 1))
    assert "old" not in town.redis, "what is kept of it is a hash"
    told(town, sale("c", "old", NOW + 1))
    assert (town.redis["old"], town.members("two")) == ("new", {"new"})
    town.restart(town.home("old"))
    assert town.redis["old"] == "new"
    told(town, erase("old", NOW + 10))
    assert town.redis == {}
    assert town.at_rest_in(b"old") == []


def test_a_fact_that_was_sent_on_by_who_had_not_heard_of_the_erasure(town: Cluster) -> None:
    """It comes after the survivor was erased, and is from before all the same."""
    registry = partition_of(b"demo", 4)
    old, new = (next(name for name in map(str, range(99)) if town.home(name) == (registry + place) % 4) for place in (1, 2))
    told(town, merge(old, new))
    town.now_ms += 10
    town.post(erase(new, NOW + 5))
    for number, topic in ((town.home(new), "checkouts"), (registry, MOVES), (town.home(new), MOVES)):
        step(town, number, topic)
    assert new not in town.redis
    town.post(sale("late", old, NOW + 1))
    step(town, town.home(old), "checkouts")
    assert town.outcomes()["erased"] == 0, "on its way"
    town.rest()
    assert town.outcomes()["erased"] == 1
    assert town.redis == {}


def test_a_new_life_goes_on_with_its_seq_and_names_nobody_before(town: Cluster) -> None:
    """What is kept of an erased id is a hash; late facts about it are refused, also by a partition that was restored."""
    told(town, sale("a", "718-9"), sale("b", "718-9"), erase("718-9"))
    assert [change["cause"]["kind"] for change in town.transitions] == ["event", "erase"]
    town.write(town.home("718-9"))
    assert town.at_rest_in(b"718-9") == []
    assert [(one.tenant, one.hashed, one.seq) for one in town.erased] == [("demo", hash_of("pepper", "demo", "718-9"), 2)]
    town.restart(town.home("718-9"))
    told(town, sale("c", "718-9", NOW - DAY_MS), sale("d", "718-9"))
    assert town.outcomes()["erased"] == 2
    told(town, sale("a", "718-9", NOW + 1), sale("b", "718-9", NOW + 1))
    assert (town.transitions[-1]["seq"], town.transitions[-1]["change"]) == (3, "entered")
    told(town, sale("e", "718-9"))
    assert town.outcomes()["erased"] == 3


def test_names_are_hashed_and_sealed() -> None:
    """Each salt and tenant has hashes of its own; a seal opens with the id that it was made with."""
    assert len({hash_of(salt, tenant, "c") for salt in ("", "s") for tenant in ("a", "b")}) == 4
    seal = sealed("s", "demo", "old", 7, "nëw:" * 30)
    assert opened("s", "demo", "old", seal) == "nëw:" * 30
    assert "nëw".encode() not in seal
    assert sealed("s", "demo", "old", 8, "nëw:" * 30)[8:] != seal[8:]


def test_what_was_written_before_there_were_merges_is_read() -> None:
    """Rows and progress of an earlier version lack what is new."""
    row, progress = Row(3, 4, 5, 6, {"two": (1, 2)}), Progress(1, {"checkouts": 2}, {}, 3, 4, 5)
    for one, decode in ((row, decode_row), (progress, decode_progress)):
        fields = msgspec.to_builtins(one)
        assert decode(msgspec.msgpack.encode(fields[:-1])) == one
