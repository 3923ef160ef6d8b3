"""The picture of a run's memory shows each process where it was."""

from __future__ import annotations

import xml.etree.ElementTree as ET  # read here is only what was drawn here

from tests.chaos.drill import Made, Result
from tests.chaos.picture import svg

_SVG = "{http://www.w3.org/2000/svg}"


def _run(held: dict[str, list[tuple[float, int]]]) -> Result:
    made = Made("kill-api", "", began_s=30.0, lasted_s=0.1, ready_s=1.0, shown_s=1.0, stood_s=0.0, seen={}, compared=3, violations=0)
    return Result(
        seed=1, minutes=1.0, per_s=100, session_s=6.0, faults=[made], violations=[], violations_in_all=0, accepted={"http": 1}, poison=0,
        rate_per_s=100.0, customers=3, outcomes={}, transitions=0, transitions_repeated=0, causes={}, webhook_attempts=0, webhook_repeats=0,
        webhooks_missing=0, restarts={}, largest_mb={}, held_mb=held, seen={},
    )  # fmt: skip


def _lines(picture: str) -> list[list[tuple[float, float]]]:
    return [
        [(float(x), float(y)) for x, _, y in (pair.partition(",") for pair in line.attrib["points"].split())]
        for line in ET.fromstring(picture).iter(f"{_SVG}polyline")
    ]


def test_what_is_flat_is_drawn_flat_and_what_grows_rises() -> None:
    """More memory is higher, later is further right, and no line leaves the picture."""
    flat, growing = _lines(svg(_run({"api": [(0.0, 90), (60.0, 90)], "segmenter": [(0.0, 200), (30.0, 300), (60.0, 400)]})))
    assert flat[0][1] == flat[1][1]
    heights = [y for _, y in growing]
    assert heights == sorted(heights, reverse=True)
    assert len(set(heights)) == 3
    assert flat[0][1] > growing[0][1], "less is lower"
    assert growing[0][0] < growing[1][0] < growing[2][0] == flat[1][0]
    assert all(0 < x < 860 and 0 < y < 360 for line in (flat, growing) for x, y in line)


def test_a_process_without_samples_draws_nothing() -> None:
    """A run that ended before anything was weighed has a picture all the same."""
    assert _lines(svg(_run({"api": []}))) == []
    assert _lines(svg(_run({}))) == []
