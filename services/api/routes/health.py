"""Whether the process is alive and can answer, and its metrics. No key is needed: nothing here is a tenant's."""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec
from fastapi import APIRouter, Response
from msgspec import Struct
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from services.api.desk import Desk
from services.api.errors import Refused

_encode: Final = msgspec.json.Encoder().encode


class Readiness(Struct):
    """The body of /readyz: what is missing, and the partitions whose projection is not there."""

    ready: bool
    missing: list[str]
    partitions_missing: list[int]
    as_of: str | None
    definitions: int


def build_router(desk: Desk) -> APIRouter:
    """Return the routes of the process's health."""
    router = APIRouter()

    async def healthz() -> Response:
        return Response(b'{"status":"alive"}', media_type="application/json")

    async def readyz() -> Response:
        found = await readiness(desk)
        return Response(_encode(found), 200 if found.ready else 503, media_type="application/json")

    async def metrics() -> Response:
        await readiness(desk)
        return Response(generate_latest(desk.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    router.add_api_route("/healthz", healthz, tags=["health"], summary="Is the process alive?")
    router.add_api_route("/readyz", readyz, tags=["health"], summary="Can it answer?", responses={503: {"description": "Not now."}})
    router.add_api_route("/metrics", metrics, tags=["health"], summary="Metrics for Prometheus")
    return router


async def readiness(desk: Desk) -> Readiness:
    """Ask Kafka and Redis; the answer is also kept as metrics."""
    kafka, redis = await asyncio.gather(desk.writer.reachable(), desk.reads.reachable())
    try:
        markers = await desk.reads.markers() if redis else [None] * desk.settings.partitions
    except Refused:
        redis, markers = False, [None] * desk.settings.partitions
    absent = [number for number, known in enumerate(markers) if known is None]
    oldest_ms = min((known.marker.as_of_ms for known in markers if known is not None), default=None)
    read = {"definitions": desk.follower, "erasures": desk.erasures, "replays": desk.affairs}
    states = (*((name, one.caught_up) for name, one in read.items()), ("kafka", kafka), ("redis", redis), ("projection", not absent))
    missing = [name for name, there in states if not there]
    desk.metrics.ready.set(not missing)
    desk.metrics.freshness.set(-1 if absent or oldest_ms is None else max(0, desk.now_ms() - oldest_ms) / 1000)
    as_of = None if oldest_ms is None else next(k.as_of for k in markers if k is not None and k.marker.as_of_ms == oldest_ms)
    return Readiness(not missing, missing, absent, as_of, desk.follower.catalog.offset)
