"""Features: one value of a customer, and the bits of all conditions that look at it.

All conditions of a tenant that read the same metric share one feature. Its value maps to a mask of the conditions that hold.
For numbers the thresholds of all conditions cut the line into regions, each with its mask computed once: finding the region
is one bisection however many conditions there are, and a value that stays in its region changes nothing.
"""

from __future__ import annotations

from bisect import bisect_right
from fractions import Fraction
from math import ceil, floor
from typing import Any, Final

from schemas.instants import NEVER
from services.segmenter.engine.operators import Test
from services.segmenter.engine.readers import Reader, State
from services.segmenter.engine.verdict import Verdict

_REMEMBERED: Final = 10_000


class Feature:
    """A reader and the tests that share it, by bit. `index` is its place in the plan, `score` that among the scores it keeps, or -1."""

    def __init__(self, index: int, reader: Reader, tests: dict[int, Test]) -> None:
        self.index = index
        self.reader = reader
        self.tests = tests
        self.key: Any = None
        """What is asked, by whatever plan, for as long as it is counted from the same instant."""
        self.score = -1
        self.missing = self._mask(None)

    def observe(self, state: State, now_ms: int) -> tuple[int, int, int]:
        """Return the mask of the tests that hold now, until when it stays by itself, and its room.

        The room is how much may be added to the value before the mask could change: 0 where every fact has to be looked at.
        """
        mask, until_ms = self.judged(state, now_ms, self.reader.current(state, now_ms))
        return mask, until_ms, 0

    def verdict(self, state: State, at_ms: int, bit: int) -> Verdict:
        """Return the verdict of the condition with a bit at any instant."""
        mask, until_ms = self.judged(state, at_ms, self.reader.value(state, at_ms))
        return Verdict(mask >> bit & 1 == 1, until_ms)

    def judged(self, state: State, at_ms: int, value: Any) -> tuple[int, int]:
        """Return the mask of a value seen at an instant, and until when it stays by itself."""
        raise NotImplementedError

    def mask_of(self, value: Any) -> int:
        """Return the mask of the tests that hold of a value."""
        raise NotImplementedError

    def _mask(self, value: Any) -> int:
        mask = 0
        for bit, found in self.tests.items():
            if found.passes(value):
                mask |= 1 << bit
        return mask


class PlainFeature(Feature):
    """A feature whose value is a text, a truth, a date, a list or a place: each distinct value is judged once and remembered."""

    def __init__(self, index: int, reader: Reader, tests: dict[int, Test]) -> None:
        super().__init__(index, reader, tests)
        self._masks: dict[Any, int] = {}

    def judged(self, state: State, at_ms: int, value: Any) -> tuple[int, int]:
        """Return the mask and its bound."""
        return self.mask_of(value), self.reader.until(state, at_ms, value, None, None)

    def mask_of(self, value: Any) -> int:
        """Return the mask, remembered for each value seen."""
        if value is None:
            return self.missing
        value = tuple(value) if isinstance(value, list) else value
        mask = self._masks.get(value)
        if mask is None:
            if len(self._masks) >= _REMEMBERED:
                self._masks.clear()
            mask = self._masks[value] = self._mask(value)
        return mask


class RankedFeature(Feature):
    """A feature whose value is an integer."""

    def __init__(self, index: int, reader: Reader, tests: dict[int, Test]) -> None:
        super().__init__(index, reader, tests)
        self.boundaries: list[int] = sorted({point for found in tests.values() for point in _integer_points(found)})
        self.masks = [self._mask(value) for value in _regions(self.boundaries)]
        self._points: dict[int, list[int]] = {bit: sorted(set(_integer_points(found))) for bit, found in tests.items()}
        self._answers: dict[int, list[bool]] = {bit: [tests[bit].passes(value) for value in _regions(points)] for bit, points in self._points.items()}

    def observe(self, state: State, now_ms: int) -> tuple[int, int, int]:
        """Return mask, bound and room: of what only adds up, the distance to the next boundary above."""
        value = self.reader.current(state, now_ms)
        if self.score >= 0 and value is not None:
            # Others are compared with the very value: it has no room, and stands until it is another.
            return self.mask_of(value), self.reader.until(state, now_ms, value, value, value + 1), 0
        mask, until_ms, high = self._region(state, now_ms, value)
        if value is None or not self.reader.adds_up(state):
            return mask, until_ms, 0
        number: int = value
        return mask, until_ms, NEVER if high is None else high - number

    def verdict(self, state: State, at_ms: int, bit: int) -> Verdict:
        """Return the verdict of one condition: it stands until its own thresholds are reached, however many others lie between."""
        value = self.reader.value(state, at_ms)
        if value is None:
            return Verdict(self.missing >> bit & 1 == 1, self.reader.until(state, at_ms, None, None, None))
        points = self._points[bit]
        rank = bisect_right(points, value)
        low = points[rank - 1] if rank else None
        high = points[rank] if rank < len(points) else None
        return Verdict(self._answers[bit][rank], self.reader.until(state, at_ms, value, low, high))

    def regions(self, bit: int) -> tuple[list[int], list[bool]]:
        """Return the points at which one condition can change its answer as the value rises, and the answers between them, lowest first."""
        return self._points[bit], self._answers[bit]

    def judged(self, state: State, at_ms: int, value: Any) -> tuple[int, int]:
        """Return the mask and its bound."""
        mask, until_ms, _ = self._region(state, at_ms, value)
        return mask, until_ms

    def _region(self, state: State, at_ms: int, value: Any) -> tuple[int, int, int | None]:
        """Return the mask of the region that a value lies in, until when it stays there by itself, and the boundary above."""
        if value is None:
            return self.missing, self.reader.until(state, at_ms, None, None, None), None
        boundaries = self.boundaries
        rank = bisect_right(boundaries, value)
        low = boundaries[rank - 1] if rank else None
        high = boundaries[rank] if rank < len(boundaries) else None
        return self.masks[rank], self.reader.until(state, at_ms, value, low, high), high

    def mask_of(self, value: Any) -> int:
        """Return the mask of the region that the value lies in."""
        return self.missing if value is None else self.masks[bisect_right(self.boundaries, value)]


