"""A preview by columns is the preview of everybody one by one, however much is kept and whatever has happened since."""

from __future__ import annotations

import json
import os
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.instants import DAY_MS, NEVER
from schemas.questions import Preview, Previewed
from services.segmenter.columns.keeping import Keeping
from services.segmenter.plans import Limits
from tests.support import language
from tests.support.asking import ask
from tests.support.language import World
from tests.support.simulation import Simulation

Json = dict[str, Any]

_LOOKS = int(os.environ.get("ROLLCALL_TEST_WORLDS", "60"))
_STEPS_MS = (0, 1, 4_095, 4_096, 3_600_000, DAY_MS, 14 * DAY_MS, 31 * DAY_MS, 92 * DAY_MS)


def started(world: World, limits: Limits) -> Simulation:
    """A service with a tenant and nobody in it."""
    simulation = Simulation(world.tenant, world.anchor)
    simulation.limits = limits
    simulation.restart()
    for name, kind in world.declared.items():
        simulation.declare(name, kind)
    return simulation


def previewed(simulation: Simulation, rule: Json, replaces: str | None) -> Previewed:
    """What a rule would make of a segment now."""
    found: Previewed = ask(simulation, Preview(json.loads(json.dumps(rule), parse_float=Decimal), replaces), Previewed)
    return found


def plainly(simulation: Simulation, rule: Json, replaces: str | None) -> Previewed:
    """The same, found by looking at everybody."""
    partition = simulation.partition
    kept, partition._columns = partition._columns, Keeping(partition)
    found = previewed(simulation, rule, replaces)
    partition._columns = kept
    return found


def agree(simulation: Simulation, rule: Json, replaces: str | None) -> None:
    """Compare both, and once more what the first look has left in the columns."""
    expected = plainly(simulation, rule, replaces)
    for found in (previewed(simulation, rule, replaces), previewed(simulation, rule, replaces)):
        assert (found.count, found.of, found.enters, found.leaves) == (expected.count, expected.of, expected.enters, expected.leaves)
        assert sorted(found.sample) == sorted(expected.sample)


class Story:
    """What happens to a tenant, step by step as drawn."""

    def __init__(self, world: World, data: st.DataObject) -> None:
        live, room = data.draw(st.sampled_from([1, 20_000])), data.draw(st.sampled_from([1 << 20, 1 << 20, 200]))
        self.world, self.data = world, data
        self.simulation = started(world, Limits(1, live_customers=live, column_customers=0, column_bytes=room))
        self.to_save, self.documents = list(world.segments), list(world.documents)
        self.versions: dict[str, int] = {}

    def save(self) -> None:
        """Save the next segment."""
        if self.to_save:
            segment = self.to_save.pop(0)
            self.simulation.save(segment)
            self.versions[segment["id"]] = 1

    def edit(self) -> None:
        """Save another rule of a segment; its lists stay."""
        first = [segment for segment in self.world.segments if segment["id"].startswith("first")]
        target = self.data.draw(st.sampled_from(first))
        if target["id"] in self.versions:
            rule = self.data.draw(st.sampled_from(first))["rule"]
            edited = {name: value for name, value in target.items() if name not in ("include", "exclude")} | {"rule": rule}
            self.simulation.save(edited, replaces=self.versions[target["id"]])
            self.versions[target["id"]] += 1

    def come(self) -> None:
        """Documents come, and may be asked about before they are decided."""
        some = [self.documents.pop(0) for _ in range(min(len(self.documents), self.data.draw(st.integers(1, 3))))]
        if some:
            (self.simulation.hold if self.data.draw(st.booleans()) else self.simulation.post)(*some)

    def wait(self) -> None:
        """Time passes, also to just before and on the next deadline; and may be asked about before anybody has looked."""
        simulation = self.simulation
        deadline_ms = simulation.partition.next_deadline_ms()
        near = [deadline_ms - 1, deadline_ms] if deadline_ms < NEVER else []
        steps = [*[simulation.now_ms + step_ms for step_ms in _STEPS_MS], *[at_ms for at_ms in near if at_ms > simulation.now_ms]]
        at_ms = self.data.draw(st.sampled_from(steps))
        if self.data.draw(st.booleans()):
            simulation.pass_to(at_ms)
        else:
            simulation.now_ms = at_ms

    def keep(self) -> None:
        """Some of it is kept, or all."""
        if self.data.draw(st.booleans()):
            self.simulation.keep()
        else:
            self.simulation.partition.keep(self.simulation.now_ms, self.data.draw(st.integers(1, 4)))

    def ask(self) -> None:
        """Somebody asks about a new segment, or about an edit."""
        segments, replaces = self.world.segments, self.data.draw(st.sampled_from([None, *self.versions]))
        # A rule names segments that were saved before it, and here none of its own family.
        before = len(self.versions) if replaces is None else [segment["id"] for segment in segments].index(replaces)
        rules = [segment["rule"] for segment in segments[: before + 1] if replaces in (None, segment["id"]) or not segment.get("tier")]
        agree(self.simulation, self.data.draw(st.sampled_from(rules)), replaces)

    def end(self) -> None:
        """Everything has happened and is kept; some time later everything is asked about."""
        while self.to_save:
            self.save()
        if self.documents:
            self.simulation.post(*self.documents)
        self.simulation.move()
        self.simulation.keep()
        self.ask()
        self.wait()
        for segment in self.world.segments:
            agree(self.simulation, segment["rule"], None)
            agree(self.simulation, segment["rule"], segment["id"])


@settings(max_examples=_LOOKS)
@given(language.worlds(without=("rank",)), st.data())
def test_a_preview_by_columns_is_that_of_everybody(world: World, data: st.DataObject) -> None:
    """Cold, half kept or kept; after facts, undecided ones too, time with and without deadlines, merges, edits, restarts."""
    story = Story(world, data)
    simulation = story.simulation
    steps = {story.save: 3, story.come: 5, story.wait: 3, story.keep: 6, story.ask: 6, story.edit: 1}
    steps |= dict.fromkeys([simulation.restart, simulation.move, simulation.drop, simulation.refresh], 1)
    weighted = [step for step, weight in steps.items() for _ in range(weight)]
    story.save()
    for _ in range(data.draw(st.integers(5, 25))):
        data.draw(st.sampled_from(weighted))()
    story.end()
