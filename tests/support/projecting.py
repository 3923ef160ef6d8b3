"""One partition's owner and a reader of what it shows in Redis, on a real server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry
from redis.asyncio import Redis
from redis.exceptions import RedisError

from schemas.projection import Keys, Marker, decode_memberships, marker_found
from services.kit.clock import now_ms
from services.segmenter.lanes import Lane
from services.segmenter.metrics import Metrics
from services.segmenter.projection import Projector
from services.segmenter.settings import SegmenterSettings
from services.segmenter.steps import Written
from tests.support.counting import CountingPartition
from tests.support.stack import LocalValkey


class Record:
    """A record of one key."""

    def __init__(self, offset: int, key: bytes) -> None:
        self.offset = offset
        self.key: bytes | None = key
        self.value: bytes | None = b"x"


class Changelog:
    """The changelog of a partition, which outlives its owners: the key of each record. `held`: how often it was asked, and what."""

    def __init__(self) -> None:
        self.keys: list[bytes] = []
        self.asked: list[tuple[int, int]] = []
        self.answers = asyncio.Event()
        self.answers.set()
        self.readable = True

    async def changed(self, _: int, start: int, end: int) -> set[bytes] | None:
        """Return the keys of some records."""
        self.asked.append((start, end))
        await self.answers.wait()
        return set(self.keys[start:end]) if self.readable else None


class Owner:
    """A counting partition with its lane, whose steps are committed by saying so."""

    def __init__(self, url: str, prefix: str, epoch: int = 1, core: CountingPartition | None = None, log: Changelog | None = None) -> None:
        self.core, self.log = core or CountingPartition(3), log or Changelog()
        self.core.epoch = epoch - 1
        settings = SegmenterSettings.model_validate({"redis_url": url, "redis_prefix": prefix})
        self.metrics = Metrics(CollectorRegistry())
        self.projector = Projector(settings, self.metrics, now_ms, f"token{epoch}", self.log.changed)
        self.core.ready(now_ms())
        self.lane: Lane = self.projector.open(self.core, lambda now_ms: now_ms)
        self.commit()

    def successor(self, url: str, prefix: str) -> Owner:
        """Return the next owner of the partition, who knows all that was committed."""
        core = CountingPartition(3)
        core.counts.update(self.core.counts)
        core.offsets.update(self.core.offsets)
        return Owner(url, prefix, self.core.epoch + 1, core, self.log)

    @property
    def rebuilds(self) -> int:
        """How often all rows were written."""
        return int(self.metrics.projection_rebuilds._value.get())

    def count(self, *keys: str) -> None:
        """Apply one record for each key and commit."""
        offset = self.core.offsets.get("t", 0)
        self.lane.began()
        self.core.apply("t", [Record(offset + i, f"demo:{key}".encode()) for i, key in enumerate(keys)], now_ms())
        self.commit()

    def commit(self) -> None:
        """Take a step and say that it is in Kafka."""
        step = self.core.take()
        assert step is not None
        self.lane.taken()
        self.log.keys += step.rows
        self.lane.written(Written(len(self.log.keys), {}))
        self.lane.committed(step.touched)


class View:
    """What a reader finds in Redis."""

    def __init__(self, url: str, prefix: str) -> None:
        self.redis: Redis = Redis.from_url(url)
        self.keys = Keys(prefix)

    async def marker(self) -> Marker | None:
        """Return the marker of the partition."""
        blob: Any = await self.redis.hget(self.keys.marker(3), "m")
        return marker_found(blob)

    async def offset(self) -> int:
        """Return how many records the marker vouches for, -1 without a marker."""
        marker = await self.marker()
        return -1 if marker is None else marker.offsets.get("t", 0)

    async def epoch(self, customer: str) -> int:
        """Return whose row of a customer this is."""
        return int(await self.redis.hget(self.keys.customer("demo", f"demo:{customer}"), "e") or -1)

    async def row(self, customer: str) -> str:
        """Return the segments of a customer."""
        blob: Any = await self.redis.hget(self.keys.customer("demo", f"demo:{customer}"), "m")
        return "" if blob is None else ",".join(decode_memberships(blob))

    async def members(self, segment: str) -> int:
        """Return the size of a segment."""
        return int(await self.redis.zcard(self.keys.members("demo", segment, 3)))


async def eventually(holds: Callable[[], Awaitable[bool]], timeout_s: float = 10) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(timeout_s):
        while True:
            with contextlib.suppress(RedisError):  # a server that a test has killed
                if await holds():
                    return
            await asyncio.sleep(0.01)


async def equals(found: Awaitable[int], wanted: int) -> bool:
    """Whether what is found is what is wanted."""
    return await found == wanted


async def there(view: View) -> bool:
    """Whether there is a marker."""
    return await view.marker() is not None


async def absent(view: View) -> bool:
    """Whether there is none."""
    return not await there(view)


@asynccontextmanager
async def served(folder: Path, prefix: str) -> AsyncIterator[tuple[LocalValkey, Owner, View]]:
    """Give a server of its own, an owner that writes to it, and a reader."""
    with LocalValkey(folder) as valkey:
        owner, view = Owner(valkey.url, prefix), View(valkey.url, prefix)
        await owner.projector.start()
        try:
            yield valkey, owner, view
        finally:
            await owner.projector.stop(1)
            await view.redis.aclose()
