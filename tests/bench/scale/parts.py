"""The parts of the benchmarks that are about size."""

from __future__ import annotations

from typing import Final

from tests.bench.lines import Part
from tests.bench.scale import deadlines, growth, ingest, million, reads, segments

PARTS: Final = (
    Part("segments", lambda stack, quick: segments.measure(stack, quick=quick), segments.lines),
    Part("ingest", lambda stack, quick: ingest.measure(stack, quick=quick), ingest.lines),
    Part("reads", lambda stack, quick: reads.measure(stack, quick=quick), reads.lines),
    Part("deadlines", lambda stack, quick: deadlines.measure(stack, quick=quick), deadlines.lines),
    Part("growth", lambda stack, quick: growth.measure(stack, quick=quick), growth.lines),
    Part("million", lambda stack, quick: million.measure(stack, quick=quick), million.lines),
)
