"""What columns hold: values of every size, as many texts as there is room for, and nothing of those who are gone."""

from __future__ import annotations

from typing import Any, cast

import pytest

from schemas.instants import DAY_MS, NEVER
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
from tests.support.simulation import Simulation

NOW = 1_764_000_000_000
TENANT = {"id": "demo", "timezone": "Europe/Paris", "currency": "EUR", "country": "FR"}
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
        "event_id": f"e{number}", "type": "checkout", "customer_id": customer, "occurred_at": "2025-11-24T16:00:00Z", "receipt_id": f"r{number}",
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
