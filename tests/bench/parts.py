"""The parts of the benchmarks, in the order in which they are run and shown."""

from __future__ import annotations

from typing import Final

from tests.bench import latency, neighbours
from tests.bench.lines import Part
from tests.bench.rivals import beside
from tests.bench.scale.parts import PARTS as OF_SIZE

PARTS: Final = (
    Part("rivals", lambda stack, quick: beside.measure(stack, quick=quick), beside.lines),
    Part("latency", lambda stack, quick: latency.measure(stack, seconds=5.0 if quick else 20.0), latency.lines),
    *OF_SIZE,
    Part("neighbours", lambda stack, quick: neighbours.measure(stack, seconds=10.0 if quick else 30.0), neighbours.lines),
)
