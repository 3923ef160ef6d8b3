"""Many deadlines at one instant: when the last of the transitions is published, and what live events wait meanwhile.

Every customer bought something at the same instant, two hours before the one that is waited for; then all leave one segment.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Final

from demo.segments import SEGMENTS
from schemas.instants import iso
from tests.bench.lines import Line
from tests.bench.load import fill
from tests.bench.scale.live import Live, p99
from tests.bench.throughput import applied
from tests.support.services import PARTITIONS, TENANT, Stack, now_ms, wait_for

_WINDOW_MS: Final = 2 * 3_600_000
_FEED_A_SECOND: Final = 4_000
"""Slower than any machine feeds these, so that all is decided before the instant comes."""


def _bought(count: int, at_ms: int) -> Iterator[dict[str, Any]]:
    for number in range(count):
        name = f"due-{number}"
        yield {"type": "checkout", "event_id": name, "tenant": TENANT, "customer_id": name, "occurred_at": iso(at_ms), "total": "12.50"}


def measure(stack: Stack, *, quick: bool = False) -> dict[str, Any]:
    """Let the instant come once; return seconds until the last transition, and the delays of live events before and meanwhile."""
    count = 10_000 if quick else 100_000
    stack.fresh("deadlines-")
    stack.define({"id": segment.id, "rule": segment.rule} for segment in SEGMENTS)
    stack.start("segmenter", "services.segmenter")
    due_ms = now_ms() + 15_000 + 1000 * count // _FEED_A_SECOND
    fill(stack.bootstrap, stack.topics, PARTITIONS, _bought(count, due_ms - _WINDOW_MS))
    wait_for(lambda: applied(stack) >= count, what="all customers to be decided", timeout_s=300)
    if (left_ms := due_ms - now_ms()) < 5_000:
        raise RuntimeError(f"{left_ms} ms are left before the instant: the machine is too slow for {_FEED_A_SECOND} events a second")
    with Live(stack, "due") as live:
        due_s = time.perf_counter() + (due_ms - now_ms()) / 1000
        expected = f'"at":"{iso(due_ms)}"'.encode()
        wait_for(lambda: time.perf_counter() >= due_s, what="the instant", timeout_s=120)
        wait_for(lambda: sum(expected in change.value for change in live.changes) >= count, what="the last transition", timeout_s=180, every_s=0.5)
        arrived = sorted(change.at_s - due_s for change in live.changes if expected in change.value)
        last_s = arrived[count - 1]
        time.sleep(1)
        before, meanwhile = live.delays_ms(due_s - 4, due_s - 0.5), live.delays_ms(due_s, due_s + last_s)
    stack.stop_services()
    return {
        "due": count,
        "last_s": last_s,
        "first_s": arrived[0],
        "p99_before_ms": p99(before),
        "p99_meanwhile_ms": p99(meanwhile),
        "max_ms": meanwhile[-1],
    }


def lines(found: dict[str, Any]) -> list[Line]:
    """Say when the last was published, and what live events waited."""
    what = f"{found['due']:,} deadlines due at one instant → the last transition published, 200 events/s beside it"
    ours = f"{found['last_s']:.1f} s, live events p99 {found['p99_meanwhile_ms']:.0f} ms"
    return [Line(what, ours, f"p99 before it: {found['p99_before_ms']:.0f} ms", "10 s, p99 300 ms")]
