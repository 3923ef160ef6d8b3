"""Series: what a customer's facts contribute to metrics of one filter, in time order, whatever the order they came in.

A series knows no window and no instant; readers cut windows out of it. Appending is the common case and costs a constant,
a late fact is inserted. For windows of calendar months, whose ends are not in the order of their beginnings, a series keeps
the expiries as well, sorted on their own.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Callable
from typing import Any

Expiry = Callable[[int], int]


class Ledger:
    """Amounts by instant, with running sums: `sums[i]` is the sum of the first `i`. `falls` tells that one was negative."""

    __slots__ = ("falls", "sums", "times")

    def __init__(self) -> None:
        self.times: list[int] = []
        self.sums: list[int] = [0]
        self.falls = False

    def add(self, at_ms: int, amount: int) -> None:
        """Add an amount at an instant."""
        times, sums = self.times, self.sums
        if amount < 0:
            self.falls = True
        if not times or at_ms >= times[-1]:
            times.append(at_ms)
            sums.append(sums[-1] + amount)
            return
        place = bisect_right(times, at_ms)
        times.insert(place, at_ms)
        sums.insert(place + 1, sums[place])
        for i in range(place + 1, len(sums)):
            sums[i] += amount

    def upto(self, at_ms: int) -> int:
        """Return the sum of all amounts at or before an instant."""
        times = self.times
        if not times or times[-1] <= at_ms:
            return self.sums[-1]
        return self.sums[bisect_right(times, at_ms)]


class Series:
    """The instants of matching events. `expiries` holds one sorted list for each window of months that is asked of it."""

    __slots__ = ("expiries", "times")

    def __init__(self, expiries: tuple[Expiry, ...]) -> None:
        self.times: list[int] = []
        self.expiries: tuple[list[int], ...] = tuple([[] for _ in expiries])

    def add(self, at_ms: int, _: Any, __: str, expiries: tuple[Expiry, ...]) -> None:
        """Add an event."""
        times = self.times
        if not times or at_ms >= times[-1]:
            times.append(at_ms)
        else:
            insort(times, at_ms)
        for place, expiry in enumerate(expiries):
            ends, end_ms = self.expiries[place], expiry(at_ms)
            if not ends or end_ms >= ends[-1]:
                ends.append(end_ms)
            else:
                insort(ends, end_ms)


class SumSeries:
    """Amounts by instant; `ends` holds them again by expiry, for each window of months."""

    __slots__ = ("amounts", "ends")

    def __init__(self, expiries: tuple[Expiry, ...]) -> None:
        self.amounts = Ledger()
        self.ends: tuple[Ledger, ...] = tuple([Ledger() for _ in expiries])

    def add(self, at_ms: int, amount: int, _: str, expiries: tuple[Expiry, ...]) -> None:
        """Add an event's sum."""
        self.amounts.add(at_ms, amount)
        for place, expiry in enumerate(expiries):
            self.ends[place].add(expiry(at_ms), amount)


class AverageSeries:
    """Amounts, and how many values made them up."""

    __slots__ = ("amounts", "counts")

    def __init__(self, expiries: tuple[Expiry, ...]) -> None:
        self.amounts = SumSeries(expiries)
        self.counts = SumSeries(expiries)

    def add(self, at_ms: int, contribution: tuple[int, int], event_id: str, expiries: tuple[Expiry, ...]) -> None:
        """Add an event's (sum, number of values)."""
        self.amounts.add(at_ms, contribution[0], event_id, expiries)
        self.counts.add(at_ms, contribution[1], event_id, expiries)


class ValueSeries:
    """The values of each event, ordered by (instant, event id): the order that `favourite` breaks ties by.

    `ends` holds, for each window of months, the expiry of each event, in the events' order. `late` counts the facts that were
    not the latest when they came: whoever remembers something of the past forgets it when this changes.
    """

    __slots__ = ("ends", "keys", "late", "tallies", "times", "values")

    def __init__(self, expiries: tuple[Expiry, ...]) -> None:
        self.times: list[int] = []
        self.keys: list[tuple[int, str]] = []
        self.values: list[tuple[Any, ...]] = []
        self.ends: list[list[int]] = [[] for _ in expiries]
        self.late = 0
        self.tallies: dict[int, Tally] = {}

    def add(self, at_ms: int, values: tuple[Any, ...], event_id: str, expiries: tuple[Expiry, ...]) -> None:
        """Add an event's values, in the order of its line items."""
        key = (at_ms, event_id)
        place = len(self.keys)
        if place and self.keys[-1] > key:
            place = bisect_right(self.keys, key)
            self.late += 1
        self.keys.insert(place, key)
        self.times.insert(place, at_ms)
        self.values.insert(place, values)
        for number, expiry in enumerate(expiries):
            self.ends[number].insert(place, expiry(at_ms))


class Tally:
    """How often each value lies in a window, kept up as time moves on, and the value that comes first by (count, latest)."""

    __slots__ = ("counts", "entered", "favourite", "late", "latest", "leaving", "order", "upto_ms")

    def __init__(self, late: int) -> None:
        self.late = late
        self.upto_ms = -1
        self.entered = 0
        self.order = 0
        self.counts: dict[Any, int] = {}
        self.latest: dict[Any, int] = {}
        self.leaving: list[tuple[int, int]] = []
        self.favourite: Any = None

    def copy(self) -> Tally:
        """Return a tally that can pass on without this one."""
        other = Tally(self.late)
        other.upto_ms, other.entered, other.order, other.favourite = self.upto_ms, self.entered, self.order, self.favourite
        other.counts, other.latest, other.leaving = dict(self.counts), dict(self.latest), list(self.leaving)
        return other

    def enter(self, values: tuple[Any, ...]) -> None:
        """Count the values of an event; events enter in order, so each value is the latest."""
        counts, latest = self.counts, self.latest
        for value in values:
            count = counts.get(value, 0) + 1
            counts[value] = count
            latest[value] = self.order
            self.order += 1
            if self.favourite is None or count >= counts[self.favourite]:
                self.favourite = value

    def leave(self, values: tuple[Any, ...]) -> None:
        """Take the values of an event that left off the count."""
        counts, latest = self.counts, self.latest
        for value in values:
            count = counts[value] - 1
            if count:
                counts[value] = count
            else:
                del counts[value], latest[value]
        if self.favourite in values:
            self.favourite = max(counts, key=lambda value: (counts[value], latest[value]), default=None)
