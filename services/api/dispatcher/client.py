"""The HTTP side of a delivery: one signed POST, to an address that may be reached, with bounds on everything that comes back.

Signatures follow Standard Webhooks (https://www.standardwebhooks.com): HMAC-SHA256 over `id.timestamp.body`.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, Self

import aiohttp
from aiohttp.abc import AbstractResolver
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ConnectionKey
from msgspec import Struct
from standardwebhooks import Webhook

from schemas.catalog import Endpoint
from schemas.instants import iso
from services.api.dispatcher.addresses import refused
from services.api.dispatcher.allowed import WebhookSettings

_GONE: Final = 410


class RefusedAddress(OSError):
    """A connection that was not made because of where it would have led."""


class AttemptResult(Struct):
    """What came of one attempt: the status, None without an answer; how long; what went wrong; what the receiver asked for."""

    status: int | None
    duration_ms: int
    error: str | None
    retry_after_s: float = 0.0

    @property
    def delivered(self) -> bool:
        """Whether the receiver took it."""
        return self.status is not None and 200 <= self.status < 300

    @property
    def gone(self) -> bool:
        """Whether the receiver wants nothing more."""
        return self.status == _GONE


def signed_headers(secrets: Sequence[str], message_id: str, at_ms: int, body: bytes) -> dict[str, str]:
    """Return the headers of a webhook, with a signature of each secret: a receiver takes it that knows any of them."""
    at = datetime.fromtimestamp(at_ms // 1000, UTC)
    return {
        "content-type": "application/json",
        "user-agent": "Rollcall-Webhooks/1",
        "webhook-id": message_id,
        "webhook-timestamp": str(at_ms // 1000),
        "webhook-signature": " ".join(Webhook(secret).sign(message_id, at, body.decode()) for secret in secrets),
    }


class _Connector(aiohttp.TCPConnector):
    """Keeps no more than `most` connections that nobody uses, those used last. The library bounds those in use, and how long others are kept."""

    def __init__(self, most: int, **more: Any) -> None:
        super().__init__(**more)
        self._most = most

    def _release(self, key: ConnectionKey, protocol: ResponseHandler, *, should_close: bool = False) -> None:
        super()._release(key, protocol, should_close=should_close)
        if sum(map(len, self._conns.values())) > self._most:
            oldest = min((kept for kept in self._conns if self._conns[kept]), key=lambda kept: self._conns[kept][0][1])
            idle, _ = self._conns[oldest].popleft()
            idle.close()
            if not self._conns[oldest]:
                del self._conns[oldest]


class Client:
    """Posts webhooks. An async context manager; connections are kept and shared by all deliveries. `resolver` None asks the system."""

    def __init__(self, settings: WebhookSettings, *, resolver: AbstractResolver | None = None) -> None:
        self._settings, self._resolver = settings, resolver
        self._timeout = aiohttp.ClientTimeout(total=settings.webhook_timeout_s)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = _Connector(
            self._settings.webhook_connections,
            limit=0,  # one for each attempt, which whoever asks has bounded
            limit_per_host=0,
            ttl_dns_cache=60,
            resolver=self._resolver,
            socket_factory=self._socket,
            keepalive_timeout=self._settings.webhook_idle_s,
        )
        self._session = aiohttp.ClientSession(
            connector=connector, timeout=self._timeout, trust_env=False, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    def _socket(self, address: Any) -> socket.socket:
        """Make the socket of a connection; this sees the address actually connected to, whatever a name resolved to before."""
        family, kind, protocol, _, where = address
        if reason := refused(str(where[0]), self._settings.webhook_allow):
            # The library tells of an error what its number's text says.
            raise RefusedAddress(errno.EACCES, f"not connected: {reason}")
        return socket.socket(family, kind, protocol)

    async def post(self, endpoint: Endpoint, message_id: str, body: bytes, now_ms: int) -> AttemptResult:
        """Try once. Never raises for what a receiver or the network does."""
        assert self._session is not None, "used as a context manager"
        headers = signed_headers(endpoint.secrets(now_ms), message_id, now_ms, body)
        since = time.perf_counter()
        status, error, retry_after_s = None, None, 0.0
        try:
            async with self._session.post(endpoint.url, data=body, headers=headers, allow_redirects=False) as reply:
                status = reply.status
                retry_after_s = _retry_after(reply.headers.get("retry-after"), now_ms)
                await self._drain(reply)
                if not 200 <= status < 300:
                    error = f"answered {status}" + (", and redirects are not followed" if 300 <= status < 400 else "")
        except TimeoutError:
            status, error = None, f"no answer within {self._timeout.total:.0f} s"
        except (aiohttp.ClientError, OSError, ValueError) as problem:
            status, error = None, _said(problem)[:300]
        return AttemptResult(status, int((time.perf_counter() - since) * 1000), error, retry_after_s)

    async def _drain(self, reply: aiohttp.ClientResponse) -> None:
        """Read a short reply, so that its connection can be kept; close on a long one."""
        left = self._settings.webhook_reply_bytes
        while left > 0:
            chunk = await reply.content.read(left)
            if not chunk:
                return
            left -= len(chunk)
        reply.close()


def _said(problem: Exception) -> str:
    """Say what kept a receiver from answering. Certificates and TLS first: those are theirs to mend, and drown in the library's words."""
    if isinstance(problem, aiohttp.ClientConnectorCertificateError):
        found = problem.certificate_error
        return f"its certificate is not trusted: {getattr(found, 'verify_message', '') or found}"
    if isinstance(problem, aiohttp.ClientConnectorSSLError):
        return f"TLS failed: {getattr(problem.os_error, 'reason', None) or problem.os_error}"
    return str(problem) or type(problem).__name__


def _retry_after(value: str | None, now_ms: int) -> float:
    """Read Retry-After: seconds, or an HTTP date."""
    if value is None:
        return 0.0
    if value.strip().isascii() and value.strip().isdigit():
        return float(value.strip()[:9])
    # A date beyond all time overflows; it asks for nothing, as any other nonsense.
    with suppress(ValueError, TypeError, OverflowError):
        return max(0.0, parsedate_to_datetime(value).timestamp() - now_ms / 1000)
    return 0.0


async def send_test(endpoint: Endpoint, settings: WebhookSettings, now_ms: int) -> AttemptResult:
    """Send one signed delivery of type `webhook.test` at once, outside every queue."""
    body = f'{{"type":"webhook.test","timestamp":"{iso(now_ms)}","data":{{"endpoint_id":"{endpoint.id}","tenant":"{endpoint.tenant}"}}}}'
    async with Client(settings) as client:
        try:
            return await client.post(endpoint, f"msg_test_{endpoint.id}_{now_ms}", body.encode(), now_ms)
        finally:
            await asyncio.sleep(0)  # lets the connector close its sockets
