"""Readers of series: the value of a metric at an instant, and how long the value stays between two bounds by itself.

Every reader answers two questions about a customer. `value(live, at)`: the value, or None when there is none. `until(live,
at, value, low, high)`: the first later instant at which, with no new fact, the value could fall below `low`, reach `high` or
come to be or not to be; a lower bound, and the exact instant for counts and for sums without returns. None leaves a side open.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from fractions import Fraction
from itertools import chain
from typing import Any, Final, Protocol

from schemas.instants import DAY_MS, NEVER, Duration
from services.segmenter.engine.calendar import Calendar
from services.segmenter.engine.series import Ledger, Series, SumSeries, ValueSeries

_STEPS: Final = 64
"""Expiries looked at in one go where a sum can rise again: beyond them the bound is early, and the next look goes on."""


class Live(Protocol):
    """A customer as readers see one."""

    series: list[Any]
    profile: dict[str, Any]


class Reader(Protocol):
    """One measure over one series in one window, or one attribute."""

    def value(self, live: Live, at_ms: int) -> Any:
        """Return the value at an instant, None when there is none."""

    def until(self, live: Live, at_ms: int, value: Any, low: Any, high: Any) -> int:
        """Return the first instant after `at_ms` at which the value may leave `[low, high)` by itself."""

    def only_grows(self, live: Live) -> bool:
        """Whether every fact, taken alone, only raises the value for as long as it counts."""


class Settled:
    """A reader whose value any fact may move either way."""

    def only_grows(self, live: Live) -> bool:
        """Return no: each fact needs a fresh look at the bound."""
        return False


class Window:
    """A metric's window on one series: exact (`span_ms`), of months (`months`, with the series' list of expiries), or neither."""

    __slots__ = ("calendar", "ends", "months", "span_ms")

    def __init__(self, duration: Duration | None, calendar: Calendar, ends: int) -> None:
        self.calendar = calendar
        self.months = duration if duration is not None and duration.months else None
        self.span_ms = None if duration is None or duration.months else duration.exact_ms
        self.ends = ends

    def expiry(self, at_ms: int) -> int:
        """Return when an event at an instant leaves the window."""
        if self.months is not None:
            return self.calendar.plus(at_ms, self.months)
        return NEVER if self.span_ms is None else at_ms + self.span_ms

    def inside(self, times: list[int], at_ms: int) -> list[int]:
        """Return the places of the events inside the window at an instant, in time order."""
        entered = bisect_right(times, at_ms)
        if self.months is None:
            return list(range(0 if self.span_ms is None else bisect_right(times, at_ms - self.span_ms), entered))
        first = bisect_right(times, at_ms - self.months.longest_ms)
        return [place for place in range(first, entered) if self.expiry(times[place]) > at_ms]

    def next_change(self, times: list[int], at_ms: int) -> int:
        """Return the next instant at which an event enters or leaves by itself."""
        entry_ms = next_entry(times, at_ms)
        if self.months is None and self.span_ms is None:
            return entry_ms
        return min(entry_ms, min((self.expiry(times[place]) for place in self.inside(times, at_ms)), default=NEVER))


def next_entry(times: list[int], at_ms: int) -> int:
    """Return the instant of the first event still to come."""
    if not times or times[-1] <= at_ms:
        return NEVER
    return times[bisect_right(times, at_ms)]


class CountReader:
    """`count`."""

    def __init__(self, series: int, window: Window) -> None:
        self.series = series
        self.window = window

    def value(self, live: Live, at_ms: int) -> int:
        """Return how many events are inside the window."""
        series: Series = live.series[self.series]
        times, window = series.times, self.window
        entered = len(times) if not times or times[-1] <= at_ms else bisect_right(times, at_ms)
        if window.span_ms is not None:
            return entered - bisect_right(times, at_ms - window.span_ms)
        if window.months is not None:
            return entered - bisect_right(series.expiries[window.ends], at_ms)
        return entered

    def until(self, live: Live, at_ms: int, value: int, low: int | None, high: int | None) -> int:
        """Return when the count falls below `low`: with the expiry that leaves `low - 1` of those that have entered."""
        series: Series = live.series[self.series]
        times, window = series.times, self.window
        change_ms = next_entry(times, at_ms)
        if low is None or low <= 0 or (window.span_ms is None and window.months is None):
            return change_ms
        last = bisect_right(times, at_ms) - low
        fall_ms = times[last] + window.span_ms if window.span_ms is not None else series.expiries[window.ends][last]
        return min(change_ms, fall_ms)

    def only_grows(self, live: Live) -> bool:
        """Return yes: an event counts one."""
        return True


class SumReader:
    """`sum`."""

    def __init__(self, series: int, window: Window) -> None:
        self.series = series
        self.window = window

    def value(self, live: Live, at_ms: int) -> int:
        """Return the sum of the amounts inside the window."""
        series: SumSeries = live.series[self.series]
        window = self.window
        total = series.amounts.upto(at_ms)
        if window.span_ms is not None:
            return total - series.amounts.upto(at_ms - window.span_ms)
        if window.months is not None:
            return total - series.ends[window.ends][0].upto(at_ms)
        return total

    def until(self, live: Live, at_ms: int, value: int, low: int | None, high: int | None) -> int:
        """Return when the sum leaves `[low, high)`: by a search where it can only fall, else step by step."""
        series: SumSeries = live.series[self.series]
        window = self.window
        change_ms = next_entry(series.amounts.times, at_ms)
        if window.span_ms is None and window.months is None:
            return change_ms
        exits, shift_ms = (series.amounts, window.span_ms) if window.span_ms is not None else (series.ends[window.ends][0], 0)
        entered = series.amounts.upto(at_ms)
        if exits.falls:
            return min(change_ms, _stepped(exits, shift_ms, at_ms, entered, low, high))
        if low is None:
            return change_ms
        gone = bisect_right(exits.sums, entered - low)
        return min(change_ms, exits.times[gone - 1] + shift_ms) if gone < len(exits.sums) else change_ms

    def only_grows(self, live: Live) -> bool:
        """Return yes as long as no return has come."""
        series: SumSeries = live.series[self.series]
        return not series.amounts.falls


def _stepped(exits: Ledger, shift_ms: int, at_ms: int, entered: int, low: int | None, high: int | None) -> int:
    first = bisect_right(exits.times, at_ms - shift_ms)
    last = min(first + _STEPS, len(exits.times))
    for place in range(first, last):
        left = entered - exits.sums[place + 1]
        if (low is not None and left < low) or (high is not None and left >= high):
            return exits.times[place] + shift_ms
    return exits.times[last] + shift_ms if last < len(exits.times) else NEVER


class AverageReader(Settled):
    """`avg`, as an exact fraction."""

    def __init__(self, series: int, window: Window) -> None:
        self.series = series
        self.window = window

    def value(self, live: Live, at_ms: int) -> Fraction | None:
        """Return the mean of the values inside the window, None of none."""
        series: SumSeries = live.series[self.series]
        window = self.window
        total, count = series.amounts.upto(at_ms), series.counts.upto(at_ms)
        if window.span_ms is not None:
            total -= series.amounts.upto(at_ms - window.span_ms)
            count -= series.counts.upto(at_ms - window.span_ms)
        elif window.months is not None:
            amounts, counts = series.ends[window.ends]
            total -= amounts.upto(at_ms)
            count -= counts.upto(at_ms)
        return Fraction(total, count) if count else None

    def until(self, live: Live, at_ms: int, value: Any, low: Any, high: Any) -> int:
        """Return when the next event enters or leaves."""
        series: SumSeries = live.series[self.series]
        window, times = self.window, series.amounts.times
        change_ms = next_entry(times, at_ms)
        if window.span_ms is not None:
            place = bisect_right(times, at_ms - window.span_ms)
            return min(change_ms, times[place] + window.span_ms) if place < len(times) else change_ms
        return min(change_ms, next_entry(series.ends[window.ends][0].times, at_ms)) if window.months is not None else change_ms


class ValuesReader(Settled):
    """`min`, `max`, `distinct` and `favourite`, told apart by `fold`."""

    def __init__(self, series: int, window: Window, measure: str) -> None:
        self.series = series
        self.window = window
        self.fold = {"min": _least, "max": _greatest, "distinct": _distinct, "favourite": _favourite}[measure]

    def value(self, live: Live, at_ms: int) -> Any:
        """Return the fold of the values inside the window, in time order."""
        series: ValueSeries = live.series[self.series]
        values = series.values
        return self.fold([values[place] for place in self.window.inside(series.times, at_ms)])

    def until(self, live: Live, at_ms: int, value: Any, low: Any, high: Any) -> int:
        """Return when the next event enters or leaves."""
        series: ValueSeries = live.series[self.series]
        return self.window.next_change(series.times, at_ms)


def _least(values: list[tuple[Any, ...]]) -> Any:
    return min(map(min, values), default=None)


def _greatest(values: list[tuple[Any, ...]]) -> Any:
    return max(map(max, values), default=None)


def _distinct(values: list[tuple[Any, ...]]) -> int:
    return len(set(chain.from_iterable(values)))


def _favourite(values: list[tuple[Any, ...]]) -> Any:
    counts: Counter[Any] = Counter()
    best, most = None, 0
    for value in chain.from_iterable(values):
        counts[value] += 1
    # The latest of equals: walking back from the last value, the first one that is as frequent as any.
    most = max(counts.values(), default=0)
    for value in chain.from_iterable(reversed(members) for members in reversed(values)):
        if counts[value] == most:
            best = value
            break
    return best


class DaysReader(Settled):
    """`days_since_first` and `days_since_last`: whole periods of 24 hours."""

    def __init__(self, series: int, window: Window, *, first: bool) -> None:
        self.series = series
        self.window = window
        self.first = first

    def value(self, live: Live, at_ms: int) -> int | None:
        """Return the whole days since the event, None without one."""
        event_ms = self._event(live.series[self.series].times, at_ms)
        return None if event_ms is None else (at_ms - event_ms) // DAY_MS

    def until(self, live: Live, at_ms: int, value: int | None, low: int | None, high: int | None) -> int:
        """Return when the days reach `high`, or the event leaves the window, or another enters."""
        times = live.series[self.series].times
        change_ms = next_entry(times, at_ms)
        event_ms = self._event(times, at_ms)
        if event_ms is None:
            return change_ms
        reach_ms = NEVER if high is None else event_ms + high * DAY_MS
        return min(change_ms, reach_ms, self.window.expiry(event_ms))

    def _event(self, times: list[int], at_ms: int) -> int | None:
        window = self.window
        if not self.first and window.months is None:
            entered = bisect_right(times, at_ms)
            if not entered or (window.span_ms is not None and times[entered - 1] + window.span_ms <= at_ms):
                return None
            return times[entered - 1]
        places = window.inside(times, at_ms)
        return times[places[0 if self.first else -1]] if places else None
