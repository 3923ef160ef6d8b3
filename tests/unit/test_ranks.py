"""Ranks as a tenant sees them: who is told what, when; and what partitions keep of it."""

from __future__ import annotations

import json
from itertools import count
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.definitions import SegmentArchived
from schemas.partitions import record_key
from schemas.questions import Asked, Course, Explain, Explained, Preview, Previewed, Question, Timeline, Was, WasMember
from services.segmenter.engine.rankings import kept_score, places
from services.segmenter.engine.row import Row
from services.segmenter.questions.inquiry import Unknowable
from services.segmenter.rows import Progress, decode_progress, decode_row, encode
from tests.oracle import clock, model
from tests.oracle.examples import NOON, PARIS
from tests.support.asking import ask_of
from tests.support.fleet import Fleet, counted
from tests.support.simulation import Written

Json = dict[str, Any]
NOW = clock.instant(NOON)
SUM = {"measure": "sum", "event": "checkout", "field": "total"}
_receipts = count()


def sale(customer: str, total: str, **more: Any) -> Json:
    """A checkout of a customer, an hour ago."""
    receipt = f"r{next(_receipts)}"
    document = {"type": "checkout", "event_id": receipt, "customer_id": customer, "occurred_at": clock.moment(NOW - 3_600_000).isoformat()}
    body = {"receipt_id": receipt, "store_id": "s1", "channel": "store", "kind": "sale", "total": total, "currency": "EUR", "items": []}
    return document | body | more


def first(order: str = "desc", metric: Json = SUM, **size: Any) -> Json:
    """A segment that is a rank."""
    return {"id": "first", "rule": {"rank": {"metric": metric, "order": order} | size}}


def told(fleet: Fleet) -> list[tuple[str, str, str]]:
    """Return who was told what and why since this was last asked, in no order."""
    found = [(change["customer_id"], change["change"], change["cause"]["kind"]) for change in fleet.transitions]
    for part in fleet.parts:
        part.transitions.clear()
    return sorted(found)


def crowd(*segments: Json, partitions: int = 3) -> Fleet:
    """Ten customers who spent 10.00 to 100.00, at rest."""
    fleet = Fleet(PARIS, NOW, partitions)
    for segment in segments:
        fleet.save(segment)
    fleet.post(*(sale(f"c{number}", f"{number * 10}.00") for number in range(1, 11)))
    fleet.rest()
    told(fleet)
    fleet.sent.clear()
    return fleet


def test_one_enters_and_one_leaves() -> None:
    """With the cause `rank`, without an `until`, and with the value that decided it."""
    fleet = crowd(first(top=3))
    fleet.post(sale("c1", "200.00"))
    fleet.rest()
    entry = next(change for change in fleet.transitions if change["change"] == "entered")
    assert entry["until"] is None
    assert entry["values"] == [{"path": "", "value": "210.00", "op": "top", "threshold": 3, "holds": True}]
    assert told(fleet) == [("c1", "entered", "rank"), ("c8", "exited", "rank")]


def test_who_loses_a_little_and_stays_foremost_is_told_nothing() -> None:
    """The leader is behind where the cut was, but so is everybody else: nobody leaves and comes back."""
    fleet = crowd(first(top=1))
    fleet.post(sale("c10", "5.00", kind="return"))
    fleet.rest()
    assert told(fleet) == []
    assert fleet.members("first") == {"c10"}


def test_a_segment_saved_while_cuts_are_being_found_does_not_decide_by_old_ones() -> None:
    """The leader is behind the cut in force, and no ruling knows of it yet."""
    fleet = crowd(first(top=1))
    fleet.post(sale("c10", "5.00", kind="return"))
    fleet.talk(1)
    fleet.save({"id": "another", "rule": {"profile": "card_number", "op": "exists", "value": True}})
    assert told(fleet) == []
    fleet.rest()
    assert told(fleet) == []


