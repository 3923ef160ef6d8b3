"""Merges and erasures over several partitions, held to the judge: in order, and in whatever order the partitions get to them."""

from __future__ import annotations

import os
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracle import clock, model
from tests.oracle.stays import Stays
from tests.property.test_engine_against_oracle import sequences_are_whole
from tests.property.test_language_against_oracle import decided, judged
from tests.support import language
from tests.support.cluster import Cluster

Json = dict[str, Any]

_LOOKS = int(os.environ.get("ROLLCALL_TEST_WORLDS", "60"))


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
        if not came["dead_lettered/invalid"]:  # the judge takes what does not fit an attribute, and makes nothing of it
            assert came["applied"] == self.judge.accept(document, self.cluster.now_ms), (document, came)

    def agree(self) -> None:
        """Compare every membership now."""
        at = clock.moment(self.cluster.now_ms).isoformat()
        for segment in self.segments:
            found, expected = self.cluster.members(segment["id"]), self.judge.members[segment["id"]]
            assert found == expected, f"at {at} {segment}: partitions {sorted(found)}, judge {sorted(expected)}"
        known = {name for name, shown in self.cluster.redis.items() if not isinstance(shown, str)}
        assert known == self.history.known.union(*self.judge.members.values()) | (known & {"stranger"}) | (known & named(self))


def named(town: Town) -> set[str]:
    """Whom a list has named: known to the service, and to the judge by the list alone."""
    return {town.history.survivor(name) for segment in town.segments for which in ("include", "exclude") for name in segment.get(which) or ()}


@settings(max_examples=_LOOKS)
@given(language.worlds(without=("rank",)), st.data())
def test_merges_and_erasures_are_the_judges(world: language.World, data: st.DataObject) -> None:
    """After each document, and then at the boundaries; whichever partition dies and is restored meanwhile."""
    town = Town(world, Random(data.draw(st.integers(0, 1 << 16))))
    for segment in world.segments:
        town.save(segment)
    for document in world.documents:
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
