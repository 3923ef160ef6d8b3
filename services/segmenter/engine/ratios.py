"""Ratios: two metrics, divided exactly."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, Final

from schemas.amounts import MICRO
from services.segmenter.engine.readers import Reader, State, until_other

_UNIT: Final = 10**MICRO
"""Ratios are numbers, and thresholds of numbers are in millionths."""


class RatioReader(Reader):
    """A fraction `(numerator, denominator)` in millionths, not reduced.

    `digits` are the decimals that each metric's values are kept with; `least` is what the denominator must reach.
    """

    def __init__(self, numerator: Reader, denominator: Reader, digits: tuple[int, int], least: Fraction | None) -> None:
        self.numerator = numerator
        self.denominator = denominator
        self._scales = (10 ** digits[0], 10 ** digits[1])
        self._least = least

    def value(self, state: State, at_ms: int) -> Any:
        """Return the ratio, None where either has no value, or the denominator is 0 or less than it must be."""
        below = self.denominator.value(state, at_ms)
        above = self.numerator.value(state, at_ms)
        if above is None or below is None:
            return None
        p, q = above if isinstance(above, tuple) else (above, 1)
        r, s = below if isinstance(below, tuple) else (below, 1)
        q, s = q * self._scales[0], s * self._scales[1]
        if r == 0 or (self._least is not None and r < self._least * s):
            return None
        top, bottom = p * s * _UNIT, q * r
        return (top, bottom) if bottom > 0 else (-top, -bottom)

    def until(self, state: State, at_ms: int, value: Any, low: int | None, high: int | None) -> int:
        """Return when either metric changes."""
        return min([until_other(part, state, at_ms, part.value(state, at_ms)) for part in (self.numerator, self.denominator)])
