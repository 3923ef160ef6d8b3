"""Features: one value of a customer, and the bits of all conditions that look at it.

All conditions of a tenant that read the same metric share one feature. Its value maps to a mask of the conditions that hold.
For numbers the thresholds of all conditions cut the line into regions, each with its mask computed once: finding the region
is one bisection however many conditions there are, and a value that stays in its region changes nothing.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from fractions import Fraction
from math import ceil, floor
from typing import Any, Final

from services.segmenter.engine.operators import test
from services.segmenter.engine.readers import Reader, State
from services.segmenter.engine.verdict import Verdict

_REMEMBERED: Final = 10_000


class Test:
    """One condition on a feature: its bit, its operator and its threshold in the facts' units."""

    __slots__ = ("bit", "op", "passes", "threshold")

    def __init__(self, bit: int, op: str, threshold: Any) -> None:
        self.bit = bit
        self.op = op
        self.threshold = threshold
        self.passes: Callable[[Any], bool] = test(op, threshold)


class Feature:
    """A reader and the tests that share it. `index` is its place in the plan."""

    def __init__(self, index: int, reader: Reader, tests: list[Test]) -> None:
        self.index = index
        self.reader = reader
        self.tests = tests
        self.missing = self._mask(None)

    def observe(self, state: State, now_ms: int) -> tuple[int, int]:
        """Return the mask of the tests that hold now, and until when it stays by itself."""
        return self.judged(state, now_ms, self.reader.current(state, now_ms))

    def stays(self, state: State, now_ms: int, mask: int) -> bool:
        """Whether the mask and its bound surely stay after a fact was added: more of what only adds up, in the same region.

        It cannot bring a fall nearer, so the old bound is never late, at most early.
        """
        return False

    def verdict(self, state: State, at_ms: int, bit: int) -> Verdict:
        """Return the verdict of one test at any instant."""
        mask, until_ms = self.judged(state, at_ms, self.reader.value(state, at_ms))
        return Verdict(bool(mask >> bit & 1), until_ms)

    def judged(self, state: State, at_ms: int, value: Any) -> tuple[int, int]:
        """Return the mask of a value seen at an instant, and until when it stays by itself."""
        raise NotImplementedError

    def mask_of(self, value: Any) -> int:
        """Return the mask of the tests that hold of a value."""
        raise NotImplementedError

    def _mask(self, value: Any) -> int:
        return self._bits([found for found in self.tests if found.passes(value)])

    @staticmethod
    def _bits(tests: list[Test]) -> int:
        return sum(1 << found.bit for found in tests)


class PlainFeature(Feature):
    """A feature whose value is a text, a truth, a date, a list or a place: each distinct value is judged once and remembered."""

    def __init__(self, index: int, reader: Reader, tests: list[Test]) -> None:
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
    """A feature whose value is a number, an integer or, with `fractions`, an exact fraction."""

    def __init__(self, index: int, reader: Reader, tests: list[Test], *, fractions: bool) -> None:
        super().__init__(index, reader, tests)
        self.fractions = fractions
        cut: Callable[[Any], tuple[Any, Any]] = _fraction_cuts if fractions else _integer_cuts
        self.boundaries: list[Any] = sorted({point for found in tests for point in _points(found.op, found.threshold, cut)})
        self.masks = [self._mask(value) for value in _representatives(self.boundaries, fractions=fractions)]

    def judged(self, state: State, at_ms: int, value: Any) -> tuple[int, int]:
        """Return the mask and its bound."""
        if value is None:
            return self.missing, self.reader.until(state, at_ms, None, None, None)
        boundaries = self.boundaries
        rank = bisect_right(boundaries, (value, 0) if self.fractions else value)
        low = boundaries[rank - 1] if rank else None
        high = boundaries[rank] if rank < len(boundaries) else None
        return self.masks[rank], self.reader.until(state, at_ms, value, low, high)

    def stays(self, state: State, now_ms: int, mask: int) -> bool:
        """Whether the value has only grown, within its region."""
        value = self.reader.grown(state, now_ms)
        return value is not None and self.masks[bisect_right(self.boundaries, value)] == mask

    def mask_of(self, value: Any) -> int:
        """Return the mask of the region that the value lies in."""
        if value is None:
            return self.missing
        return self.masks[bisect_right(self.boundaries, (value, 0) if self.fractions else value)]


def _integer_cuts(threshold: Any) -> tuple[int, int]:
    """Return the least integers that are `>= threshold` and `> threshold`."""
    return ceil(threshold), floor(threshold) + 1


def _fraction_cuts(threshold: Any) -> tuple[tuple[Any, int], tuple[Any, int]]:
    """Return two cuts that sort against `(value, 0)`: reached by values `>= threshold`, and only by values `> threshold`."""
    return (threshold, 0), (threshold, 1)


def _points(op: str, threshold: Any, cut: Callable[[Any], tuple[Any, Any]]) -> list[Any]:
    """Return the points at which a test can change its answer as the value rises."""
    if op == "exists":
        return []
    if op in ("gte", "lt"):
        return [cut(threshold)[0]]
    if op in ("gt", "lte"):
        return [cut(threshold)[1]]
    if op == "between":
        return [cut(threshold[0])[0], cut(threshold[1])[1]]
    members = threshold if isinstance(threshold, tuple) else (threshold,)
    return [point for member in members for point in cut(member)]


def _representatives(boundaries: list[Any], *, fractions: bool) -> list[Any]:
    """Return one value of each region between the boundaries, lowest first."""
    if not boundaries:
        return [0]
    if not fractions:
        return [boundaries[0] - 1, *boundaries]
    values = [Fraction(boundaries[0][0]) - 1]
    for place, (point, above) in enumerate(boundaries):
        following = boundaries[place + 1][0] if place + 1 < len(boundaries) else point + 2
        values.append((Fraction(point) + following) / 2 if above else Fraction(point))
    return values