def _regions(points: list[int]) -> list[int]:
    """Return one integer of each region between points, lowest first."""
    return [points[0] - 1, *points] if points else [0]


def _integer_points(test: Test) -> list[int]:
    """Return the integers at which a test can change its answer as the value rises."""
    op, threshold = test.op, test.threshold
    if op == "exists":
        return []
    if op in ("gte", "lt"):
        return [ceil(threshold)]
    if op in ("gt", "lte"):
        return [floor(threshold) + 1]
    if op == "between":
        return [ceil(threshold[0]), floor(threshold[1]) + 1]
    members = threshold if isinstance(threshold, tuple) else (threshold,)
    return [point for member in members for point in (ceil(member), floor(member) + 1)]


class FractionFeature(Feature):
    """A feature whose value is an exact fraction, given as `(numerator, denominator)` with a denominator above 0.

    A boundary is `(p, q, above)`: reached by values `>= p/q`, or only by those `> p/q`. Fractions are compared by multiplying
    crosswise, for reducing them would cost more than all the rest.
    """

    def __init__(self, index: int, reader: Reader, tests: dict[int, Test]) -> None:
        super().__init__(index, reader, tests)
        cuts = sorted({cut for found in tests.values() for cut in _fraction_cuts(found)})
        self.boundaries: list[tuple[int, int, bool]] = [(cut.numerator, cut.denominator, above) for cut, above in cuts]
        self.masks = [self._mask(value) for value in _representatives(cuts)]

    def regions(self, bit: int) -> tuple[list[tuple[Fraction, bool]], list[bool]]:
        """Return where one condition can change its answer as the value rises, as `boundaries` are, and the answers between, lowest first."""
        cuts = sorted(set(_fraction_cuts(self.tests[bit])))
        return cuts, [self.tests[bit].passes(value) for value in _representatives(cuts)]

    def judged(self, state: State, at_ms: int, value: Any) -> tuple[int, int]:
        """Return the mask and its bound."""
        return self.mask_of(value), self.reader.until(state, at_ms, value, None, None)

    def mask_of(self, value: Any) -> int:
        """Return the mask of the region that the value lies in."""
        if value is None:
            return self.missing
        pair: tuple[int, int] = value
        numerator, denominator = pair
        low, high = 0, len(self.boundaries)
        while low < high:
            middle = (low + high) // 2
            p, q, above = self.boundaries[middle]
            left, right = numerator * q, p * denominator
            if left > right or (left == right and not above):
                low = middle + 1
            else:
                high = middle
        return self.masks[low]


def _fraction_cuts(test: Test) -> list[tuple[Fraction, bool]]:
    op, threshold = test.op, test.threshold
    if op == "exists":
        return []
    if op in ("gte", "lt"):
        return [(Fraction(threshold), False)]
    if op in ("gt", "lte"):
        return [(Fraction(threshold), True)]
    if op == "between":
        return [(Fraction(threshold[0]), False), (Fraction(threshold[1]), True)]
    members = threshold if isinstance(threshold, tuple) else (threshold,)
    return [(Fraction(member), above) for member in members for above in (False, True)]


def _representatives(cuts: list[tuple[Fraction, bool]]) -> list[Fraction]:
    """Return one value of each region between the cuts, lowest first."""
    if not cuts:
        return [Fraction(0)]
    values = [cuts[0][0] - 1]
    for place, (point, above) in enumerate(cuts):
        following = cuts[place + 1][0] if place + 1 < len(cuts) else point + 2
        values.append((point + following) / 2 if above else point)
    return values
