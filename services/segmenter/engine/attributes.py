"""Readers of the profile: attributes as they are, and what time makes of dates. Missing attributes have no value."""

from __future__ import annotations

from datetime import date
from typing import Any

from schemas.instants import NEVER, Duration
from services.segmenter.engine.calendar import TOMORROW, Calendar, age_on, birthday_in, next_birthday
from services.segmenter.engine.operators import distance_km
from services.segmenter.engine.readers import Reader, State


class AttributeReader(Reader):
    """An attribute as it was declared; only a new fact changes it."""

    def __init__(self, name: str) -> None:
        self.name = name

    def value(self, state: State, at_ms: int) -> Any:
        """Return the attribute."""
        return state.profile.get(self.name)

    def until(self, state: State, at_ms: int, value: Any, low: int | None, high: int | None) -> int:
        """Return never: time alone does not change it."""
        return NEVER


class AgeReader(Reader):
    """`age`, in whole years, changing at local midnight of the birthday."""

    def __init__(self, calendar: Calendar) -> None:
        self.calendar = calendar

    def value(self, state: State, at_ms: int) -> Any:
        """Return the age."""
        born = state.profile.get("birth_date")
        return None if born is None else age_on(date.fromisoformat(born), self.calendar.local(at_ms).date())

    def until(self, state: State, at_ms: int, value: Any, low: int | None, high: int | None) -> int:
        """Return the birthday on which the age reaches `high`."""
        if value is None or high is None:
            return NEVER
        born = date.fromisoformat(state.profile["birth_date"])
        return self.calendar.midnight(birthday_in(born, born.year + high)) if born.year + high <= 9000 else NEVER


class BirthdayReader(Reader):
    """`birthday_in_days`: 0 on the day, counting down at each local midnight."""

    def __init__(self, calendar: Calendar) -> None:
        self.calendar = calendar

    def value(self, state: State, at_ms: int) -> Any:
        """Return the days to the next birthday."""
        born = state.profile.get("birth_date")
        if born is None:
            return None
        today = self.calendar.local(at_ms).date()
        return (next_birthday(date.fromisoformat(born), today) - today).days

    def until(self, state: State, at_ms: int, value: Any, low: int | None, high: int | None) -> int:
        """Return the midnight on which the countdown falls below `low`, or starts anew after the day."""
        if value is None:
            return NEVER
        days = value + 1 if low is None or low <= 0 else value - low + 1
        return self.calendar.midnight(self.calendar.local(at_ms).date() + TOMORROW * days)


class SpanReader(Reader):
    """`older_than` and `within_last`: whether a duration since a date has passed, or has not yet."""

    def __init__(self, name: str, op: str, span: Duration, calendar: Calendar) -> None:
        self.name = name
        self.older = op == "older_than"
        self.span = span
        self.calendar = calendar

    def value(self, state: State, at_ms: int) -> Any:
        """Return whether the condition holds."""
        bounds = self._bounds(state)
        if bounds is None:
            return None
        return at_ms >= bounds[1] if self.older else bounds[0] <= at_ms < bounds[1]

    def until(self, state: State, at_ms: int, value: Any, low: int | None, high: int | None) -> int:
        """Return the next of the span's two ends."""
        bounds = self._bounds(state)
        return NEVER if bounds is None else next((bound for bound in bounds if bound > at_ms), NEVER)

    def _bounds(self, state: State) -> tuple[int, int] | None:
        day = state.profile.get(self.name)
        if day is None:
            return None
        start = date.fromisoformat(day)
        return self.calendar.midnight(start), self.calendar.date_plus(start, self.span)


class NearReader(Reader):
    """`near`: whether the location lies within a distance of a place."""

    def __init__(self, lat: float, lon: float, km: float) -> None:
        self.place = (lat, lon)
        self.km = km

    def value(self, state: State, at_ms: int) -> Any:
        """Return whether the customer is near, None without a location."""
        location = state.profile.get("location")
        return None if location is None else distance_km((location[0], location[1]), self.place) <= self.km

    def until(self, state: State, at_ms: int, value: Any, low: int | None, high: int | None) -> int:
        """Return never: time alone does not move anyone."""
        return NEVER


class SpanOfLifeReader(Reader):
    """Whether a segment's time has come and is not over."""

    def __init__(self, starts_ms: int, ends_ms: int) -> None:
        self.starts_ms = starts_ms
        self.ends_ms = ends_ms

    def value(self, state: State, at_ms: int) -> Any:
        """Return whether the instant lies between start and end."""
        return self.starts_ms <= at_ms < self.ends_ms

    def until(self, state: State, at_ms: int, value: Any, low: int | None, high: int | None) -> int:
        """Return the next of the two."""
        if at_ms < self.starts_ms:
            return self.starts_ms
        return self.ends_ms if at_ms < self.ends_ms else NEVER


def derived(name: str, calendar: Calendar) -> Reader:
    """Return the reader of a derived attribute."""
    return AgeReader(calendar) if name == "age" else BirthdayReader(calendar)
