"""Sequences: one event followed by another within some time, or not.

Each `first` is active from one instant on for as long as it lies in the window: with `happens` from its earliest follower, without
from the end of the time in which one might have come. So the series keeps for each `first` that instant, and a question is a
look at those in the window.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import Any, Final, cast

from schemas.instants import NEVER, Duration
from services.segmenter.engine.calendar import Calendar
from services.segmenter.engine.readers import Reader, State
from services.segmenter.engine.series import Series
from services.segmenter.engine.windows import Expiries, Window

FIRST: Final = 1
THEN: Final = 2


class Following:
    """How long after a `first` an event still follows it, and whether one should."""

    def __init__(self, calendar: Calendar, within: Duration, *, happens: bool) -> None:
        self._calendar = calendar
        self._within = within
        self.happens = happens
        self.longest_ms: int = within.longest_ms

    def end(self, first_ms: int) -> int:
        """Return the instant from which on nothing follows any more."""
        return self._calendar.plus(first_ms, self._within)


class SequenceSeries(Series):
    """The events of both roles, each role by (instant, id). `times` are those of the first role, `active` when each is active."""

    def __init__(self, expiries: list[Expiries], following: Following) -> None:
        super().__init__(expiries)
        self._following = following
        self.ids: list[str] = []
        self.active: list[int] = []
        self._then_times: list[int] = []
        self._then_ids: list[str] = []

    def add(self, at_ms: int, contribution: Any, event_id: str) -> int:
        """Add an event in the role that the contribution names."""
        if contribution == FIRST:
            place = bisect_right(self.times, at_ms)
            self.times.insert(place, at_ms)
            self.ids.insert(place, event_id)
            self.active.insert(place, self._active(at_ms, event_id))
            return -1
        place = bisect_right(self._then_times, at_ms)
        self._then_times.insert(place, at_ms)
        self._then_ids.insert(place, event_id)
        for first in range(bisect_left(self.times, at_ms - self._following.longest_ms), bisect_right(self.times, at_ms)):
            self.active[first] = self._active(self.times[first], self.ids[first])
        return -1

    def under(self, expiries: list[Expiries], at_ms: int) -> Series:
        """Return this series: it keeps nothing for windows of months."""
        return self

    def _active(self, first_ms: int, first_id: str) -> int:
        """Return since when a `first` makes the sequence hold, `NEVER` if it does not."""
        following, times = self._following, self._then_times
        end_ms = following.end(first_ms)
        place = bisect_left(times, first_ms)
        while place < len(times) and times[place] < end_ms:
            if self._then_ids[place] != first_id:
                return times[place] if following.happens else NEVER
            place += 1
        return NEVER if following.happens else end_ms


class SequenceReader(Reader):
    """Whether the sequence holds."""

    def __init__(self, series: int, window: Window) -> None:
        self.series = series
        self.window = window

    def value(self, state: State, at_ms: int) -> Any:
        """Return whether some `first` in the window is active."""
        series = cast(SequenceSeries, state.series[self.series])
        window, times, active = self.window, series.times, series.active
        for place in range(window.entered(times, at_ms) - 1, window.oldest(times, at_ms) - 1, -1):
            if active[place] <= at_ms and (window.months < 0 or window.expiry(times[place], at_ms) > at_ms):
                return True
        return False

    def until(self, state: State, at_ms: int, value: Any, low: int | None, high: int | None) -> int:
        """Return when the last active `first` leaves, or the next becomes active."""
        series = cast(SequenceSeries, state.series[self.series])
        window, times, active = self.window, series.times, series.active
        change_ms = window.turns_ms(times, at_ms)
        last_ms, next_ms = -1, NEVER
        for place in range(window.oldest(times, at_ms), window.entered(times, at_ms)):
            end_ms = window.expiry(times[place], at_ms)
            if active[place] <= at_ms < end_ms:
                last_ms = max(last_ms, end_ms)
            elif at_ms < active[place] < end_ms:
                next_ms = min(next_ms, active[place])
        return min(change_ms, last_ms if value else next_ms)
