"""A partition leaves the records of a tenant who rests where they are, and goes on with everybody else's."""

from __future__ import annotations

import asyncio
import time
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

METRICS = Metrics(CollectorRegistry())
REST_S = 0.3


class Steps(CountingPartition):
    """Counts records, and how often a step was asked for."""

    asked, swept_after, sweeps = 0, 0, False

    def sweep(self, now_ms: int, limit: int) -> bool:
        """Decide everybody at once."""
        if self.sweeps:
            self.sweeps, self.swept_after = False, self.asked
        return False

    def take(self) -> Step | None:
        """Return a step."""
        self.asked += 1
        return super().take()


class AtOnce:
    """Commits every step; keeps which keys it held, and when."""

    def __init__(self) -> None:
        self.committed: list[tuple[float, set[bytes]]] = []

    async def write(self, step: Step) -> Written:
        """Commit."""
        self.committed.append((time.perf_counter(), {key for key, _ in step.changes}))
        return Written(0, {})


class Scene:
    """A partition for whose two first records a flood rests; behind them lies another tenant's."""

    def __init__(self, **limits: int) -> None:
        self.core, self.writer = Steps(0), AtOnce()
        self.catalog = SimpleNamespace(offset=0)
        definitions: Any = SimpleNamespace(catalog=self.catalog)
        self.around = Surroundings(SegmenterSettings.model_validate(limits), definitions, METRICS, lambda: 1_000)
        self.pump = Pump(self.core, Inbox(self.core, self.around), self.writer, Lane(self.core, Keys(""), lambda: 1_000, lambda: None), self.around)
        self.pump.inbox.expect("checkouts", 0)

    async def start(self) -> float:
        """Offer the records; return until when the flood rests."""
        await self.pump.start()
        since_s, shares = time.perf_counter(), self.around.shares
        shares.sent("quiet", since_s)
        while (rest_s := shares.events_rest_s("flood", since_s)) < REST_S:
            shares.applied("flood", 0.01, since_s)
        keys = [b"flood:1", b"flood:2", b"quiet:1"]
        records = [SimpleNamespace(offset=at, key=key, value=b"x", timestamp=0) for at, key in enumerate(keys)]
        self.pump.inbox.offer(Chunk("checkouts", 0, len(records), records, lambda: None))
        return since_s + rest_s

    async def applied(self, count: int) -> None:
        """Wait until so many records are applied."""
        async with asyncio.timeout(10):
            while self.pump.inbox.applied < count:
                await asyncio.sleep(0.005)


async def test_who_rests_waits_and_nobody_else_does() -> None:
    """A flood's records lie in front; another's is committed before them, they after the rest, and meanwhile nothing is done in vain."""
    scene = Scene()
    until_s = await scene.start()
    await scene.applied(3)
    await scene.pump.close()
    (_, first), *others = [(at_s, of) for at_s, of in scene.writer.committed if of]
    assert first == {b"quiet:1"}
    assert set().union(*(of for _, of in others)) == {b"flood:1", b"flood:2"}
    assert others[0][0] >= until_s - 0.01
    assert scene.core.asked <= 10


async def test_what_can_wait_is_committed_while_records_rest() -> None:
    """It would else lie in memory, and the marker with it, for as long as they do."""
    scene = Scene()
    await scene.start()
    await scene.applied(1)
    scene.catalog.offset = 1
    scene.core.swept_after = scene.core.asked
    scene.core.sweeps = True
    scene.pump.wake()
    async with asyncio.timeout(10):
        while scene.core.sweeps or scene.core.asked == scene.core.swept_after:
            await asyncio.sleep(0)
    assert scene.pump.inbox.applied == 1
    await scene.pump.close()


async def test_nobody_is_held_up_by_records_that_rest() -> None:
    """What waits for quiet, and questions, need not wait: the process is idle."""
    scene = Scene()
    await scene.start()
    assert scene.around.behind == {0}
    await scene.applied(1)
    async with asyncio.timeout(10):
        while scene.around.behind:
            await asyncio.sleep(0)
    assert scene.pump.inbox.pending == 2
    assert not scene.pump.inbox.waited_for
    await scene.pump.close()


async def test_nobody_rests_where_reading_has_paused() -> None:
    """Whoever's records are read next may lie behind them, and would wait for the rest as well."""
    scene = Scene(segmenter_pending_records=2)
    until_s = await scene.start()
    await scene.applied(3)
    assert time.perf_counter() < until_s
    await scene.pump.close()


async def test_only_steps_of_nothing_but_events_say_how_slow_it_is() -> None:
    """One that holds deadlines or a sweep as well is long for these."""
    scene = Scene()
    heard: list[set[str]] = []
    scene.around.shares.written = lambda tenants, *_: heard.append(set(tenants))  # type: ignore[method-assign]
    await scene.pump.start()
    for at, value in enumerate([b"x", b"due:1", b"x"]):
        records = [SimpleNamespace(offset=at, key=b"quiet:1", value=value, timestamp=0)]
        scene.pump.inbox.offer(Chunk("checkouts", at, at + 1, records, lambda: None))
        await scene.applied(at + 1)
        async with asyncio.timeout(10):
            while scene.pump.written.get("checkouts", 0) <= at:
                await asyncio.sleep(0)
    await scene.pump.close()
    assert heard == [{"quiet"}, {"quiet"}]
