"""Columns: one value of each customer of a tenant, by place, with the instant until which it stands by itself.

A column answers for all places at once what a condition says, and of which places it knows. It keeps values, not answers, so that
conditions with any threshold can be asked. Invariant: what it says of a place at an instant, from when it was told on and before the
place is touched, is what the feature would say.
"""

from __future__ import annotations

from math import gcd
from typing import Any, Final, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from schemas.instants import DAY_MS
from services.segmenter.engine.attributes import BirthdayReader, SpanOfLifeReader
from services.segmenter.engine.features import Feature, FractionFeature, PlainFeature, RankedFeature
from services.segmenter.engine.readers import DaysReader, State, until_other

Truths = NDArray[np.bool_]

_MISSING: Final = -(1 << 31)
_UNKNOWN: Final = _MISSING + 1
"""There is no value; or one that the column cannot hold. Both fit into 32 bits."""
_WIDEST: Final = 1 << 31
_BOUND_BITS: Final = 12
"""Bounds are kept in units of 4.096 s, which 32 bits hold for five hundred years; they are rounded down, for early is allowed."""
_LAST_BOUND: Final = (1 << 32) - 1
_MOST_CODES: Final = 4_096
"""Distinct texts, dates, lists or places that a column tells apart."""
_MOST_STEPS: Final = 8
"""Points of a condition that are held against all values one after the other; more are found by bisection."""
_MOST_CUTS: Final = 4
"""Cuts that fractions are held against, one after the other: beyond, a condition is looked at customer by customer."""
_BISECTED: Final = 1 << 62
"""Points beyond are no numbers that are kept."""


class Answers(NamedTuple):
    """Of which places it is known that a condition holds, and of which that it does not. Of the others nothing is known."""

    yes: Truths
    no: Truths


def bound_of(until_ms: int) -> int:
    """Return a bound as it is kept."""
    return min(until_ms >> _BOUND_BITS, _LAST_BOUND)


def standing(bounds: NDArray[np.uint32], at_ms: int) -> Truths:
    """Return at which places what is kept stands at an instant."""
    return bounds > at_ms >> _BOUND_BITS


class Column:
    """The values of one feature. `bounds` is 0 where nothing is known."""

    def __init__(self, size: int) -> None:
        self.bounds: NDArray[np.uint32] = np.zeros(size, np.uint32)
        self.values: NDArray[Any] = np.zeros(size, np.int32)

    @property
    def cell_bytes(self) -> int:
        """What a place takes."""
        return self.bounds.itemsize + self.values.itemsize

    def grow(self, size: int) -> None:
        """Make room for more places."""
        self.bounds, self.values = grown(self.bounds, size), grown(self.values, size)

    def tell(self, place: int, feature: Feature, state: State, at_ms: int, known_ms: int) -> None:
        """Keep what a feature sees in a customer at an instant; before `known_ms` no profile that is known already takes effect."""
        value = feature.reader.value(state, at_ms)
        until_ms = until_other(feature.reader, state, at_ms, value)
        self._put(place, _MISSING if value is None else self._encoded(value))
        self.bounds[place] = bound_of(min(until_ms, known_ms))

    def answers(self, feature: Feature, bit: int, at_ms: int) -> Answers:
        """Return what a condition of a feature with this key says."""
        known = standing(self.bounds, at_ms) & self._readable()
        missing = self.values == _MISSING
        holds = self._held(feature, bit, at_ms)
        holds = holds | missing if feature.missing >> bit & 1 else holds & ~missing
        return Answers(known & holds, known & ~holds)

    def _readable(self) -> Truths:
        return cast(Truths, self.values != _UNKNOWN)

    def _put(self, place: int, value: int) -> None:
        try:
            self.values[place] = value
        except OverflowError:
            if self.values.dtype == np.int64:
                self.values[place] = _UNKNOWN
                return
            self.values = self.values.astype(np.int64)
            self._put(place, value)

    def _encoded(self, value: Any) -> int:
        """Return a value as the number that is kept of it."""
        raise NotImplementedError

    def _held(self, feature: Feature, bit: int, at_ms: int) -> Truths:
        """Return where a condition holds, of those places that have a value."""
        raise NotImplementedError


class NumberColumn(Column):
    """Integers."""

    def _encoded(self, value: int) -> int:
        # Two numbers in four billion mean something else; they are looked at one by one.
        return _UNKNOWN if value == _MISSING else value

    def _held(self, feature: Feature, bit: int, at_ms: int) -> Truths:
        assert isinstance(feature, RankedFeature)
        return _in_regions(self._numbers(at_ms), *feature.regions(bit))

    def _numbers(self, at_ms: int) -> NDArray[Any]:
        return self.values


