"""Series: what a customer's facts contribute to metrics of one filter, in time order, whatever the order they came in.

A series knows no instant; readers cut windows out of it. Appending is the common case and costs a constant, a late fact is
inserted. For windows of months, whose ends are not in the order of their beginnings, a series keeps the expiries as well,
sorted on their own.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from typing import Any, cast

from services.segmenter.engine.windows import Expiries


class Series:
    """The instants of matching events. `expiries` are those of the windows of months that are asked of it."""

    def __init__(self, expiries: list[Expiries]) -> None:
        self.expiries = expiries
        self.times: list[int] = []

    def add(self, at_ms: int, contribution: Any, event_id: str) -> int:
        """Add an event's contribution; return by how much it can raise a count or a sum, -1 where that is no answer."""
        raise NotImplementedError

    def under(self, expiries: list[Expiries], at_ms: int) -> Series:
        """Return a series of the same events for another plan, asked for windows of months of its own at an instant or later.

        What both have in common is shared: nothing may be added to this one any more, or to the other.
        """
        if [found.span for found in expiries] == [found.span for found in self.expiries]:
            return self
        return self._under(expiries, [_place(self.expiries, found) for found in expiries], at_ms)

    def _under(self, expiries: list[Expiries], places: list[int], at_ms: int) -> Series:
        """Return the other series; `places` says for each expiry where this one has it already, -1 if it has not."""
        raise NotImplementedError


def _place(expiries: list[Expiries], wanted: Expiries) -> int:
    for place, found in enumerate(expiries):
        if found.span == wanted.span:
            return place
    return -1


class MarkSeries(Series):
    """Events that are counted. `ends`: for each window of months the sorted expiries."""

    def __init__(self, expiries: list[Expiries]) -> None:
        super().__init__(expiries)
        self.ends: list[list[int]] = [[] for _ in expiries]

    def add(self, at_ms: int, contribution: Any, event_id: str) -> int:
        """Add an event."""
        _insert(self.times, at_ms)
        for place, expiries in enumerate(self.expiries):
            _insert(self.ends[place], expiries.of(at_ms))
        return 1

    def _under(self, expiries: list[Expiries], places: list[int], at_ms: int) -> Series:
        other = MarkSeries(expiries)
        other.times = self.times
        other.ends = [
            self.ends[place] if place >= 0 else sorted(found.of_each(self.times, at_ms)) for found, place in zip(expiries, places, strict=True)
        ]
        return other


def _insert(times: list[int], at_ms: int) -> None:
    if not times or at_ms >= times[-1]:
        times.append(at_ms)
    else:
        insort(times, at_ms)


class Ledger:
    """Amounts by instant, with running sums: `sums[i]` is the sum of the first `i`."""

    def __init__(self) -> None:
        self.times: list[int] = []
        self.sums: list[int] = [0]

    def add(self, at_ms: int, amount: int) -> None:
        """Add an amount at an instant."""
        times, sums = self.times, self.sums
        if not times or at_ms >= times[-1]:
            times.append(at_ms)
            sums.append(sums[-1] + amount)
            return
        place = bisect_right(times, at_ms)
        times.insert(place, at_ms)
        sums.insert(place + 1, sums[place])
        for i in range(place + 1, len(sums)):
            sums[i] = sums[i] + amount

    def upto(self, at_ms: int) -> int:
        """Return the sum of all amounts at or before an instant."""
        times = self.times
        if not times or times[-1] <= at_ms:
            return self.sums[-1]
        return self.sums[bisect_right(times, at_ms)]

    def by_expiry(self, expiries: Expiries, at_ms: int) -> Ledger:
        """Return the same amounts at the instants at which their events leave, as `Expiries.of_each` has them."""
        other, sums = Ledger(), self.sums
        for end_ms, place in sorted([(end_ms, place) for place, end_ms in enumerate(expiries.of_each(self.times, at_ms))]):
            other.add(end_ms, sums[place + 1] - sums[place])
        return other


class SumSeries(Series):
    """Amounts by instant; `ends` holds them again by expiry, for each window of months. `falls`: one was negative."""

    def __init__(self, expiries: list[Expiries]) -> None:
        super().__init__(expiries)
        self.amounts = Ledger()
        self.times = self.amounts.times
        self.ends: list[Ledger] = [Ledger() for _ in expiries]
        self.falls = False

    def add(self, at_ms: int, contribution: Any, event_id: str) -> int:
        """Add an event's amount."""
        amount: int = contribution
        self.amounts.add(at_ms, amount)
        for place, expiries in enumerate(self.expiries):
            self.ends[place].add(expiries.of(at_ms), amount)
        if amount < 0:
            self.falls = True
        return -1 if self.falls else amount

    def _under(self, expiries: list[Expiries], places: list[int], at_ms: int) -> Series:
        other = SumSeries(expiries)
        other.amounts, other.times, other.falls = self.amounts, self.times, self.falls
        other.ends = [self.ends[place] if place >= 0 else self.amounts.by_expiry(found, at_ms) for found, place in zip(expiries, places, strict=True)]
        return other


