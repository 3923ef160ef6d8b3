"""Looks how far the segmenters are, again and again, for the windows (`services.ingest.windows`). Without Redis nobody is held back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from schemas.projection import Keys, Marker, marker_found
from services.ingest.settings import IngestSettings
from services.ingest.windows import Windows
from services.kit.background import Background

log = logging.getLogger(__name__)

_STALE_MS: Final = 10_000
"""A marker older than this says nothing: its segmenter is away, and what is accepted meanwhile is applied once it is back."""


class Looking:
    """Tells the windows of one process what the markers say."""

    def __init__(self, settings: IngestSettings, windows: Windows, *, now_ms: Callable[[], int], monotonic_s: Callable[[], float]) -> None:
        self._windows, self._now_ms, self._monotonic_s = windows, now_ms, monotonic_s
        self._every_s = settings.ingest_look_every_ms / 1000
        keys = Keys(settings.redis_prefix)
        self._keys = [keys.marker(number) for number in range(settings.partitions)]
        self._redis: Any = Redis.from_url(settings.redis_url, **settings.redis_options(), socket_timeout=1.0, socket_connect_timeout=1.0)
        # Windows that nobody tells anything would hold tenants back for what was applied long ago, so a failure ends the process.
        self._looking = Background(log, "looking")

    def start(self) -> None:
        """Begin to look. Redis need not be there."""
        self._looking.start(self._look)

    async def stop(self) -> None:
        """End."""
        await self._looking.stop()
        await self._redis.aclose()

    async def _look(self) -> None:
        reachable = True
        while True:
            markers: list[Marker] | None = None
            try:
                markers = await self._markers()
                reachable = True
            except (RedisError, OSError, TimeoutError) as error:
                if reachable:
                    log.warning("Redis: %s; no tenant is held back until it is there again", error)
                reachable = False
            self._windows.look(markers, self._monotonic_s())
            await asyncio.sleep(self._every_s)

    async def _markers(self) -> list[Marker] | None:
        """Return the markers of all partitions, None where one is absent or old."""
        pipe = self._redis.pipeline(transaction=False)
        for key in self._keys:
            pipe.hget(key, "m")
        blobs = await pipe.execute()
        markers = [marker for blob in blobs if (marker := marker_found(blob)) is not None]
        if len(markers) < len(blobs):
            return None
        return markers if self._now_ms() - min(marker.told_ms or marker.as_of_ms for marker in markers) < _STALE_MS else None