class SinceColumn(NumberColumn):
    """Whole days since an event: the event's instant is kept, for it stays while days go by."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.values = np.zeros(size, np.int64)

    def tell(self, place: int, feature: Feature, state: State, at_ms: int, known_ms: int) -> None:
        """Keep the instant of the event."""
        reader = feature.reader
        assert isinstance(reader, DaysReader)
        event_ms = reader.event_ms(state, at_ms)
        self._put(place, _MISSING if event_ms < 0 else event_ms)
        self.bounds[place] = bound_of(min(reader.until(state, at_ms, None, None, None), known_ms))

    def _numbers(self, at_ms: int) -> NDArray[Any]:
        return (at_ms - self.values) // DAY_MS


class CodedColumn(Column):
    """Texts, truths, dates, lists and places: each distinct value has a number, as long as there are not too many."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._codes: dict[Any, int] = {}

    def _encoded(self, value: Any) -> int:
        value = tuple(value) if isinstance(value, list) else value
        code = self._codes.get(value)
        if code is None:
            if len(self._codes) >= _MOST_CODES:
                return _UNKNOWN
            code = self._codes[value] = len(self._codes)
        return code

    def _held(self, feature: Feature, bit: int, at_ms: int) -> Truths:
        test = feature.tests[bit]
        passing = np.array([test.passes(value) for value in self._codes] or [False])
        return cast(Truths, passing[np.maximum(self.values, 0)])


class FractionColumn(Column):
    """Exact fractions, reduced: numerators are the values, denominators lie beside them."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._below: NDArray[np.int32] = np.ones(size, np.int32)

    @property
    def cell_bytes(self) -> int:
        """What a place takes."""
        return super().cell_bytes + self._below.itemsize

    def grow(self, size: int) -> None:
        """Make room for more places."""
        super().grow(size)
        self._below = grown(self._below, size)

    def tell(self, place: int, feature: Feature, state: State, at_ms: int, known_ms: int) -> None:
        """Keep the fraction, unless it has more digits than are compared exactly."""
        value = feature.reader.value(state, at_ms)
        above, below = _MISSING, 1
        if value is not None:
            above, below = value[0], value[1]
            shared = gcd(above, below)
            above, below = above // shared, below // shared
            if below >= _WIDEST or not _UNKNOWN < above < _WIDEST:
                above, below = _UNKNOWN, 1
        self.values[place], self._below[place] = above, below
        self.bounds[place] = bound_of(min(feature.reader.until(state, at_ms, value, None, None), known_ms))

    def answers(self, feature: Feature, bit: int, at_ms: int) -> Answers:
        """Return what a condition says, nothing where it asks for more digits than are compared exactly."""
        assert isinstance(feature, FractionFeature)
        cuts = feature.regions(bit)[0]
        if len(cuts) > _MOST_CUTS or any(cut.denominator >= _WIDEST or not -_WIDEST < cut.numerator < _WIDEST for cut, _ in cuts):
            nowhere = np.zeros(len(self.values), np.bool_)
            return Answers(nowhere, nowhere)
        return super().answers(feature, bit, at_ms)

    def _held(self, feature: Feature, bit: int, at_ms: int) -> Truths:
        assert isinstance(feature, FractionFeature)
        cuts, passing = feature.regions(bit)
        holds = np.full(len(self.values), passing[0])
        above, below = self.values.astype(np.int64), self._below.astype(np.int64)
        for place, (cut, beyond) in enumerate(cuts):
            if passing[place] is not passing[place + 1]:
                left, right = above * cut.denominator, below * cut.numerator
                holds ^= left > right if beyond else left >= right
        return holds


def column_for(feature: Feature, size: int) -> Column | None:
    """Return an empty column of a feature, None for one that is not worth any.

    A countdown to a birthday changes for everybody at each midnight, and the span of a segment's life is nobody's own.
    """
    if isinstance(feature.reader, (BirthdayReader, SpanOfLifeReader)):
        return None
    if isinstance(feature, RankedFeature):
        return SinceColumn(size) if isinstance(feature.reader, DaysReader) else NumberColumn(size)
    if isinstance(feature, FractionFeature):
        return FractionColumn(size)
    return CodedColumn(size) if isinstance(feature, PlainFeature) else None


def _in_regions(numbers: NDArray[Any], points: list[int], passing: list[bool]) -> Truths:
    """Return which numbers lie in regions, between points, that pass."""
    if len(points) > _MOST_STEPS and points[0] > -_BISECTED and points[-1] < _BISECTED:
        return cast(Truths, np.array(passing)[np.searchsorted(np.array(points, np.int64), numbers, "right")])
    holds = np.full(len(numbers), passing[0])
    for place, point in enumerate(points):
        if passing[place] is not passing[place + 1]:
            holds ^= numbers >= point
    return holds


def grown(array: NDArray[Any], size: int) -> NDArray[Any]:
    """Return an array with room for more places, at which there is nothing."""
    longer = np.zeros(size, array.dtype)
    longer[: len(array)] = array
    return longer
