"""A partition leaves the records of a tenant who rests where they are, and goes on with everybody else's."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any

from prometheus_client import CollectorRegistry

from schemas.projection import Keys
from services.segmenter.lanes import Lane
from services.segmenter.metrics import Metrics
from services.segmenter.settings import SegmenterSettings
from services.segmenter.steps import Step, Written
from services.segmenter.turns import Chunk
from services.segmenter.writer import Pump, Surroundings
from tests.support.counting import CountingPartition

METRICS = Metrics(CollectorRegistry())
REST_S = 0.3


class Steps(CountingPartition):
    """Counts records, and how often a step was asked for."""

    asked = 0

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


async def test_who_rests_waits_and_nobody_else_does() -> None:
    """A flood's records lie in front; another's is committed before them, they after the rest, and meanwhile nothing is done in vain."""
    core, writer = Steps(0), AtOnce()
    settings = SegmenterSettings()
    definitions: Any = SimpleNamespace(catalog=SimpleNamespace(offset=0))
    around = Surroundings(settings, definitions, METRICS, lambda: 1_000)
    pump = Pump(core, writer, Lane(core, Keys(""), lambda: 1_000, lambda: None), around)
    pump.expect("checkouts", 0)
    await pump.start()
    since_s = time.perf_counter()
    around.shares.sent("quiet", since_s)
    while (rest_s := around.shares.events_rest_s("flood", since_s)) < REST_S:
        around.shares.applied("flood", 0.01, since_s)
    keys = [b"flood:1", b"flood:2", b"quiet:1"]
    records = [SimpleNamespace(offset=at, key=key, value=b"x", timestamp=0) for at, key in enumerate(keys)]
    pump.offer(Chunk("checkouts", 0, len(records), records, lambda: None))
    async with asyncio.timeout(10):
        while pump.applied < len(keys):
            await asyncio.sleep(0.005)
    await pump.close()
    (_, first), *others = [(at_s, of) for at_s, of in writer.committed if of]
    assert first == {b"quiet:1"}
    assert set().union(*(of for _, of in others)) == {b"flood:1", b"flood:2"}
    assert others[0][0] - since_s >= rest_s - 0.01
    assert core.asked <= 10
