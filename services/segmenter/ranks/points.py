"""Points: what a partition shows of its entries in a ranking, enough of them to find where a rank ends. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from sortedcontainers import SortedList

from schemas.standings import Point
from services.segmenter.engine.rankings import kept
from services.segmenter.ranks.messages import Entry


def spread(start: int, end: int, most: int) -> Iterable[int]:
    """Return up to `most` places, evenly spread over `[start, end)`, the last among them."""
    count = end - start
    if count <= most:
        return range(start, end)
    return [start + (step * count + most - 1) // most - 1 for step in range(1, most + 1)]


def points(entries: SortedList[Entry], places: Iterable[int], intervals: Iterable[tuple[Entry | None, Entry]], fine: int) -> list[Point]:
    """Return the points at some places, up to `fine` in each interval, and where its ends would stand; in their order."""
    shown = set(places)
    probes: set[Entry] = set()
    for low, high in intervals:
        start, end = entries.bisect_right(low) if low is not None else 0, entries.bisect_right(high)
        shown.update(spread(start, end, fine))
        probes |= {high} if low is None else {low, high}
    found = {entries[place]: (place + 1, True) for place in shown}
    for probe in probes - found.keys():
        place = entries.bisect_right(probe)
        own = place > 0 and entries[place - 1] == probe
        found[probe] = (place, own)
    return [Point(kept(score), key, *found[score, key]) for score, key in sorted(found)]