def test_at_rest_nothing_is_said_and_one_change_takes_two_messages() -> None:
    """One summary and one ruling; where nothing that is ranked has changed, none at all."""
    fleet = crowd(first(percent=50))
    fleet.post({"type": "visit", "event_id": "v", "customer_id": "c1", "occurred_at": clock.moment(NOW).isoformat(), "store_id": "s1"})
    fleet.rest()
    assert fleet.sent == []
    fleet.post(sale("c1", "1.00"))
    assert fleet.rest() < 500
    assert counted(fleet.sent) == {"summary": 1, "question": 0, "ruling": 1}


def test_a_new_segment_is_backfilling_until_its_first_cut() -> None:
    """Until then nobody is in, nobody has been told to leave, and the partitions do not say that everybody has been decided."""
    fleet = crowd(first(top=3))
    fleet.save({"id": "others", "rule": {"not": {"rank": {"metric": SUM, "order": "desc", "top": 4}}}})
    fleet.save({"id": "follows", "rule": {"not": {"segment": "others"}}})
    assert told(fleet) == []
    assert not fleet.swept()
    fleet.rest()
    assert fleet.swept()
    assert {cause for _, _, cause in told(fleet)} == {"definition"}
    assert fleet.members("others") == {f"c{number}" for number in range(1, 7)}
    assert fleet.members("follows") == {f"c{number}" for number in range(7, 11)}


def test_a_cut_that_comes_before_the_backfill_is_over() -> None:
    """Of a ranking that is known already: each is decided once, by the cut, whether looked at before it came or after."""
    fleet = crowd(first(top=3), partitions=1)
    part = fleet.parts[0]
    part.save({"id": "others", "rule": {"not": {"rank": {"metric": SUM, "order": "desc", "top": 5}}}}, sweep=False)
    assert part.partition.sweep(NOW, 4), "more are left"
    fleet.talk(50)
    part.sweep()
    fleet.rest()
    assert told(fleet) == sorted((f"c{number}", "entered", "definition") for number in range(1, 6))
    assert fleet.swept()


def test_facts_that_wait_under_the_plan_before_take_nothing_from_the_one_in_force() -> None:
    """Some customers have been decided under new definitions when what came before is settled for another."""
    fleet = crowd(first(top=3), partitions=1)
    part = fleet.parts[0]
    document = json.dumps(sale("c10", "1.00") | {"tenant": "demo"}).encode()
    part.partition.apply("checkouts", [Written(part.partition.offsets["checkouts"], None, document)], NOW)
    rarest = {"rank": {"metric": {"measure": "count", "event": "checkout"}, "order": "asc", "top": 3}}
    part.save({"id": "rarest", "rule": rarest}, sweep=False)
    assert part.partition.sweep(NOW, 4), "more are left"
    part._write()
    part.sweep()
    fleet.rest()
    assert fleet.members("rarest") == {"c1", "c2", "c3"}
    assert fleet.members("first") == {"c10", "c9", "c8"}


def test_an_edit_publishes_the_difference() -> None:
    """From the first three to the first five: two enter, nobody leaves meanwhile; and back."""
    fleet = crowd(first(top=3))
    fleet.save(first(top=5), replaces=1)
    assert fleet.members("first") == {"c10", "c9", "c8"}
    fleet.rest()
    assert told(fleet) == [("c6", "entered", "definition"), ("c7", "entered", "definition")]
    fleet.save(first(top=3), replaces=2)
    fleet.rest()
    assert told(fleet) == [("c6", "exited", "definition"), ("c7", "exited", "definition")]


def test_a_ranking_that_is_given_up_and_asked_for_again_is_found_anew() -> None:
    """Archived, the exits; what happened meanwhile counts when another segment asks for the same rank."""
    fleet = crowd(first(top=2))
    fleet.archive("first")
    fleet.rest()
    assert told(fleet) == [("c10", "exited", "definition"), ("c9", "exited", "definition")]
    fleet.post(sale("c1", "1000.00"))
    fleet.save(first(top=2) | {"id": "again"})
    fleet.rest()
    assert fleet.members("again") == {"c1", "c10"}


