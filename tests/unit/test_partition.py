"""A partition as its owner sees it: outcomes, order, restarts, deadlines, definitions, manual lists."""

from __future__ import annotations

import json
from typing import Any

import pytest

from schemas.instants import DAY_MS, NEVER, iso
from schemas.partitions import record_key, split_key
from schemas.questions import Preview, Previewed
from services.segmenter.partition import Partition
from services.segmenter.plans import Limits, Plans
from tests.support.asking import ask
from tests.support.simulation import TOPICS, Simulation, Written

NOW = 1_795_342_500_000
TENANT = {"id": "demo", "timezone": "Europe/Paris", "currency": "EUR", "country": "FR"}
REGULARS = {"id": "regulars", "rule": {"metric": {"measure": "count", "event": "checkout", "window": {"last": "P14D"}}, "op": "gte", "value": 2}}


@pytest.fixture
def shop() -> Simulation:
    """A tenant with one segment: two checkouts in fourteen days."""
    simulation = Simulation(TENANT, NOW)
    simulation.save(REGULARS)
    return simulation


def checkout(event_id: str, at_ms: int, customer: str | None = "718", **more: Any) -> dict[str, Any]:
    """A checkout of 45.00."""
    event = {"type": "checkout", "event_id": event_id, "occurred_at": iso(at_ms), "total": "45.00", **more}
    return event | ({} if customer is None else {"customer_id": customer})


def test_every_record_has_one_outcome_and_they_add_up_to_the_offsets(shop: Simulation) -> None:
    """Applied, anonymous, duplicate and each kind of dead letter: counted once, and nothing else moves."""
    shop.post(checkout("a", NOW), checkout("a", NOW), checkout("b", NOW, customer=None), checkout("a", NOW, total="46.00"))
    shop.post(checkout("c", NOW + 301_000), checkout("d", NOW - 800 * DAY_MS), checkout("e", NOW, total="4.567"))
    shop.post_raw(b"", b"{", b"[" * 100_000, b'{"type":"x"}', b"\xff", json.dumps(checkout("f", NOW)).encode())
    outcomes = shop.outcomes()
    assert outcomes == {
        "applied": 1,
        "duplicate": 1,
        "anonymous": 1,
        "dead_lettered/conflict": 1,
        "dead_lettered/future": 1,
        "dead_lettered/too_late": 1,
        "dead_lettered/amount": 1,
        "dead_lettered/malformed": 4,
        "dead_lettered/unknown_type": 1,
        "dead_lettered/missing_field": 1,
    }
    assert sum(outcomes.values()) == shop.partition.offsets["checkouts"]
    assert all(headers["topic"] == "checkouts" and headers["offset"].isdigit() and headers["reason"] for _, headers in shop.dead_letters)
    assert len(shop.dead_letters) == sum(count for outcome, count in outcomes.items() if outcome.startswith("dead_lettered"))


def test_a_repaired_event_that_is_replayed_twice_counts_once(shop: Simulation) -> None:
    """The dead letter holds the bytes as they came; what is made of them is an event like any other, with its own id."""
    shop.post_raw(broken := json.dumps(checkout("a", NOW) | {"tenant": TENANT["id"], "total": "45,00"}).encode())
    ((found, headers),) = shop.dead_letters
    assert (found, headers["reason"]) == (broken, "amount")
    shop.post_raw(repaired := found.replace(b"45,00", b"45.00"))
    shop.post_raw(repaired)
    assert shop.outcomes() == {"dead_lettered/amount": 1, "applied": 1, "duplicate": 1}


def test_offsets_that_hold_no_record_are_gaps(shop: Simulation) -> None:
    """Transaction markers take offsets; the outcomes still add up."""
    value = json.dumps(checkout("a", NOW) | {"tenant": "demo"}).encode()
    shop.partition.apply("checkouts", [Written(3, None, value)], NOW)
    assert shop.outcomes() == {"gap": 3, "applied": 1}
    assert shop.partition.offsets["checkouts"] == 4


def test_a_customer_leaves_at_the_instant_and_not_a_millisecond_before(shop: Simulation) -> None:
    """The window of fourteen days runs out at exactly e + P, with cause clock and `at` that instant."""
    shop.post(checkout("a", NOW - DAY_MS), checkout("b", NOW))
    leaves_ms = NOW - DAY_MS + 14 * DAY_MS
    shop.pass_to(leaves_ms - 1)
    assert shop.members("regulars") == {"718"}
    shop.pass_to(leaves_ms)
    assert shop.members("regulars") == set()
    entered, exited = shop.transitions
    assert (entered["change"], entered["until"], entered["cause"]) == ("entered", iso(leaves_ms), {"kind": "event", "event_id": "b"})
    assert (exited["change"], exited["at"], exited["cause"], exited["seq"]) == ("exited", iso(leaves_ms), {"kind": "clock"}, 2)


