"""The order in which a tenant's segments are decided: each after those that it depends on. Pure: segments in, segments out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from heapq import heapify, heappop, heappush
from itertools import pairwise

from schemas.rules import references
from schemas.segments import Segment


def ordered(segments: Iterable[Segment]) -> list[Segment]:
    """Order live segments so that each comes after those that it refers to and after the higher levels of its family.

    So whoever refers to a segment of a family comes after the family's higher levels as well. Among those that are free, ids
    decide, so every process has the same order. References to segments that are not given are left out of account.
    """
    by_id = {segment.id: segment for segment in segments}
    families: dict[str, list[tuple[int, str]]] = {}
    for segment in by_id.values():
        if segment.tier is not None:
            families.setdefault(segment.tier.family, []).append((segment.tier.level, segment.id))
    dependents: dict[str, list[str]] = {}
    missing = dict.fromkeys(by_id, 0)

    def depends(segment_id: str, on: str) -> None:
        dependents.setdefault(on, []).append(segment_id)
        missing[segment_id] += 1

    for segment in by_id.values():
        for target in references(segment.rule):
            if target in by_id:
                depends(segment.id, target)
    for levels in families.values():
        levels.sort()
        # The next higher one is enough: it comes after those above it.
        for (_, lower), (_, higher) in pairwise(levels):
            depends(lower, higher)
    free = [segment_id for segment_id, count in missing.items() if not count]
    heapify(free)
    found: list[Segment] = []
    while free:
        here = heappop(free)
        found.append(by_id[here])
        for dependent in dependents.get(here, ()):
            missing[dependent] -= 1
            if not missing[dependent]:
                heappush(free, dependent)
    assert len(found) == len(by_id), "the fold accepts no cycle"
    return found


def closure(segments: Mapping[str, Segment], wanted: Segment) -> list[Segment]:
    """Return a live segment with all that it depends on: those that it names, the higher levels of its family, and theirs."""
    found = {wanted.id: wanted}
    ahead = [wanted]
    while ahead:
        here = ahead.pop()
        needed = [segments[target] for target in references(here.rule) if target in segments]
        if here.tier is not None:
            family, level = here.tier.family, here.tier.level
            needed += [s for s in segments.values() if s.tier is not None and s.tier.family == family and s.tier.level > level]
        for segment in needed:
            if segment.id not in found and not segment.archived:
                found[segment.id] = segment
                ahead.append(segment)
    return list(found.values())