def test_a_ranking_that_is_given_up_while_nobody_looks_leaves_nothing_behind() -> None:
    """Archived while no partition had an owner: the cut of then does not decide who enters when the rank is asked for again."""
    fleet = crowd(first(top=2))
    fleet.parts[0].define(SegmentArchived(tenant="demo", at_ms=NOW, segment_id="first", replaces=1))
    for part in fleet.parts:
        fleet.restart(part.number)
    fleet.post(sale("c1", "1000.00"))
    fleet.rest()
    told(fleet)
    fleet.save(first(top=2) | {"id": "again"})
    assert fleet.members("again") == set()
    fleet.rest()
    assert told(fleet) == [("c1", "entered", "definition"), ("c10", "entered", "definition")]


def test_a_void_and_time_move_cuts() -> None:
    """What counts no longer makes room: by a void, and by leaving the window."""
    fleet = crowd(first(metric=SUM | {"window": {"last": "P14D"}}, top=1))
    leader = sale("c1", "500.00")
    fleet.post(leader)
    fleet.rest()
    assert told(fleet) == [("c1", "entered", "rank"), ("c10", "exited", "rank")]
    fleet.post({**leader, "type": "checkout-void", "event_id": "void"} | {"total": None})
    fleet.rest()
    assert told(fleet) == [("c1", "exited", "rank"), ("c10", "entered", "rank")]
    fleet.post(sale("c2", "1.00", occurred_at=clock.moment(NOW).isoformat()))
    fleet.pass_to(NOW + 14 * clock.DAY - 1)
    fleet.rest()
    assert fleet.members("first") == {"c2"}


def test_a_restart_changes_nothing_and_asks_for_little() -> None:
    """The cuts in force come back with the changelog, the scores with the rows: no history is read, nobody is told anything."""
    fleet = crowd(first(percent=30))
    fleet.post(sale("c1", "75.00"))
    for part in fleet.parts:
        fleet.restart(part.number)
        assert all(slot.customer is None for slot in part.partition._customers.slots.values())
    fleet.rest()
    assert told(fleet) == [("c1", "entered", "rank"), ("c8", "exited", "rank")]
    for part in fleet.parts:
        fleet.restart(part.number)
    fleet.talk(100)
    assert told(fleet) == []
    assert all(slot.customer is None for part in fleet.parts for slot in part.partition._customers.slots.values())


def test_an_explanation_shows_the_value_and_its_events() -> None:
    """For who is in and who is not; the rank has no end, what stands beside it has; and while its cut is being found nothing is known."""
    recent = {"metric": {"measure": "count", "event": "checkout", "window": {"last": "P14D"}}, "op": "gte", "value": 1}
    fleet = crowd({"id": "first", "rule": {"all": [{"rank": {"metric": SUM, "order": "desc", "percent": 20}}, recent]}})
    for customer, member, value in (("c10", True, b'"100.00"'), ("c1", False, b'"10.00"')):
        found = asked(fleet, customer, Explain(customer, "first"), Explained)
        rank, count_of = found.conditions
        assert found.member is member
        assert (rank.holds, bytes(rank.value), rank.op, bytes(rank.threshold), rank.until_ms) == (member, value, "top", b'"20%"', None)
        assert [event.leaves_ms for event in rank.events] == [None]
        assert found.until_ms == (count_of.until_ms if member else None)
    fleet.save(first(top=1), replaces=1)
    with pytest.raises(Unknowable, match="backfilled"):
        asked(fleet, "c10", Explain("c10", "first"), Explained)
    fleet.rest()
    assert asked(fleet, "c10", Explain("c10", "first"), Explained).member


