"""Which tenants have more events waiting in a partition than their share: they are told to come again, so that the others get through.

Segmenters say so in Redis (`schemas.projection`). Without it, or without Redis, nobody is held back.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from schemas.projection import Keys, decode_crowding
from services.ingest.settings import IngestSettings

log = logging.getLogger(__name__)


class Crowding:
    """Looks again and again; `tenants` is what it saw last."""

    def __init__(self, settings: IngestSettings) -> None:
        self.tenants: frozenset[str] = frozenset()
        self._every_s = settings.ingest_crowding_every_ms / 1000
        keys = Keys(settings.redis_prefix)
        self._keys = [keys.crowding(number) for number in range(settings.partitions)]
        self._redis: Any = Redis.from_url(settings.redis_url, **settings.redis_options(), socket_timeout=1.0, socket_connect_timeout=1.0)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look. Redis need not be there."""
        self._task = asyncio.create_task(self._run(), name="crowding")

    async def stop(self) -> None:
        """End."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._redis.aclose()

    async def _run(self) -> None:
        reachable = True
        while True:
            try:
                blobs = await self._redis.mget(self._keys)
                self.tenants = frozenset().union(*(decode_crowding(blob) for blob in blobs if blob is not None))
                reachable = True
            except (RedisError, OSError, TimeoutError) as error:
                self.tenants = frozenset()
                if reachable:
                    log.warning("Redis: %s; no tenant is held back until it is there again", error)
                reachable = False
            await asyncio.sleep(self._every_s)
