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
from tests.support import language, strategies
from tests.support.asking import ask
from tests.support.language import World
from tests.support.simulation import LISTS, Simulation

Json = dict[str, Any]

_LOOKS = int(os.environ.get("ROLLCALL_TEST_WORLDS", "60"))
_STEPS_MS = (0, 1, 4_095, 4_096, 300_000, 3_600_000, DAY_MS, 14 * DAY_MS, 31 * DAY_MS, 92 * DAY_MS)


def started(world: World, limits: Limits) -> Simulation:
    """A service with a tenant and nobody in it."""
    simulation = Simulation(world.tenant, world.anchor)
    simulation.limits = limits
    simulation.restart()
    for name, kind in world.declared.items():
        simulation.declare(name, kind)
    return simulation


def plainly(simulation: Simulation, question: Preview) -> Previewed:
    """What a preview says that looks at everybody."""
    partition = simulation.partition
    kept, partition._columns = partition._columns, Keeping(partition)
    found: Previewed = ask(simulation, question, Previewed)
    partition._columns = kept
    return found


def agree(simulation: Simulation, rule: Json, replaces: str | None, before_ms: int | None = None) -> None:
    """Compare both, now or as of some time before, and once more what the first look has left in the columns."""
    at_ms = None if before_ms is None else simulation.now_ms - before_ms
    question = Preview(json.loads(json.dumps(rule), parse_float=Decimal), replaces, at_ms)
    expected = plainly(simulation, question)
    for _ in range(2):
        found = ask(simulation, question, Previewed)
        assert (found.count, found.of, found.enters, found.leaves) == (expected.count, expected.of, expected.enters, expected.leaves)
        assert sorted(found.sample) == sorted(expected.sample)


class Story:
    """What happens to a tenant, step by step as drawn."""

    def __init__(self, world: World, data: st.DataObject) -> None:
        live, room = data.draw(st.sampled_from([1, 20_000])), data.draw(st.sampled_from([1 << 20, 1 << 20, 1 << 20, 200]))
        self.world, self.data = world, data
        self.simulation = started(world, Limits(1, live_customers=live, column_customers=0, column_bytes=room))
        self.to_save, self.documents = list(world.segments), list(world.documents)
        self.versions: dict[str, int] = {}

    def save(self) -> None:
        """Save the next segment; nobody may have been decided under it when somebody asks."""
        if self.to_save:
            segment = self.to_save.pop(0)
            self.simulation.save(segment, sweep=self.data.draw(st.booleans()))
            self.versions[segment["id"]] = 1

    def edit(self) -> None:
        """Save another rule of a segment; its lists stay."""
        first = [segment for segment in self.world.segments if segment["id"].startswith("first")]
        target = self.data.draw(st.sampled_from(first))
        if target["id"] in self.versions:
            rule = self.data.draw(st.sampled_from(first))["rule"]
            edited = {name: value for name, value in target.items() if name not in ("include", "exclude")} | {"rule": rule}
            self.simulation.save(edited, replaces=self.versions[target["id"]], sweep=self.data.draw(st.booleans()))
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

    def list_by_hand(self) -> None:
        """Somebody is put on a list, or taken off."""
        if self.versions:
            draw = self.data.draw
            segment_id, who = draw(st.sampled_from([*self.versions])), draw(st.sampled_from([*strategies.CUSTOMERS, "stranger"]))
            self.simulation.by_hand(segment_id, draw(st.sampled_from(LISTS)), [who], present=draw(st.booleans()))

    def keep(self) -> None:
        """All of it is kept, or some, or nothing."""
        limit = self.data.draw(st.sampled_from([1_000, 1_000, 1_000, 2, 0]))
        if limit:
            self.simulation.partition.keep(self.simulation.now_ms, limit)

    def ask(self) -> None:
        """Somebody asks about each rule, as that of a new segment and of an edit, now or as of some time ago."""
        before_ms = self.data.draw(st.sampled_from([None, None, None, 1, DAY_MS]))
        for segment in [segment for segment in self.world.segments if segment["id"] in self.versions]:
            agree(self.simulation, segment["rule"], None, before_ms)
            # The first rule names no other segment, so anything may be edited to it.
            agree(self.simulation, self.world.segments[0]["rule"], segment["id"], before_ms)
            agree(self.simulation, segment["rule"], segment["id"], before_ms)


@settings(max_examples=_LOOKS)
@given(language.worlds(without=("rank",)), st.data())
def test_a_preview_by_columns_is_that_of_everybody(world: World, data: st.DataObject) -> None:
    """Cold, half kept or kept; after facts, undecided ones too, time with and without deadlines, merges, edits, restarts."""
    story = Story(world, data)
    simulation = story.simulation
    steps = {story.come: 6, story.wait: 4, story.save: 2, story.edit: 2, story.list_by_hand: 2, story.keep: 2}
    steps |= dict.fromkeys([simulation.restart, simulation.move, simulation.sweep, simulation.drop, simulation.refresh], 1)
    weighted = [step for step, weight in steps.items() for _ in range(weight)]
    story.save()
    story.save()
    for _ in range(data.draw(st.integers(3, 12))):
        story.keep()
        data.draw(st.sampled_from(weighted))()
        story.ask()
    while story.to_save:
        story.save()
    simulation.post(*story.documents)
    simulation.move()
    simulation.keep()
    story.ask()
    story.wait()
    story.ask()
