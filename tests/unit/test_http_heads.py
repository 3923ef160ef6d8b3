"""What comes before a body is bounded in bytes and in time; what comes after it, and a pause between two requests, is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn

from deploy.local.ports import free_port
from services.kit.http import configured
from services.kit.settings import CommonSettings

REQUEST = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\n"


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the body."""
    if scope["type"] != "http":
        return
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def serving(**bounds: Any) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Give a connection to a server with these bounds."""
    config = configured(application, CommonSettings.model_validate(bounds), host="127.0.0.1", port=free_port(), max_connections=10, drain_s=1)
    config.lifespan = "off"
    server = uvicorn.Server(config)
    task = asyncio.create_task(server._serve())
    async with asyncio.timeout(10):
        while not server.started:
            await asyncio.sleep(0.01)
        reader, writer = await asyncio.open_connection("127.0.0.1", config.port)
        try:
            yield reader, writer
        finally:
            writer.close()
            server.should_exit = True
            await task


async def answered(reader: asyncio.StreamReader) -> bytes:
    """Return the status line and what follows, up to the end of the body of four bytes."""
    head = await reader.readuntil(b"\r\n\r\n")
    return head.split(b"\r\n")[0] + await reader.readexactly(4)


@pytest.mark.parametrize(
    "endless", [b"GET /" + b"a" * 200_000, b"GET / HTTP/1.1\r\nh: " + b"a" * 200_000, b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 40_000]
)
async def test_a_head_without_end_is_refused(endless: bytes) -> None:
    """A path, one header or many of them: the connection ends long before it does."""
    async with serving(http_head_bytes=65_536) as (_, writer):
        sent = 0
        try:
            while sent < 1 << 26:
                writer.write(endless[sent and 30 :])
                sent += len(endless)
                await writer.drain()
        except ConnectionError:
            pass
        assert sent < 1 << 26


async def test_a_head_that_is_too_long_is_told_so() -> None:
    """400 as soon as it is, and the end; one that is as long as it may be is taken."""
    async with serving(http_head_bytes=8_192) as (reader, writer):
        head = REQUEST[:-2] + b"h: "
        writer.write(head + b"a" * (8_192 - len(head)))
        await writer.drain()
        await asyncio.sleep(0.1)
        writer.write(b"\r\n\r\nabcd")
        assert await answered(reader) == b"HTTP/1.1 200 OKabcd"
    async with serving(http_head_bytes=8_192) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nh: " + b"a" * 8_192)
        assert (await reader.read()).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize("begun", [b"", b"POST / HT", b"POST / HTTP/1.1\r\nhost: x\r\n"])
async def test_a_head_that_does_not_come_ends_the_connection(begun: bytes) -> None:
    """Whoever says nothing, or stops in the middle, is gone when the time is over, and holds no connection."""
    async with serving(http_head_timeout_s=0.2) as (reader, writer):
        writer.write(begun)
        assert await reader.read() == b""


async def test_bodies_and_pauses_take_longer() -> None:
    """The bound is on the head alone: a slow body is read, and the next request may come later."""
    async with serving(http_head_timeout_s=0.2, http_head_bytes=8_192) as (reader, writer):
        for _ in range(2):
            writer.write(REQUEST + b"ab")
            await asyncio.sleep(0.4)
            writer.write(b"cd")
            assert await answered(reader) == b"HTTP/1.1 200 OKabcd"
            await asyncio.sleep(0.4)


async def test_a_connection_without_requests_is_ended() -> None:
    """After an answer it is kept for so long and no longer."""
    async with serving(http_idle_s=1) as (reader, writer):
        writer.write(REQUEST + b"abcd")
        assert await answered(reader) == b"HTTP/1.1 200 OKabcd"
        assert await reader.read() == b""


async def test_many_requests_in_one_piece() -> None:
    """Requests that come together are longer than one head may be, and are all answered."""
    async with serving(http_head_bytes=8_192) as (reader, writer):
        writer.write((REQUEST + b"abcd") * 500)
        for _ in range(500):
            assert await answered(reader) == b"HTTP/1.1 200 OKabcd"
