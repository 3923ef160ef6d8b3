"""Readers of series: the value of a metric at an instant, and how long the value stays between two bounds by itself.

Every reader answers two questions about a customer. `value(state, at)`: the value, or None when there is none. `until(state,
at, value, low, high)`: the first later instant at which, with no new fact, the value could fall below `low`, reach `high` or
come to be or not to be; a lower bound, and the exact instant for counts and for sums without returns. None leaves a side open.
"""

from __future__ import annotations

from bisect import bisect_right
from fractions import Fraction
from heapq import heappop, heappush
from typing import Any, Final

from schemas.instants import DAY_MS, NEVER, Duration
from services.segmenter.engine.calendar import Calendar
from services.segmenter.engine.series import AverageSeries, Ledger, Series, SumSeries, Tally, ValueSeries

_STEPS: Final = 64
"""Expiries looked at in one go where a sum can rise again: beyond them the bound is early, and the next look goes on."""


class State:
    """A customer as readers see one: a series for each that the plan keeps, and the profile."""

    __slots__ = ("profile", "series")

    def __init__(self, series: list[Any]) -> None:
        self.series = series
        self.profile: dict[str, Any] = {}


class Reader:
    """One measure over one series in one window, or one attribute."""

    def value(self, state: State, at_ms: int) -> Any:
        """Return the value at any instant, None when there is none."""
        raise NotImplementedError

    def until(self, state: State, at_ms: int, value: Any, low: Any, high: Any) -> int:
        """Return the first instant after `at_ms` at which the value may leave `[low, high)` by itself."""
        raise NotImplementedError

    def current(self, state: State, now_ms: int) -> Any:
        """Return the value now; may remember how it got there, since now only moves on."""
        return self.value(state, now_ms)

    def grown(self, state: State, at_ms: int) -> int | None:
        """Return the value if every fact, taken alone, only raises it for as long as it counts, else None."""
        return None


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

    def end(self, times: list[int], ends: list[int] | None, place: int) -> int:
        """Return when the event at a place leaves; `ends` are the expiries of a window of months, by place."""
        if ends is not None:
            return ends[place]
        return NEVER if self.span_ms is None else times[place] + self.span_ms

    def inside(self, times: list[int], ends: list[int] | None, at_ms: int) -> list[int]:
        """Return the places of the events inside the window at an instant, in time order."""
        entered = bisect_right(times, at_ms)
        if self.months is None or ends is None:
            return list(range(0 if self.span_ms is None else bisect_right(times, at_ms - self.span_ms), entered))
        first = bisect_right(times, at_ms - self.months.longest_ms)
        return [place for place in range(first, entered) if ends[place] > at_ms]


def next_entry(times: list[int], at_ms: int) -> int:
    """Return the instant of the first event still to come."""
    if not times or times[-1] <= at_ms:
        return NEVER
    return times[bisect_right(times, at_ms)]


class CountReader(Reader):
    """`count`."""

    def __init__(self, series: int, window: Window) -> None:
        self.series = series
        self.window = window

    def value(self, state: State, at_ms: int) -> int:
        """Return how many events are inside the window."""
        series: Series = state.series[self.series]
        times, window = series.times, self.window
        entered = len(times) if not times or times[-1] <= at_ms else bisect_right(times, at_ms)
        if window.span_ms is not None:
            return entered - bisect_right(times, at_ms - window.span_ms)
        if window.months is not None:
            return entered - bisect_right(series.expiries[window.ends], at_ms)
        return entered

    def until(self, state: State, at_ms: int, value: int, low: int | None, high: int | None) -> int:
        """Return when the count falls below `low`: with the expiry that leaves `low - 1` of those that have entered."""
        series: Series = state.series[self.series]
        times, window = series.times, self.window
        change_ms = next_entry(times, at_ms)
        if low is None or low <= 0 or (window.span_ms is None and window.months is None):
            return change_ms
        last = bisect_right(times, at_ms) - low
        fall_ms = times[last] + window.span_ms if window.span_ms is not None else series.expiries[window.ends][last]
        return min(change_ms, fall_ms)

    grown = value  # an event counts one


