"""Laws of the benchmarks' frame: what was kept can be read again, and nothing that was measured is left out of the table."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.bench.__main__ import rows
from tests.bench.lines import Line, Part, spread
from tests.bench.parts import PARTS

_LATENCY = {"100": {"events": 500, "p50_ms": 29.4, "p99_ms": 71.2, "max_ms": 90.0}, "took_s": 31.0}


def _nothing(_stack: object, _quick: object) -> dict[str, Any]:
    raise AssertionError("a table is made without measuring")


def _part(name: str) -> Part:
    return Part(name, _nothing, lambda found: [Line(name, str(found["figure"]), "", "")])


def test_parts_have_names_of_their_own() -> None:
    """Results are kept under the names of their parts."""
    assert len({part.name for part in PARTS}) == len(PARTS)


def test_lines_are_made_from_what_json_gives_back() -> None:
    """Keys become texts in JSON: lines read what was kept, not what was measured."""
    kept = json.loads(json.dumps({"parts": {"latency": _LATENCY}}))
    assert list(rows(kept)) == [
        Line("event posted → webhook received, 100 events/s", "p50 29 ms, p99 71 ms", "", "p50 < 60 ms, p99 < 250 ms"),
    ]


def test_parts_are_shown_in_the_order_of_the_registry_whatever_failed() -> None:
    """A part that failed is said in its place, one that was not run is not, and the others stand as they are."""
    found = {"parts": {"last": {"figure": 3}, "broken": {"failed": "ValueError: no"}, "first": {"figure": 1}}}
    shown = list(rows(found, [_part("first"), _part("absent"), _part("broken"), _part("last")]))
    assert [line.what for line in shown] == ["first", "broken", "last"]
    assert "ValueError: no" in shown[1].rollcall


@pytest.mark.parametrize(("figures", "said"), [([1234.4], "1,234"), ([30.0, 10.0, 20.0], "20 (10 to 30)"), ([1.0, 2.0, 3.0, 4.0], "2 (1 to 4)")])
def test_a_spread_says_median_and_extremes(figures: list[float], said: str) -> None:
    """A single run has no spread; several have all of theirs."""
    assert spread(figures) == said
