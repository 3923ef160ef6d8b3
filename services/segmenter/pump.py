"""The pump: one task for each partition. Chunks and time go in, committed steps come out.

Order of a step: change in memory, one transaction, acknowledgement to Faust, projection. Whatever is pending when a transaction
ends goes into the next one, so groups form by themselves under load. Live records come first, then deadlines, then backfill,
then ranks, then refreshes, then what has left the history, then columns; these five never hold a live record up for more than a slice.

Invariants: every record is applied exactly once, those of a tenant in the order of their topic; memory is ahead of Kafka by at most
one step; any failure ends the process, for memory is then of no use and a successor reads the truth.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, Protocol

from services.kit.background import Background
from services.segmenter.core import PartitionCore
from services.segmenter.idle import Idle
from services.segmenter.inbox import Inbox
from services.segmenter.lanes import Lane
from services.segmenter.pacing import Pace
from services.segmenter.steps import Step, Written
from services.segmenter.surroundings import Surroundings
from services.segmenter.turns import Chunk, Turn

log = logging.getLogger(__name__)

_GROUP_MOST_S: Final = 1.0
"""What was applied waits no longer than this for the rest of its group, however many partitions share the process."""

_DECIDE_MS: Final = 100.0
"""Longest computation that may be owed to customers whose facts are applied and not decided: one decision for all facts of a group."""

_BESIDE: Final = 0.2
"""What deadlines and backfill may compute while live records wait, beside what these take."""

_BEHIND_S: Final = 0.04
"""What backfill and the like may compute for one transaction where records come: those that arrive meanwhile wait until it is written."""

_BESIDE_LEAST_S: Final = 0.01
"""What they may compute for each transaction of live records at least: these are so short where few come that a fifth of them would be
a single slice, and the process would wait for its broker most of the time while the backfill waits for it."""

_REARM_S: Final = 1.0
"""Timers are set no further ahead than this: they run on the monotonic clock, deadlines on the wall clock, which may be set."""


class Writer(Protocol):
    """Writes a step in one transaction."""

    async def write(self, step: Step) -> Written:
        """Return, once the step is committed, how far it reaches; raise when it may not be."""


class Pump:
    """Drives the core of one partition."""

    def __init__(self, core: PartitionCore, inbox: Inbox, writer: Writer, lane: Lane, around: Surroundings) -> None:
        settings = around.settings
        self.core, self.inbox, self._writer, self._lane, self._around = core, inbox, writer, lane, around
        self._wake = inbox.news
        self.waiting = ""
        """What the partition waits for, if it does."""
        self.written: dict[str, int] = {}
        """The next offset of each topic as committed."""
        self.outcomes: dict[str, dict[str, int]] = {}
        """What became of the records, as committed."""
        self._senders: set[str] = set()
        self._eventful = True
        """Whether the step under way holds nothing but what events have led to."""
        self._going = asyncio.Event()
        self._going.set()
        self._parked = asyncio.Event()
        self._hopeless = 1 << 62
        self._earliest_due_ms: int | None = None
        self._computed_s = 0.0
        self._group_s, self._shared_group_s = settings.segmenter_group_ms / 1000, settings.segmenter_shared_group_ms / 1000
        self._next_commit_s = 0.0
        slice_ms = settings.segmenter_background_slice_ms
        self._idle = Idle(core, slice_ms, self._slice, lambda: around.definitions.catalog.offset, around.behind)
        self._tick_pace = Pace(slice_ms)
        self._decide_pace = Pace(_DECIDE_MS)
        self._pumping = Background(log, f"partition {core.number}")

    # ---- life

    async def start(self) -> None:
        """Commit the new epoch, so that no later owner can take the same number, and begin to pump."""
        await self._commit()
        self._pumping.start(self._run)

    async def park(self) -> None:
        """Forget what was not applied yet and return when the step under way is committed. `go` continues."""
        self._going.clear()
        self.inbox.forget()
        self._wake.set()
        await self._parked.wait()

    def go(self) -> None:
        """Continue after `park`."""
        self._parked.clear()
        self._going.set()

    async def close(self) -> None:
        """End the task. What was not committed is for the next owner."""
        await self._pumping.stop()
        self.inbox.close()

    def wake(self) -> None:
        """Look again whether there is something to do."""
        self._wake.set()

    # ---- the loop

    async def _run(self) -> None:
        # A failure ends the process: whatever went wrong, memory and Kafka may differ then.
        while True:
            await self._going_on()
            await self._gathered()
            await self._cycle()
            self.inbox.look()
            if self._ahead_s() <= 0:
                await asyncio.sleep(0)
            else:
                await self._sleep()

    async def _going_on(self) -> None:
        while not self._going.is_set():
            self._parked.set()
            await self._going.wait()

    async def _gathered(self) -> None:
        """Let a group form while the partition is busy."""
        # A transaction costs broker and worker some milliseconds of computation, however small it is: committing every record
        # by itself would leave no time for the records.
        rest_s = self._next_commit_s - time.perf_counter()
        if rest_s > 0 and self.inbox.pending < self._around.settings.segmenter_group_records:
            await asyncio.sleep(rest_s)

    async def _cycle(self) -> None:
        """One group: live records and deadlines, their transaction, then a little of what can wait."""
        self._wake.clear()
        before_s = self._computed_s
        await self._live()
        beside_s = max((self._computed_s - before_s) * _BESIDE, _BESIDE_LEAST_S)
        await self._due(beside_s)
        await self._commit()
        if self._idle.due(self._around.now_ms()) and not self._background_rest_s():
            await self._background(beside_s)
            # While live records wait it goes with their transaction: one of its own would cost them more than the work itself.
            if not self.inbox.waited_for:
                await self._commit()

    def _ahead_s(self) -> float:
        """Return in what time there is something to do, if nothing new comes."""
        now_ms = self._around.now_ms()
        ahead_s = min((self.core.next_deadline_ms() - now_ms) / 1000, self.inbox.rest_s())
        return min(ahead_s, self._background_rest_s()) if ahead_s > 0 and self._idle.due(now_ms) else ahead_s

    def _background_rest_s(self) -> float:
        return self._around.shares.background_rest_s(time.perf_counter())

    async def _sleep(self) -> None:
        timer = asyncio.get_running_loop().call_later(min(max(self._ahead_s(), 0.0), _REARM_S), self._wake.set)
        try:
            await self._wake.wait()
        finally:
            timer.cancel()

    async def _live(self) -> None:
        inbox, until, since_s = self.inbox, time.perf_counter() + _GROUP_MOST_S, self._computed_s
        budget, enough_s = self._around.settings.segmenter_group_records, self._group_s
        slice_s = self._around.settings.segmenter_slice_ms / 1000
        yielded = time.perf_counter()
        while not inbox.empty and budget > 0 and self._computed_s - since_s < enough_s and time.perf_counter() < until:
            inbox.advance()
            turn = inbox.next()
            if turn is None and inbox.tenants:
                break
            if turn is not None:
                await self._prerequisites(turn.chunk.topic, turn.records)
                now_ms = await self._now()
                if not inbox.waits(turn):
                    continue  # parked meanwhile
                if self._shared():
                    enough_s = self._shared_group_s
                self._take(turn, now_ms)
                budget -= len(turn.records)
            if time.perf_counter() - yielded > slice_s:
                await asyncio.sleep(0)
                yielded = time.perf_counter()
        inbox.advance()

    def _shared(self) -> bool:
        """Whether several tenants have sent to the process lately: each of them may send the next record at any time."""
        return self._around.shares.crowded(time.perf_counter())

    def _take(self, turn: Turn, now_ms: int) -> None:
        """Apply one tenant's records; what that takes is the tenant's time. Where others send as well, deciding them is a part of it."""
        core, chunk, before_s = self.core, turn.chunk, self._computed_s
        with self._slice():
            if chunk.ordered:
                core.apply(chunk.topic, turn.records, now_ms)
            else:
                core.apply_ahead(chunk.topic, turn.tenant, turn.records, now_ms)
        # Else customers with several facts in a group are decided once, but no more of them wait than are decided in a moment.
        if (undecided := core.undecided) > (0 if self._shared() else self._decide_pace.limit):
            with self._slice(self._decide_pace) as units:
                core.settle(now_ms)
                units.append(undecided - core.undecided)
        self._senders.add(turn.tenant)
        self.inbox.took(turn, self._computed_s - before_s)
        self._around.shares.applied(turn.tenant, self._computed_s - before_s, time.perf_counter())

    async def _due(self, beside_s: float) -> None:
        """Let deadlines pass; at least one slice, and no more than `beside_s` where live records wait, be it for their transaction."""
        core, since_s = self.core, self._computed_s
        while (due_ms := core.next_deadline_ms()) <= self._around.now_ms():
            if self._earliest_due_ms is None:
                self._earliest_due_ms = due_ms
            async with self._around.background:
                now_ms = await self._now()
                with self._slice(self._tick_pace) as units:
                    units.append(core.tick(now_ms, self._tick_pace.limit))
                self._eventful = False
                await asyncio.sleep(0)
            if self._computed_s - since_s > (beside_s if self.inbox.completes or self.inbox.waited_for else self._behind_s()):
                return

    async def _background(self, beside_s: float) -> None:
        """Do what can wait: at least a slice, and no more than `beside_s` while live records wait."""
        core, since_s, spent_s = self.core, self._computed_s, 0.0
        while self._idle.due(self._around.now_ms()):
            async with self._around.idle, self._around.background:
                if self._background_rest_s():
                    return  # others who waited for the same instant have had what there was
                now_ms = await self._now()
                self._idle.work(now_ms)
                self._eventful = False
                self._around.shares.worked(self._computed_s - since_s - spent_s, time.perf_counter())
                spent_s = self._computed_s - since_s
                await asyncio.sleep(0)
            enough = spent_s > (beside_s if self.inbox.waited_for else self._behind_s()) or self._background_rest_s() > 0
            if enough or core.next_deadline_ms() <= self._around.now_ms():
                return

    def _behind_s(self) -> float:
        return self._group_s if self.inbox.quiet else min(self._group_s, _BEHIND_S)

    @contextmanager
    def _slice(self, pace: Pace | None = None) -> Iterator[list[int]]:
        """Measure one slice of computation; the body appends how many units it did."""
        units: list[int] = []
        self._lane.began()
        since = time.perf_counter()
        yield units
        spent_s = time.perf_counter() - since
        self._computed_s += spent_s
        if pace is not None:
            pace.observe(sum(units), spent_s)

    async def _prerequisites(self, topic: str, records: Sequence[Any]) -> None:
        """Wait for the definitions that records name; not for long, for a record may name one that will never be."""
        needed, known = self.core.waits_for(topic, records) if records else 0, self._around.definitions.catalog.offset
        if known >= self._hopeless:
            self._hopeless = 1 << 62  # it was only late
        if needed <= known or needed >= self._hopeless:
            return
        self.waiting = "definitions"
        try:
            await self._around.definitions.reached(needed, self._around.settings.segmenter_definitions_wait_s)
        except TimeoutError:
            log.warning("%s/%s: names the definition before %s, of which there is none", topic, self.core.number, needed)
            self._hopeless = min(self._hopeless, needed)
        finally:
            self.waiting = ""

    async def _now(self) -> int:
        """Return the wall clock; while it is behind what was decided already, wait until it has caught up."""
        now_ms = self._around.now_ms()
        while (behind_ms := self.core.clock_ms - now_ms) > 0:
            self.waiting = "clock"
            await asyncio.sleep(min(behind_ms / 1000, _REARM_S))
            now_ms = self._around.now_ms()
            self.waiting = ""
        return now_ms

    # ---- the step

    async def _commit(self) -> None:
        with self._slice(self._decide_pace) as units:
            units.append(self.core.undecided)
            step = self.core.take()
        done = self.inbox.take()
        again, self._idle.again = self._idle.again, []
        senders, self._senders = self._senders, set()
        eventful, self._eventful = self._eventful, True
        if step is not None:
            self._lane.taken()
            metrics, since = self._around.metrics, time.perf_counter()
            self._lane.written(await self._writer.write(step))
            metrics.transaction_seconds.observe(took_s := time.perf_counter() - since)
            if eventful and senders:
                self._around.shares.written(senders, took_s, time.perf_counter())
            # After a step of those who rest others need not wait for theirs: the share is what keeps such steps few.
            if not self._shared() or not all(map(self.inbox.rests, senders)):
                self._next_commit_s = since + self._around.settings.segmenter_commit_every_ms / 1000
            # What others are told is what Kafka has: whoever reads on the strength of it finds the outputs there.
            self.written = dict(self.core.offsets)
            self.outcomes = {topic: dict(counts) for topic, counts in self.core.outcomes.items()}
            self._count(step, done)
        self.inbox.committed(done)
        self._lane.committed([*step.touched, *again] if step is not None else again)

    def _count(self, step: Step, done: list[Chunk]) -> None:
        metrics, now_ms = self._around.metrics, self._around.now_ms()
        metrics.step_seconds.observe(self._computed_s)
        self._computed_s = 0.0
        for chunk in done:
            if chunk.records:
                metrics.records.labels(chunk.topic).inc(len(chunk.records))
                metrics.event_delay.observe(max(0, now_ms - chunk.records[0].timestamp) / 1000)
        if self._earliest_due_ms is not None:
            metrics.deadline_delay.observe(max(0, now_ms - self._earliest_due_ms) / 1000)
            self._earliest_due_ms = None
        metrics.transitions.inc(len(step.changes))
        metrics.dead_letters.inc(len(step.dead_letters))
        metrics.forwards.inc(len(step.forwards))