class SumReader(Reader):
    """`sum`."""

    def __init__(self, series: int, window: Window) -> None:
        self.series = series
        self.window = window

    def value(self, state: State, at_ms: int) -> int:
        """Return the sum of the amounts inside the window."""
        series: SumSeries = state.series[self.series]
        window = self.window
        total = series.amounts.upto(at_ms)
        if window.span_ms is not None:
            return total - series.amounts.upto(at_ms - window.span_ms)
        if window.months is not None:
            return total - series.ends[window.ends].upto(at_ms)
        return total

    def until(self, state: State, at_ms: int, value: int, low: int | None, high: int | None) -> int:
        """Return when the sum leaves `[low, high)`: by a search where it can only fall, else step by step."""
        series: SumSeries = state.series[self.series]
        window = self.window
        change_ms = next_entry(series.amounts.times, at_ms)
        if window.span_ms is None and window.months is None:
            return change_ms
        exits, shift_ms = (series.amounts, window.span_ms) if window.span_ms is not None else (series.ends[window.ends], 0)
        entered = series.amounts.upto(at_ms)
        if exits.falls:
            return min(change_ms, _stepped(exits, shift_ms, at_ms, entered, low, high))
        if low is None:
            return change_ms
        gone = bisect_right(exits.sums, entered - low)
        return min(change_ms, exits.times[gone - 1] + shift_ms) if gone < len(exits.sums) else change_ms

    def grown(self, state: State, at_ms: int) -> int | None:
        """Return the sum as long as no return has come."""
        series: SumSeries = state.series[self.series]
        return None if series.amounts.falls else self.value(state, at_ms)


def _stepped(exits: Ledger, shift_ms: int, at_ms: int, entered: int, low: int | None, high: int | None) -> int:
    first = bisect_right(exits.times, at_ms - shift_ms)
    last = min(first + _STEPS, len(exits.times))
    for place in range(first, last):
        left = entered - exits.sums[place + 1]
        if (low is not None and left < low) or (high is not None and left >= high):
            return exits.times[place] + shift_ms
    return exits.times[last] + shift_ms if last < len(exits.times) else NEVER


class AverageReader(Reader):
    """`avg`, as an exact fraction."""

    def __init__(self, series: int, window: Window) -> None:
        self.series = series
        self.window = window

    def value(self, state: State, at_ms: int) -> Fraction | None:
        """Return the mean of the values inside the window, None of none."""
        series: AverageSeries = state.series[self.series]
        window = self.window
        amounts, counts = series.amounts, series.counts
        total, count = amounts.amounts.upto(at_ms), counts.amounts.upto(at_ms)
        if window.span_ms is not None:
            total -= amounts.amounts.upto(at_ms - window.span_ms)
            count -= counts.amounts.upto(at_ms - window.span_ms)
        elif window.months is not None:
            total -= amounts.ends[window.ends].upto(at_ms)
            count -= counts.ends[window.ends].upto(at_ms)
        return Fraction(total, count) if count else None

    def until(self, state: State, at_ms: int, value: Any, low: Any, high: Any) -> int:
        """Return when the next event enters or leaves."""
        series: AverageSeries = state.series[self.series]
        window, times = self.window, series.amounts.amounts.times
        change_ms = next_entry(times, at_ms)
        if window.span_ms is not None:
            place = bisect_right(times, at_ms - window.span_ms)
            return min(change_ms, times[place] + window.span_ms) if place < len(times) else change_ms
        return min(change_ms, next_entry(series.amounts.ends[window.ends].times, at_ms)) if window.months is not None else change_ms