def test_deadlines_missed_while_down_are_decided_at_their_own_instants(shop: Simulation) -> None:
    """A day late is told as it was: `at` is the deadline, `decided_at` when somebody looked."""
    shop.post(checkout("a", NOW), checkout("b", NOW))
    shop.restart()
    shop.oversleep_to(NOW + 30 * DAY_MS)
    exited = shop.transitions[-1]
    assert (exited["at"], exited["decided_at"]) == (iso(NOW + 14 * DAY_MS), iso(NOW + 30 * DAY_MS))
    assert shop.partition.next_deadline_ms() == NEVER


def test_a_restart_changes_nothing(shop: Simulation) -> None:
    """What comes back from the changelog is what was there: members, offsets, outcomes, seq, duplicates."""
    for day in range(40):
        shop.pass_to(NOW + day * DAY_MS)
        shop.post(checkout(f"e{day}", shop.now_ms), checkout(f"x{day}", shop.now_ms - 20 * DAY_MS, customer="9"))
        if day % 7 == 0:
            before = shop.memberships(), dict(shop.partition.offsets), shop.outcomes()
            shop.restart()
            assert (shop.memberships(), dict(shop.partition.offsets), shop.outcomes()) == before
    shop.post(checkout("e3", NOW + 3 * DAY_MS))
    assert shop.outcomes()["duplicate"] == 1
    seqs = [transition["seq"] for transition in shop.transitions if transition["customer_id"] == "718"]
    assert seqs == list(range(1, len(seqs) + 1))


def test_each_owner_has_a_greater_epoch(shop: Simulation) -> None:
    """The projection tells owners apart by it."""
    first = shop.partition.epoch
    shop.restart()
    assert shop.partition.epoch == first + 1


def test_a_segment_saved_later_finds_the_past_and_an_edit_publishes_the_difference(shop: Simulation) -> None:
    """Backfill from history with cause definition; an edit moves exactly those who differ; archiving publishes exits."""
    for customer, count in (("one", 1), ("two", 2), ("three", 3)):
        shop.post(*[checkout(f"{customer}{i}", NOW - i * DAY_MS, customer=customer) for i in range(count)])
    keen = {"id": "keen", "rule": {"metric": {"measure": "count", "event": "checkout"}, "op": "gte", "value": 2}}
    start = len(shop.transitions)
    shop.save(keen)
    assert {(t["customer_id"], t["change"], t["cause"]["kind"]) for t in shop.transitions[start:]} == {
        ("two", "entered", "definition"),
        ("three", "entered", "definition"),
    }
    start = len(shop.transitions)
    keen["rule"]["value"] = 3  # type: ignore[index]
    shop.save(keen, replaces=1)
    assert [(t["customer_id"], t["change"], t["segment_version"]) for t in shop.transitions[start:]] == [("two", "exited", 2)]
    start = len(shop.transitions)
    shop.archive("keen")
    assert [(t["customer_id"], t["segment_id"], t["change"]) for t in shop.transitions[start:]] == [("three", "keen", "exited")]
    assert shop.members("keen") == set()
    assert shop.members("regulars") == {"two", "three"}


def test_the_fact_in_hand_is_applied_after_the_new_definition(shop: Simulation) -> None:
    """A customer not swept yet is first decided under the new version, then the fact counts, each with its own cause."""
    shop.post(checkout("a", NOW))
    shop.save({"id": "any", "rule": {"metric": {"measure": "count", "event": "checkout"}, "op": "gte", "value": 1}}, sweep=False)
    start = len(shop.transitions)
    shop.post(checkout("b", NOW))
    assert [(t["segment_id"], t["cause"]["kind"]) for t in shop.transitions[start:]] == [("any", "definition"), ("regulars", "event")]


