"""The HTTP surface of ingest: who may post, what is taken, and how every outcome is answered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from hashlib import sha256
from typing import Any, Final, Protocol

import msgspec
from fastapi import APIRouter, Request, Response
from msgspec import Struct
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from schemas.catalog import Catalog, Key, Tenant
from schemas.positions import Offsets, encode_position
from schemas.problems import MEDIA_TYPE, problem
from services.ingest.bodies import Body, Cutter, Document, Refused, has_lines, is_array, is_gzip
from services.ingest.intake import Intake, Judged, Rejection
from services.ingest.metrics import Metrics
from services.ingest.openapi import POST_EVENTS
from services.ingest.producer import Lane, NotAcknowledged, Record
from services.ingest.settings import IngestSettings
from services.ingest.windows import Windows
from services.kit.limits import RETRY_AFTER_S, Budget, Full, KeyRates

SCOPE: Final = "events:write"
_SLICE: Final = 100
"""Events judged before other requests get their turn: about a millisecond."""
_MAX_KEY_CHARACTERS: Final = 512
_encode: Final = msgspec.json.Encoder().encode


class Accepted(Struct):
    """The body of a 202: how many events Kafka has, which ones were refused, and the place to read after."""

    accepted: int
    rejected: int
    results: list[Rejection]
    position: str


class Readiness(Struct):
    """The body of /readyz."""

    ready: bool
    kafka: bool
    definitions: bool
    pending_bytes: int


class Sender(Protocol):
    """What takes records and answers once they are safe (`services.ingest.producer.GroupProducer`)."""

    @property
    def pending_bytes(self) -> int:
        """Bytes of events that are not acknowledged yet."""

    async def send(self, parcels: dict[Lane, list[Record]], size_bytes: int, tenant: str) -> Offsets:
        """Send a tenant's records and return the next offset of each partition after them."""

    async def reachable(self, timeout_s: float = 2.0) -> bool:
        """Whether Kafka answers."""


