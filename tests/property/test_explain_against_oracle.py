"""What `explain` says, against the judge: who is in, what each condition sees, until when, and which events count."""

from __future__ import annotations

import os
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.questions import Explain, Explained, Seen
from tests.oracle import answers, clock, model, windows
from tests.property.test_language_against_oracle import _APART, Pair
from tests.property.test_past_against_oracle import busy, told
from tests.support import language
from tests.support.asking import ask
from tests.support.language import World

Json = dict[str, Any]

_LOOKS = int(os.environ.get("ROLLCALL_TEST_WORLDS", "60"))


def leaves(rule: Json | None, path: str = "") -> dict[str, Json]:
    """The conditions of a rule by their place."""
    if rule is None:
        return {}
    for word in ("all", "any"):
        if word in rule:
            return {where: leaf for n, member in enumerate(rule[word]) for where, leaf in leaves(member, f"{path}/{word}/{n}").items()}
    return leaves(rule["not"], f"{path}/not") if "not" in rule else {path: rule}


def explained(pair: Pair, customer: str, segment_id: str) -> Explained:
    """What the service says."""
    found: Explained = ask(pair.simulation, Explain(customer, segment_id), Explained)
    return found


def holds(pair: Pair, leaf: Json, customer: str, at: int) -> bool:
    """What the judge says of a condition now; a reference sees who is in by a stay as well."""
    if "segment" in leaf:
        return customer in pair.judge.members[leaf["segment"]]
    return model.holds(leaf, pair.history, customer, at, pair.segments)


def events_are_right(pair: Pair, leaf: Json, seen: Seen, at: int) -> None:
    """A count is the number of its events, and each leaves the window at its instant and not a millisecond before."""
    assert len(seen.events) == min(seen.total, 20)
    assert [(one.at_ms, one.event_id) for one in seen.events] == sorted(((one.at_ms, one.event_id) for one in seen.events), reverse=True)
    metric = leaf.get("metric") or {}
    if metric.get("measure") == "count":
        assert str(seen.total).encode() == bytes(seen.value), (leaf, seen)
    if metric.get("measure", "ratio") != "ratio":
        for one in seen.events:
            assert windows.is_inside(metric.get("window"), one.at_ms, at, pair.history.zone)
            if one.leaves_ms is not None:
                assert windows.is_inside(metric["window"], one.at_ms, one.leaves_ms - 1, pair.history.zone), (metric, one)
                assert not windows.is_inside(metric["window"], one.at_ms, one.leaves_ms, pair.history.zone), (metric, one)


def agree(pair: Pair) -> None:
    """Compare every explanation with the judge, now."""
    at = pair.simulation.now_ms
    for segment in pair.segments:
        for customer in sorted(answers.everyone(pair.judge._world())):
            found = explained(pair, customer, segment["id"])
            assert found.member is (customer in pair.judge.members[segment["id"]]), (customer, segment)
            for path, leaf in leaves(segment.get("rule")).items():
                [seen] = [one for one in found.conditions if one.path == path]
                assert seen.holds is holds(pair, leaf, customer, at), (customer, leaf, seen)
                events_are_right(pair, leaf, seen, at)


@settings(max_examples=_LOOKS)
@given(language.worlds(without=_APART), st.data())
def test_explanations_are_the_judges_at_every_boundary(world: World, data: st.DataObject) -> None:
    """After all documents, also in the middle of a step, and on and beside some of the instants at which time changes something."""
    pair = Pair.told(world)
    agree(pair)
    instants = pair.boundaries(60)
    for instant in sorted(data.draw(st.lists(st.sampled_from(instants), max_size=3))) if instants else []:
        # Nobody has looked since: what is due is decided for the answer alone.
        pair.simulation.now_ms = max(instant, pair.simulation.now_ms)
        pair.judge.pass_to(pair.simulation.now_ms)
        agree(pair)


@settings(max_examples=_LOOKS // 2)
@given(language.worlds(without=(*_APART, "void")))
def test_until_is_the_next_flip(world: World) -> None:
    """Of the membership and of each condition: the first instant at which the judge says otherwise."""
    pair = Pair.told(world)
    at, end = pair.simulation.now_ms, pair.simulation.now_ms + 400 * clock.DAY
    for segment in pair.segments[-2:]:
        for customer in sorted(answers.everyone(pair.judge._world())):
            found = explained(pair, customer, segment["id"])
            assert found.until_ms == pair.judge.until(segment["id"], customer), (customer, segment)
            for path, leaf in leaves(segment.get("rule")).items():
                if "segment" in leaf:
                    continue
                [seen] = [one for one in found.conditions if one.path == path]
                instants = model.boundaries(leaf, pair.history, customer, at, end)
                flips = (instant for instant in instants if model.holds(leaf, pair.history, customer, instant) is not seen.holds)
                assert seen.until_ms == next(flips, None), (customer, leaf)


@settings(max_examples=_LOOKS)
@given(busy(), st.data())
def test_events_that_count_are_right_in_a_busy_life(world: World, data: st.DataObject) -> None:
    """Also where one was voided, and where there are more than are named."""
    pair = told(world, data)
    agree(pair)
