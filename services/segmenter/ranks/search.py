"""The search for where ranks end, from what partitions show of their entries. Pure; for the referee, and for whoever asks about another instant."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from schemas.standings import Cut, Interval, Point
from services.segmenter.engine.rankings import places
from services.segmenter.ranks.messages import Entry, cut_at, entry_in, sortable


class Found(NamedTuple):
    """The last entry that is in; None: nobody is."""

    entry: Entry | None


class Unclear(NamedTuple):
    """The last entry that is in lies after `low` and not after `high`; these partitions have entries there that are not known."""

    low: Entry | None
    high: Entry
    partitions: set[int]


class Known:
    """What is known of a partition's entries, ready to be asked how many there are up to one. Points are sorted, the last entry is among them."""

    def __init__(self, points: Iterable[Point], total: int) -> None:
        shown = list(points)
        self.entries = [entry_in((point.score, point.key)) for point in shown]
        self.counts = [point.count for point in shown]
        self.own = [point.own for point in shown]
        self.total = total

    def least(self, entry: Entry) -> int:
        """Return how many entries up to an entry there are at least."""
        place = bisect_right(self.entries, entry)
        return self.counts[place - 1] if place else 0

    def most(self, entry: Entry) -> int:
        """Return how many entries up to an entry there may be."""
        place = bisect_left(self.entries, entry)
        if place == len(self.entries):
            return self.total
        if self.entries[place] == entry:
            return self.counts[place]
        return self.counts[place] - self.own[place]

    def before(self, entry: Entry) -> int:
        """Return how many entries before an entry there may be."""
        place = bisect_left(self.entries, entry)
        return self.total if place == len(self.entries) else self.counts[place] - self.own[place]


def locate(tables: Mapping[int, Known], candidates: list[Entry], place: int) -> Found | Unclear:
    """Find the entry at a place (from 1, none at 0) of all the partitions' entries together, or between which it lies.

    `candidates` are the known entries of all partitions, sorted.
    """
    if place == 0:
        return Found(None)
    high = candidates[bisect_left(candidates, place, key=lambda entry: sum([table.least(entry) for table in tables.values()]))]
    if sum([table.before(high) for table in tables.values()]) < place:
        return Found(high)
    above = bisect_left(candidates, place, key=lambda entry: sum([table.most(entry) for table in tables.values()]))
    low = candidates[above - 1] if above else None
    unknown = {number for number, table in tables.items() if table.before(high) > (0 if low is None else table.least(low))}
    return Unclear(low, high, unknown)


class Searched(NamedTuple):
    """The cuts that were found, by size; where the others lie, and the partitions that have unknown entries there."""

    cuts: dict[str, Cut]
    intervals: list[Interval]
    partitions: set[int]


def search(tables: Mapping[int, Known], sizes: Iterable[str], *, descending: bool) -> Searched:
    """Find where ranks of these sizes end, as far as that can be told."""
    candidates = sorted({entry for table in tables.values() for entry in table.entries})
    total = sum([table.total for table in tables.values()])
    found = Searched({}, [], set())
    for size in sorted(sizes):
        located = locate(tables, candidates, places(size, total))
        if isinstance(located, Found):
            found.cuts[size] = cut_at(located.entry, descending=descending)
        else:
            found.intervals.append((None if located.low is None else sortable(located.low), sortable(located.high)))
            found.partitions.update(located.partitions)
    return found
