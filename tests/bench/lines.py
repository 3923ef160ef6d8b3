"""What a part of the benchmarks says: lines of one table."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from statistics import median
from typing import Any, NamedTuple

from tests.support.services import Stack


class Line(NamedTuple):
    """One line of the table: what was measured, of Rollcall, beside whom, and what it is held to."""

    what: str
    rollcall: str
    beside: str
    mark: str


class Part(NamedTuple):
    """One part of the benchmarks.

    `measure` gets servers of its own and whether a quick look is enough; what it returns is kept as JSON, with the figure of every
    single run. `lines` reads nothing but that.
    """

    name: str
    measure: Callable[[Stack, bool], dict[str, Any]]
    lines: Callable[[dict[str, Any]], list[Line]]


def spread(figures: Iterable[float], form: str = ",.0f") -> str:
    """Write several runs as their median and, in brackets, the least and the greatest."""
    ordered = sorted(figures)
    middle = format(median(ordered), form)
    return middle if len(ordered) == 1 else f"{middle} ({ordered[0]:{form}} to {ordered[-1]:{form}})"
