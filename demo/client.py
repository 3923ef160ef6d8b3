"""The demo's HTTP client: one session, and answers that become data or one clear line of failure."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import aiohttp
import msgspec

from demo.settings import DemoError, Settings

Json = dict[str, Any]
_TIMEOUT = aiohttp.ClientTimeout(total=60)


class Answer(NamedTuple):
    """A status, the decoded JSON (empty when there was none) and how long to wait before asking again."""

    status: int
    body: Json
    retry_after_s: float

    @property
    def detail(self) -> str:
        """What a problem document says, or the status."""
        return f"{self.status} {self.body.get('detail') or self.body.get('title') or ''}".strip()


class Client:
    """Calls the services with the demo's key. Use it as an async context manager."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.key = ""
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Open the session."""
        self._session = aiohttp.ClientSession(timeout=_TIMEOUT)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the session."""
        if self._session is not None:
            await self._session.close()

    async def call(self, method: str, url: str, *, body: bytes | Json | None = None, params: Mapping[str, str] | None = None) -> Answer:
        """Make one request. Bytes are sent as NDJSON, a dict as JSON. Raises `aiohttp.ClientError` or `TimeoutError`."""
        if self._session is None:
            raise RuntimeError("the client is not open")
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        data = msgspec.json.encode(body) if isinstance(body, dict) else body
        if body is not None:
            headers["Content-Type"] = "application/json" if isinstance(body, dict) else "application/x-ndjson"
        async with self._session.request(method, url, data=data, headers=headers, params=params) as response:
            return Answer(response.status, _object(await response.read()), _seconds(response.headers.get("Retry-After")))

    async def api(self, method: str, path: str, *, body: Json | None = None, params: Mapping[str, str] | None = None) -> Answer:
        """Call the API, asking again for up to half a minute while it is not there or not ready."""
        last = ""
        for _ in range(30):
            try:
                answer = await self.call(method, self.settings.api_url + path, body=body, params=params)
            except (aiohttp.ClientError, TimeoutError) as error:
                last = str(error) or type(error).__name__
                await asyncio.sleep(1)
                continue
            if answer.status not in (429, 503):
                return answer
            last = answer.detail
            await asyncio.sleep(min(answer.retry_after_s, 5))
        raise DemoError(f"the API does not answer {method} {path}: {last}", self.settings.log("api"))


def _object(content: bytes) -> Json:
    try:
        decoded = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return decoded if isinstance(decoded, dict) else {}


def _seconds(retry_after: str | None) -> float:
    try:
        return max(float(retry_after or 1), 0.05)
    except ValueError:
        return 1.0
