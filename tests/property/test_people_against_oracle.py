"""Merges and erasures over several partitions, held to the judge: in order, and in whatever order the partitions get to them."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracle import clock, model
from tests.oracle.stays import Stays
from tests.property.test_language_against_oracle import decided, judged
from tests.support import language, strategies
from tests.support.both import sequences_are_whole
from tests.support.cluster import Cluster

Json = dict[str, Any]

_LOOKS = int(os.environ.get("ROLLCALL_TEST_WORLDS", "60"))


JUDGED = ("dead_lettered/conflict", "dead_lettered/cycle")
"""Refusals that the judge has an opinion of."""


class Town:
    """Some partitions and the judge, told the same things in the same order."""

    def __init__(self, world: language.World, random: Random) -> None:
        self.segments: list[Json] = []
        self.random = random
        self.cluster = Cluster(world.tenant, world.anchor, live_customers=random.choice([1, 20_000]))
        for name, kind in world.declared.items():
            self.cluster.declare(name, kind)
        self.history = model.History(world.tenant, world.declared)
        self.judge = Stays(self.history, world.anchor)

    def save(self, segment: Json) -> None:
        """Save a new segment."""
        self.cluster.save(segment)
        self.segments.append(segment)
        self.judge.define(self.segments, self.cluster.now_ms)

    def accept(self, document: Json) -> None:
        """Post a document a moment later, let all partitions come to rest, and ask the judge whether it was rightly accepted."""
        self.cluster.pass_to(self.cluster.now_ms + 1)
        before = self.cluster.outcomes()
        self.cluster.post(document)
        self.cluster.rest(self.random)
        came = self.cluster.outcomes() - before
        # The judge takes what is refused for what it says, and makes nothing of it.
        if not any(outcome.startswith("dead_lettered/") and outcome not in JUDGED for outcome in came):
            assert came["applied"] == self.judge.accept(document, self.cluster.now_ms), (document, came)
            if came["applied"] and document["type"] != "customer-erase":
                assert self.cluster.memberships(document["customer_id"]) is not None, f"heard of and unknown: {document}"

    def agree(self) -> None:
        """Compare every membership now."""
        at = clock.moment(self.cluster.now_ms).isoformat()
        for segment in self.segments:
            found, expected = self.cluster.members(segment["id"]), self.judge.members[segment["id"]]
            assert found == expected, f"at {at} {segment}: partitions {sorted(found)}, judge {sorted(expected)}"
        assert None not in map(self.cluster.memberships, self.cluster.redis), "an id leads to nobody"
        known = {name for name, shown in self.cluster.redis.items() if not isinstance(shown, str)}
        assert known == self.history.known.union(*self.judge.members.values()) | (known & {"stranger"}) | (known & named(self))


def named(town: Town) -> set[str]:
    """Whom a list has named: known to the service, and to the judge by the list alone."""
    return {town.history.survivor(name) for segment in town.segments for which in ("include", "exclude") for name in segment.get(which) or ()}


@st.composite
def crossings(draw: st.DrawFn, world: language.World, kinds: Sequence[str] = ("merge", "merge", "erase")) -> list[Json]:
    """The documents of a world with merges and erasures among them: chained, crossed, in cycles, told again."""
    documents = list(world.documents)
    for turn in range(draw(st.integers(1, 6))):
        kind = draw(st.sampled_from(kinds))
        old, into = draw(st.permutations(strategies.CUSTOMERS))[:2]
        at = clock.moment(world.anchor - draw(st.sampled_from([0, 1, 3_600_000, 3 * clock.DAY]))).isoformat()
        told = {"event_id": draw(st.sampled_from([f"e{turn}", f"m{turn}"])), "type": f"customer-{kind}", "customer_id": old, "occurred_at": at}
        documents.insert(draw(st.integers(0, len(documents))), told | ({"into": into} if kind == "merge" else {}))
    return documents


@settings(max_examples=_LOOKS)
@given(language.worlds(without=("rank", "merge", "erase")), st.data())
def test_merges_and_erasures_are_the_judges(world: language.World, data: st.DataObject) -> None:
    """After each document, and then at the boundaries; whichever partition dies and is restored meanwhile."""
    town = Town(world, Random(data.draw(st.integers(0, 1 << 16))))
    for segment in world.segments:
        town.save(segment)
    for document in data.draw(crossings(world)):
        town.accept(document)
        town.agree()
    start = town.cluster.now_ms
    people = sorted(town.history.known)
    end = start + 60 * clock.DAY
    found = {at for customer in people for at in model.boundaries(None, town.history, customer, start, end, town.segments)}
    for instant in sorted({at + beside for at in found for beside in (-1, 0, 1) if at + beside > start})[:12]:
        town.cluster.pass_to(instant)
        town.judge.pass_to(instant)
        town.agree()
    assert decided(town.cluster) == judged(town.judge)  # type: ignore[arg-type]
    sequences_are_whole(town.cluster)  # type: ignore[arg-type]
    town.cluster.adds_up()


@settings(max_examples=_LOOKS)
@given(language.worlds(without=("rank", "stay", "merge", "erase")), st.data())
def test_whatever_gets_there_first(world: language.World, data: st.DataObject) -> None:
    """Everything is posted at once and read in any order: who lives on is decided in one order, and afterwards all is with them."""
    town = Town(world, Random(data.draw(st.integers(0, 1 << 16))))
    for segment in world.segments:
        town.save(segment)
    # Of two that share an id the judge would have to know which was first.
    documents = list({document["event_id"]: document for document in data.draw(crossings(world, ["merge"]))}.values())
    for document in documents:
        town.cluster.post(document)
        if town.random.random() < 0.3:
            town.cluster.rest(town.random, turns=town.random.randint(1, 5), finish=False)
    town.cluster.rest(town.random)
    refused = {json.loads(value)["event_id"] for value, _ in town.cluster.dead_letters}
    for document in town.cluster.decided + [one for one in documents if one["type"] != "customer-merge"]:
        if document["event_id"] not in refused:
            assert town.judge.accept(document, town.cluster.now_ms), document
    town.agree()
    sequences_are_whole(town.cluster)  # type: ignore[arg-type]
    town.cluster.adds_up()


@settings(max_examples=_LOOKS)
@given(language.worlds(without=("rank", "merge", "erase", "lists")), st.data())
def test_of_whom_is_erased_nothing_is_left(world: language.World, data: st.DataObject) -> None:
    """However it crosses merges and facts on their way: once everybody has been erased, nothing but hashes is kept of anyone."""
    town = Town(world, Random(data.draw(st.integers(0, 1 << 16))))
    for segment in world.segments:
        town.save(segment)
    for document in data.draw(crossings(world)):
        town.cluster.post(document)
    for name in strategies.CUSTOMERS:
        last = {"type": "customer-erase", "customer_id": name, "occurred_at": clock.moment(world.anchor + 300_000).isoformat()}
        town.cluster.rest(town.random, turns=town.random.randint(1, 20), finish=False)
        town.cluster.post(last | {"event_id": "the last of all"})
    town.cluster.rest(town.random)
    for number in range(3):
        town.cluster.write(number)  # what the projection has confirmed
    assert town.cluster.redis == {}
    changes = [transition["change"] for transition in town.cluster.transitions]
    assert changes.count("entered") == changes.count("exited")
    for name in ("718", "a:b", "ünï"):
        assert town.cluster.at_rest_in(name.encode()) == []
    sequences_are_whole(town.cluster)  # type: ignore[arg-type]
    town.cluster.adds_up()
