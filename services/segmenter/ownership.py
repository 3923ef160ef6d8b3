"""The partitions that this worker owns, from the moment the group assigns them to the moment they are gone.

A partition gained is fenced, restored from its changelog and only then opened for records; this goes on in the background, so
that the partitions kept go on working meanwhile and the group's callbacks return at once. A partition kept across a rebalance
keeps its state and its producer. One that is lost was parked before: its last step is committed, nothing more is begun.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import logging
import time
from collections.abc import Awaitable, Callable

from services.kit.background import guarded
from services.segmenter.core import MakePartition
from services.segmenter.inbox import Inbox
from services.segmenter.metrics import Metrics
from services.segmenter.projection import Projector
from services.segmenter.pump import Pump
from services.segmenter.restore import restore
from services.segmenter.surroundings import Surroundings
from services.segmenter.transactions import StepWriter

log = logging.getLogger(__name__)


def _nobody_listens(number: int, *, room: bool) -> None:
    pass


class Holding:
    """One owned partition. `pump` is there once it is restored."""

    def __init__(self, number: int, writer: StepWriter) -> None:
        self.number = number
        self.writer = writer
        self.pump: Pump | None = None
        self.gaining: asyncio.Task[None] | None = None


class Ownership:
    """All owned partitions of this process."""

    def __init__(self, around: Surroundings, make: MakePartition, projector: Projector) -> None:
        self._around, self._make, self._projector = around, make, projector
        self._holdings: dict[int, Holding] = {}
        self._restoring = asyncio.Semaphore(around.settings.segmenter_restores)
        self.open: Callable[[int], Awaitable[None]] | None = None
        self.on_room: Callable[..., None] = _nobody_listens

    @property
    def metrics(self) -> Metrics:
        """The catalogue of metrics."""
        return self._around.metrics

    @property
    def numbers(self) -> set[int]:
        """The partitions owned, restored or not."""
        return set(self._holdings)

    @property
    def pumps(self) -> list[Pump]:
        """The pumps of the partitions that are restored."""
        return [holding.pump for holding in self._holdings.values() if holding.pump is not None]

    def pump(self, number: int) -> Pump | None:
        """Return the pump of a partition that is owned and restored."""
        holding = self._holdings.get(number)
        return holding.pump if holding is not None else None

    async def assign(self, numbers: set[int]) -> None:
        """Own exactly these partitions: close what is lost, continue what is kept, begin to gain the rest. Does not wait for it."""
        lost = [self._holdings.pop(number) for number in self._holdings.keys() - numbers]
        for pump in self.pumps:
            pump.go()
        await asyncio.gather(*(self._close(holding) for holding in lost))
        for number in sorted(numbers - self._holdings.keys()):
            holding = self._holdings[number] = Holding(number, StepWriter(self._around.settings, number))
            holding.gaining = asyncio.create_task(
                guarded(log, f"partition {number} cannot be restored", functools.partial(self._gain, holding)), name=f"gain-{number}"
            )
        self._around.metrics.partitions.set(len(self._holdings))

    async def park(self) -> None:
        """Bring every partition to rest: the steps under way are committed, nothing is begun until `assign`. Bounded in time."""
        grace_s = self._around.settings.segmenter_handover_s
        pumps = self.pumps
        done = await asyncio.gather(*(asyncio.wait_for(pump.park(), grace_s) for pump in pumps), return_exceptions=True)
        for pump, outcome in zip(pumps, done, strict=True):
            if isinstance(outcome, TimeoutError):
                log.warning("partition %s did not come to rest in %s s", pump.core.number, grace_s)
            elif isinstance(outcome, BaseException):
                raise outcome

    async def close(self) -> None:
        """Own nothing any more."""
        await self.assign(set())

    def wake(self) -> None:
        """Let every pump look again, for the definitions have changed."""
        for pump in self.pumps:
            pump.wake()

    async def _gain(self, holding: Holding) -> None:
        # A failure ends the process: a partition that cannot be gained would stay dark.
        async with self._restoring:
            await self._restore(holding)
        if self.open is not None:
            await self.open(holding.number)

    async def _restore(self, holding: Holding) -> None:
        around, since = self._around, time.perf_counter()
        await holding.writer.start()
        fenced_s = time.perf_counter() - since
        core = self._make(holding.number)
        records, sent = await restore(around.settings, core)
        await self._definitions(core.definitions_needed(), holding.number)
        await self._clock(core.clock_ms, holding.number)
        core.ready(around.now_ms())
        # Those who were restored stay: collections need not look at them again.
        gc.freeze()
        inbox = Inbox(core, around, functools.partial(self.on_room, holding.number))
        lane = self._projector.open(core, inbox.up_to_ms)
        lane.sent = sent
        pump = Pump(core, inbox, holding.writer, lane, around)
        await pump.start()
        holding.pump = pump
        seconds = time.perf_counter() - since
        around.metrics.restore_seconds.observe(seconds)
        around.metrics.restored_records.inc(records)
        log.info("partition %s: fenced in %.3f s, %s records in %.3f s, epoch %s", holding.number, fenced_s, records, seconds, core.epoch)

    async def _definitions(self, offset: int, number: int) -> None:
        while self._around.definitions.catalog.offset < offset:
            try:
                await self._around.definitions.reached(offset)
            except TimeoutError:
                log.warning("partition %s waits for definition %s, read up to %s", number, offset, self._around.definitions.catalog.offset)

    async def _clock(self, clock_ms: int, number: int) -> None:
        while (behind_ms := clock_ms - self._around.now_ms()) > 0:
            log.warning("partition %s waits for the clock, which is %s ms behind its last decision", number, behind_ms)
            await asyncio.sleep(min(behind_ms / 1000, 10.0))

    async def _close(self, holding: Holding) -> None:
        if holding.gaining is not None and not holding.gaining.done():
            holding.gaining.cancel()
            await asyncio.gather(holding.gaining, return_exceptions=True)
        if holding.pump is not None:
            await holding.pump.close()
            holding.pump.core.close()
        self._projector.close(holding.number)
        close_s = self._around.settings.segmenter_handover_s
        try:
            await asyncio.wait_for(holding.writer.stop(), close_s)
        except TimeoutError:
            log.warning("partition %s: its producer did not close in %s s; the next owner fences it", holding.number, close_s)
        log.info("partition %s: given up", holding.number)
