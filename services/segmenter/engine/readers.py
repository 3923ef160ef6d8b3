"""Readers of series: the value of a metric at an instant, and how long the value stays between two bounds by itself.

Every reader answers two questions about a customer. `value(state, at)`: the value, or None when there is none. `until(state,
at, value, low, high)`: the first later instant at which, with no new fact, the value could fall below `low`, reach `high` or
come to be or not to be; a lower bound, and the exact instant for counts and for sums without returns. None leaves a side open.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Any, Final, cast

from schemas.instants import DAY_MS, NEVER
from services.segmenter.engine.series import AverageSeries, Ledger, MarkSeries, Series, SumSeries
from services.segmenter.engine.windows import Window, next_entry

_STEPS: Final = 64
"""Expiries looked at in one go where a sum can rise again: beyond them the bound is early, and the next look goes on."""


class State:
    """A customer as readers see one: a series for each that the plan keeps, the profile, and the bits of the ranks that hold."""

    def __init__(self, series: list[Series]) -> None:
        self.series = series
        self.profile: dict[str, Any] = {}
        self.standing = 0


class Reader:
    """One measure over one series in one window, or one attribute."""

    def value(self, state: State, at_ms: int) -> Any:
        """Return the value at any instant, None when there is none."""
        raise NotImplementedError

    def until(self, state: State, at_ms: int, value: Any, low: int | None, high: int | None) -> int:
        """Return the first instant after `at_ms` at which the value may leave `[low, high)` by itself."""
        raise NotImplementedError

    def current(self, state: State, now_ms: int) -> Any:
        """Return the value now; may remember how it got there, since now only moves on."""
        return self.value(state, now_ms)

    def adds_up(self, state: State) -> bool:
        """Whether every fact, taken alone, only raises the value for as long as it counts, by what its series says."""
        return False


def until_other(reader: Reader, state: State, at_ms: int, value: Any) -> int:
    """Return an instant before which a value, seen at an instant, is no other one; early at worst."""
    if isinstance(value, int):
        return reader.until(state, at_ms, value, value, value + 1)
    return reader.until(state, at_ms, value, None, None)


class CountReader(Reader):
    """`count`."""

    def __init__(self, series: int, window: Window) -> None:
        self.series = series
        self.window = window

    def value(self, state: State, at_ms: int) -> Any:
        """Return how many events are inside the window."""
        series = cast(MarkSeries, state.series[self.series])
        window = self.window
        entered = window.entered(series.times, at_ms)
        if window.months >= 0:
            return entered - bisect_right(series.ends[window.months], at_ms)
        return entered - window.left(series.times, at_ms)

    def until(self, state: State, at_ms: int, value: Any, low: int | None, high: int | None) -> int:
        """Return when the count falls below `low`: with the expiry that leaves `low - 1` of those that have entered."""
        series = cast(MarkSeries, state.series[self.series])
        window = self.window
        change_ms = window.turns_ms(series.times, at_ms)
        if low is None or low <= 0 or window.lasting:
            return change_ms
        last = window.entered(series.times, at_ms) - low
        if window.months >= 0:
            return min(change_ms, series.ends[window.months][last])
        return min(change_ms, window.expiry(series.times[last], at_ms))

    def adds_up(self, state: State) -> bool:
        """An event counts one."""
        return True


class SumReader(Reader):
    """`sum`."""

    def __init__(self, series: int, window: Window) -> None:
        self.series = series
        self.window = window

    def value(self, state: State, at_ms: int) -> Any:
        """Return the sum of the amounts inside the window."""
        return summed(cast(SumSeries, state.series[self.series]), self.window, at_ms)

    def until(self, state: State, at_ms: int, value: Any, low: int | None, high: int | None) -> int:
        """Return when the sum leaves `[low, high)`: by a search where it can only fall, else step by step."""
        series = cast(SumSeries, state.series[self.series])
        window, times = self.window, series.times
        change_ms = window.turns_ms(times, at_ms)
        exits = series.ends[window.months] if window.months >= 0 else series.amounts
        shift_ms = 0 if window.months >= 0 else window.longest_ms()
        if shift_ms >= NEVER:
            return change_ms
        entered = series.amounts.sums[window.entered(times, at_ms)]
        if series.falls:
            return min(change_ms, _stepped(exits, shift_ms, at_ms, entered, low, high))
        if low is None:
            return change_ms
        gone = bisect_right(exits.sums, entered - low)
        return min(change_ms, exits.times[gone - 1] + shift_ms) if gone < len(exits.sums) else change_ms

    def adds_up(self, state: State) -> bool:
        """As long as no return has come."""
        return not cast(SumSeries, state.series[self.series]).falls


def summed(series: SumSeries, window: Window, at_ms: int) -> int:
    """Return the sum of the amounts inside a window at an instant."""
    times, sums = series.times, series.amounts.sums
    total = sums[window.entered(times, at_ms)]
    if window.months >= 0:
        return total - series.ends[window.months].upto(at_ms)
    return total - sums[window.left(times, at_ms)]


def _stepped(exits: Ledger, shift_ms: int, at_ms: int, entered: int, low: int | None, high: int | None) -> int:
    first = bisect_right(exits.times, at_ms - shift_ms)
    last = min(first + _STEPS, len(exits.times))
    for place in range(first, last):
        left = entered - exits.sums[place + 1]
        if (low is not None and left < low) or (high is not None and left >= high):
            return exits.times[place] + shift_ms
    return exits.times[last] + shift_ms if last < len(exits.times) else NEVER


class AverageReader(Reader):
    """`avg`, as an exact fraction `(sum, number of values)` that is not reduced."""

    def __init__(self, series: int, window: Window) -> None:
        self.series = series
        self.window = window

    def value(self, state: State, at_ms: int) -> Any:
        """Return the mean of the values inside the window, None of none."""
        series = cast(AverageSeries, state.series[self.series])
        count = summed(series.counts, self.window, at_ms)
        return (summed(series.amounts, self.window, at_ms), count) if count else None

    def until(self, state: State, at_ms: int, value: Any, low: int | None, high: int | None) -> int:
        """Return when the next event enters or leaves."""
        series = cast(AverageSeries, state.series[self.series])
        return next_change(self.window, series.times, series.amounts.ends[self.window.months].times if self.window.months >= 0 else None, at_ms)


def next_change(window: Window, times: list[int], ends: list[int] | None, at_ms: int) -> int:
    """Return the instant of the next entry, exit or jump; `ends` are the sorted expiries of a window of months."""
    change_ms = window.turns_ms(times, at_ms)
    if ends is not None:
        return min(change_ms, next_entry(ends, at_ms))
    if window.lasting:
        return change_ms
    place = window.left(times, at_ms)
    return min(change_ms, window.expiry(times[place], at_ms)) if place < window.entered(times, at_ms) else change_ms


class DaysReader(Reader):
    """`days_since_first` and `days_since_last`: whole periods of 24 hours."""

    def __init__(self, series: int, window: Window, *, first: bool) -> None:
        self.series = series
        self.window = window
        self.first = first

    def value(self, state: State, at_ms: int) -> Any:
        """Return the whole days since the event, None without one."""
        event_ms = self.event_ms(state, at_ms)
        return None if event_ms < 0 else (at_ms - event_ms) // DAY_MS

    def event_ms(self, state: State, at_ms: int) -> int:
        """Return the instant of the event that days are counted from, -1 without one."""
        return self._event(state.series[self.series].times, at_ms)

    def until(self, state: State, at_ms: int, value: Any, low: int | None, high: int | None) -> int:
        """Return when the days reach `high`, or the event leaves the window, or another enters."""
        times = state.series[self.series].times
        change_ms = self.window.turns_ms(times, at_ms)
        event_ms = self._event(times, at_ms)
        if event_ms < 0:
            return change_ms
        reach_ms = NEVER if high is None else event_ms + high * DAY_MS
        return min(change_ms, reach_ms, self.window.expiry(event_ms, at_ms))

    def _event(self, times: list[int], at_ms: int) -> int:
        """Return the instant of the first or last event inside the window, -1 without one."""
        window = self.window
        entered = window.entered(times, at_ms)
        if window.months >= 0:
            oldest = window.oldest(times, at_ms)
            for step in range(entered - oldest):
                event_ms = times[oldest + step if self.first else entered - 1 - step]
                if window.expiry(event_ms, at_ms) > at_ms:
                    return event_ms
            return -1
        left = window.left(times, at_ms)
        return -1 if left >= entered else times[left if self.first else entered - 1]
