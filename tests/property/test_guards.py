"""Guards only spare work: whoever is not looked at could not have changed, and what is put out is what it is without them."""

from __future__ import annotations

import os
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from services.segmenter.engine import operators
from services.segmenter.engine.attributes import AttributeReader
from services.segmenter.engine.features import PlainFeature
from services.segmenter.engine.guards import Guarded, Guards
from services.segmenter.engine.tree import Group, Leaf, Node, formula
from tests.oracle import clock
from tests.support import language
from tests.support.language import World
from tests.support.simulation import Simulation

Json = dict[str, Any]

_LOOKS = int(os.environ.get("ROLLCALL_TEST_WORLDS", "60"))
_BITS = 7
_TRUTHS = st.integers(0, (1 << _BITS) - 1)
_NEVER: Json = {"metric": {"measure": "count", "event": "checkout"}, "op": "lt", "value": 0}
"""Holds of nobody, and guards nothing: `any` of a rule and of this is the rule, without its guard."""


def leaf(bit: int) -> Leaf:
    """A condition with a bit: two in three could be a guard, `ne` could not."""
    if bit % 3:
        return Leaf("", None, bit, None)
    return Leaf("", None, bit, PlainFeature(bit, AttributeReader("city"), {bit: operators.Test("ne", "Lyon")}))


_LEAVES: st.SearchStrategy[Node] = st.integers(0, _BITS - 1).map(leaf)
_TREES: st.SearchStrategy[Node] = st.recursive(
    _LEAVES,
    lambda inner: st.one_of(
        st.builds(Group, st.sampled_from(["all", "any"]), st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda member: Group("not", [member]), inner),
    ),
    max_leaves=6,
)


def leaves_of(node: Node | None) -> list[Leaf]:
    """Every condition of a rule."""
    if node is None:
        return []
    return [node] if isinstance(node, Leaf) else [found for member in node.members for found in leaves_of(member)]


@settings(max_examples=10 * _LOOKS)
@given(st.lists(st.none() | _TREES, min_size=1, max_size=5), st.integers(0, _BITS - 1), _TRUTHS, _TRUTHS)
def test_whoever_is_not_looked_at_has_not_changed(trees: list[Node | None], life: int, before: int, after: int) -> None:
    """Between any two truths every rule that differs is concerned, and whose time came or went; every rule that holds is possible."""
    guards = Guards([Guarded(tree, leaves_of(tree), Leaf("", None, life, None)) for tree in trees], _BITS)
    concerned, possible = guards.concerned(before ^ after, after), guards.possible(after)
    for order, tree in enumerate(trees):
        holds = formula(tree)
        assert order in concerned or (holds(before) is holds(after) and not (before ^ after) >> life & 1), (before, after)
        assert order in possible or not holds(after)


@given(st.integers(2, 40), st.integers(2, 5), st.data())
def test_what_lies_behind_guards_that_are_not_set_is_passed_by(count: int, regions: int, data: st.DataObject) -> None:
    """When a condition that all segments share flips, those of the customer's region are looked at, and those alone."""
    shared = regions
    homes = [data.draw(st.integers(0, regions - 1)) for _ in range(count)] + [0] * (regions + 1)
    trees = [Group("all", [leaf(3 * home + 1), leaf(3 * shared + 1)]) for home in homes] + [Group("any", [leaf(3 * shared + 1)])] * len(homes)
    guards = Guards([Guarded(tree, leaves_of(tree), None) for tree in trees], 3 * shared + 2)
    here = data.draw(st.integers(0, regions - 1))
    mine = {order for order, home in enumerate(homes) if home == here}
    everywhere = set(range(len(homes), len(trees)))
    flipped = 1 << 3 * shared + 1
    assert guards.concerned(flipped, flipped | 1 << 3 * here + 1) == mine | everywhere
    assert guards.possible(1 << 3 * here + 1) == mine


def told(world: World, wrapped: list[Json], steps: list[int], *, live_customers: int) -> Simulation:
    """A service with these segments that has read the world's documents, a few at each instant, and has come to the end of its steps."""
    simulation = Simulation(world.tenant, world.anchor, live_customers=live_customers)
    for name, kind in world.declared.items():
        simulation.declare(name, kind)
    for segment in wrapped:
        simulation.save(segment)
    documents, together = world.documents, 1 + len(world.documents) // len(steps)
    for place, step in enumerate(steps):
        simulation.post(*documents[place * together : (place + 1) * together])
        simulation.pass_to(simulation.now_ms + step)
    simulation.refresh()
    return simulation


@settings(max_examples=_LOOKS)
@given(language.worlds(("merge", "erase", "rank")), st.lists(st.sampled_from([1, 3_600_000, clock.DAY, 20 * clock.DAY]), min_size=1, max_size=4))
def test_what_is_put_out_is_what_it_is_without_guards(world: World, steps: list[int]) -> None:
    """Rules that have lost their guards give the same memberships and the same transitions, causes and bounds included."""
    bare = [segment | {"rule": {"any": [segment["rule"], _NEVER]}} for segment in world.segments]
    for live_customers in (20_000, 1):
        found, expected = (told(world, some, steps, live_customers=live_customers) for some in (list(world.segments), bare))
        assert found.memberships() == expected.memberships()
        assert [without_values(one) for one in found.transitions] == [without_values(one) for one in expected.transitions]


def without_values(transition: Json) -> Json:
    """A transition without what its conditions saw, of which the bare rule has one more."""
    return {name: value for name, value in transition.items() if name != "values"}
