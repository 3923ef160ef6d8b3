"""A partition in the middle of a step: what is decided before it ends, and what is left of it once it is given up."""

from __future__ import annotations

import gc
import json
import weakref
from typing import Any

import pytest

from schemas.instants import iso
from tests.support.simulation import Simulation, Written

NOW = 1_795_342_500_000
TENANT = {"id": "demo", "timezone": "Europe/Paris", "currency": "EUR", "country": "FR"}
BIG = {
    "id": "big",
    "rule": {"metric": {"measure": "sum", "event": "checkout", "field": "total", "window": {"last": "P14D"}}, "op": "gte", "value": "100.00"},
}


@pytest.fixture
def shop() -> Simulation:
    """A tenant with one segment, of those who spent a hundred."""
    simulation = Simulation(TENANT, NOW)
    simulation.save(BIG)
    return simulation


def apply(shop: Simulation, number: int, **more: Any) -> None:
    """Apply one checkout of a hundred, and leave the step open."""
    event = {"type": "checkout", "event_id": f"e{number}", "occurred_at": iso(NOW), "customer_id": "a", "tenant": "demo", "total": "100.00"}
    shop.partition.apply("checkouts", [Written(number, None, json.dumps(event | more).encode())], shop.now_ms)


def test_whoever_is_decided_before_a_step_ends_is_decided_next_at_a_later_instant(shop: Simulation) -> None:
    """A sale, decided, and its return within the same millisecond: in, and out a millisecond later; nothing is decided before its instant."""
    apply(shop, 0)
    shop.partition.settle(shop.now_ms)
    apply(shop, 1, kind="return")
    shop.partition.settle(shop.now_ms)
    assert shop.partition.undecided == 1, "its instant has not come"
    apply(shop, 2)
    shop.partition.settle(shop.now_ms + 1)
    assert shop.partition.undecided == 0
    shop._write()
    assert [(one["change"], one["at"]) for one in shop.transitions] == [("entered", iso(shop.now_ms))], (
        "the return and the next sale are of one instant"
    )
    assert shop.partition.clock_ms == shop.now_ms + 1, "whoever goes on must not decide earlier"


def test_a_look_in_between_keeps_instants_apart(shop: Simulation) -> None:
    """A deadline is looked at after somebody was decided: what is applied after that is not of the instant that is over."""
    apply(shop, 0)
    shop.partition.settle(shop.now_ms)
    shop.partition.tick(shop.now_ms, 10)
    apply(shop, 1, kind="return")
    shop._write()
    assert [(one["change"], one["at"]) for one in shop.transitions] == [("entered", iso(shop.now_ms)), ("exited", iso(shop.now_ms + 1))]


class Held:
    """Something that a partition holds for a customer."""


def test_what_is_given_up_is_gone_although_the_collector_leaves_it_alone(shop: Simulation) -> None:
    """A partition's customers are frozen for the collector once they are restored; given up, they are freed all the same."""
    held: Any = Held()
    seen, shop.partition._customers.slots[b"demo:a"] = weakref.ref(held), held
    del held
    gc.freeze()
    try:
        shop.partition.close()
        assert seen() is None
    finally:
        gc.unfreeze()
