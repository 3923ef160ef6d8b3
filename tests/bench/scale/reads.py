"""`GET customers/{id}/segments`, asked over 32 connections of one process, beside a process that only reads a hash from Redis."""

from __future__ import annotations

import random
from typing import Any, Final

from demo.segments import SEGMENTS
from tests.bench.lines import Line, spread
from tests.bench.load import events, fill
from tests.bench.scale.http import fire, get
from tests.bench.throughput import applied
from tests.support.services import PARTITIONS, Stack, wait_for

_CONNECTIONS: Final = 32
_ASKED: Final = 20_000


def measure(stack: Stack, *, quick: bool = False) -> dict[str, Any]:
    """Run both in turns over customers that a segmenter has decided; return rates and delays of every turn."""
    runs, seconds, count = (1, 4.0, 20_000) if quick else (3, 10.0, 60_000)
    stack.fresh("reading-")
    stack.define({"id": segment.id, "rule": segment.rule} for segment in SEGMENTS)
    load = list(events(count))
    fill(stack.bootstrap, stack.topics, PARTITIONS, load)
    stack.start("segmenter", "services.segmenter")
    wait_for(lambda: applied(stack) >= count, what="all events to be applied")
    draw, known = random.Random(3), sorted({event["customer_id"] for event in load})
    requests = [get(f"/v1/customers/{draw.choice(known)}/segments") for _ in range(_ASKED)]
    found: dict[str, list[float]] = {"rollcall": [], "bare": [], "p50_ms": [], "p99_ms": [], "bare_p99_ms": []}
    for _ in range(runs):
        stack.start("bare", "tests.bench.scale.bare")
        bare = fire(stack.ports["bare"], requests, wanted=200, connections=_CONNECTIONS, seconds=seconds)
        stack.end("bare", gently=True)
        stack.start("api", "services.api", "serve")
        ours = fire(stack.ports["api"], requests, wanted=200, connections=_CONNECTIONS, seconds=seconds)
        stack.end("api", gently=True)
        for name, value in (("rollcall", ours.a_second), ("p50_ms", ours.p50_ms), ("p99_ms", ours.p99_ms)):
            found[name].append(value)
        found["bare"].append(bare.a_second)
        found["bare_p99_ms"].append(bare.p99_ms)
    stack.stop_services()
    return found


def lines(found: dict[str, Any]) -> list[Line]:
    """Say rates and delays of both."""
    ours = f"{spread(found['rollcall'])}/s, p50 {spread(found['p50_ms'], '.1f')}, p99 {spread(found['p99_ms'], '.1f')} ms"
    beside = f"FastAPI and HGETALL: {spread(found['bare'])}/s, p99 {spread(found['bare_p99_ms'], '.1f')} ms"
    return [Line(f"GET customers/{{id}}/segments, one process, {_CONNECTIONS} connections", ours, beside, "5,000/s, p99 10 ms")]