class ValuesReader(Reader):
    """`min`, `max`, `distinct` and `favourite`: folds over how often each value lies in the window."""

    def __init__(self, series: int, window: Window, measure: str, index: int) -> None:
        self.series = series
        self.window = window
        self.measure = measure
        self.index = index

    def value(self, state: State, at_ms: int) -> Any:
        """Return the fold of the values inside the window, going on from a copy of where the last look at now left it."""
        series: ValueSeries = state.series[self.series]
        known = series.tallies.get(self.index)
        fresh = known is None or known.late != series.late or at_ms < known.upto_ms
        tally = Tally(series.late) if fresh or known is None else known.copy()
        self._pass(tally, series, at_ms)
        return self._fold(tally)

    def current(self, state: State, now_ms: int) -> Any:
        """Return the fold now, from where the last look left it."""
        series: ValueSeries = state.series[self.series]
        tally = series.tallies.get(self.index)
        if tally is None or tally.late != series.late or now_ms < tally.upto_ms:
            tally = series.tallies[self.index] = Tally(series.late)
        self._pass(tally, series, now_ms)
        return self._fold(tally)

    def until(self, state: State, at_ms: int, value: Any, low: Any, high: Any) -> int:
        """Return when the next event enters or leaves."""
        series: ValueSeries = state.series[self.series]
        entry_ms = next_entry(series.times, at_ms)
        tally = series.tallies.get(self.index)
        if tally is not None and tally.late == series.late and tally.upto_ms == at_ms:
            return min(entry_ms, tally.leaving[0][0]) if tally.leaving else entry_ms
        ends = series.ends[self.window.ends] if self.window.months is not None else None
        inside = self.window.inside(series.times, ends, at_ms)
        return min(entry_ms, min((self.window.end(series.times, ends, place) for place in inside), default=NEVER))

    def _pass(self, tally: Tally, series: ValueSeries, at_ms: int) -> None:
        """Let the tally pass to an instant: events enter in their order and leave in the order of their expiries."""
        window, times, values, leaving = self.window, series.times, series.values, tally.leaving
        ends = series.ends[window.ends] if window.months is not None else None
        place, last = tally.entered, len(times)
        while place < last and times[place] <= at_ms:
            end_ms = window.end(times, ends, place)
            if end_ms > at_ms:
                tally.enter(values[place])
                if end_ms < NEVER:
                    heappush(leaving, (end_ms, place))
            place += 1
        tally.entered = place
        tally.upto_ms = at_ms
        while leaving and leaving[0][0] <= at_ms:
            tally.leave(values[heappop(leaving)[1]])

    def _fold(self, tally: Tally) -> Any:
        counts = tally.counts
        if self.measure == "distinct":
            return len(counts)
        if self.measure == "favourite":
            return tally.favourite
        return (min if self.measure == "min" else max)(counts, default=None)


class DaysReader(Reader):
    """`days_since_first` and `days_since_last`: whole periods of 24 hours."""

    def __init__(self, series: int, window: Window, *, first: bool) -> None:
        self.series = series
        self.window = window
        self.first = first

    def value(self, state: State, at_ms: int) -> int | None:
        """Return the whole days since the event, None without one."""
        event_ms = self._event(state.series[self.series], at_ms)
        return None if event_ms < 0 else (at_ms - event_ms) // DAY_MS

    def until(self, state: State, at_ms: int, value: int | None, low: int | None, high: int | None) -> int:
        """Return when the days reach `high`, or the event leaves the window, or another enters."""
        series: Series = state.series[self.series]
        change_ms = next_entry(series.times, at_ms)
        event_ms = self._event(series, at_ms)
        if event_ms < 0:
            return change_ms
        reach_ms = NEVER if high is None else event_ms + high * DAY_MS
        return min(change_ms, reach_ms, self.window.expiry(event_ms))

    def _event(self, series: Series, at_ms: int) -> int:
        """Return the instant of the first or last event inside the window, -1 without one."""
        window, times = self.window, series.times
        entered = bisect_right(times, at_ms)
        if window.months is not None:
            first = bisect_right(times, at_ms - window.months.longest_ms)
            places = range(first, entered) if self.first else range(entered - 1, first - 1, -1)
            for place in places:
                if window.expiry(times[place]) > at_ms:
                    return times[place]
            return -1
        start = 0 if window.span_ms is None else bisect_right(times, at_ms - window.span_ms)
        return -1 if start >= entered else times[start if self.first else entered - 1]
