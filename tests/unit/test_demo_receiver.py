"""The receiver keeps what is signed with its secret, once, and nothing else."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientResponse
from aiohttp.test_utils import TestClient, TestServer
from standardwebhooks.webhooks import Webhook

from demo.receiver import MAX_BODY_BYTES, build_app

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef01234567").decode()
OTHER = "whsec_" + base64.b64encode(b"another secret, 24 bytes").decode()
BODY = '{"type":"segment.entered","timestamp":"2026-11-22T10:15:00Z","data":{"customer_id":"718","segment_id":"regulars"}}'


def signed(webhook_id: str, secret: str = SECRET, body: str = BODY, age_s: int = 0) -> dict[str, str]:
    """Sign a body as the public specification says."""
    at = dt.datetime.now(tz=dt.UTC) - dt.timedelta(seconds=age_s)
    signature = Webhook(secret).sign(webhook_id, at, body)
    return {"Webhook-Id": webhook_id, "Webhook-Timestamp": str(int(at.timestamp())), "Webhook-Signature": signature}


def serving(directory: Path, act: Callable[[Any], Awaitable[None]]) -> None:
    """Run a receiver over a directory while `act` talks to it."""

    async def main() -> None:
        async with TestClient(TestServer(build_app(directory, now_ms=lambda: 1_790_000_000_000))) as client:
            await act(client)

    asyncio.run(main())


async def post(client: Any, headers: dict[str, str], body: str | bytes = BODY) -> int:
    """Deliver, and give the status."""
    response: ClientResponse = await client.post("/hook", data=body, headers=headers)
    return response.status


async def summary(client: Any) -> dict[str, Any]:
    """Ask what was received."""
    response: ClientResponse = await client.get("/")
    found: dict[str, Any] = await response.json()
    return found


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Make a directory that holds the secret."""
    (tmp_path / "secret").write_text(SECRET + "\n")
    return tmp_path


def test_a_verified_delivery_is_kept_with_its_time_and_headers(directory: Path) -> None:
    """204 means that the line is in the file."""

    async def act(client: Any) -> None:
        assert await post(client, signed("msg_1")) == 204
        kept = json.loads((directory / "deliveries.ndjson").read_text())
        assert kept["received_at"] == 1_790_000_000_000
        assert kept["headers"]["webhook-id"] == "msg_1"
        assert kept["payload"] == json.loads(BODY)

    serving(directory, act)


def test_what_is_not_signed_with_the_secret_is_refused_and_not_kept(directory: Path) -> None:
    """Another secret, a changed body, an old timestamp, a missing or malformed header, bytes that are no text: all are 401."""

    async def act(client: Any) -> None:
        assert await post(client, signed("msg_1", OTHER)) == 401
        assert await post(client, signed("msg_1"), BODY.replace("718", "719")) == 401
        assert await post(client, signed("msg_1", age_s=3_600)) == 401
        assert await post(client, {}) == 401
        for malformed in ("v1", "v1,!", "v1,a", "v2,abcd", ""):
            assert await post(client, signed("msg_1") | {"Webhook-Signature": malformed}) == 401
        assert await post(client, signed("msg_1"), b"\xff\xfe") == 401
        assert (await summary(client))["count"] == 0

    serving(directory, act)
    assert (directory / "deliveries.ndjson").read_bytes() == b""


def test_a_body_beyond_the_limit_is_refused(directory: Path) -> None:
    """413, whatever its signature."""

    async def act(client: Any) -> None:
        assert await post(client, signed("msg_1"), b"x" * (MAX_BODY_BYTES + 1)) == 413

    serving(directory, act)


def test_repeats_are_kept_but_counted_once_also_after_a_restart(directory: Path) -> None:
    """The count speaks of webhook-ids; a line torn by a crash is cut off, as its sender was never answered."""

    async def twice(client: Any) -> None:
        assert [await post(client, signed(webhook_id)) for webhook_id in ("msg_1", "msg_1", "msg_2")] == [204] * 3
        assert (await summary(client))["count"] == 2

    async def once_more(client: Any) -> None:
        assert await post(client, signed("msg_2")) == 204
        found = await summary(client)
        assert (found["count"], found["repeated"]) == (2, 2)
        assert [delivery["headers"]["webhook-id"] for delivery in found["last"]] == ["msg_2", "msg_1"]

    serving(directory, twice)
    with (directory / "deliveries.ndjson").open("ab") as file:
        file.write(b'{"received_at":17900')
    serving(directory, once_more)
    assert len((directory / "deliveries.ndjson").read_text().splitlines()) == 4


def test_a_secret_that_changes_is_read_again(tmp_path: Path) -> None:
    """Before there is one it asks the sender to try again; afterwards the newest counts."""

    async def act(client: Any) -> None:
        assert await post(client, signed("msg_1")) == 503
        (tmp_path / "secret").write_text(OTHER)
        assert await post(client, signed("msg_1")) == 401
        assert await post(client, signed("msg_1", OTHER)) == 204
        (tmp_path / "secret").write_text(SECRET)
        assert await post(client, signed("msg_2")) == 204

    serving(tmp_path, act)


def test_the_page_shows_at_most_twenty_and_escapes_what_it_shows(directory: Path) -> None:
    """A browser gets HTML in which a customer's id is text; `last` asks for fewer."""
    body = BODY.replace("718", "<script>")

    async def act(client: Any) -> None:
        for number in range(25):
            assert await post(client, signed(f"msg_{number}", body=body), body) == 204
        page = await (await client.get("/", headers={"Accept": "text/html"})).text()
        assert page.count("&lt;script&gt;") == 20
        assert "<script>" not in page
        assert len((await (await client.get("/?last=2")).json())["last"]) == 2
        assert (await client.get("/readyz")).status == 200

    serving(directory, act)