class AverageSeries(Series):
    """Amounts, and how many values made them up."""

    def __init__(self, expiries: list[Expiries]) -> None:
        super().__init__(expiries)
        self.amounts = SumSeries(expiries)
        self.counts = SumSeries(expiries)
        self.times = self.amounts.times

    def add(self, at_ms: int, contribution: Any, event_id: str) -> int:
        """Add an event's (sum, number of values)."""
        pair: tuple[int, int] = contribution
        self.amounts.add(at_ms, pair[0], event_id)
        self.counts.add(at_ms, pair[1], event_id)
        return -1

    def _under(self, expiries: list[Expiries], places: list[int], at_ms: int) -> Series:
        other = AverageSeries(expiries)
        other.amounts, other.counts = cast(SumSeries, self.amounts.under(expiries, at_ms)), cast(SumSeries, self.counts.under(expiries, at_ms))
        other.times = other.amounts.times
        return other


class ValueSeries(Series):
    """The values of each event, ordered by (instant, event id): the order that `favourite` breaks ties by.

    `ends` holds, for each window of months, the expiry of each event, in the events' order. `late` counts the facts that were
    not the latest when they came: whoever remembers something of the past forgets it when this changes.
    """

    def __init__(self, expiries: list[Expiries]) -> None:
        super().__init__(expiries)
        self.ids: list[str] = []
        self.values: list[tuple[Any, ...]] = []
        self.ends: list[list[int]] = [[] for _ in expiries]
        self.late = 0
        self.tallies: dict[int, Tally] = {}
        """For each reader what it counts now."""
        self.ahead: dict[int, Tally] = {}
        """For each reader what it counted when it last asked about another instant."""

    def add(self, at_ms: int, contribution: Any, event_id: str) -> int:
        """Add an event's values, in the order of its line items."""
        values: tuple[Any, ...] = contribution
        times, ids, ends = self.times, self.ids, self.ends
        if self.ahead:
            self.ahead.clear()
        if not times or times[-1] < at_ms:
            times.append(at_ms)
            ids.append(event_id)
            self.values.append(values)
            for number, expiries in enumerate(self.expiries):
                ends[number].append(expiries.of(at_ms))
            return -1
        place = bisect_right(times, at_ms)
        while place and times[place - 1] == at_ms and ids[place - 1] > event_id:
            place -= 1
        if place < len(times):
            self.late += 1
        times.insert(place, at_ms)
        ids.insert(place, event_id)
        self.values.insert(place, values)
        for number, expiries in enumerate(self.expiries):
            ends[number].insert(place, expiries.of(at_ms))
        return -1

    def under(self, expiries: list[Expiries], at_ms: int) -> Series:
        """Return a series of the same events; what readers remember belongs to the readers of one plan."""
        other = ValueSeries(expiries)
        other.times, other.ids, other.values, other.late = self.times, self.ids, self.values, self.late
        places = [_place(self.expiries, found) for found in expiries]
        other.ends = [self.ends[place] if place >= 0 else found.of_each(self.times, at_ms) for found, place in zip(expiries, places, strict=True)]
        return other


class Tally:
    """How often each value lies in a window, kept up as time moves on; if it is `favouring`, the value that comes first by (count, latest).

    `lasting`: nothing ever leaves, so that it need not be known which came last, nor how often what no favourite is sought of.
    """

    def __init__(self, late: int, jumps_ms: int, *, favouring: bool, lasting: bool) -> None:
        self.late = late
        self.jumps_ms = jumps_ms
        self.favouring = favouring
        self.lasting = lasting
        self.upto_ms = -1
        self.entered = 0
        self.order = 0
        self.counts: dict[Any, int] = {}
        self.latest: dict[Any, int] = {}
        self.leaving: list[tuple[int, int]] = []
        self.favourite: Any = None

    def copy(self) -> Tally:
        """Return a tally that can pass on without this one."""
        other = Tally(self.late, self.jumps_ms, favouring=self.favouring, lasting=self.lasting)
        other.upto_ms, other.entered, other.order, other.favourite = self.upto_ms, self.entered, self.order, self.favourite
        other.counts, other.latest, other.leaving = dict(self.counts), dict(self.latest), list(self.leaving)
        return other

    def enter(self, values: tuple[Any, ...]) -> None:
        """Count the values of an event; events enter in order, so each value is the latest."""
        counts, latest, order = self.counts, self.latest, self.order
        lasting = self.lasting
        if not self.favouring:
            for value in values:
                counts[value] = 1 if lasting else counts.get(value, 0) + 1
            return
        favourite = self.favourite
        most = counts.get(favourite, 0)
        for value in values:
            count = counts.get(value, 0) + 1
            counts[value] = count
            if not lasting:
                latest[value] = order
                order += 1
            if count >= most:
                favourite, most = value, count
        self.order, self.favourite = order, favourite

    def leave(self, values: tuple[Any, ...]) -> None:
        """Take the values of an event that left off the count."""
        counts, latest = self.counts, self.latest
        for value in values:
            count = counts[value] - 1
            if count:
                counts[value] = count
            else:
                del counts[value]
                latest.pop(value, None)
        if self.favouring and self.favourite in values:
            self.favourite = max(counts, key=lambda value: (counts[value], latest[value]), default=None)
