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
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from services.kit.background import Background
from services.kit.logs import die
from services.segmenter.core import PartitionCore
from services.segmenter.hearing import Hearing
from services.segmenter.idle import Idle
from services.segmenter.lanes import Lane
from services.segmenter.metrics import Metrics
from services.segmenter.pacing import Pace
from services.segmenter.settings import SegmenterSettings
from services.segmenter.shares import Shares
from services.segmenter.steps import Step, Written
from services.segmenter.turns import Chunk, Turn, Turns

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

_QUIET_S: Final = 1.0
"""Where no record has come for so long, a transaction may hold as much as one of records, for each costs some milliseconds of its own."""

_REARM_S: Final = 1.0
"""Timers are set no further ahead than this: they run on the monotonic clock, deadlines on the wall clock, which may be set."""


class Definitions(Protocol):
    """What a pump needs of the follower of the definitions topic."""

    @property
    def catalog(self) -> Any:
        """The catalog, whose `offset` says how far the topic has been read."""

    async def reached(self, offset: int, timeout_s: float = 10.0) -> None:
        """Wait until every record before `offset` has been read; raise TimeoutError otherwise."""


class Writer(Protocol):
    """Writes a step in one transaction."""

    async def write(self, step: Step) -> Written:
        """Return, once the step is committed, how far it reaches; raise when it may not be."""


class RoomListener(Protocol):
    """Is told when a pump has no room for more records, and when it has again."""

    def __call__(self, *, room: bool) -> None:
        """Take notice."""


def _nobody_listens(*, room: bool) -> None:
    pass


@dataclass
class Surroundings:
    """What all pumps of a process share. `background` lets one slice of background work run at a time, be it of deadlines or of a question.

    `idle`: held by the partition whose idle work is next; so all of them together take turns with each question, however many there
    are. `behind`: the partitions whose live records wait; what can wait itself leaves the process to them. `shares`: who rests.
    """

    settings: SegmenterSettings
    definitions: Definitions
    metrics: Metrics
    now_ms: Callable[[], int]
    background: asyncio.Lock = field(default_factory=asyncio.Lock)
    idle: asyncio.Lock = field(default_factory=asyncio.Lock)
    behind: set[int] = field(default_factory=set)
    shares: Shares = field(init=False)

    def __post_init__(self) -> None:
        """Give everybody their shares."""
        settings = self.settings
        self.shares = Shares(settings.segmenter_events_share, settings.segmenter_questions_share, settings.segmenter_background_share)


