"""An API for tests, served in a thread of its own on the real Kafka and Valkey, with topics and Redis keys of its own."""

from __future__ import annotations

import asyncio
import json
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import uvicorn

from deploy.local.ports import free_port
from schemas.definitions import SCOPES, Definition, KeyRevoked, encode_definition
from schemas.problems import MEDIA_TYPE
from services.api.app import build_app
from services.api.desk import Desk
from services.api.settings import ApiSettings
from tests.support.ingest import key, tenant
from tests.support.sending import sender
from tests.support.waiting import wait_until

PARTITIONS = 4
AFTER_TIMEOUT_S = 1.0
MAX_BODY = 1 << 20


@dataclass
class Api:
    """A running API, its settings and its inside."""

    url: str
    settings: ApiSettings
    desk: Desk
    client: httpx.Client

    def call(self, method: str, path: str, body: Any = None, *, key: str = "all", **headers: str) -> httpx.Response:
        """Make a request under a key; what is not bytes is sent as JSON."""
        sent = {"Authorization": f"Bearer {key}"} if key else {}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        content = None
        if body is not None:
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            sent.setdefault("Content-Type", "application/json")
        return self.client.request(method, self.url + path, content=content, headers=sent)

    def get(self, path: str, **more: Any) -> httpx.Response:
        """Get a page."""
        return self.call("GET", path, **more)

    def define(self, *records: Definition | bytes) -> None:
        """Write definitions past the API, and wait until it has read them."""
        producer = sender(self.settings.kafka)
        before = self.desk.follower.catalog.offset
        for record in records:
            producer.produce(self.settings.topics.definitions, record if isinstance(record, bytes) else encode_definition(record), partition=0)
        assert producer.flush(20) == 0
        wait_until(lambda: self.desk.follower.catalog.offset >= before + len(records))

    def segment(self, segment_id: str, rule: Any = None, *, key: str = "all", **more: Any) -> dict[str, Any]:
        """Create a segment and return it."""
        response = self.call("POST", "/v1/segments", {"id": segment_id, "name": segment_id.title(), "rule": rule, **more}, key=key)
        assert response.status_code == 201, response.text
        found: dict[str, Any] = response.json()
        return found

    def offset(self, segment_id: str, tenant_id: str = "demo") -> int:
        """Return where the last version of a segment was saved."""
        segment = self.desk.follower.catalog.segment(tenant_id, segment_id)
        assert segment is not None
        return segment.offset


def settings_for(kafka: str, valkey_url: str, **more: Any) -> ApiSettings:
    """Return settings with small limits and a place of their own."""
    prefix = f"a{uuid.uuid4().hex[:8]}-"
    usual: dict[str, Any] = {
        "kafka": kafka,
        "redis_url": valkey_url,
        "topic_prefix": prefix,
        "redis_prefix": prefix,
        "partitions": PARTITIONS,
        "api_after_timeout_s": AFTER_TIMEOUT_S,
        "api_max_body_bytes": MAX_BODY,
        "api_body_timeout_s": 1.0,
        "api_write_timeout_s": 5.0,
        "api_redis_timeout_s": 1.0,
        # Tests ask faster than anybody; those of the rates set their own.
        **dict.fromkeys(("api_reads_per_s", "api_writes_per_s", "api_questions_per_s"), 1e6),
    }
    return ApiSettings(**(usual | more))


@contextmanager
def serving(settings: ApiSettings) -> Iterator[Api]:
    """Serve an API until the end of the block."""
    app = build_app(settings)
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_config=None, ws="none", lifespan="on"))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()), name="api")
    thread.start()
    # One client for all calls: making one reads the system's certificates, which takes longer than a call.
    client = httpx.Client(timeout=30)
    api = Api(f"http://127.0.0.1:{port}", settings, app.desk, client)
    try:
        desk = api.desk
        read = (desk.follower, desk.erasures, desk.affairs)
        wait_until(lambda: thread.is_alive() and all(one.caught_up for one in read) and server.started, 60)
        yield api
    finally:
        client.close()
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


@contextmanager
def installed(kafka: str, valkey_url: str, **more: Any) -> Iterator[Api]:
    """Serve an API over two tenants, with a key of all scopes for each, and a key for every single scope of the first."""
    with serving(settings_for(kafka, valkey_url, **more)) as api:
        api.define(
            tenant("demo"),
            tenant("other", "JPY"),
            key("all", *SCOPES),
            key("theirs", *SCOPES, of="other"),
            *(key(f"only-{scope}", scope) for scope in SCOPES),
            key("revoked", *SCOPES),
            KeyRevoked(tenant="demo", at_ms=2, key_id="id-revoked"),
        )
        yield api


def fails(response: httpx.Response, status: int, pointer: str | None = None) -> dict[str, Any]:
    """Check that a response is problem details of a status; return them."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == MEDIA_TYPE
    problem: dict[str, Any] = response.json()
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    assert problem.get("pointer") == pointer, problem
    if status == 503:
        assert int(response.headers["retry-after"]) >= 1
    return problem


def patiently(ask: Any, status: int = 200, timeout_s: float = 10.0) -> httpx.Response:
    """Ask until the status is there."""
    until = time.monotonic() + timeout_s
    while True:
        response: httpx.Response = ask()
        if response.status_code == status or time.monotonic() > until:
            assert response.status_code == status, response.text
            return response
        time.sleep(0.02)