def test_manual_entries_outvote_the_rule_and_end_when_the_list_is_replaced(shop: Simulation) -> None:
    """Excluded beats included beats the rule; replacing a list ends its older entries; strangers become known."""
    shop.post(checkout("a", NOW), checkout("b", NOW))
    shop.by_hand("regulars", "include", ["stranger"], present=True)
    shop.by_hand("regulars", "exclude", ["718"], present=True)
    assert shop.members("regulars") == {"stranger"}
    assert {t["cause"]["kind"] for t in shop.transitions[1:]} == {"manual"}
    shop.save(REGULARS | {"include": ["other"], "exclude": []}, replaces=1)
    assert shop.members("regulars") == {"other", "718"}
    shop.restart()
    assert shop.members("regulars") == {"other", "718"}
    shop.by_hand("regulars", "include", ["other"], present=False)
    assert shop.members("regulars") == {"718"}


def test_a_record_in_the_wrong_partition_is_sent_home() -> None:
    """It is counted as sent on, not applied, and goes where Kafka's partitioner would have put it."""
    simulation = Simulation(TENANT, NOW)
    strays = [customer for customer in map(str, range(50)) if _home(customer) != 0]
    partition = Partition(0, Plans(simulation.catalog), TOPICS, Limits(4))
    values = [json.dumps(checkout("a", NOW, customer=customer) | {"tenant": "demo"}).encode() for customer in strays]
    partition.apply("checkouts", [Written(i, b"any", value) for i, value in enumerate(values)], NOW)
    step = partition.take()
    assert step is not None
    assert step.forwards == [
        ("checkouts", _home(customer), record_key("demo", customer), value) for customer, value in zip(strays, values, strict=True)
    ]
    assert partition.outcomes == {"checkouts": {"forwarded": len(strays)}}
    assert partition.customers == 0


def test_a_customer_with_too_many_events_is_set_aside_and_nobody_else() -> None:
    """Its further events are dead letters; duplicates of kept ones still are duplicates."""
    simulation = Simulation(TENANT, NOW)
    simulation.partition = Partition(0, Plans(simulation.catalog), TOPICS, Limits(1, events_per_customer=3))
    simulation.post(*[checkout(f"e{i}", NOW) for i in range(5)], checkout("e0", NOW), checkout("e0", NOW, customer="9"))
    assert simulation.outcomes() == {"applied": 4, "dead_lettered/customer_limit": 2, "duplicate": 1}


def test_history_is_written_once_and_joined_without_loss(shop: Simulation) -> None:
    """After many steps few chunks are left, and all events are in them."""
    for i in range(100):
        shop.post(checkout(f"e{i}", NOW - i))
    chunks = [key for key in shop.changelog if key[:1] == b"h"]
    assert len(chunks) <= 100 // 16 + 16
    shop.restart()
    shop.post(*[checkout(f"e{i}", NOW - i) for i in range(100)])
    assert shop.outcomes() == {"applied": 100, "duplicate": 100}


def test_until_knows_a_profile_fact_that_lies_ahead(shop: Simulation) -> None:
    """Accepted already, it counts from its instant; `until` is that instant, and not what would have been without it."""
    shop.save({"id": "grown-ups", "rule": {"profile": "age", "op": "gte", "value": 18}})
    profile = {"type": "profile", "customer_id": "718"}
    shop.post(profile | {"event_id": "p1", "occurred_at": iso(NOW), "attributes": {"birth_date": "1990-01-01"}})
    shop.post(profile | {"event_id": "p2", "occurred_at": iso(NOW + 60_000), "attributes": {"birth_date": None}})
    shop.refresh()
    assert shop.memberships()["718"]["grown-ups"] == (NOW, NOW + 60_000)
    shop.pass_to(NOW + 60_000)
    assert shop.members("grown-ups") == set()


def test_a_successor_looks_again_only_at_those_who_were_touched_last(shop: Simulation) -> None:
    """What was found before the former owner came to rest stands in the rows; only whoever came after it is looked at again."""
    for customer in ("a", "b", "c"):
        shop.post(checkout(f"1{customer}", NOW, customer=customer), checkout(f"2{customer}", NOW - DAY_MS, customer=customer))
    assert shop.twin().stale == 3
    shop.refresh()
    shop.refresh()  # that there is nothing else to write is seen the second time
    shop.post(checkout("3b", NOW, customer="b"))
    assert shop.twin().stale == 1
    shop.refresh()
    shop.refresh()
    assert shop.twin().stale == 0
    assert shop.memberships(shop.twin()) == shop.memberships()


