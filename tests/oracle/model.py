"""Who is in a segment at an instant, from all documents, by brute force: the judge's public answers.

`segments` are all live definitions as they are posted, the one asked about among them or not. They are needed where a rule names another
segment or a segment is a level of a family. These answers look at facts alone; what a `min_stay` adds is in `stays`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.oracle import answers, clock
from tests.oracle.answers import World
from tests.oracle.boundaries import boundaries, conditions
from tests.oracle.history import History
from tests.oracle.metrics import value_of

Json = dict[str, Any]
__all__ = ["History", "boundaries", "conditions", "holds", "is_member", "members", "until", "value_of"]


def holds(rule: Json, history: History, customer: str, at: int, segments: Sequence[Json] = ()) -> bool:
    """Whether a rule holds of a customer at an instant."""
    return answers.holds(World(history, segments, {}), rule, history.survivor(customer), at)


def is_member(segment: Json, history: History, customer: str, at: int, segments: Sequence[Json] = ()) -> bool:
    """Whether a customer, by any of his ids, is in a segment at an instant."""
    return answers.is_in(World(history, together(segment, segments), {}), segment, history.survivor(customer), at)


def members(segment: Json, history: History, at: int, segments: Sequence[Json] = ()) -> set[str]:
    """Everyone who is in."""
    world = World(history, together(segment, segments), {})
    return {customer for customer in answers.everyone(world) if answers.is_in(world, segment, customer, at)}


def until(segment: Json, history: History, customer: str, at: int, horizon_days: int = 400, segments: Sequence[Json] = ()) -> int | None:
    """The next instant at which membership flips if nothing new happens and ranks stay, None beyond the horizon."""
    world = World(history, together(segment, segments), {})
    world = world._replace(ranks=answers.standing(world, at))
    person = history.survivor(customer)
    now = answers.is_in(world, segment, person, at)
    for instant in boundaries(None, history, person, at, at + horizon_days * clock.DAY, world.segments):
        if answers.is_in(world, segment, person, instant) is not now:
            return instant
    return None


def together(segment: Json, segments: Sequence[Json]) -> list[Json]:
    """All definitions, the one asked about in place of any other version of it."""
    return [segment, *(other for other in segments if other["id"] != segment["id"])]
