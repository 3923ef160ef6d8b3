"""What a partition lets wait is bounded in records and in bytes: beyond either its fetching pauses, and goes on at half of it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from prometheus_client import CollectorRegistry

from schemas.projection import Keys
from services.segmenter.inbox import Inbox
from services.segmenter.lanes import Lane
from services.segmenter.metrics import Metrics
from services.segmenter.pump import Pump
from services.segmenter.settings import SegmenterSettings
from services.segmenter.steps import Step, Written
from services.segmenter.surroundings import Surroundings
from services.segmenter.turns import Chunk
from tests.support.counting import CountingPartition

_KIB = 1 << 10
METRICS = Metrics(CollectorRegistry())


class HeldWriter:
    """Commits a step when it is let."""

    def __init__(self) -> None:
        self.may = asyncio.Event()
        self.writing = asyncio.Event()

    async def write(self, _: Step) -> Written:
        """Wait until it may."""
        self.writing.set()
        await self.may.wait()
        return Written(0, {})


class Scene:
    """A pump whose steps are committed when the test says so, and what it said of its room."""

    def __init__(self, **limits: int) -> None:
        core, self.writer = CountingPartition(0), HeldWriter()
        settings = SegmenterSettings.model_validate(limits)
        definitions: Any = SimpleNamespace(catalog=SimpleNamespace(offset=0))
        around = Surroundings(settings, definitions, METRICS, lambda: 1_000)
        self.said: list[bool] = []
        self.pump = Pump(core, Inbox(core, around, self.hear), self.writer, Lane(core, Keys(""), lambda: 1_000, lambda: None), around)
        self.pump.inbox.expect("t", 0)
        self._next = 0

    def hear(self, *, room: bool) -> None:
        """Take note of what is said."""
        self.said.append(room)

    def offer(self, *sizes: int) -> None:
        """Offer a chunk of records of so many bytes."""
        start, self._next = self._next, self._next + len(sizes)
        records = [SimpleNamespace(offset=start + at, key=b"k", value=b"x" * size, timestamp=0) for at, size in enumerate(sizes)]
        self.pump.inbox.offer(Chunk("t", start, self._next, records, lambda: None))

    async def start(self) -> None:
        """Begin to pump; the epoch is committed."""
        self.writer.may.set()
        await self.pump.start()
        self.writer.may.clear()
        self.writer.writing.clear()


def test_few_large_records_pause_the_fetching() -> None:
    """The limit of bytes holds however few records there are; the one of records is far away."""
    scene = Scene(segmenter_pending_bytes=1_024 * _KIB)
    for _ in range(4):
        scene.offer(256 * _KIB)
    assert scene.said == []
    scene.offer(1)
    assert scene.said == [False]
    scene.offer(256 * _KIB)  # what was fetched meanwhile is taken, and said once
    assert scene.said == [False]
    assert scene.pump.inbox.pending_bytes == 5 * 256 * _KIB + 1


def test_many_small_records_pause_the_fetching() -> None:
    """The limit of records holds however small they are."""
    scene = Scene(segmenter_pending_records=10)
    scene.offer(*[1] * 10)
    assert scene.said == []
    scene.offer(1)
    assert scene.said == [False]


async def test_bytes_count_until_their_step_is_committed() -> None:
    """A Kafka that does not commit lets no more in: what is applied and not written is held in memory as well."""
    scene = Scene(segmenter_pending_bytes=1_024 * _KIB)
    await scene.start()
    scene.offer(512 * _KIB, 512 * _KIB, 1)
    async with asyncio.timeout(5):
        await scene.writer.writing.wait()
    assert scene.pump.inbox.pending == 0
    assert scene.said == [False]
    scene.writer.may.set()
    async with asyncio.timeout(5):
        while scene.said != [False, True]:
            await asyncio.sleep(0)
    assert scene.pump.inbox.pending_bytes == 0
    await scene.pump.close()


async def test_what_is_forgotten_counts_no_more() -> None:
    """A partition that is parked forgets what waits, and nothing of it is left in the count."""
    scene = Scene(segmenter_pending_bytes=1_024 * _KIB)
    await scene.start()
    scene.offer(1)
    async with asyncio.timeout(5):
        await scene.writer.writing.wait()
    scene.offer(1_024 * _KIB)
    scene.offer(1_024 * _KIB)
    scene.writer.may.set()
    async with asyncio.timeout(5):
        await scene.pump.park()
    assert (scene.pump.inbox.pending, scene.pump.inbox.pending_bytes) == (0, 0)
    assert scene.said == [False, True]
    await scene.pump.close()