class Desk:
    """Answers requests. `catalog` is a function because it is not there before Kafka is; None means: still starting."""

    def __init__(
        self,
        settings: IngestSettings,
        metrics: Metrics,
        sender: Sender,
        *,
        catalog: Callable[[], Catalog | None],
        windows: Windows,
        now_ms: Callable[[], int],
        monotonic_s: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._sender = sender
        self._catalog = catalog
        self._windows = windows
        self._now_ms = now_ms
        self._monotonic_s = monotonic_s
        self._intake = Intake(settings.topics, settings.partitions)
        self._cutter = Cutter(settings.ingest_max_events)
        self._rates = KeyRates(
            settings.ingest_events_per_s, settings.ingest_burst_events, together=settings.tenant_rate_factor, kept=settings.rate_buckets
        )
        self._reading = Budget(settings.ingest_reading_bytes, settings.tenant_share, "bytes of bodies are being read")

    async def post_events(self, request: Request) -> Response:
        """Answer one POST /v1/events."""
        try:
            with Body(self._settings.ingest_max_body_bytes, self._reading) as body:
                response = await self._take(request, body)
        except Refused as refused:
            response = problem_response(refused.status, refused.detail, refused.headers, pointer=refused.pointer)
        except Full as full:
            response = problem_response(full.status, full.detail, {"Retry-After": str(RETRY_AFTER_S)})
        except ClientDisconnect:
            response = Response(status_code=400)  # nobody reads it; nothing was sent to Kafka
        self._metrics.requests.labels(str(response.status_code)).inc()
        return response

    async def _take(self, request: Request, body: Body) -> Response:
        key, tenant = self._authorized(request.headers.get("authorization", ""))
        self._check_pace(key, 1)
        body.tenant = key.tenant
        lines = has_lines(request.headers.get("content-type", ""))
        content = await self._read(request, body)
        batch = lines or is_array(content)
        documents: list[Document] = self._cutter.lines(content) if lines else self._cutter.array(content) if batch else [(0, content)]
        # Again: others of the key may have been let in while this body was on its way.
        self._check_pace(key, max(1, len(documents)))
        self._rates.charge(key, max(1, len(documents)), self._monotonic_s())
        judged = await self._judge(tenant, documents)
        if not judged.parcels:
            return _nothing_good(judged.rejected, batch=batch)
        try:
            with self._windows.flying(key.tenant, judged.accepted, self._monotonic_s()):
                offsets = await self._sender.send(judged.parcels, judged.size_bytes, key.tenant)
                self._windows.sent(key.tenant, {lane: len(records) for lane, records in judged.parcels.items()}, offsets)
        except NotAcknowledged as error:
            self._metrics.unacknowledged.inc()
            raise Refused(503, f"nothing was acknowledged, send it again: {error}", {"Retry-After": "2"}) from None
        for (topic, _), records in judged.parcels.items():
            self._metrics.accepted.labels(topic).inc(len(records))
        answer = Accepted(judged.accepted, len(judged.rejected), judged.rejected, encode_position(offsets))
        return Response(_encode(answer), 202, media_type="application/json")

    def _check_pace(self, key: Key, events: int) -> None:
        if (refusal := self._rates.refusal(key, "events", self._monotonic_s())) is not None:
            wait_s, why = refusal
            raise Refused(429, why, {"Retry-After": str(wait_s)})
        if self._windows.full(key.tenant, events, self._monotonic_s()):
            why = "events of this tenant wait to be applied, as many as may while others send; send this again"
            raise Refused(429, why, {"Retry-After": str(RETRY_AFTER_S)})

    def _authorized(self, header: str) -> tuple[Key, Tenant]:
        catalog = self._catalog()
        if catalog is None:
            raise Refused(503, "starting: the definitions have not been read yet", {"Retry-After": "2"})
        scheme, _, secret = header.partition(" ")
        secret = secret.strip()
        known = scheme.lower() == "bearer" and 0 < len(secret) <= _MAX_KEY_CHARACTERS
        key = catalog.key(sha256(secret.encode()).hexdigest()) if known else None
        if key is None:
            # One answer for no key, a wrong one and a revoked one: it tells nobody which keys exist.
            raise Refused(401, "send a valid API key as Authorization: Bearer …", {"WWW-Authenticate": 'Bearer realm="rollcall"'})
        if SCOPE not in key.scopes:
            challenge = f'Bearer realm="rollcall", error="insufficient_scope", scope="{SCOPE}"'
            raise Refused(403, f"this key does not have the scope {SCOPE}", {"WWW-Authenticate": challenge})
        return key, catalog.tenants[key.tenant]

    async def _read(self, request: Request, body: Body) -> bytes:
        limit, settings = self._settings.ingest_max_body_bytes, self._settings
        gzip = is_gzip(request.headers.get("content-encoding", ""))
        announced = request.headers.get("content-length", "")
        pieces = request.stream()
        try:
            async with asyncio.timeout(settings.ingest_body_timeout_s):
                _check_announced(announced, limit)
                content = await body.read(pieces, gzip=gzip)
        except TimeoutError:
            raise Refused(408, f"the body did not arrive within {settings.ingest_body_timeout_s:g} s", {"Connection": "close"}) from None
        except Refused as refused:
            if refused.status == 413 and not await _drained(pieces, 4 * limit):
                refused.headers = {**refused.headers, "Connection": "close"}
            raise
        self._metrics.body_bytes.inc(len(content))
        return content

    async def _judge(self, tenant: Tenant, documents: list[Document]) -> Judged:
        judged, now_ms = Judged(), self._now_ms()
        self._intake.judge(tenant, documents[:_SLICE], now_ms, judged)
        for start in range(_SLICE, len(documents), _SLICE):
            await asyncio.sleep(0)
            self._intake.judge(tenant, documents[start : start + _SLICE], now_ms, judged)
        for reason, count in judged.reasons.items():
            self._metrics.rejected.labels(reason).inc(count)
        return judged

    async def readyz(self) -> Response:
        """Answer 200 while events can be taken."""
        definitions, kafka = self._catalog() is not None, await self._sender.reachable()
        answer = Readiness(definitions and kafka, kafka, definitions, self._sender.pending_bytes)
        return Response(_encode(answer), 200 if answer.ready else 503, media_type="application/json")

    async def metrics(self) -> Response:
        """Answer the metrics in Prometheus' text format."""
        catalogue = self._metrics
        catalogue.pending_bytes.set(self._sender.pending_bytes)
        catalogue.reading_bytes.set(self._reading.held)
        catalogue.ready.set(self._catalog() is not None and await self._sender.reachable())
        return Response(generate_latest(catalogue.registry), media_type=CONTENT_TYPE_LATEST)


def build_router(desk: Desk) -> APIRouter:
    """Return the routes of ingest."""
    router = APIRouter()

    async def post_events(request: Request) -> Response:
        return await desk.post_events(request)

    async def healthz() -> Response:
        return Response(b'{"status":"alive"}', media_type="application/json")

    async def readyz() -> Response:
        return await desk.readyz()

    async def metrics() -> Response:
        return await desk.metrics()

    router.add_api_route("/v1/events", post_events, methods=["POST"], **POST_EVENTS)
    router.add_api_route("/healthz", healthz, tags=["health"], summary="Is the process alive?")
    router.add_api_route("/readyz", readyz, tags=["health"], summary="Can it take events?", responses={503: {"description": "Not now."}})
    router.add_api_route("/metrics", metrics, tags=["health"], summary="Metrics for Prometheus")
    return router


class FastLane:
    """Answers POST /v1/events before the router, which has the same route for the documentation.

    The layers of routing cost a lone event as much as everything else together, and this process has one busy path.
    """

    def __init__(self, app: ASGIApp, desk: Desk) -> None:
        self._app = app
        self._desk = desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] == "http" and scope["path"] == "/v1/events" and scope["method"] == "POST":
            response = await self._desk.post_events(Request(scope, receive))
            await response(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def problem_response(
    status: int,
    detail: str,
    headers: dict[str, str] | None = None,
    *,
    pointer: str = "",
    errors: list[dict[str, Any]] | None = None,
) -> Response:
    """Return problem details as a response."""
    return Response(_encode(problem(status, detail, pointer=pointer, errors=errors)), status, headers, MEDIA_TYPE)


def _check_announced(content_length: str, limit: int) -> None:
    if content_length.isdecimal() and int(content_length[:20]) > limit:
        raise Refused(413, f"a body has at most {limit} bytes, this one says {content_length[:20]}")


def _nothing_good(rejected: list[Rejection], *, batch: bool) -> Response:
    if not batch:
        only = rejected[0]
        return problem_response(only.status, only.detail, pointer=only.pointer, errors=[msgspec.to_builtins(only)])
    detail = f"none of the {len(rejected)} events can be accepted" if rejected else "the batch is empty"
    return problem_response(422, detail, errors=msgspec.to_builtins(rejected))


async def _drained(pieces: Any, limit_bytes: int, timeout_s: float = 5.0) -> bool:
    """Read and forget the rest of a refused body: a client that is cut off while it sends may never read why."""
    try:
        async with asyncio.timeout(timeout_s):
            async for piece in pieces:
                limit_bytes -= len(piece)
                if limit_bytes < 0:
                    return False
    except (TimeoutError, ClientDisconnect):
        return False
    return True
