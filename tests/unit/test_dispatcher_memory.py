"""What a partition remembers of its deliveries: nothing pending is ever out of sight, and the way to it stays short."""

from __future__ import annotations

import gc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.deliveries import Attempt, decode_delivery, encode
from services.api.dispatcher import memory as module
from services.api.dispatcher.memory import CARRY_AFTER_MS, Memory, Place
from tests.unit.test_dispatcher import delivery

_ACTS = st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=30)


@given(st.lists(_ACTS, max_size=40), st.integers(0, 3))
def test_whoever_reads_from_since_on_finds_everything_pending(transactions: list[list[tuple[int, bool]]], markers: int) -> None:
    """After each transaction: the last record of everything pending is where its own progress says, and not far from the end."""
    memory, log, pending, offset = Memory(), dict[int, tuple[str, bool]](), dict[str, int](), 0
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr(module, "_SLACK", 3)
    for number, acts in enumerate(transactions):
        carried = {one.key: (one, True) for one in memory.behind(number)}
        states = carried | {one.key: (one, holds) for customer, holds in acts for one in [delivery(customer, str(customer))]}
        since = memory.since
        for one, holds in states.values():
            memory.wrote(one, offset, number, pending=holds)
            log[offset] = one.key, holds
            offset += 1
            pending.pop(one.key, None)
            if holds:
                pending[one.key] = offset
        offset += markers
        found = {key: holds for place, (key, holds) in sorted(log.items()) if place >= since}
        assert {key for key, holds in found.items() if holds} == pending.keys()
        assert len(memory) == len(pending)
        assert all(key in memory for key in pending)
    monkeypatch.undo()


def test_what_lies_far_behind_or_is_old_is_written_again() -> None:
    """So that the records of a delivery that waits for days do not expire, and a successor need not read all that ended meanwhile."""
    memory = Memory()
    memory.wrote(delivery(0, "a"), 0, 0, pending=True)
    ended = [delivery(number, "b") for number in range(1, module._SLACK + 10)]
    for offset, one in enumerate(ended, 1):
        assert not memory.behind(0) or offset > module._SLACK
        memory.wrote(one, offset, 0, pending=False)
    assert [one.id for one in memory.behind(0)] == ["d0"]
    memory.wrote(delivery(0, "a"), len(ended) + 1, 0, pending=True)
    assert (memory.behind(0), memory.since) == ([], len(ended) + 1)
    assert [one.id for one in memory.behind(CARRY_AFTER_MS)] == ["d0"]


def test_what_is_pending_is_nothing_for_collections_to_walk() -> None:
    """With fifty thousand pending a collection that walked them held up every other delivery for a tenth of a second."""
    fresh, tried = delivery(0, "a"), delivery(1, "a")
    tried.attempts = (Attempt(0, 503, 3, "answered 503"),)
    for one in (fresh, tried):
        read = decode_delivery(encode(one))
        assert read == one
        assert not any(gc.is_tracked(found) for found in (one, read, Place(read, 0, 0), *read.attempts))
    assert not gc.is_tracked(fresh.attempts)