class Pump:
    """Drives the core of one partition."""

    def __init__(self, core: PartitionCore, writer: Writer, lane: Lane, around: Surroundings) -> None:
        settings = around.settings
        self.core = core
        self._done_bytes = 0
        self.waiting = ""
        self.applied = 0
        self.applied_to: dict[str, int] = {}
        self.written: dict[str, int] = {}
        self.outcomes: dict[str, dict[str, int]] = {}
        self.on_room: RoomListener = _nobody_listens
        self._hearing = Hearing(settings.topics.inputs, around.now_ms())
        self._writer, self._lane, self._around = writer, lane, around
        self._turns = Turns(settings.topics.events, settings.segmenter_slice_ms, core.ahead)
        self._done: list[Chunk] = []
        self._senders: set[str] = set()
        self._eventful = True
        """Whether the step under way holds nothing but what events have led to."""
        self._expected: dict[str, int] = {}
        self._full = False
        self._wake = asyncio.Event()
        self._going = asyncio.Event()
        self._going.set()
        self._parked = asyncio.Event()
        self._hopeless = 1 << 62
        self._earliest_due_ms: int | None = None
        self._computed_s = 0.0
        self._group_s, self._shared_group_s = settings.segmenter_group_ms / 1000, settings.segmenter_shared_group_ms / 1000
        self._next_commit_s = 0.0
        self._came_s = -_QUIET_S
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
        self._turns.clear()
        self._expected.clear()
        self._room()
        self._wake.set()
        await self._parked.wait()

    def go(self) -> None:
        """Continue after `park`."""
        self._parked.clear()
        self._going.set()

    async def close(self) -> None:
        """End the task. What was not committed is for the next owner."""
        await self._pumping.stop()
        self._around.behind.discard(self.core.number)

    def wake(self) -> None:
        """Look again whether there is something to do."""
        self._wake.set()

    # ---- records

    @property
    def pending(self) -> int:
        """How many records wait to be applied."""
        return self._turns.pending

    @property
    def waited_for(self) -> bool:
        """Whether records wait of a tenant who does not rest."""
        return self._live_rest_s() <= 0

    @property
    def pending_bytes(self) -> int:
        """How many bytes of records are held, those being committed among them."""
        return self._turns.size_bytes + self._done_bytes

    def next_offset(self, topic: str) -> int | None:
        """Return the offset that the next run of a topic must start at, None for its earliest."""
        return self._expected.get(topic, self.core.offsets.get(topic))

    def expect(self, topic: str, offset: int) -> None:
        """Learn where the topic was sought to. Later than the progress only where retention has removed what lies between."""
        known = self.core.offsets.get(topic, 0)
        if topic in self.core.offsets and offset > known:
            log.error("%s/%s: offsets %s to %s expired before they were applied", topic, self.core.number, known, offset - 1)
        self._expected[topic] = offset
        self.applied_to[topic] = offset

    def hears(self, topic: str, end: int, ago_ms: int) -> None:
        """Hear where a topic ended some time ago."""
        self._hearing.told(topic, end, self._around.now_ms() - ago_ms, self.applied_to)

    def up_to_ms(self, now_ms: int) -> int:
        """Return up to which instant everything is applied that Kafka had: now, but for a partition that is behind or hears nothing."""
        return self._hearing.up_to_ms(self.applied_to, now_ms)

    def offer(self, chunk: Chunk) -> None:
        """Queue a chunk. Never waits; says through `on_room` when fetching should pause and go on. A gap ends the process."""
        expected = self._expected.get(chunk.topic)
        if expected is None:
            return  # between park and the seek that follows it: the seek brings the chunk back
        if chunk.start > expected:
            die(log, f"{chunk.topic}/{self.core.number}: a run starts at {chunk.start}, {expected} was due")
        if chunk.end <= expected:
            chunk.ack()
            return
        if chunk.start < expected:
            chunk.start, chunk.records = expected, [record for record in chunk.records if record.offset >= expected]
        self._expected[chunk.topic] = chunk.end
        if chunk.records:
            self._hearing.came(chunk.topic, chunk.records[0].timestamp)
        self._turns.add(chunk)
        self._came_s = time.perf_counter()
        for tenant in chunk.sizes:
            self._around.shares.sent(tenant, self._came_s)
        self._room()
        self._wake.set()

    def _room(self) -> None:
        behind, settings = self._around.behind, self._around.settings
        held = max(self.pending / settings.segmenter_pending_records, self.pending_bytes / settings.segmenter_pending_bytes)
        if self.waited_for:
            behind.add(self.core.number)
        else:
            behind.discard(self.core.number)
        if self._full and held <= 1 / 2:
            self._full = False
            self.on_room(room=True)
        elif not self._full and held > 1:
            self._full = True
            self.on_room(room=False)

    # ---- the loop

    async def _run(self) -> None:
        # A failure ends the process: whatever went wrong, memory and Kafka may differ then.
        while True:
            await self._going_on()
            await self._gathered()
            await self._cycle()
            self._room()
            if self._more_to_do():
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
        if rest_s > 0 and self.pending < self._around.settings.segmenter_group_records:
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
            if not self.waited_for:
                await self._commit()

    def _more_to_do(self) -> bool:
        return self._ahead_s() <= 0

    def _ahead_s(self) -> float:
        """Return in what time there is something to do, if nothing new comes."""
        now_ms = self._around.now_ms()
        ahead_s = min((self.core.next_deadline_ms() - now_ms) / 1000, self._live_rest_s())
        return min(ahead_s, self._background_rest_s()) if ahead_s > 0 and self._idle.due(now_ms) else ahead_s

    def _live_rest_s(self) -> float:
        """Return for how long all rest of whom live records wait, for ever where none do."""
        if not self._turns:
            return math.inf
        return min(map(self._rest_s, self._turns.tenants), default=0.0)

    def _rest_s(self, tenant: str) -> float:
        """Return for how long a tenant's records rest. Not where no more are read: those of others may lie behind them."""
        return 0.0 if self._full else self._around.shares.events_rest_s(tenant, time.perf_counter())

    def _rests(self, tenant: str) -> bool:
        return self._rest_s(tenant) > 0

    def _background_rest_s(self) -> float:
        return self._around.shares.background_rest_s(time.perf_counter())

    async def _sleep(self) -> None:
        timer = asyncio.get_running_loop().call_later(min(max(self._ahead_s(), 0.0), _REARM_S), self._wake.set)
        try:
            await self._wake.wait()
        finally:
            timer.cancel()

    async def _live(self) -> None:
        until, since_s = time.perf_counter() + _GROUP_MOST_S, self._computed_s
        budget, enough_s = self._around.settings.segmenter_group_records, self._group_s
        slice_s = self._around.settings.segmenter_slice_ms / 1000
        yielded = time.perf_counter()
        while self._turns and budget > 0 and self._computed_s - since_s < enough_s and time.perf_counter() < until:
            self._pass()
            turn = self._turns.next(self._rests)
            if turn is None and self._turns.tenants:
                break
            if turn is not None:
                await self._prerequisites(turn.chunk.topic, turn.records)
                now_ms = await self._now()
                if not self._turns.waits(turn):
                    continue  # parked meanwhile
                if self._shared():
                    enough_s = self._shared_group_s
                self._take(turn, now_ms)
                budget -= len(turn.records)
            if time.perf_counter() - yielded > slice_s:
                await asyncio.sleep(0)
                yielded = time.perf_counter()
        self._pass()

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
        self.applied += len(turn.records)
        self._senders.add(turn.tenant)
        self._turns.took(turn, self._computed_s - before_s)
        self._around.shares.applied(turn.tenant, self._computed_s - before_s, time.perf_counter())

    def _pass(self) -> None:
        """Note the chunks that are applied whole, and all before them."""
        for chunk in self._turns.passed():
            if not chunk.ordered and chunk.records:
                self.core.pass_to(chunk.topic, chunk.end, chunk.sizes)
            self._done.append(chunk)
            self._done_bytes += chunk.size_bytes

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
            if self._computed_s - since_s > (beside_s if self._done or self.waited_for else self._behind_s()):
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
            enough = spent_s > (beside_s if self.waited_for else self._behind_s()) or self._background_rest_s() > 0
            if enough or core.next_deadline_ms() <= self._around.now_ms():
                return

    def _behind_s(self) -> float:
        quiet = time.perf_counter() - self._came_s >= _QUIET_S
        return self._group_s if quiet else min(self._group_s, _BEHIND_S)

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
        done, self._done = self._done, []
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
            if not self._shared() or not all(map(self._rests, senders)):
                self._next_commit_s = since + self._around.settings.segmenter_commit_every_ms / 1000
            # What others are told is what Kafka has: whoever reads on the strength of it finds the outputs there.
            self.written = dict(self.core.offsets)
            self.outcomes = {topic: dict(counts) for topic, counts in self.core.outcomes.items()}
            self._count(step, done)
        for chunk in done:
            self.applied_to[chunk.topic] = chunk.end
            self._done_bytes -= chunk.size_bytes
            chunk.ack()
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
