"""From an event posted to its signed webhook received, at a steady rate, through every process.

Each event is the first checkout of a new customer, so that it makes exactly one transition and one delivery. Up to a hundred
events a second each is posted alone; above that a request carries several, as a gateway of many tills sends them. Sender and
receiver are as small as they can be, since they share the two cores with what is measured.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from typing import Any, ClassVar, Final

from deploy.local.ports import free_port
from schemas.instants import iso
from tests.bench.lines import Line
from tests.support.services import KEY, Stack, now_ms

BUYERS: Final = {"id": "buyers", "rule": {"metric": {"measure": "count", "event": "checkout"}, "op": "gte", "value": 1}}
_CUSTOMER: Final = re.compile(rb'"customer_id":"([^"]+)"')
_LENGTH: Final = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_CONNECTIONS: Final = 8
_REQUESTS_A_SECOND: Final = 100


class Receiver(asyncio.Protocol):
    """Answers every POST with 204 and notes when each customer's webhook came."""

    arrived: ClassVar[dict[str, float]] = {}

    def __init__(self) -> None:
        self._buffer = b""
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        """Keep the way back."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Take whole requests off the buffer."""
        self._buffer += data
        while (head := self._buffer.find(b"\r\n\r\n")) >= 0:
            length = _LENGTH.search(self._buffer, 0, head)
            end = head + 4 + (int(length.group(1)) if length else 0)
            if len(self._buffer) < end:
                return
            customer = _CUSTOMER.search(self._buffer, head, end)
            if customer is not None:
                Receiver.arrived.setdefault(customer.group(1).decode(), time.perf_counter())
            self._buffer = self._buffer[end:]
            self._transport.write(b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n")


async def _send(port: int, rate: int, seconds: float, label: str, posted: dict[str, float]) -> None:
    """Post at a steady rate over a few kept connections; a late turn posts at once, and its delay counts from when it was due."""
    jobs: asyncio.Queue[tuple[list[str], float] | None] = asyncio.Queue()
    senders = [asyncio.create_task(_sender(port, jobs, posted)) for _ in range(_CONNECTIONS)]
    size = max(1, rate // _REQUESTS_A_SECOND)
    start = time.perf_counter() + 0.1
    for number in range(0, int(rate * seconds), size):
        due = start + number / rate
        if (delay := due - time.perf_counter()) > 0:
            await asyncio.sleep(delay)
        jobs.put_nowait(([f"{label}-{number + place}" for place in range(size)], due))
    for _ in senders:
        jobs.put_nowait(None)
    await asyncio.gather(*senders)


async def _sender(port: int, jobs: asyncio.Queue[tuple[list[str], float] | None], posted: dict[str, float]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"POST /v1/events HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {KEY}\r\nContent-Type: application/json\r\nContent-Length: "
    while (job := await jobs.get()) is not None:
        customers, due = job
        at = iso(now_ms())
        events = [{"type": "checkout", "event_id": name, "customer_id": name, "occurred_at": at, "total": "12.50"} for name in customers]
        body = json.dumps(events).encode()
        posted.update(dict.fromkeys(customers, due))
        writer.write(f"{head}{len(body)}\r\n\r\n".encode() + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        length = _LENGTH.search(answer)
        await reader.readexactly(int(length.group(1)) if length else 0)
        if not answer.startswith(b"HTTP/1.1 202"):
            raise RuntimeError(f"ingest answered {answer.splitlines()[0].decode()}")
    writer.close()


async def _run(stack: Stack, port: int, rates: tuple[int, ...], seconds: float) -> dict[str, dict[str, float]]:
    server = await asyncio.get_running_loop().create_server(Receiver, "127.0.0.1", port)
    results: dict[str, dict[str, float]] = {}
    await _measure(stack, 100, 3.0, "warm")
    for rate in rates:
        results[str(rate)] = await _measure(stack, rate, seconds, f"at{rate}")
    server.close()
    return results


async def _measure(stack: Stack, rate: int, seconds: float, label: str) -> dict[str, float]:
    posted: dict[str, float] = {}
    await _send(stack.ports["ingest"], rate, seconds, label, posted)
    give_up = time.perf_counter() + 60
    while any(customer not in Receiver.arrived for customer in posted) and time.perf_counter() < give_up:
        await asyncio.sleep(0.05)
    delays = sorted(1000 * (Receiver.arrived[customer] - due) for customer, due in posted.items() if customer in Receiver.arrived)
    if len(delays) < len(posted):
        raise RuntimeError(f"{len(posted) - len(delays)} of {len(posted)} webhooks did not arrive within a minute")
    return {"events": len(delays), "p50_ms": delays[len(delays) // 2], "p99_ms": delays[int(len(delays) * 0.99)], "max_ms": delays[-1]}


def measure(stack: Stack, *, rates: tuple[int, ...] = (100, 1_000), seconds: float = 20.0) -> dict[str, dict[str, float]]:
    """Start every process, post at each rate, and return the delays in milliseconds."""
    port = free_port()
    stack.fresh("latency-")
    stack.define([BUYERS], webhook=f"http://127.0.0.1:{port}/hook")
    stack.start("ingest", "services.ingest")
    stack.start("segmenter", "services.segmenter")
    stack.start("dispatcher", "services.api", "dispatch")
    try:
        return asyncio.run(_run(stack, port, rates, seconds))
    finally:
        stack.stop_services()


def lines(found: dict[str, Any]) -> list[Line]:
    """Say median and 99th percentile of each rate."""
    return [
        Line(
            f"event posted → webhook received, {int(rate):,} events/s",
            f"p50 {delays['p50_ms']:.0f} ms, p99 {delays['p99_ms']:.0f} ms",
            "",
            "p50 < 60 ms, p99 < 250 ms",
        )
        for rate, delays in found.items()
        if rate.isdigit()
    ]
