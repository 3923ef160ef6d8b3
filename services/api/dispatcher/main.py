"""The dispatcher's process: `python -m services.api dispatch`."""

from __future__ import annotations

import asyncio
import gc
import logging
import random
import signal
import sys
import time
from collections.abc import Mapping
from typing import Any

import uvloop

from services.api.dispatcher.client import Client
from services.api.dispatcher.dispatcher import Dispatcher
from services.api.dispatcher.settings import DispatcherSettings
from services.kit import health, logs
from services.kit.clock import now_ms
from services.kit.follower import AffairsFollower, ErasuresFollower, Follower
from services.kit.kafka import WrongPartitions, ensure_topics, when_reachable
from services.kit.settings import load

log = logging.getLogger(__name__)


def main() -> None:
    """Run until SIGTERM or SIGINT."""
    settings = load(DispatcherSettings, process="dispatcher")
    logs.configure("dispatcher", settings.log_level)
    try:
        uvloop.run(_run(settings))
    except WrongPartitions as error:
        log.critical("cannot start: %s", error)
        sys.exit(1)


async def _run(settings: DispatcherSettings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await when_reachable(lambda: ensure_topics(settings), what="dispatcher", timeout_s=settings.start_timeout_s)
    follower = Follower(settings)
    await when_reachable(follower.start, what="dispatcher", timeout_s=settings.start_timeout_s)
    erasures = ErasuresFollower(settings, follower.catalog)
    await when_reachable(erasures.start, what="dispatcher", timeout_s=settings.start_timeout_s)
    affairs = AffairsFollower(settings)
    await when_reachable(affairs.start, what="dispatcher", timeout_s=settings.start_timeout_s)
    async with Client(settings) as client:
        dispatcher = Dispatcher(settings, follower, erasures, affairs, client, now_ms=now_ms, draw=random.SystemRandom().random)

        async def readyz() -> tuple[int, Mapping[str, Any]]:
            away = not follower.hears(time.time_ns() // 1_000_000)  # by the clock that the client reads, whatever the process's is set to
            status = "waiting" if away else "ready"
            missing = ["kafka"] if away else []
            return 503 if away else 200, {"status": status, "missing": missing, "definitions": follower.catalog.offset, **dispatcher.status}

        runner = await health.serve(settings.dispatcher_host, settings.dispatcher_port, readyz)
        gc.freeze()
        try:
            await dispatcher.run(stop)
        finally:
            await runner.cleanup()
            await affairs.stop()
            await erasures.stop()
            await follower.stop()
