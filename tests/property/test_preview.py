"""A preview says what saving then does; and what a plan takes over from the one before is what it would have read from the history."""

from __future__ import annotations

import json
import os
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.definitions import Around
from schemas.instants import NEVER
from schemas.questions import Preview, Previewed
from services.segmenter.engine.live import Live
from tests.property.test_language_against_oracle import _APART, Pair
from tests.support import language
from tests.support.asking import around_of, ask
from tests.support.language import World

Json = dict[str, Any]

_AS_IT_WAS = Around()
_FLIPS = 20
_LOOKS = int(os.environ.get("ROLLCALL_TEST_WORLDS", "60"))


def exact(rule: Json) -> Any:
    """A rule as it comes over the wire."""
    return json.loads(json.dumps(rule), parse_float=Decimal)


def _raised(segment: Json) -> Json:
    """A segment with a free level below its own."""
    tier = segment.get("tier")
    return segment if tier is None else segment | {"tier": tier | {"level": tier["level"] + 1}}


def previewed(pair: Pair, rule: Json, replaces: str | None = None, around: Around = _AS_IT_WAS) -> Previewed:
    """What would be in a segment with a rule."""
    found: Previewed = ask(pair.simulation, Preview(exact(rule), replaces, around=around), Previewed)
    return found


@settings(max_examples=_LOOKS)
@given(language.worlds(without=_APART), st.data())
def test_a_preview_says_what_saving_then_does(world: World, data: st.DataObject) -> None:
    """Of a new segment, and of an edit: who is in is the judge's, who enters and leaves is what the service puts out."""
    pair = Pair(world)
    *saved, last = (_raised(segment) for segment in world.segments)
    for segment in saved:
        pair.save(segment)
    for document in world.documents:
        pair.accept(document)
    known = len(pair.simulation.memberships())
    last = {name: value for name, value in last.items() if name not in ("include", "exclude")}
    if data.draw(st.booleans()):
        last["tier"] = {"family": "f", "level": 0}
    found = previewed(pair, last["rule"], around=around_of(last))
    pair.save(last)
    members = pair.simulation.members(last["id"])
    assert members == pair.judge.members[last["id"]]
    assert (found.count, found.of, found.enters, found.leaves) == (len(members), known, len(members), 0)
    assert set(found.sample) <= members
    assert len(found.sample) == min(10, len(members))

    target = data.draw(st.sampled_from([segment for segment in [*saved, last] if not segment.get("tier")] or [last]))
    others = [segment["rule"] for segment in world.segments if "segment" not in json.dumps(segment["rule"])] or [last["rule"]]
    rule = data.draw(st.sampled_from(others))
    if "segment" in json.dumps(rule):
        return  # it might name the segment that is edited
    edit = target | {"rule": rule}
    gone = data.draw(st.sets(st.sampled_from(["min_stay", "starts_at", "ends_at"])))
    edit = {name: value for name, value in edit.items() if name not in ("include", "exclude", *gone)}
    found = previewed(pair, rule, target["id"], around_of(edit) if gone else _AS_IT_WAS)
    before, told = pair.simulation.members(target["id"]), len(pair.simulation.transitions)
    pair.simulation.save(edit, replaces=1)
    after = pair.simulation.members(target["id"])
    changes = [change for change in pair.simulation.transitions[told:] if change["segment_id"] == target["id"]]
    assert (found.count, found.enters, found.leaves) == (len(after), len(after - before), len(before - after))
    assert sorted(change["change"] for change in changes) == ["entered"] * found.enters + ["exited"] * found.leaves


@settings(max_examples=_LOOKS)
@given(language.worlds(without=_APART), st.data())
def test_what_a_plan_takes_over_is_what_the_history_says(world: World, data: st.DataObject) -> None:
    """Between any two plans of a tenant: every bit, now and whenever time changes something."""
    pair = Pair.told(world)
    partition = pair.simulation.partition
    plans = [partition.plans.about("demo", segment) for segment in partition.plans.catalog.live_segments("demo")]
    before, after, last = (data.draw(st.sampled_from(plans)) for _ in range(3))
    at_ms = pair.simulation.now_ms
    for key in list(partition.keys()):
        person = partition.person(key)
        assert person is not None
        former = Live(before, person.read, at_ms)
        for step, plan in enumerate((after, last), 1):
            taken, fresh = Live(plan, person.read, at_ms + step, former), Live(plan, person.read, at_ms + step)
            assert taken.profile == fresh.profile
            former = Live(plan, person.read, at_ms + step, former)
            # What nobody asks for may be missing, and with it bounds that were only early.
            for _ in range(_FLIPS):
                assert taken.truth == fresh.truth
                soonest_ms = min(taken.soonest_ms, fresh.soonest_ms)
                if soonest_ms == NEVER:
                    break
                taken.pass_to(soonest_ms)
                fresh.pass_to(soonest_ms)
