"""The demo's segments are rules that the product accepts, about fields that the demo's events have."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from demo.local_time import TIME_ZONE
from demo.segments import SEGMENTS, Segment
from schemas.rule_context import RuleContext
from schemas.rule_parser import parse_rule
from schemas.rules import MAX_COST


@pytest.mark.parametrize("segment", SEGMENTS, ids=lambda segment: segment.id)
def test_the_rule_language_takes_every_rule(segment: Segment) -> None:
    """Each rule parses as it travels, through JSON."""
    parse_rule(json.loads(json.dumps(segment.body()["rule"]), parse_float=Decimal), RuleContext(TIME_ZONE, history_months=25, max_cost=MAX_COST))


def test_ids_names_and_descriptions_are_all_there_and_unique() -> None:
    """A list of segments in which two are called the same, or one says nothing, helps nobody."""
    assert len(SEGMENTS) >= 12
    for values in ([s.id for s in SEGMENTS], [s.name for s in SEGMENTS], [s.description for s in SEGMENTS]):
        assert len(set(values)) == len(SEGMENTS)
        assert all(value and "\n" not in value for value in values)


def test_money_never_passes_through_a_float() -> None:
    """Thresholds on amounts are decimal strings."""
    for condition in (condition for segment in SEGMENTS for condition in conditions(segment.rule)):
        metric = condition.get("metric", {})
        filters = [(where["field"], where["value"]) for where in metric.get("where", [])]
        if metric.get("measure") in ("sum", "avg", "min", "max"):
            filters.append((metric["field"], condition["value"]))
        assert all(isinstance(value, str) for field, value in filters if field in ("total", "items.amount"))


def conditions(rule: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Walk the leaves of a rule."""
    if "not" in rule:
        yield from conditions(rule["not"])
    elif group := rule.get("all") or rule.get("any"):
        for member in group:
            yield from conditions(member)
    else:
        yield rule
