"""What columns hold: values of every size, as many texts as there is room for, and nothing of those who are gone."""

from __future__ import annotations

from typing import Any, cast

import pytest

from schemas.instants import DAY_MS, NEVER, iso
from schemas.partitions import split_key
from schemas.questions import Asked, Preview, Previewed
from services.segmenter.columns.column import NumberColumn, bound_of, column_for, standing
from services.segmenter.columns.keeping import Keeping
from services.segmenter.engine import operators
from services.segmenter.engine.attributes import AttributeReader
from services.segmenter.engine.features import Feature, FractionFeature, PlainFeature, RankedFeature
from services.segmenter.engine.readers import State
from services.segmenter.plans import Limits
from services.segmenter.questions.previewing import Previewing
from tests.support.asking import ask
from tests.support.previews import agree
from tests.support.simulation import Simulation

NOW = 1_764_000_000_000
TENANT = {"id": "demo", "timezone": "Europe/Paris", "currency": "EUR", "country": "FR"}
LATELY = {"metric": {"measure": "count", "event": "checkout", "window": {"last": "P1D"}}, "op": "gte", "value": 1}
BIG_SPENDERS = {"metric": {"measure": "sum", "event": "checkout", "field": "total"}, "op": "gte", "value": "30000000.00"}


def answers(feature: Feature, values: list[Any]) -> list[bool | None]:
    """What a column says of the condition with bit 0 at places with these values; None where it does not know."""
    column = column_for(feature, len(values))
    assert column is not None
    for place, value in enumerate(values):
        state = State([])
        if value is not None:
            state.profile["value"] = value
        column.tell(place, feature, state, NOW, NEVER)
    found = column.answers(feature, 0, NOW)
    assert not (found.yes & found.no).any()
    return [True if yes else False if no else None for yes, no in zip(found.yes.tolist(), found.no.tolist(), strict=True)]


NUMBERS = [0, 1, 7, 8, 9, -1, (1 << 31) - 1, 1 << 31, 1 << 40, -(1 << 40), (1 << 62) - 1, None]


@pytest.mark.parametrize(
    ("op", "threshold"),
    [
        ("gte", 8), ("gt", 8), ("lt", 8), ("lte", 8), ("eq", 8), ("ne", 8), ("between", (1, 8)), ("in", (1, 9, 1 << 40)), ("not_in", (1, 9)),
        ("exists", True), ("exists", False), ("gte", 10**30), ("lt", 10**30), ("gt", 1 << 40), ("in", tuple(range(-30, 60, 7))),
        ("not_in", tuple(range(-30, 60, 7))), ("in", tuple(10**20 * n for n in range(20))),
    ],
)  # fmt: skip
def test_numbers_of_any_size_are_compared_as_they_are(op: str, threshold: Any) -> None:
    """Small ones and those that make a column wider, whatever the operator."""
    test = operators.Test(op, threshold)
    assert answers(RankedFeature(0, AttributeReader("value"), {0: test}), NUMBERS) == [test.passes(value) for value in NUMBERS]


def test_what_a_column_cannot_hold_is_not_known() -> None:
    """Numbers beyond 64 bits, and the two that mean something else."""
    feature = RankedFeature(0, AttributeReader("value"), {0: operators.Test("gte", 0)})
    assert answers(feature, [1 << 70, -(1 << 31), 1 - (1 << 31), 5, None]) == [None, None, None, True, False]


def test_so_many_texts_are_told_apart_and_the_others_not_known() -> None:
    """A column of card numbers does not grow without end."""
    feature = PlainFeature(0, AttributeReader("value"), {0: operators.Test("starts_with", "a")})
    texts = [f"{'ab'[number % 2]}{number}" for number in range(5_000)]
    found = answers(feature, texts)
    assert found[:4_096] == [text.startswith("a") for text in texts[:4_096]]
    assert found[4_096:] == [None] * (5_000 - 4_096)


@pytest.mark.parametrize("op", ["gte", "gt", "lt", "lte", "eq", "ne"])
def test_fractions_are_compared_exactly(op: str) -> None:
    """One third is no other number, however close; what has too many digits is not known."""
    third = 333_333_333
    values = [(1, 3), (2, 6), (third, 10**9), (third + 1, 10**9), (-1, 3), (0, 5), None]
    for threshold in (third, 0, -1):
        test = operators.Test(op, threshold)
        feature = FractionFeature(0, AttributeReader("value"), {0: test})
        scaled = [None if value is None else (value[0] * 10**3, value[1]) for value in values]
        assert answers(feature, scaled) == [feature.mask_of(value) == 1 for value in scaled]
    assert answers(FractionFeature(0, AttributeReader("value"), {0: operators.Test(op, 1)}), [((1 << 40) + 1, 1 << 39), (1, 2)])[0] is None


