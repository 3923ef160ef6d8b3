"""The parts of the benchmarks, in the order in which they are run and shown."""

from __future__ import annotations

from typing import Final

from tests.bench import latency, throughput
from tests.bench.lines import Part
from tests.bench.scale.parts import PARTS as OF_SIZE

PARTS: Final = (
    Part("throughput", lambda stack, quick: throughput.measure(stack, quick=quick), throughput.lines),
    Part("latency", lambda stack, quick: latency.measure(stack, seconds=5.0 if quick else 20.0), latency.lines),
    *OF_SIZE,
)
