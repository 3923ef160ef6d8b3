"""The only wiring of ingest: settings in, a FastAPI application out. Nothing connects before the application starts."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import time
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from services.ingest.looking import Looking
from services.ingest.metrics import Metrics
from services.ingest.openapi import document
from services.ingest.producer import GroupProducer
from services.ingest.routes import Desk, FastLane, build_router, problem_response
from services.ingest.settings import IngestSettings
from services.ingest.windows import Windows
from services.kit.clock import now_ms
from services.kit.follower import Follower
from services.kit.http import end_if_failed
from services.kit.kafka import ensure_topics, when_reachable

log = logging.getLogger(__name__)
_YOUNG_OBJECTS = 20_000
"""Allocations between collections: a batch of 500 receipts makes some 10,000 objects, none of them in a cycle."""


def build_app(settings: IngestSettings) -> FastAPI:
    """Return the application; it connects to Kafka when it is started, and answers 503 until it has."""
    metrics = Metrics()
    follower = Follower(settings)
    producer = GroupProducer(settings, metrics, time.monotonic)
    windows = Windows(settings.ingest_window_events)
    looking = Looking(settings, windows, now_ms=now_ms, monotonic_s=time.monotonic)
    desk = Desk(
        settings,
        metrics,
        producer,
        catalog=lambda: follower.catalog if follower.caught_up else None,
        windows=windows,
        now_ms=now_ms,
        monotonic_s=time.monotonic,
    )

    async def connect() -> None:
        await when_reachable(lambda: ensure_topics(settings), what="topics", timeout_s=settings.start_timeout_s)
        await when_reachable(producer.start, what="producer", timeout_s=settings.start_timeout_s)
        await when_reachable(follower.start, what="definitions", timeout_s=settings.start_timeout_s)
        # What is alive now stays alive: collections need not look at it again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(_YOUNG_OBJECTS, 20, 50)
        log.info("takes events for %s tenants", len(follower.catalog.tenants))

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        # Connecting goes on behind the open port, so that /healthz tells a process that waits for Kafka from a dead one.
        connecting = asyncio.create_task(connect(), name="connect")
        connecting.add_done_callback(end_if_failed)
        looking.start()
        yield
        connecting.cancel()
        await asyncio.gather(connecting, return_exceptions=True)
        await producer.close(settings.ingest_drain_timeout_s)
        await follower.stop()
        await looking.stop()
        log.info("stopped")

    app = FastAPI(title="Rollcall ingest", version="1", lifespan=lifespan, redoc_url=None)
    app.include_router(build_router(desk))
    app.add_middleware(FastLane, desk=desk)
    app.add_exception_handler(HTTPException, _http_problem)
    app.add_exception_handler(Exception, _fault)
    published: dict[str, Any] = document(app)
    app.openapi = lambda: published  # type: ignore[method-assign]
    return app


async def _http_problem(_: Request, error: Exception) -> Response:
    known = error if isinstance(error, HTTPException) else HTTPException(500)
    headers = dict(known.headers) if known.headers else None
    return problem_response(known.status_code, f"{known.detail}; events are posted to /v1/events", headers)


async def _fault(_: Request, error: Exception) -> Response:
    log.error("a fault of ours: %r", error)
    return problem_response(500, "a fault of ours; it has been logged")
