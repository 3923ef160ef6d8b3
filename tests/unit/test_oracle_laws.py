"""Laws of the judge itself, on random documents and rules: what it must answer however it computes."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracle import clock, model
from tests.support import strategies

Json = dict[str, Any]
_SPAN = 45 * clock.DAY


def _told(tenant: Json, documents: list[Json]) -> model.History:
    history = model.History(tenant)
    for document in documents:
        history.add(document)
    return history


@settings(max_examples=150)
@given(strategies.worlds(), st.randoms(use_true_random=False))
def test_neither_order_nor_repetition_matters(world: tuple[Json, int, list[Json], list[Json]], random: Any) -> None:
    """The same facts shuffled and told twice make the same members."""
    tenant, anchor, (segment, *_), documents = world
    unique = list({(document["customer_id"], document["event_id"]): document for document in documents}.values())
    shuffled = unique * 2
    random.shuffle(shuffled)
    assert model.members(segment, _told(tenant, unique), anchor) == model.members(segment, _told(tenant, shuffled), anchor)


@settings(max_examples=150)
@given(strategies.worlds(), st.data())
def test_nothing_changes_between_boundaries(world: tuple[Json, int, list[Json], list[Json]], data: st.DataObject) -> None:
    """From one boundary until the next, membership is what it is on the first: on the instant, in between, and a millisecond before the next."""
    tenant, anchor, (segment, *_), documents = world
    history = _told(tenant, documents)
    for customer in history.documents:
        instants = [anchor, *model.boundaries(segment["rule"], history, customer, anchor, anchor + _SPAN), anchor + _SPAN]
        spans = [(start, end) for start, end in pairwise(instants) if end - start > 1]
        chosen = data.draw(st.lists(st.sampled_from(spans), max_size=8)) if spans else []
        for start, end in chosen:
            then = model.is_member(segment, history, customer, start)
            between = data.draw(st.integers(start, end - 1))
            assert model.is_member(segment, history, customer, end - 1) is then
            assert model.is_member(segment, history, customer, between) is then


@settings(max_examples=100)
@given(strategies.worlds())
def test_until_is_a_flip(world: tuple[Json, int, list[Json], list[Json]]) -> None:
    """On it membership is the other one, a millisecond before still the same; a horizon that ends before it sees none."""
    tenant, anchor, (segment, *_), documents = world
    history = _told(tenant, documents)
    for customer in history.documents:
        now, flip = model.is_member(segment, history, customer, anchor), model.until(segment, history, customer, anchor, horizon_days=45)
        if flip is None:
            assert model.is_member(segment, history, customer, anchor + _SPAN) is now
        else:
            assert model.is_member(segment, history, customer, flip - 1) is now
            assert model.is_member(segment, history, customer, flip) is not now
            assert model.until(segment, history, customer, anchor, horizon_days=(flip - anchor - 1) // clock.DAY) is None
