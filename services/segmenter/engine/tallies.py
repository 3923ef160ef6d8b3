"""Readers that look at each value in a window: `min`, `max`, `distinct` and `favourite`."""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Any, cast

from schemas.instants import NEVER
from services.segmenter.engine.readers import Reader, State
from services.segmenter.engine.series import Tally, ValueSeries
from services.segmenter.engine.windows import Window


class ValuesReader(Reader):
    """Folds over how often each value lies in the window."""

    def __init__(self, series: int, window: Window, measure: str, index: int) -> None:
        self.series = series
        self.window = window
        self.measure = measure
        self.index = index

    def value(self, state: State, at_ms: int) -> Any:
        """Return the fold of the values inside the window, going on from where a look at an earlier instant left it.

        Whoever asks about the future asks for later and later instants; their tally is a copy, so that the one of now stays.
        """
        series = cast(ValueSeries, state.series[self.series])
        tally = series.ahead.get(self.index)
        if tally is None or not self._follows(tally, series, at_ms):
            known = series.tallies.get(self.index)
            tally = self._fresh(series, at_ms) if known is None or not self._follows(known, series, at_ms) else known.copy()
            series.ahead[self.index] = tally
        self._pass(tally, series, at_ms)
        return self._fold(tally)

    def current(self, state: State, now_ms: int) -> Any:
        """Return the fold now, from where the last look left it."""
        series = cast(ValueSeries, state.series[self.series])
        tally = series.tallies.get(self.index)
        if tally is None or not self._follows(tally, series, now_ms):
            tally = series.tallies[self.index] = self._fresh(series, now_ms)
        self._pass(tally, series, now_ms)
        return self._fold(tally)

    def until(self, state: State, at_ms: int, value: Any, low: int | None, high: int | None) -> int:
        """Return when the next event enters or leaves."""
        series = cast(ValueSeries, state.series[self.series])
        change_ms = self.window.turns_ms(series.times, at_ms)
        if self.window.lasting:
            return change_ms
        tally = series.tallies.get(self.index)
        if tally is None or tally.upto_ms != at_ms or not self._follows(tally, series, at_ms):
            self.value(state, at_ms)
            tally = series.ahead[self.index]
        return min(change_ms, tally.leaving[0][0]) if tally.leaving else change_ms

    def _fresh(self, series: ValueSeries, at_ms: int) -> Tally:
        return Tally(series.late, self.window.changes_ms(at_ms), favouring=self.measure == "favourite", lasting=self.window.lasting)

    @staticmethod
    def _follows(tally: Tally, series: ValueSeries, at_ms: int) -> bool:
        """Whether a tally can go on to an instant: time moved on, nothing came late, and the window did not jump."""
        return tally.late == series.late and tally.upto_ms <= at_ms < tally.jumps_ms

    def _pass(self, tally: Tally, series: ValueSeries, at_ms: int) -> None:
        """Let the tally pass to an instant: events enter in their order and leave in the order of their expiries."""
        window, times, values, leaving = self.window, series.times, series.values, tally.leaving
        ends = series.ends[window.months] if window.months >= 0 else None
        place, last = tally.entered, window.entered(times, at_ms)
        while place < last:
            end_ms = ends[place] if ends is not None else window.expiry(times[place], at_ms)
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
        if not counts:
            return None
        return min(counts) if self.measure == "min" else max(counts)