def test_a_bound_is_early_and_never_late() -> None:
    """What is kept until an instant does not stand at it, and stands a few seconds before."""
    column = NumberColumn(1)
    for until_ms in (NOW, NOW + 1, NOW + 4_095, NOW + 4_096):
        column.bounds[0] = bound_of(until_ms)
        assert not standing(column.bounds, until_ms)[0]
        assert standing(column.bounds, until_ms - 4_096)[0]


def event(number: int, customer: str, total: str = "10.00") -> dict[str, Any]:
    """A receipt of now."""
    return {
        "event_id": f"e{number}", "type": "checkout", "customer_id": customer, "occurred_at": iso(NOW), "receipt_id": f"r{number}",
        "store_id": "1", "kind": "sale", "channel": "store", "currency": "EUR", "total": total,
    }  # fmt: skip


def shop(**limits: Any) -> Simulation:
    """A tenant with a segment of big spenders and three customers, one of them big."""
    simulation = Simulation(TENANT, NOW)
    simulation.limits = Limits(1, **({"column_customers": 0} | limits))
    simulation.restart()
    simulation.save({"id": "big", "rule": BIG_SPENDERS})
    for number, total in enumerate(["10.00", "40000000.00", "20.00"]):
        simulation.post(event(number, f"c{number}", total))
    return simulation


def looked_at(simulation: Simulation) -> list[str]:
    """Whom a preview looks at one by one, of all whom it counts."""
    question = Asked("demo", {0: 1}, Preview(BIG_SPENDERS))
    sieve = cast(Previewing, simulation.partition.inquiry(question, simulation.now_ms))._sieve
    found = ask(simulation, question.question, Previewed)
    assert (found.count, found.of) == (1, simulation.partition.customers)
    return [f"c{number}" for number in range(3)] if sieve is None else sorted(split_key(key)[1] for key in sieve.rest)


def test_only_whoever_was_touched_is_looked_at() -> None:
    """Everybody before anything is kept and nobody after it; then whoever buys, and who is new; and each of them once."""
    simulation = shop()
    assert looked_at(simulation) == ["c0", "c1", "c2"]
    simulation.keep()
    assert looked_at(simulation) == []
    simulation.post(event(7, "c0"), event(8, "new"))
    assert looked_at(simulation) == ["c0", "new"]
    assert looked_at(simulation) == []


def wants(count: int, last: str = "P1D") -> dict[str, Any]:
    """So many receipts lately, which no segment asks for."""
    return {"metric": {"measure": "count", "event": "checkout", "window": {"last": last}}, "op": "gte", "value": count}


def rest(simulation: Simulation, rule: dict[str, Any]) -> int:
    """How many a preview of a rule would look at one by one."""
    sieve = cast(Previewing, simulation.partition.inquiry(Asked("demo", {0: 1}, Preview(rule)), simulation.now_ms))._sieve
    assert sieve is not None
    return len(sieve.rest)


def test_whoever_tries_thresholds_is_looked_at_once() -> None:
    """A metric of questions alone has a column from the first on, also after it is saved, until eight others were asked for."""
    simulation = shop()
    simulation.keep()
    assert rest(simulation, wants(1)) == 3
    assert agree(simulation, wants(1), None).count == 3
    assert rest(simulation, wants(2)) == 0
    simulation.post(event(7, "c0"))
    # Asked for another metric, the one who was touched is told of that alone.
    assert agree(simulation, wants(1, "P2D"), None).count == 3
    assert rest(simulation, wants(2)) == 1
    assert agree(simulation, wants(2), None).count == 1
    simulation.save({"id": "twice", "rule": wants(2)})
    assert agree(simulation, wants(2), None).count == 1
    simulation.keep()
    assert rest(simulation, wants(1)) == 0
    for days in range(2, 11):
        agree(simulation, wants(1, f"P{days}D"), None)
    assert (rest(simulation, wants(1, "P2D")), rest(simulation, wants(1, "P10D")), rest(simulation, wants(1))) == (3, 0, 0)


def test_a_membership_stands_until_its_deadline() -> None:
    """Whoever is in by time alone is out when the time has come, whether anybody has looked by then or not."""
    simulation = shop()
    simulation.save({"id": "lately", "rule": LATELY})
    simulation.keep()
    assert agree(simulation, {"segment": "lately"}, None).count == 3
    simulation.now_ms += DAY_MS
    assert agree(simulation, {"segment": "lately"}, None).count == 0


def test_a_membership_is_not_known_before_everything_is_decided() -> None:
    """Not with facts that are pending, and not under the definitions of before, its own or those that it depends on."""
    simulation = shop()
    simulation.save({"id": "inner", "rule": BIG_SPENDERS})
    simulation.save({"id": "outer", "rule": {"segment": "inner"}})
    simulation.hold(event(7, "c0", "40000000.00"))
    simulation.keep()
    assert agree(simulation, {"segment": "inner"}, None).count == 2
    simulation.sweep()
    simulation.keep()
    simulation.save({"id": "inner", "rule": LATELY}, replaces=1, sweep=False)
    for segment_id in ("inner", "outer"):
        assert agree(simulation, {"segment": segment_id}, None).count == 3
    simulation.keep()
    assert agree(simulation, {"segment": "outer"}, None).count == 3


