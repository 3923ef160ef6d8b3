"""The operators: one small function each, value first, threshold second. Kinds were checked when the rule was read."""

from __future__ import annotations

import math
from typing import Any, Final

EARTH_KM: Final = 6_371.0088
"""Mean radius of the Earth (IUGG)."""

# One by one, for then the compiler writes the numbers where the names are.
_EQ: Final = 0
_NE: Final = 1
_GT: Final = 2
_GTE: Final = 3
_LT: Final = 4
_LTE: Final = 5
_BETWEEN: Final = 6
_IN: Final = 7
_NOT_IN: Final = 8
_CONTAINS: Final = 9
_STARTS: Final = 10
_EXISTS: Final = 11
_CODES: Final = {
    "eq": _EQ,
    "ne": _NE,
    "gt": _GT,
    "gte": _GTE,
    "lt": _LT,
    "lte": _LTE,
    "between": _BETWEEN,
    "in": _IN,
    "not_in": _NOT_IN,
    "contains": _CONTAINS,
    "starts_with": _STARTS,
    "exists": _EXISTS,
}


class Test:
    """A value held against a threshold in the facts' units. Of one that is missing (None) every operator but `exists` is false."""

    def __init__(self, op: str, threshold: Any) -> None:
        self.op = op
        self.threshold = threshold
        self._code: int = _CODES[op]
        self._members: Any = frozenset(threshold) if self._code in (_IN, _NOT_IN) else None

    def passes(self, value: Any) -> bool:
        """Return whether the operator holds of a value."""
        code, threshold = self._code, self.threshold
        if code == _EXISTS:
            return bool((value is not None) is threshold)
        if value is None:
            return False
        if code == _EQ:
            return bool(value == threshold)
        if code == _NE:
            return bool(value != threshold)
        if code == _GTE:
            return bool(value >= threshold)
        if code == _GT:
            return bool(value > threshold)
        if code == _LTE:
            return bool(value <= threshold)
        if code == _LT:
            return bool(value < threshold)
        if code == _BETWEEN:
            return bool(threshold[0] <= value <= threshold[1])
        if code == _IN:
            return _in(value, self._members)
        if code == _NOT_IN:
            return not _in(value, self._members)
        if code == _CONTAINS:
            return bool(threshold in value)
        return bool(value.startswith(threshold))


def _in(value: Any, members: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return any([member in members for member in value])
    return value in members


def distance_km(here: tuple[float, float], there: tuple[float, float]) -> float:
    """Return the great-circle distance of two (latitude, longitude) places, by the haversine formula."""
    lat1, lon1, lat2, lon2 = math.radians(here[0]), math.radians(here[1]), math.radians(there[0]), math.radians(there[1])
    half = math.sin((lat2 - lat1) / 2) ** 2 + math.cos(lat1) * math.cos(lat2) * math.sin((lon2 - lon1) / 2) ** 2
    return 2 * EARTH_KM * math.asin(min(1.0, math.sqrt(half)))