def test_an_edit_that_nobody_leaves_by_moves_their_until(shop: Simulation) -> None:
    """Whoever stays in under an edited rule stays until the new rule ends it."""
    shop.post(checkout("a", NOW), checkout("b", NOW))
    assert shop.memberships()["718"]["regulars"] == (NOW, NOW + 14 * DAY_MS)
    rule = {"metric": {"measure": "count", "event": "checkout", "window": {"last": "P7D"}}, "op": "gte", "value": 2}
    shop.save({"id": "regulars", "rule": rule}, replaces=1)
    shop.refresh()
    assert shop.memberships()["718"]["regulars"] == (NOW, NOW + 7 * DAY_MS)


def test_an_event_of_the_near_future_counts_from_its_instant(shop: Simulation) -> None:
    """Accepted up to five minutes ahead, a member only from then on, with cause clock."""
    shop.post(checkout("a", NOW), checkout("b", NOW + 200_000))
    assert shop.members("regulars") == set()
    shop.pass_to(NOW + 199_999)
    assert shop.members("regulars") == set()
    shop.pass_to(NOW + 200_000)
    assert shop.members("regulars") == {"718"}
    assert shop.transitions[-1]["at"] == iso(NOW + 200_000)


def _home(customer: str) -> int:
    from aiokafka.partitioner import murmur2  # noqa: PLC0415 - the client's own, as a second opinion

    return int((murmur2(record_key("demo", customer)) & 0x7FFFFFFF) % 4)


def test_a_void_in_the_step_of_its_checkout_takes_it_back(shop: Simulation) -> None:
    """A newcomer's two checkouts and the void of one come together: as if the voided one had never been."""
    sales = [checkout(name, NOW, receipt_id=name, store_id="s") for name in ("a", "b")]
    void = {"type": "checkout-void", "event_id": "v", "customer_id": "718", "occurred_at": iso(NOW), "receipt_id": "a", "store_id": "s"}
    shop.post(*sales, void)
    assert shop.members("regulars") == set()
    shop.post(checkout("c", NOW))
    assert shop.members("regulars") == {"718"}


def test_a_look_that_changes_nothing_leaves_no_instant_behind(shop: Simulation) -> None:
    """An hour after a look at nobody, a late fact is decided as of now and not as of the look."""
    shop.refresh()
    shop.sweep()
    shop.oversleep_to(NOW + 1)
    assert shop.partition.take() is None
    shop.now_ms = NOW + 3_600_000
    shop.post(checkout("a", NOW - DAY_MS), checkout("b", NOW - DAY_MS))
    assert [transition["at"] for transition in shop.transitions] == [iso(shop.now_ms)]


def test_nobody_becomes_known_by_being_taken_off_a_list(shop: Simulation) -> None:
    """Whoever was never on one is no customer for that, and in no segment of those who lack something."""
    shop.save({"id": "quiet", "rule": {"metric": {"measure": "count", "event": "checkout"}, "op": "lt", "value": 1}})
    shop.by_hand("quiet", "exclude", ["nobody"], present=False)
    assert shop.memberships() == {}
    assert shop.outcomes() == {"duplicate": 1}
    shop.by_hand("quiet", "exclude", ["somebody"], present=True)
    shop.by_hand("quiet", "exclude", ["somebody"], present=False)
    assert shop.members("quiet") == {"somebody"}


def test_what_is_decided_again_is_the_same_to_the_byte(shop: Simulation) -> None:
    """Whoever takes over before a step was written applies the same records, and puts out the same ids and bytes."""
    shop.post(checkout("a", NOW))
    values = [json.dumps(checkout(name, NOW) | {"tenant": "demo"}).encode() for name in ("b", "c")]
    steps = []
    for partition in (shop.twin(), shop.twin()):
        partition.apply("checkouts", [Written(1 + i, None, value) for i, value in enumerate(values)], NOW)
        step = partition.take()
        assert step is not None
        steps.append(step.changes)
    assert steps[0] == steps[1] != []


def test_live_state_is_kept_of_so_many_and_no_more() -> None:
    """Of those not looked at for longest nothing is held but rows and history; they answer as before."""
    simulation = Simulation(TENANT, NOW, live_customers=3)
    simulation.save(REGULARS)
    for number in range(10):
        simulation.post(checkout("a", NOW, customer=f"c{number}"))
    lively = [key for key in simulation.partition.keys() if (person := simulation.partition.person(key)) and person.live is not None]  # noqa: SIM118 - no mapping
    assert len(lively) == 3
    for number in range(10):
        simulation.post(checkout("b", NOW, customer=f"c{number}"))
    assert len(simulation.members("regulars")) == 10


