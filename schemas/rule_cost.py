"""What a rule costs to keep up to date, so that one rule cannot slow the rest: small numbers that add up, held below `MAX_COST`.

One is one look at one value. A condition on the profile, a place or another segment costs 1. A metric costs 2 (count, sum, avg,
days_since_first, days_since_last) or 5 (min, max, distinct, favourite, which keep every value), 1 more with a window, and 1 for
each filter. A comparison with a list, of a filter or of the condition, costs 1 more for each hundred members begun. A ratio
costs its two metrics and 1, a sequence 10 and its filters. A rank costs 100 and its metric, for it looks at every customer of
the tenant. Groups cost nothing.
"""

from __future__ import annotations

from typing import Final

from schemas.rules import (
    Condition,
    Metric,
    MetricCondition,
    Near,
    Op,
    ProfileCondition,
    Rank,
    Rule,
    SegmentRef,
    Sequence,
    Value,
    Where,
    conditions,
)

_KEPT_VALUES: Final = ("min", "max", "distinct", "favourite")
_RANK: Final = 100
_SEQUENCE: Final = 10


def rule_cost(rule: Rule | None) -> int:
    """Return what a rule costs."""
    return 0 if rule is None else sum(cost_of(condition) for _, condition in conditions(rule))


def cost_of(condition: Condition) -> int:
    """Return the cost of one condition; a rule's is the sum of its conditions'."""
    if isinstance(condition, Near | SegmentRef):
        return 1
    if isinstance(condition, ProfileCondition):
        return 1 + _list(condition.op, condition.value)
    if isinstance(condition, MetricCondition):
        return _metric(condition.metric) + _list(condition.op, condition.value)
    if isinstance(condition, Rank):
        return _RANK + _metric(condition.metric)
    return _sequence(condition)


def _metric(metric: Metric) -> int:
    if metric.numerator is not None and metric.denominator is not None:
        return 1 + _metric(metric.numerator) + _metric(metric.denominator)
    return (5 if metric.measure in _KEPT_VALUES else 2) + (metric.window is not None) + _filters(metric.where)


def _sequence(sequence: Sequence) -> int:
    return _SEQUENCE + (sequence.window is not None) + _filters(sequence.first.where) + _filters(sequence.then.where)


def _filters(where: tuple[Where, ...]) -> int:
    return sum(1 + _list(one.op, one.value) for one in where)


def _list(op: Op, value: Value) -> int:
    return -(-len(value) // 100) if op in ("in", "not_in") and isinstance(value, tuple) else 0
