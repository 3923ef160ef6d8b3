"""One attempt: where it never connects, whatever a name resolves to; and what comes of receivers of every temper."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.catalog import Endpoint
from services.api.dispatcher.allowed import WebhookSettings
from services.api.dispatcher.client import AttemptResult, Client, _retry_after

SELF_SIGNED = Path(__file__).parents[1] / "support" / "self-signed.pem"
ALLOWED = (ip_network("127.0.0.1/32"),)
Temper = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Names(AbstractResolver):
    """Resolves every name to the next of some answers, the last for ever."""

    def __init__(self, *answers: list[str]) -> None:
        self._answers = list(answers)

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
        """Return the next answer."""
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return [
            ResolveResult(hostname=host, host=address, port=port, family=socket.AF_INET6 if ":" in address else socket.AF_INET, proto=0, flags=0)
            for address in answer
        ]

    async def close(self) -> None:
        """Nothing to close."""


def endpoint(url: str) -> Endpoint:
    """An endpoint at an address."""
    return Endpoint("t", "e", 1, url, "whsec_AAAA", None, frozenset({"entered"}), None, False, True, "", 0)


@asynccontextmanager
async def receiver(temper: Temper, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[tuple[int, list[bytes]]]:
    """Listen; give the port, and what came over each connection that was made."""
    came: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append(b"")
        try:
            came[-1] = await reader.readuntil(b"\r\n\r\n")
            await temper(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, host, port)
    try:
        yield server.sockets[0].getsockname()[1], came
    finally:
        server.close()


def answering(raw: bytes) -> Temper:
    """A receiver that answers with some bytes."""

    async def temper(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(raw)
        await writer.drain()

    return temper


async def post(url: str, *, timeout_s: float = 5.0, resolver: AbstractResolver | None = None) -> AttemptResult:
    """Try once."""
    async with Client(WebhookSettings(webhook_allow=ALLOWED, webhook_timeout_s=timeout_s), resolver=resolver) as client:
        return await client.post(endpoint(url), "msg_1", b"{}", 1_700_000_000_000)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.2",
        "127.2",
        "0x7f000002",
        "2130706434",
        "0177.0.0.2",
        "[::ffff:127.0.0.2]",
        "[::ffff:7f00:2]",
        "[::1]",
        "0.0.0.0",
        "localhost.",
        "[::]",
    ],
)
async def test_a_canary_sees_no_connection(host: str) -> None:
    """However the host is written, the address connected to is what counts: nothing reaches a listener on every interface."""
    for family in ("0.0.0.0", "::"):
        async with receiver(answering(b"HTTP/1.1 204 x\r\n\r\n"), family) as (port, came):
            async with Client(WebhookSettings(webhook_timeout_s=5.0)) as client:
                found = await client.post(endpoint(f"http://{host}:{port}/"), "msg_1", b"{}", 0)
            assert (found.status, came) == (None, [])
            assert found.error


async def test_a_name_is_judged_at_each_connection() -> None:
    """A name that led to an allowed address a moment ago, or leads to several: a refused one is never connected to."""
    gone = b"HTTP/1.1 204 x\r\nconnection: close\r\n\r\n"
    names = Names(["127.0.0.1"], ["127.0.0.2"], ["::ffff:127.0.0.2"], ["127.0.0.2", "127.0.0.1"])
    async with receiver(answering(gone)) as (port, came), receiver(answering(gone), "127.0.0.2", port) as (_, canary):
        url = f"http://shop.example:{port}/"
        assert (await post(url, resolver=names)).delivered
        for _ in range(2):
            found = await post(url, resolver=names)
            assert found.status is None
            assert "127.0.0.2 is loopback" in str(found.error)
        await post(url, resolver=names)
        assert (len(came) >= 1, canary) == (True, [])


async def test_a_redirect_is_an_answer_and_nothing_more() -> None:
    """Wherever it leads, also to an address that is allowed."""
    async with receiver(answering(b"HTTP/1.1 204 x\r\n\r\n")) as (other, canary):
        for status in (301, 302, 303, 307, 308):
            async with receiver(answering(b"HTTP/1.1 %d x\r\nlocation: http://127.0.0.1:%d/\r\ncontent-length: 0\r\n\r\n" % (status, other))) as (
                port,
                _,
            ):
                found = await post(f"http://127.0.0.1:{port}/")
                assert (found.status, found.delivered) == (status, False)
                assert "redirects are not followed" in str(found.error)
        assert canary == []


async def _never(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


async def _drips(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
    for _number in range(1000):
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.02)


async def _drips_headers(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    for number in range(1000):
        writer.write(b"x-%d: y\r\n" % number)
        await writer.drain()
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("temper", [_never, _drips, _drips_headers])
async def test_an_attempt_has_an_end(temper: Temper) -> None:
    """A receiver that is silent, or sends a byte at a time, has failed when the time is over."""
    async with receiver(temper) as (port, _):
        since_s = time.monotonic()
        found = await post(f"http://127.0.0.1:{port}/", timeout_s=0.3)
        assert 0.25 < time.monotonic() - since_s < 3
        assert (found.status, found.delivered) == (None, False)
        assert "no answer within" in str(found.error)


async def test_of_a_huge_reply_so_much_is_read_and_no_more() -> None:
    """A receiver that took it and then tells a long story has taken it; the connection is closed on it, compressed or not."""
    for encoding in (b"", b"content-encoding: gzip\r\n"):
        sent = 0

        async def floods(_: asyncio.StreamReader, writer: asyncio.StreamWriter, encoding: bytes = encoding) -> None:
            nonlocal sent
            writer.write(b"HTTP/1.1 200 OK\r\n" + encoding + b"content-length: 1000000000\r\n\r\n")
            while sent < 1_000_000_000:
                writer.write(bytes(65_536))
                await writer.drain()
                sent += 65_536

        async with receiver(floods) as (port, _):
            assert (await post(f"http://127.0.0.1:{port}/")).delivered
        # What the kernel's buffers take does not count.
        assert sent < 50_000_000


async def test_so_many_idle_connections_are_kept_and_no_more() -> None:
    """Those used last: whose receivers are sent the next webhook on the same connection. The others' end, and they notice."""
    ended: set[int] = set()

    async def keeps(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        port = writer.get_extra_info("sockname")[1]
        while True:
            await reader.readexactly(2)
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
            try:
                await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                ended.add(port)
                return

    async with contextlib.AsyncExitStack() as stack:
        receivers = [await stack.enter_async_context(receiver(keeps)) for _ in range(4)]
        client = await stack.enter_async_context(Client(WebhookSettings(webhook_allow=ALLOWED, webhook_connections=2)))
        for number in (0, 1, 2, 3, 3, 2, 0):
            url = f"http://127.0.0.1:{receivers[number][0]}/"
            assert (await client.post(endpoint(url), "msg_1", b"{}", 1_700_000_000_000)).delivered
        assert [len(came) for _, came in receivers] == [2, 1, 1, 1]
        async with asyncio.timeout(5):
            while ended != {receivers[number][0] for number in (0, 1, 3)}:
                await asyncio.sleep(0.01)


async def test_receivers_that_are_not_there_or_not_who_they_say() -> None:
    """No listener, no such name, TLS spoken to who does not speak it, a certificate that nobody vouches for: said, never raised."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        assert (await post(f"http://127.0.0.1:{closed.getsockname()[1]}/")).error
    assert (await post("http://nowhere.invalid/")).error
    async with receiver(answering(b"HTTP/1.1 204 x\r\n\r\n")) as (port, _):
        found = await post(f"https://127.0.0.1:{port}/")
        assert (found.status, bool(found.error)) == (None, True)


async def test_a_certificate_that_nobody_vouches_for_is_said_to_be_one() -> None:
    """The attempt has failed, the reason is the certificate, and nothing of the delivery went over the connection."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(SELF_SIGNED)
    came: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append(await reader.read())
        writer.close()

    async def plain(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 speak plainly\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(plain, "127.0.0.1", 0) as server:
        found = await post(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    assert (found.status, str(found.error)[:12]) == (None, "TLS failed: ")
    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as server:
        found = await post(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    assert (found.status, found.delivered) == (None, False)
    assert str(found.error) == "its certificate is not trusted: self-signed certificate"
    assert b"".join(came) == b""


RAW: tuple[bytes, ...] = (
    b"", b"\x00\xff\xfe", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 999 x\r\n\r\n", b"HTTP/1.1 99999999 x\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 9_999,
    b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000 + b"\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx", b"HTTP/1.1 101 x\r\nupgrade: y\r\n\r\n", b"HTTP/1.1 429 x\r\nretry-after: Mon, 1 Jan 99999999999999 00:00:00 GMT\r\n\r\n",
    b"HTTP/1.1 503 x\r\nretry-after: \xff\xfe\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n" * 1_000,
)  # fmt: skip


@pytest.mark.parametrize("raw", RAW, ids=range(len(RAW)))
async def test_whatever_a_receiver_answers_is_a_result(raw: bytes) -> None:
    """Nonsense, cut off, oversized, with dates beyond all time: an attempt that failed, and never an exception."""
    async with receiver(answering(raw)) as (port, _):
        found = await post(f"http://127.0.0.1:{port}/", timeout_s=1.0)
    assert isinstance(found, AttemptResult)
    assert found.delivered or found.error


@pytest.mark.parametrize(
    ("status", "header", "wait_s"), [(429, "120", 120), (503, "Tue, 14 Nov 2023 22:14:20 GMT", 60), (429, "soon", 0), (429, "-5", 0)]
)
async def test_a_receiver_may_ask_for_time(status: int, header: str, wait_s: int) -> None:
    """Retry-After in seconds or as a date; what is neither asks for nothing."""
    raw = f"HTTP/1.1 {status} x\r\nretry-after: {header}\r\ncontent-length: 0\r\n\r\n".encode()
    async with receiver(answering(raw)) as (port, _):
        found = await post(f"http://127.0.0.1:{port}/")
    assert (found.status, found.retry_after_s) == (status, wait_s)


@given(
    st.text(max_size=40)
    | st.from_regex(r"\A(Mon, )?[0-9]{1,22} (Jan|Feb) [0-9]{1,22} [0-9]{1,4}:[0-9]{1,4}:[0-9]{1,4} ([+-][0-9]{1,12}|GMT|-0000)\Z")
)
@example("Mon, 1 Jan 99999999999999 00:00:00 GMT")
@example("Mon, 1 Jan 0001 00:00:00 -0000")
def test_no_retry_after_is_a_fault(value: str) -> None:
    """Any text is a number of seconds that is not negative."""
    assert _retry_after(value, 1_700_000_000_000) >= 0.0