def test_live_state_is_kept_of_fewer_the_more_facts_they_have(shop: Simulation) -> None:
    """What is decoded holds so many facts altogether, whoever has them, also after somebody is erased; all answer as before."""
    shop.limits = Limits(1, live_facts=6)
    shop.restart()
    for number in range(10):
        shop.post(checkout("a", NOW, customer=f"c{number}"))
    assert _lively(shop) == {f"c{number}" for number in range(4, 10)}
    shop.post(*[checkout(name, NOW, customer="c4") for name in "bcd"])
    assert _lively(shop) == {"c4", "c8", "c9"}
    shop.post({"type": "customer-erase", "event_id": "e", "customer_id": "c4", "occurred_at": iso(NOW)})
    shop.move()
    for number in range(4):
        shop.post(checkout("b", NOW, customer=f"c{number}"))
    assert _lively(shop) == {"c1", "c2", "c3"}  # two facts each: those of c4 count no more
    assert shop.members("regulars") == {"c0", "c1", "c2", "c3"}


def _lively(simulation: Simulation) -> set[str]:
    """Return those whose live state is held."""
    partition = simulation.partition
    return {split_key(key)[1] for key in partition.keys() if (person := partition.person(key)) and person.live is not None}  # noqa: SIM118 - no mapping


def test_line_items_are_read_as_far_back_as_each_rule_looks_at_them() -> None:
    """Also of somebody of whom nothing was held, when rules look back differently far."""
    simulation = Simulation(TENANT, NOW, live_customers=0)
    for name, field, span in (("this-month", "items.brand", "P1M"), ("this-year", "items.department", "P1Y")):
        rule = {"metric": {"measure": "distinct", "event": "checkout", "field": field, "window": {"last": span}}, "op": "gte", "value": 3}
        simulation.save({"id": name, "rule": rule})
    for number, age in enumerate((200, 20, 0)):
        simulation.post(checkout(f"e{number}", NOW - age * DAY_MS, items=[{"department": f"d{number}", "brand": f"b{number}"}]))
    assert simulation.members("this-year") == {"718"}
    assert simulation.members("this-month") == set()


def test_at_never_falls_though_the_clock_does(shop: Simulation) -> None:
    """A clock that is set back under a running worker: what is decided then bears the instant of the last decision."""
    shop.post(checkout("a", NOW - 1, receipt_id="r", store_id="s"), checkout("b", NOW - 1))
    shop.now_ms = NOW - 1_000
    shop.post({"type": "checkout-void", "event_id": "v", "customer_id": "718", "occurred_at": iso(NOW - 1), "receipt_id": "r", "store_id": "s"})
    assert [(transition["change"], transition["at"]) for transition in shop.transitions] == [("entered", iso(NOW)), ("exited", iso(NOW))]


def test_voids_and_edits_end_a_stay_at_once(shop: Simulation) -> None:
    """An entry protects for a month; not against its correction, and not against the next version, though that says the same."""
    kept = REGULARS | {"id": "kept", "min_stay": "P1M"}
    shop.save(kept)
    shop.post(checkout("a", NOW), checkout("b", NOW, receipt_id="b", store_id="s"))
    assert shop.members("kept") == {"718"}
    shop.post({"type": "checkout-void", "event_id": "v", "customer_id": "718", "occurred_at": iso(NOW), "receipt_id": "b", "store_id": "s"})
    assert shop.members("kept") == set()
    assert {transition["cause"]["kind"] for transition in shop.transitions if transition["change"] == "exited"} == {"correction"}
    shop.post(checkout("c", NOW))
    shop.pass_to(NOW + 20 * DAY_MS)
    assert (shop.members("kept"), shop.members("regulars")) == ({"718"}, set())
    found = ask(shop, Preview(kept["rule"], "kept"), Previewed)
    assert (found.count, found.enters, found.leaves) == (0, 0, 1), "a preview knows"
    shop.save(kept, replaces=1)
    assert shop.members("kept") == set()
    assert shop.transitions[-1]["cause"] == {"kind": "definition"}


def test_until_looks_400_days_ahead_and_no_further(shop: Simulation) -> None:
    """An end that is a millisecond further away is none."""
    for name, further_ms in (("near", 0), ("far", 1)):
        everyone = {"metric": {"measure": "count", "event": "checkout"}, "op": "gte", "value": 0}
        shop.save({"id": name, "rule": everyone, "ends_at": iso(NOW + 400 * DAY_MS + further_ms)})
    shop.post(checkout("a", NOW))
    assert {name: until for name, (_, until) in shop.memberships()["718"].items()} == {"near": NOW + 400 * DAY_MS, "far": None}
