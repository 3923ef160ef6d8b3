"""Laws of the benchmarks' frame: what was kept can be read again, and nothing that was measured is left out of the table."""

from __future__ import annotations

import json
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from tests.bench.__main__ import rows
from tests.bench.chart import svg
from tests.bench.lines import Line, Part, spread
from tests.bench.load import events
from tests.bench.parts import PARTS
from tests.bench.rivals import beside
from tests.bench.rivals.beside import RIVALS
from tests.bench.rivals.job import State, step

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


def _rivals() -> dict[str, Any]:
    runs: dict[str, Any] = {key: [{"rate": 1000.0 * place}] for place, key in enumerate(("rollcall", "stock", *RIVALS), 1)}
    runs["quix"] = []
    events = dict.fromkeys(runs, 5_000)
    runs["duckdb"] = [{"rate": 5_000.0, "poll_s": 0.25}]
    runs["bytewax"] = [{"rate": 4_000.0, "wrong": "found 1 of 2 transitions"}]
    return {"segments": 21, "conditions": 11, "events": events, "runs": runs, "left_out": {"quix": "does not run here: no wheel"}}


def test_no_rival_is_left_out_of_the_table() -> None:
    """Each has its line: with the ratio, with the reason why it does not run, and with what it counted wrongly."""
    shown = {line.what.rpartition("beside ")[2]: line for line in beside.lines(json.loads(json.dumps(_rivals())))}
    assert set(shown) == {beside.STOCK.name, *(rival.name for rival in RIVALS.values())}
    assert shown["stock Faust"].mark == "0.50 times (at least 10)"
    assert shown["Quix Streams"].beside == "does not run here: no wheel"
    assert "takes 0.25 s" in shown["DuckDB, polled"].beside
    assert "WRONG: found 1 of 2 transitions" in shown["Bytewax"].beside


def test_the_chart_has_every_contender() -> None:
    """It is well-formed, has a bar for each that ran, to scale, and says so of the one that did not."""
    root = ET.fromstring(svg({"at": "2026-01-01T00:00:00Z", "machine": {"cores": 2, "cpu": "a <fast> one"}, "parts": {"rivals": _rivals()}}))
    space = "{http://www.w3.org/2000/svg}"
    texts = [text.text for text in root.iter(f"{space}text")]
    assert {"Rollcall", beside.STOCK.name, *(rival.name for rival in RIVALS.values())} <= set(texts)
    assert texts.count("does not run here") == 1
    bars = [float(bar.get("width", "0")) for bar in root.iter(f"{space}rect") if bar.get("class") in {"ours", "rival", "bound"}]
    assert len(bars) == len(RIVALS) + 1
    assert bars[0] == min(bars)


def test_a_contender_that_missed_an_event_or_a_transition_is_told() -> None:
    """What is compared is what it read and, where it claims to have counted, what that made of its customers."""
    assert not beside.wrong({"events": 10, "transitions": 4}, 10, 4)
    assert not beside.wrong({"events": 10, "transitions": 0}, 10, None)
    assert beside.wrong({"events": 9, "transitions": 4}, 10, 4) == "read 9 of 10 events"
    assert beside.wrong({"events": 10, "transitions": 3}, 10, 4) == "found 3 of 4 transitions"


def test_the_job_makes_the_same_of_events_in_any_order() -> None:
    """Contenders read three topics in an order of their own; what they find must not depend on it."""
    load = list(events(3_000, end_ms=1_700_000_000_000))

    def entered(of: list[dict[str, Any]]) -> set[tuple[str, str]]:
        customers: dict[str, State] = {}
        found = []
        for event in of:
            customers[event["customer_id"]], new = step(customers.get(event["customer_id"]), event)
            found += [(event["customer_id"], segment) for segment in new]
        assert len(found) == len(set(found))
        return set(found)

    assert entered(load) == entered(sorted(load, key=lambda event: str(event["type"])))
