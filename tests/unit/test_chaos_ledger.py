"""The checks of a chaos run notice what they are there for: each is shown a stream that breaks one promise."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from schemas.partitions import partition_of, record_key
from tests.chaos.drill import FAULTS, plan
from tests.chaos.ledger import Deliveries, Ledger, Violations

PARTITIONS = 4


def told(seq: int, change: str = "entered", *, tenant: str = "amber", at: str = "", **more: Any) -> dict[str, Any]:
    """A transition of a customer."""
    at = at or f"2026-11-22T10:00:{seq:02}.000Z"
    common = {"id": f"trn_{tenant}_{seq}", "tenant": tenant, "customer_id": "c1", "segment_id": "buyers", "change": change, "at": at, "seq": seq}
    return common | {"cause": {"kind": "event"}} | more


def read(*changes: dict[str, Any]) -> Ledger:
    """A ledger that has read these, each where it belongs."""
    ledger = Ledger(PARTITIONS, Violations())
    for change in changes:
        key = record_key(change["tenant"], change["customer_id"])
        ledger.take(partition_of(key, PARTITIONS), key, json.dumps(change).encode())
    return ledger


def pushed(ledger: Ledger, *changes: dict[str, Any], endpoint: str = "amber", taken: bool = True) -> Deliveries:
    """What an endpoint got, each under an id of its own."""
    deliveries = Deliveries(ledger, ledger.violations)
    for change in changes:
        deliveries.take(endpoint, "msg_" + change["id"], b'{"type":"x","data":' + json.dumps(change).encode() + b"}", taken=taken)
    return deliveries


def test_a_whole_stream_breaks_nothing() -> None:
    """In, out and in again, pushed in order, one of them twice."""
    changes = [told(1), told(2, "exited"), told(3)]
    ledger = read(*changes)
    deliveries = pushed(ledger, *changes, changes[1])
    assert (ledger.violations.sentences, deliveries.missing(), deliveries.repeats) == ([], set(), 1)
    assert ledger.members == {("amber", "c1"): {"buyers"}}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ([told(1), told(3, "exited")], "seq 3 follows 1"),
        ([told(2)], "seq 2 follows 0"),
        ([told(1), told(2)], "entered buyers (seq 2) follows the same"),
        ([told(1, "exited")], "exited buyers (seq 1) follows the same"),
        ([told(1), told(1)], "came a second time, with the same bytes"),
        ([told(1), told(1, until=None)], "came a second time, with other bytes"),
        ([told(1), told(2, "exited", at="2026-11-22T09:00:00.000Z")], "the one before of"),
    ],
)
def test_a_broken_stream_is_noticed(changes: list[dict[str, Any]], said: str) -> None:
    """A gap, a beginning that is missing, the same twice, other bytes, time that goes back."""
    violations = read(*changes).violations.sentences
    assert [sentence for sentence in violations if said in sentence], violations


def test_a_transition_in_another_partition_is_noticed() -> None:
    """A customer who is split in two."""
    ledger = Ledger(PARTITIONS, Violations())
    key = record_key("amber", "c1")
    ledger.take((partition_of(key, PARTITIONS) + 1) % PARTITIONS, key, json.dumps(told(1)).encode())
    assert "stands in partition" in ledger.violations.sentences[0]


def test_broken_deliveries_are_noticed() -> None:
    """One that is missing or was never taken, out of order, of another tenant, in other bytes, of nothing that was published."""
    changes = [told(1), told(2, "exited")]
    assert pushed(read(*changes), changes[0]).missing() == {"trn_amber_2"}
    assert pushed(read(*changes), *changes, taken=False).missing() == {"trn_amber_1", "trn_amber_2"}
    for endpoint, some, said in (
        ("amber", [changes[1], changes[0]], "was pushed after"),
        ("birch", changes, "the endpoint of birch was told of"),
        ("amber", [changes[0] | {"until": None}], "in other bytes than were published"),
        ("amber", [told(9)], "which nobody has published"),
    ):
        ledger = read(*changes)
        pushed(ledger, *some, endpoint=endpoint)
        assert said in ledger.violations.sentences[0]
    ledger = read(*changes)
    deliveries = pushed(ledger, changes[0])
    deliveries.take("amber", "msg_trn_amber_1", b'{"type":"y","data":' + json.dumps(changes[0]).encode() + b"}", taken=True)
    assert "came with different bytes" in ledger.violations.sentences[0]


def test_a_life_that_was_erased_need_not_be_pushed_and_the_next_must() -> None:
    """Nor is it told; also under an id that was merged before. What was never erased is not let off, and order is kept all the same."""
    erasure, anew = told(2, "exited", cause={"kind": "erase"}), [told(3), told(4, "exited")]
    changes = [told(1), erasure, *anew]
    ledger = read(*changes)
    ledger.erased = {("amber", "c1")}
    assert pushed(ledger).missing() == {"trn_amber_3", "trn_amber_4"}
    assert pushed(ledger, *anew).missing() == set()
    assert ledger.violations.sentences == []
    pushed(ledger, *reversed(anew))
    assert "was pushed after" in ledger.violations.sentences[0]
    merged = read(told(1), told(2, "exited", cause={"kind": "merge"}))
    assert pushed(merged).missing() == {"trn_amber_1", "trn_amber_2"}
    merged.erased = {("amber", "c1")}
    assert pushed(merged).missing() == set()


def test_a_plan_is_the_same_for_the_same_seed_and_leaves_no_fault_out() -> None:
    """Drawn from the seed alone."""
    names = list(FAULTS)
    first, second = (list(itertools.islice(plan(7, names), 2 * len(names))) for _ in range(2))
    assert first == second
    assert sorted(name for _, name in first[: len(names)]) == sorted(names)
    assert first != list(itertools.islice(plan(8, names), 2 * len(names)))
