"""A client that costs little, for it shares the cores with what it measures: kept connections, each with one request on its way."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator, Sequence
from itertools import cycle
from typing import Any, Final, NamedTuple, cast

import uvloop

from tests.support.services import KEY

_LENGTH: Final = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_WARM_S: Final = 1.0


class Rate(NamedTuple):
    """What came of it: requests a second, and in milliseconds how long they took."""

    a_second: float
    p50_ms: float
    p99_ms: float


def post(path: str, body: bytes, content_type: str) -> bytes:
    """Write a request with a body."""
    return (
        f"POST {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {KEY}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        + body
    )


def get(path: str) -> bytes:
    """Write a request without one."""
    return f"GET {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {KEY}\r\n\r\n".encode()


class _Connection(asyncio.Protocol):
    """Sends the next request as soon as the last one is answered."""

    def __init__(self, requests: Iterator[bytes], wanted: bytes, delays: list[float], until_s: float) -> None:
        self._requests, self._wanted, self._delays, self._until_s = requests, wanted, delays, until_s
        self._buffer, self._sent_s = b"", 0.0
        self._transport: Any = None
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast(asyncio.Transport, transport)
        self._send()

    def _send(self) -> None:
        self._sent_s = time.perf_counter()
        self._transport.write(next(self._requests))

    def data_received(self, data: bytes) -> None:
        """Take an answer."""
        self._buffer += data
        head = self._buffer.find(b"\r\n\r\n")
        length = _LENGTH.search(self._buffer, 0, head) if head >= 0 else None
        if length is None or len(self._buffer) < head + 4 + int(length.group(1)):
            return
        if not self._buffer.startswith(self._wanted, len(b"HTTP/1.1 ")):
            self._end(RuntimeError(f"answered {self._buffer[:300].decode(errors='replace')}"))
            return
        now_s = time.perf_counter()
        self._delays.append(now_s - self._sent_s)
        self._buffer = b""
        if now_s < self._until_s:
            self._send()
        else:
            self._end(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail, unless it was over."""
        self._end(exc or ConnectionResetError("the server closed the connection"))

    def _end(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None) if error is None else self.done.set_exception(error)
            self._transport.close()


async def _fire(port: int, requests: Iterator[bytes], wanted: bytes, connections: int, seconds: float) -> tuple[list[float], float]:
    delays: list[float] = []
    since_s = time.perf_counter()
    loop = asyncio.get_running_loop()
    made = [
        await loop.create_connection(lambda: _Connection(requests, wanted, delays, since_s + seconds), "127.0.0.1", port) for _ in range(connections)
    ]
    await asyncio.gather(*(protocol.done for _, protocol in made))
    return delays, time.perf_counter() - since_s


def fire(port: int, requests: Sequence[bytes], *, wanted: int, connections: int, seconds: float) -> Rate:
    """Send these requests over and over, and return how fast they were answered; raise for any other status than `wanted`."""
    source, status = cycle(requests), str(wanted).encode()
    uvloop.run(_fire(port, source, status, connections, _WARM_S))
    delays, took_s = uvloop.run(_fire(port, source, status, connections, seconds))
    delays.sort()
    return Rate(len(delays) / took_s, 1000 * delays[len(delays) // 2], 1000 * delays[int(len(delays) * 0.99)])