def test_a_preview_knows_the_ranks_that_are_in_force() -> None:
    """Of those it counts exactly; of others, and of the past, it says that they are not known rather than something false, unless they are told."""
    fleet = crowd(first(top=3))
    known = {"not": first(top=3)["rule"]}
    parts = [ask_of(part.partition, Asked("demo", {part.number: 1}, Preview(known, None)), NOW, Previewed) for part in fleet.parts]
    assert (sum(part.count for part in parts), sum(part.of for part in parts)) == (7, 10)
    with pytest.raises(Unknowable, match="saved"):
        asked(fleet, "c1", Preview(first(top=4)["rule"], None), Previewed)
    with pytest.raises(Unknowable, match="when a rank held was not told"):
        asked(fleet, "c10", WasMember("c10", "first", NOW - 1), Was)
    with pytest.raises(Unknowable, match="where a rank ended is told for each instant"):
        asked(fleet, "c10", Timeline("first", [NOW - 1, NOW]), Course)


def asked(fleet: Fleet, customer: str, question: Question, type_: Any) -> Any:
    """Ask the partition where a customer lives."""
    part = fleet.home(customer)
    return ask_of(part.partition, Asked("demo", {part.number: 1}, question), NOW, type_)


def test_who_is_taken_out_makes_room() -> None:
    """A customer who is no more has no place."""
    fleet = crowd(first(top=2))
    home = fleet.home("c10").partition
    key = record_key("demo", "c10")
    home._standings.forget(key, home._customers.slots[key].customer.row)
    fleet.rest()
    assert told(fleet) == [("c8", "entered", "rank")]


def test_customers_whose_live_state_was_dropped_are_ranked_as_well() -> None:
    """However few are kept decoded."""
    fleet = Fleet(PARIS, NOW, 2, live_customers=1)
    fleet.save(first(top=4))
    fleet.post(*(sale(f"c{number}", f"{number}.00") for number in range(1, 10)))
    fleet.rest()
    fleet.post(sale("c1", "100.00"))
    fleet.rest()
    assert fleet.members("first") == {"c1", "c9", "c8", "c7"}


@given(
    st.lists(st.tuples(st.integers(0, 8), st.integers(1, 5)), min_size=1, max_size=12),
    st.integers(1, 4),
    st.sampled_from([{"top": 2}, {"percent": 34}]),
)
def test_exactly_the_difference_is_told(bought: list[tuple[int, int]], partitions: int, size: Json) -> None:
    """After each change, those enter who were not in and are, and those leave who were in and are not; nobody else hears of it."""
    fleet, history = Fleet(PARIS, NOW, partitions), model.History(PARIS)
    segment = first(**size)
    fleet.save(segment)
    fleet.rest()
    before: set[str] = set()
    for customer, total in bought:
        document = sale(f"c{customer}", f"{total}.00", kind="return" if total == 1 else "sale")
        fleet.post(document)
        history.add(document)
        fleet.rest()
        after = model.members(segment, history, NOW)
        expected = [*((c, "entered", "rank") for c in after - before), *((c, "exited", "rank") for c in before - after)]
        assert told(fleet) == sorted(expected)
        before = after


def test_rows_and_progress_of_earlier_versions_are_read() -> None:
    """What was written before there were ranks has none."""
    row: list[Any] = msgspec.msgpack.decode(encode(Row(7, seq=3)))
    assert decode_row(encode(row[:7])) == Row(7, seq=3)
    progress: list[Any] = msgspec.msgpack.decode(encode(Progress(epoch=2, swept=5)))
    assert decode_progress(encode(progress[:6])) == Progress(epoch=2, swept=5)


def test_scores_are_kept_exactly() -> None:
    """Numbers of any size, fractions reduced; and a part of one customer is one."""
    assert [kept_score(value) for value in (0, -5, 10**30, (6, 4), (-4, 2))] == [0, -5, str(10**30), "3/2", "-2"]
    assert [places("20%", total) for total in (0, 1, 5, 6)] == [0, 1, 1, 2]
    assert [places("0.5%", total) for total in (1, 200, 201)] == [1, 1, 2]
    assert [places("3", total) for total in (0, 2, 4)] == [0, 2, 3]
