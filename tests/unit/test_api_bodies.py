"""What the API holds of bodies is bounded for as long as it is held: while they are read, and until their requests are answered."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from types import SimpleNamespace
from typing import Any

from fastapi import Request, Response
from msgspec import Struct

from schemas.catalog import Catalog
from schemas.definitions import KeyPut, TenantPut, encode_definition
from services.api.auth import hash_of
from services.api.desk import Desk
from services.api.settings import ApiSettings
from services.api.times import Times
from services.api.web import Call, RouteSpec, answer, answered
from services.kit.limits import Budget

SPACE = (3 << 20) + 100
BODY = b'{"text":"' + b"x" * (1 << 20) + b'"}'


class Said(Struct):
    """What is posted."""

    text: str


class Counter:
    """Posts that wait for as long as the test wants, as for Kafka."""

    def __init__(self) -> None:
        settings, catalog = ApiSettings(api_reading_bytes=SPACE, tenant_share=0.5), Catalog()
        records = [
            record
            for tenant in ("one", "two")
            for record in (
                TenantPut(tenant=tenant, at_ms=1, timezone="UTC", currency="EUR", country="FR"),
                KeyPut(tenant=tenant, at_ms=1, key_id=tenant, name="", scopes=["segments:write"], sha256=hash_of(tenant)),
            )
        ]
        for offset, record in enumerate(records):
            assert catalog.apply(offset, encode_definition(record)).accepted
        self.reading = Budget(settings.api_reading_bytes, settings.tenant_share, "bytes of bodies are held")
        rates = SimpleNamespace(spend=lambda *_: None)
        times = Times(settings, lambda: 0.0)
        self.desk: Any = SimpleNamespace(settings=settings, catalog=lambda: catalog, rates=rates, times=times, reading=self.reading)
        self.go, self.waiting = asyncio.Event(), 0
        self.spec = RouteSpec("POST", "/", self._post, "segments:write", "", {}, "")

    async def _post(self, call: Call) -> Response:
        await call.body(Said)
        self.waiting += 1
        await self.go.wait()
        return answer({})

    async def post(self, tenant: str, body: bytes = BODY) -> Response:
        """Post a body."""

        async def receive() -> MutableMapping[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        headers = [(b"authorization", b"Bearer " + tenant.encode())]
        scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": headers}
        desk: Desk = self.desk
        return await answered(desk, Request(scope, receive), self.spec, frozenset())


async def test_a_body_counts_until_its_request_is_answered() -> None:
    """While saves wait for Kafka, a tenant beyond its share is told 429, all beyond the whole 503; what is answered makes room."""
    counter = Counter()
    async with asyncio.timeout(10):
        waiting = [asyncio.create_task(counter.post("one"))]
        while counter.waiting < 1:
            await asyncio.sleep(0)
        assert counter.reading.held == len(BODY)
        assert (await counter.post("one")).status_code == 429
        waiting.append(asyncio.create_task(counter.post("two")))
        while counter.waiting < 2:
            await asyncio.sleep(0)
        assert (await counter.post("two", b" " * len(BODY) + BODY)).status_code == 503
        assert counter.reading.held == 2 * len(BODY), "what was refused is given back"
        counter.go.set()
        assert [response.status_code for response in await asyncio.gather(*waiting)] == [200, 200]
        assert counter.reading.held == 0
        assert (await counter.post("one")).status_code == 200


async def test_what_is_refused_holds_nothing() -> None:
    """Neither broken JSON nor a body that is too large."""
    counter = Counter()
    statuses = [(await counter.post("one", body)).status_code for body in (b"{", b"{}", b"x" * (counter.desk.settings.api_max_body_bytes + 1))]
    assert statuses == [400, 422, 413]
    assert counter.reading.held == 0
