"""Since when the live segments of a tenant have asked for what no time ends: metrics and sequences whose window does not move on.

What such a metric looks at is kept however old it becomes, from the moment on at which the metric is first asked for. So one
that is new counts from as far back as history was kept then, and one that any live segment asks for already goes on as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from schemas.rules import CALENDAR_WORDS, Between, CalendarWindow, Metric, MetricCondition, Rank, Rule, Sequence, Window, conditions

Lifetime = Metric | Sequence
"""A metric that is no ratio, or a sequence, in a window that `stands`."""


class Lifetimes:
    """What a tenant's live segments ask for without an end. `since_ms`: the instant of the definition that asked first."""

    def __init__(self) -> None:
        self.since_ms: dict[Lifetime, int] = {}
        self._asked: dict[str, frozenset[Lifetime]] = {}
        self._askers: dict[Lifetime, int] = {}

    def keep(self, segment_id: str, rule: Rule | None, at_ms: int) -> None:
        """Take note of a live segment's rule as of an instant; None for a segment that has none or is archived."""
        before, asked = self._asked.pop(segment_id, frozenset()), frozenset(lifetimes(rule))
        for one in asked:
            self.since_ms.setdefault(one, at_ms)
            self._askers[one] = self._askers.get(one, 0) + 1
        for one in before:
            self._askers[one] -= 1
            if not self._askers[one]:
                del self._askers[one], self.since_ms[one]
        if asked:
            self._asked[segment_id] = asked


NOTHING: Mapping[Lifetime, int] = {}
"""What a tenant without segments asks for."""


def lifetimes(rule: Rule | None) -> Iterator[Lifetime]:
    """Yield what a rule asks for without an end."""
    for _, condition in [] if rule is None else conditions(rule):
        if isinstance(condition, Sequence) and stands(condition.window):
            yield condition
        elif isinstance(condition, MetricCondition | Rank):
            yield from (metric for metric in _parts(condition.metric) if stands(metric.window))


def stands(window: Window | None) -> bool:
    """Whether a window lets nothing go as time passes: none at all, or one with fixed ends."""
    return window is None or isinstance(window, Between) or (isinstance(window, CalendarWindow) and window.word not in CALENDAR_WORDS)


def _parts(metric: Metric) -> tuple[Metric, ...]:
    if metric.numerator is not None and metric.denominator is not None:
        return metric.numerator, metric.denominator
    return (metric,)
