"""Finds from when to when a rank held of one customer, whoever was ahead of him in whatever partition.

One question tells how his scores went, and one asks everybody who was ahead of him meanwhile. At each instant at which that changes a
rank holds or does not, exactly; in between nothing changes. Where it would be too much for all of history, the instant alone is told.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from schemas.catalog import Segment
from schemas.questions import MOST_ROOM, MOST_STEPS, Climb, Climbed, Lead, Rivalry, Rivals, Step
from schemas.rules import Rank
from services.api.errors import absent
from services.api.web import Call
from services.segmenter.engine.rankings import places, rank_name, ranking_name, size_of

MOST_FACTS: Final = 1_000_000
"""Events that are looked at for all of history, once for each ranking: some seconds of one worker."""


class Told(NamedTuple):
    """When ranks began to hold and ceased to, in turn, by their names, as seen at one instant alone; None: over all of history."""

    turns: dict[str, list[int]]
    only_ms: int | None


def sizes_of(ranks: Iterable[Rank]) -> dict[str, dict[str, str]]:
    """Return the sizes of ranks by their names, for each ranking by its name."""
    sizes: dict[str, dict[str, str]] = {}
    for rank in ranks:
        ranking, size = ranking_name(rank), size_of(rank)
        sizes.setdefault(ranking, {})[rank_name(ranking, size)] = size
    return sizes


def turns_of(ranks: Iterable[Rank], steps: Mapping[str, Sequence[Step]], parts: Sequence[Mapping[str, Sequence[Lead]]]) -> dict[str, list[int]]:
    """Return when ranks turn, from a customer's scores and the leads of all others."""
    found: dict[str, list[int]] = {}
    for ranking, names in sizes_of(ranks).items():
        placed_from = {at_ms: score is not None for at_ms, score in steps[ranking]}
        leads: dict[int, list[tuple[int, int]]] = {at_ms: [] for at_ms in placed_from}
        for part in parts:
            for at_ms, ahead, total in part[ranking]:
                leads.setdefault(at_ms, []).append((ahead, total))
        found |= _turns(names, placed_from, leads)
    return found


def _turns(sizes: Mapping[str, str], placed_from: Mapping[int, bool], leads: Mapping[int, Iterable[tuple[int, int]]]) -> dict[str, list[int]]:
    turns: dict[str, list[int]] = {name: [] for name in sizes}
    placed, all_ahead, all_placed = False, 0, 0
    for at_ms in sorted(leads):
        placed = placed_from.get(at_ms, placed)
        for ahead, total in leads[at_ms]:
            all_ahead += ahead
            all_placed += total
        for name, size in sizes.items():
            holds = placed and all_ahead < places(size, all_placed + 1)
            if holds is (len(turns[name]) % 2 == 0):
                turns[name].append(at_ms)
    return turns


async def told(call: Call, customer_id: str, segment: Segment, ranks: Collection[Rank], at_ms: int) -> Told:
    """Ask when ranks held of a customer, over all of history or at an instant alone; raises `Refused`: 404, or 503 when nobody can tell."""
    if not ranks:
        return Told({}, None)
    facts = MOST_FACTS // (len(sizes_of(ranks)) * call.desk.settings.partitions)
    found = await _told(call, customer_id, segment, ranks, (0, call.desk.now_ms()), facts)
    if found is not None and sum(map(len, found.values())) <= MOST_STEPS:
        return Told(found, None)
    found = await _told(call, customer_id, segment, ranks, (at_ms, at_ms), None)
    assert found is not None, "one instant is never too much"
    return Told(found, at_ms)


_CLIMBED: Any = Climbed | None


async def _told(
    call: Call, customer_id: str, segment: Segment, ranks: Collection[Rank], span: tuple[int, int], facts: int | None
) -> dict[str, list[int]] | None:  # fmt: skip
    """Return when ranks turned between two instants, None where that would be too much."""
    asking, definitions, settings = call.desk.asking, segment.answers_from + 1, call.desk.settings
    climbed, _, survivor = await asking.person(
        call.tenant, customer_id, lambda whom: Climb(whom, segment.id, *span), _CLIMBED, definitions=definitions
    )
    if climbed is None:
        raise absent("customer")
    if climbed.steps is None:
        return None
    # A worker may own all partitions.
    room = min(MOST_ROOM, settings.api_answer_bytes // (2 * settings.partitions))
    asked = Rivals(survivor, segment.id, climbed.steps, span[1], facts, room)
    parts, _ = await asking.all(call.tenant, asked, Rivalry, definitions=definitions)
    leads = [part.leads for part in parts if part.leads is not None]
    return turns_of(ranks, climbed.steps, leads) if len(leads) == len(parts) else None
