"""What an event costs one, two and three segmenters together, in seconds of computation: on two cores more of them are not faster."""

from __future__ import annotations

from typing import Any, Final

import psutil

from demo.segments import SEGMENTS
from tests.bench.lines import Line, spread
from tests.bench.load import events, fill
from tests.support.services import PARTITIONS, Stack, wait_for

_MOST: Final = 3


def _accepted(stack: Stack, names: list[str]) -> int:
    answers = [stack.get(name, "/outcomes") for name in names]
    return sum(int(answer["total"].get("accepted", 0)) for answer in answers if answer is not None)


def _computed_s(stack: Stack, names: list[str]) -> float:
    return sum(sum(psutil.Process(stack.pid(name)).cpu_times()[:2]) for name in names)


def _cost_us(stack: Stack, label: str, segmenters: int, count: int) -> float:
    """Return the microseconds that an event costs all segmenters together."""
    stack.fresh(label)
    stack.define({"id": segment.id, "rule": segment.rule} for segment in SEGMENTS)
    names = [f"segmenter{number}" for number in range(segmenters)]
    stack.start_all(dict.fromkeys(names, ("services.segmenter",)))

    def shared() -> bool:
        owned = [stack.get(name, "/readyz") for name in names]
        return (
            all(answer is not None and answer["partitions"] for answer in owned) and sum(len(answer["partitions"]) for answer in owned) == PARTITIONS
        )

    wait_for(shared, what="each segmenter to have partitions")
    before_s = _computed_s(stack, names)
    fill(stack.bootstrap, stack.topics, PARTITIONS, events(count))
    wait_for(lambda: _accepted(stack, names) >= count, what="all events to be applied", timeout_s=300)
    spent_s = _computed_s(stack, names) - before_s
    stack.stop_services()
    return 1e6 * spent_s / count


def measure(stack: Stack, *, quick: bool = False) -> dict[str, Any]:
    """Run one, two and three in turns."""
    runs, count = (1, 30_000) if quick else (2, 150_000)
    found: dict[str, list[float]] = {str(segmenters): [] for segmenters in range(1, _MOST + 1)}
    for run in range(runs):
        for segmenters in range(1, _MOST + 1):
            found[str(segmenters)].append(_cost_us(stack, f"grow{segmenters}-{run}-", segmenters, count))
    return {"us": found}


def lines(found: dict[str, Any]) -> list[Line]:
    """Say the cost of each."""
    said = ", ".join(f"{segmenters}: {spread(us, '.1f')} µs" for segmenters, us in found["us"].items())
    return [Line("computation of an event, all segmenters together", said, "", "the same with 1, 2 and 3")]
