"""The plainest model of which segments may stand beside each other: references, levels of families, and every way around."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.oracle.boundaries import under

Json = dict[str, Any]
State = dict[str, tuple[frozenset[str], tuple[str, int] | None, bool]]
"""Of each segment: those that it refers to, its tier, and whether it is archived."""


def sound(state: State) -> bool:
    """Whether a set of segments is what the product allows, by looking at everything: references, levels and every way around."""
    live = {name: (refers, tier) for name, (refers, tier, archived) in state.items() if not archived}
    if any(not refers <= live.keys() for refers, _ in live.values()):
        return False
    tiers = [tier for _, tier in live.values() if tier is not None]
    if len(tiers) != len(set(tiers)):
        return False
    reach = {name: depends_on(name, live) for name in live}
    for _ in live:
        reach = {name: onto | {far for near in onto for far in reach[near]} for name, onto in reach.items()}
    return all(name not in onto for name, onto in reach.items())


def depends_on(name: str, live: dict[str, tuple[frozenset[str], tuple[str, int] | None]]) -> set[str]:
    """Return what a segment depends on as the product's contract says it: references, those they imply, and higher levels."""
    refers, tier = live[name]
    found = set(refers)
    for family, level in [one for one in [tier, *(live[target][1] for target in refers)] if one is not None]:
        found |= {other for other, (_, its) in live.items() if its is not None and its[0] == family and its[1] > level}
    return found


def graph_of(live: Mapping[str, Json], archived: Mapping[str, Json]) -> State:
    """Return what segments depend on, as the API has them."""
    return {
        segment["id"]: (frozenset(under(segment.get("rule"), "segment")), _tier(segment), gone)
        for segments, gone in ((archived, True), (live, False))
        for segment in segments.values()
    }


def _tier(segment: Json) -> tuple[str, int] | None:
    tier = segment.get("tier")
    return None if tier is None else (tier["family"], tier["level"])
