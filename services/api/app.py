"""The only wiring of the API: settings in, a FastAPI application out. Nothing connects before the application starts."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import secrets
import time
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI

from services.api.asking import Asking
from services.api.backwards import Backwards
from services.api.changes import Feed
from services.api.delivery_log import DeliveryLog
from services.api.desk import Desk
from services.api.errors import install
from services.api.freshness import Freshness
from services.api.metrics import Metrics
from services.api.openapi import document
from services.api.rates import Rates
from services.api.reads import Reads
from services.api.routes import health
from services.api.routes.customers import FastLane
from services.api.routes.table import ROUTES
from services.api.settings import ApiSettings
from services.api.times import Times
from services.api.web import guarded
from services.api.writer import Writer
from services.kit.clock import now_ms
from services.kit.follower import AffairsFollower, ErasuresFollower, Follower
from services.kit.http import end_if_failed
from services.kit.kafka import ensure_topics, when_reachable
from services.kit.limits import Budget

log = logging.getLogger(__name__)


def build_desk(settings: ApiSettings) -> Desk:
    """Return the parts of an API process, none of them connected."""
    metrics, follower = Metrics(), Follower(settings)
    erasures = ErasuresFollower(settings, follower.catalog)
    reads, feed = Reads(settings, metrics), Feed(settings, erasures, metrics)
    backwards = Backwards(settings, metrics, feed)
    return Desk(
        settings=settings,
        metrics=metrics,
        follower=follower,
        erasures=erasures,
        affairs=AffairsFollower(settings),
        writer=Writer(settings, follower, metrics),
        reads=reads,
        freshness=Freshness(settings, reads, metrics),
        feed=feed,
        backwards=backwards,
        deliveries=DeliveryLog(settings, feed, backwards),
        asking=Asking(settings, reads, metrics),
        rates=Rates(settings, time.monotonic),
        times=Times(settings, time.perf_counter),
        reading=Budget(settings.api_reading_bytes, settings.tenant_share, "bytes of bodies are held"),
        testing=Budget(settings.api_tests, settings.tenant_share, "tests of webhooks are being sent"),
        now_ms=now_ms,
        randomness=secrets.token_bytes,
    )


def build_app(settings: ApiSettings) -> FastLane:
    """Return the application; it connects when it is started, and answers 503 until it has."""
    desk = build_desk(settings)

    async def connect() -> None:
        await when_reachable(lambda: ensure_topics(settings), what="topics", timeout_s=settings.start_timeout_s)
        await when_reachable(desk.writer.start, what="producer", timeout_s=settings.start_timeout_s)
        await when_reachable(desk.follower.start, what="definitions", timeout_s=settings.start_timeout_s)
        await when_reachable(desk.erasures.start, what="erasures", timeout_s=settings.start_timeout_s)
        await when_reachable(desk.affairs.start, what="affairs", timeout_s=settings.start_timeout_s)
        # What is alive now stays alive: collections need not look at it again, and no read waits for them to.
        gc.collect()
        gc.freeze()
        log.info("answers for %s tenants", len(desk.follower.catalog.tenants))

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        # Connecting goes on behind the open port, so that /healthz tells a process that waits for Kafka from a dead one.
        connecting = asyncio.create_task(connect(), name="connect")
        connecting.add_done_callback(end_if_failed)
        yield
        connecting.cancel()
        await asyncio.gather(connecting, return_exceptions=True)
        desks = (desk.freshness.close, desk.asking.close, desk.feed.close, desk.writer.close)
        for close in (*desks, desk.affairs.stop, desk.erasures.stop, desk.follower.stop, desk.reads.close):
            await close()
        log.info("stopped")

    app = FastAPI(title="Rollcall", version="1", lifespan=lifespan, redoc_url=None)
    app.include_router(health.build_router(desk))
    for spec in ROUTES:
        app.add_api_route(spec.path, guarded(desk, spec), methods=[spec.method], response_model=None, include_in_schema=False)
    install(app)
    published: dict[str, Any] = document(app, ROUTES)
    app.openapi = lambda: published  # type: ignore[method-assign]
    # Outermost: what the framework puts around every request costs more than the question that this lane answers.
    return FastLane(app, desk)