def test_a_list_counts_at_once_for_whoever_would_leave_by_the_rule() -> None:
    """Also where being put on it changed nothing."""
    simulation = shop()
    simulation.keep()
    assert agree(simulation, {"not": {"any": [BIG_SPENDERS, LATELY]}}, "big").count == 0
    simulation.by_hand("big", "include", ["c1"], present=True)
    found = agree(simulation, {"not": {"any": [BIG_SPENDERS, LATELY]}}, "big")
    assert (found.count, found.leaves) == (1, 0)


def test_what_is_known_of_the_future_takes_effect_in_time() -> None:
    """A profile that a till with a fast clock has sent."""
    simulation = shop()
    lives_in_paris = {"profile": "city", "op": "eq", "value": "Paris"}
    simulation.save({"id": "parisians", "rule": lives_in_paris})
    said = {"type": "profile", "event_id": "p1", "customer_id": "c0", "occurred_at": iso(NOW + 200_000), "attributes": {"city": "Paris"}}
    simulation.post(said)
    simulation.keep()
    assert agree(simulation, lives_in_paris, None).count == 0
    simulation.now_ms += 200_000
    assert agree(simulation, lives_in_paris, None).count == 1


def test_days_go_by_and_events_leave_their_window() -> None:
    """What is kept is when it was: the days are those of the question, as long as the event counts."""
    simulation = shop()
    metric = {"measure": "days_since_last", "event": "checkout", "window": {"last": "P14D"}}
    simulation.save({"id": "some", "rule": {"metric": metric, "op": "gte", "value": 7}})
    simulation.keep()
    for days, counts in ((6, [3, 0]), (7, [3, 3]), (13, [3, 3]), (14, [0, 0])):
        simulation.now_ms = NOW + days * DAY_MS
        assert [agree(simulation, {"metric": metric, "op": "gte", "value": value}, None).count for value in (days if days < 14 else 0, 7)] == counts


def test_columns_have_no_more_room_than_they_are_given() -> None:
    """None where it is not enough for one, nor where a tenant has a few customers only."""
    assert _kept_bytes(shop()) > 0
    assert _kept_bytes(shop(column_bytes=20)) == 0
    assert _kept_bytes(shop(column_customers=200)) == 0
    simulation = shop(column_bytes=0)
    assert not simulation.partition.keeps_due(simulation.now_ms)


def _kept_bytes(simulation: Simulation) -> int:
    simulation.keep()
    table = simulation.partition.table("demo")
    assert table is not None
    return sum(column.cell_bytes for column in table._columns.values())


def test_a_round_follows_another_after_ten_seconds() -> None:
    """And a slice does about what it is told to."""
    simulation = shop()
    partition, now_ms = simulation.partition, simulation.now_ms
    assert partition.keeps_due(now_ms)
    slices = 1
    while partition.keep(now_ms, 1):
        slices += 1
    assert slices > 3
    assert not partition.keeps_due(now_ms + 9_999)
    assert partition.keeps_due(now_ms + 10_000)


def test_what_is_counted_from_another_instant_on_is_kept_apart() -> None:
    """A metric without a window that was given up and asked for again begins anew: it is not what was kept of it."""
    simulation = shop()
    before = {feature.key for feature in simulation.partition.plans.of("demo").features}
    simulation.archive("big")
    simulation.now_ms += 40 * DAY_MS
    simulation.save({"id": "bigger", "rule": BIG_SPENDERS})
    after = {feature.key for feature in simulation.partition.plans.of("demo").features}
    assert len(before) == len(after) == 1
    assert before != after


def test_nothing_is_known_before_anybody_was_given_a_place() -> None:
    """A partition that has just been restored has no table yet."""
    simulation = shop()
    simulation.partition._columns = Keeping(simulation.partition)
    assert simulation.partition.table("demo") is None


def worked_off(inquiry: Any) -> Previewed:
    """Work on a question to its end, a unit at a time."""
    while inquiry.work(1):
        pass
    found: Previewed = inquiry.answer()
    return found


def test_a_preview_is_as_of_the_instant_it_was_asked_at_whatever_comes_while_it_is_worked_on() -> None:
    """Somebody's event leaves, and somebody buys, before they are looked at: neither counts, for both came later."""
    simulation = shop(column_bytes=0)
    simulation.save({"id": "lately", "rule": LATELY})
    question = Asked("demo", {0: 1}, Preview(LATELY))
    under_way = simulation.partition.inquiry(question, simulation.now_ms)
    simulation.pass_to(NOW + DAY_MS)
    assert worked_off(under_way).count == 3
    under_way = simulation.partition.inquiry(question, simulation.now_ms)
    simulation.now_ms += 3_000
    simulation.post(event(9, "c0") | {"occurred_at": iso(simulation.now_ms)})
    assert worked_off(under_way).count == 0
    assert ask(simulation, Preview(LATELY, None, NOW), Previewed).count == 3
