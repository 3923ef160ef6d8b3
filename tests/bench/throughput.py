"""Events per second through one segmenter with the demo's segments, and through stock Faust doing less."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterable
from typing import Any

from demo.segments import SEGMENTS
from tests.bench.load import CUSTOMERS, events, fill
from tests.support.services import PARTITIONS, Stack, wait_for


def applied(stack: Stack) -> int:
    """Return how many records have an outcome whose transaction is committed."""
    answer = stack.get("segmenter", "/outcomes")
    return 0 if answer is None else int(answer["total"].get("accepted", 0))


def restored(stack: Stack) -> int:
    """Return how many partitions the segmenter has, their records about to be fetched."""
    answer = stack.get("segmenter", "/readyz", whatever=True)
    return 0 if answer is None else len(answer["restored"])


def rollcall(stack: Stack, prefix: str, count: int, customers: int = CUSTOMERS) -> float:
    """Return the events per second of a segmenter that starts with `count` events waiting."""
    return drained(stack, prefix, ({"id": segment.id, "rule": segment.rule} for segment in SEGMENTS), events(count, customers=customers))


def drained(stack: Stack, prefix: str, segments: Iterable[dict[str, Any]], load: Iterable[dict[str, Any]]) -> float:
    """Return the events per second of a segmenter with these segments that starts with a load waiting."""
    stack.fresh(prefix)
    stack.define(segments)
    count = fill(stack.bootstrap, stack.topics, PARTITIONS, load)
    # Not until it is ready: by then it has applied a good part of what waited. Nor from the first step on, for it computes several at a time.
    stack.start("segmenter", "services.segmenter", wait=False)
    wait_for(lambda: restored(stack) == PARTITIONS, what="the partitions", every_s=0.01)
    first, start_s = applied(stack), time.perf_counter()
    wait_for(lambda: applied(stack) >= count, what="all events to be applied", timeout_s=300, every_s=0.02)
    took_s = time.perf_counter() - start_s
    stack.stop_services()
    return (count - first) / took_s


def stock(stack: Stack, run: int, count: int) -> float:
    """Return the events per second of stock Faust on the same events."""
    stack.fresh(f"stock{run}-")
    fill(stack.bootstrap, stack.topics, PARTITIONS, events(count))
    command = (sys.executable, "-m", "tests.bench.stock", str(count))
    environment = stack.environment() | {"ROLLCALL_DATA_DIR": str(stack.folder / "data-stock")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=True)
    rate, _, counted = done.stdout.split()[-3:]
    if int(counted) != count:
        raise RuntimeError(f"stock Faust counted {counted} of {count} events")
    return float(rate)
