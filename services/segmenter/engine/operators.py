"""The operators: one small function each, value first, threshold second. Kinds were checked when the rule was read."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

EARTH_KM: Final = 6_371.0088
"""Mean radius of the Earth (IUGG)."""


def _in(value: Any, members: Any) -> bool:
    if isinstance(value, tuple | list):
        return any(member in members for member in value)
    return value in members


def _starts_with(value: str, prefix: str) -> bool:
    return value.startswith(prefix)


OPERATORS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "eq": lambda value, threshold: value == threshold,
    "ne": lambda value, threshold: value != threshold,
    "gt": lambda value, threshold: value > threshold,
    "gte": lambda value, threshold: value >= threshold,
    "lt": lambda value, threshold: value < threshold,
    "lte": lambda value, threshold: value <= threshold,
    "between": lambda value, ends: ends[0] <= value <= ends[1],
    "in": _in,
    "not_in": lambda value, members: not _in(value, members),
    "contains": lambda value, part: part in value,
    "starts_with": _starts_with,
}
"""What each operator answers for a value that is there. For one that is missing every operator but `exists` is false."""


def test(op: str, threshold: Any) -> Callable[[Any], bool]:
    """Return the test of a value (None when missing) against a threshold."""
    if op == "exists":
        return lambda value: (value is not None) is threshold
    compare = OPERATORS[op]
    return lambda value: value is not None and compare(value, threshold)


def distance_km(here: tuple[float, float], there: tuple[float, float]) -> float:
    """Return the great-circle distance of two (latitude, longitude) places, by the haversine formula."""
    (lat1, lon1), (lat2, lon2) = (map(math.radians, here), map(math.radians, there))
    half = math.sin((lat2 - lat1) / 2) ** 2 + math.cos(lat1) * math.cos(lat2) * math.sin((lon2 - lon1) / 2) ** 2
    return 2 * EARTH_KM * math.asin(min(1.0, math.sqrt(half)))
