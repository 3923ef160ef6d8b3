"""The inbox: the records of one partition that were read and are not committed, and how far each of its topics has come.

Invariants: what is offered is one contiguous run of each topic from the partition's progress on; a chunk is acknowledged once, after
the step that holds the last of its records is committed.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Collection
from typing import Final, Protocol

from services.kit.logs import die
from services.segmenter.core import PartitionCore
from services.segmenter.hearing import Hearing
from services.segmenter.surroundings import Surroundings
from services.segmenter.turns import Chunk, Turn, Turns

log = logging.getLogger(__name__)

_QUIET_S: Final = 1.0
"""Where no record has come for so long, a transaction may hold as much as one of records, for each costs some milliseconds of its own."""


class RoomListener(Protocol):
    """Is told when there is no room for more records, and when there is again."""

    def __call__(self, *, room: bool) -> None:
        """Take notice."""


def _nobody_listens(*, room: bool) -> None:
    pass


class Inbox:
    """What has come to a partition. `on_room` is told when no more should be fetched, and when it should go on."""

    def __init__(self, core: PartitionCore, around: Surroundings, on_room: RoomListener = _nobody_listens) -> None:
        settings = around.settings
        self._core, self._around, self._on_room = core, around, on_room
        self.news = asyncio.Event()
        """Set when there is more to do; whoever does it clears it."""
        self._turns = Turns(settings.topics.events, settings.segmenter_slice_ms, core.ahead)
        self._hearing = Hearing(settings.topics.inputs, around.now_ms())
        self._expected: dict[str, int] = {}
        self._whole: list[Chunk] = []
        self._whole_bytes = 0
        self._full = False
        self._came_s = -math.inf
        self.applied = 0
        """How many records were applied."""
        self.applied_to: dict[str, int] = {}
        """The next offset of each topic after what was applied and is committed."""

    @property
    def empty(self) -> bool:
        """Whether nothing waits, not even to be passed."""
        return not self._turns

    # ---- what comes

    @property
    def pending(self) -> int:
        """How many records wait to be applied."""
        return self._turns.pending

    @property
    def pending_bytes(self) -> int:
        """How many bytes of records are held, those being committed among them."""
        return self._turns.size_bytes + self._whole_bytes

    def next_offset(self, topic: str) -> int | None:
        """Return the offset that the next run of a topic must start at, None for its earliest."""
        return self._expected.get(topic, self._core.offsets.get(topic))

    def expect(self, topic: str, offset: int) -> None:
        """Learn where the topic was sought to. Later than the progress only where retention has removed what lies between."""
        known = self._core.offsets.get(topic, 0)
        if topic in self._core.offsets and offset > known:
            log.error("%s/%s: offsets %s to %s expired before they were applied", topic, self._core.number, known, offset - 1)
        self._expected[topic] = offset
        self.applied_to[topic] = offset

    def hears(self, topic: str, end: int, ago_ms: int) -> None:
        """Hear where a topic ended some time ago."""
        self._hearing.told(topic, end, self._around.now_ms() - ago_ms, self.applied_to)

    def up_to_ms(self, now_ms: int) -> int:
        """Return up to which instant everything is applied that Kafka had: now, but for a partition that is behind or hears nothing."""
        return self._hearing.up_to_ms(self.applied_to, now_ms)

    def offer(self, chunk: Chunk) -> None:
        """Queue a chunk. Never waits; `on_room` is told when fetching should pause and go on. A gap ends the process."""
        expected = self._expected.get(chunk.topic)
        if expected is None:
            return  # between `forget` and the seek that follows it: the seek brings the chunk back
        if chunk.start > expected:
            die(log, f"{chunk.topic}/{self._core.number}: a run starts at {chunk.start}, {expected} was due")
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
        self.look()
        self.news.set()

    def forget(self) -> None:
        """Forget what waits: the next seek brings it back."""
        self._turns.clear()
        self._expected.clear()
        self.look()

    def look(self) -> None:
        """Look whether there is room, and whether records wait for which others should leave the process alone, and say so."""
        behind, settings = self._around.behind, self._around.settings
        held = max(self.pending / settings.segmenter_pending_records, self.pending_bytes / settings.segmenter_pending_bytes)
        if self.waited_for:
            behind.add(self._core.number)
        else:
            behind.discard(self._core.number)
        if self._full and held <= 1 / 2:
            self._full = False
            self._on_room(room=True)
        elif not self._full and held > 1:
            self._full = True
            self._on_room(room=False)

    def close(self) -> None:
        """Hold up nobody any more."""
        self._around.behind.discard(self._core.number)

    # ---- whose turn it is

    @property
    def tenants(self) -> Collection[str]:
        """Who has records that wait."""
        return self._turns.tenants

    @property
    def waited_for(self) -> bool:
        """Whether records wait of a tenant who does not rest."""
        return self.rest_s() <= 0

    @property
    def quiet(self) -> bool:
        """Whether nothing has come for a while."""
        return time.perf_counter() - self._came_s >= _QUIET_S

    def rest_s(self) -> float:
        """Return for how long all rest of whom records wait, for ever where none do."""
        if not self._turns:
            return math.inf
        return min(map(self._rest_s, self._turns.tenants), default=0.0)

    def rests(self, tenant: str) -> bool:
        """Whether a tenant's records are left where they are."""
        return self._rest_s(tenant) > 0

    def _rest_s(self, tenant: str) -> float:
        # Nobody rests where no more is read: the records of others may lie behind theirs.
        return 0.0 if self._full else self._around.shares.events_rest_s(tenant, time.perf_counter())

    def next(self) -> Turn | None:
        """Return what is to be applied next, None when nothing is, or nothing but of those who rest."""
        return self._turns.next(self.rests)

    def waits(self, turn: Turn) -> bool:
        """Whether what `next` returned still waits: whoever waited for something else meanwhile asks before applying it."""
        return self._turns.waits(turn)

    # ---- what became of it

    def took(self, turn: Turn, spent_s: float) -> None:
        """Note that what `next` returned is applied, and what that took."""
        self.applied += len(turn.records)
        self._turns.took(turn, spent_s)

    def advance(self) -> None:
        """Note the chunks that are applied whole, and all before them."""
        for chunk in self._turns.passed():
            if not chunk.ordered and chunk.records:
                self._core.pass_to(chunk.topic, chunk.end, chunk.sizes)
            self._whole.append(chunk)
            self._whole_bytes += chunk.size_bytes

    @property
    def completes(self) -> bool:
        """Whether the next step completes a chunk."""
        return bool(self._whole)

    def take(self) -> list[Chunk]:
        """Return the chunks that the step taken at the same moment completes; `committed` must follow."""
        whole, self._whole = self._whole, []
        return whole

    def committed(self, chunks: list[Chunk]) -> None:
        """Acknowledge chunks that were taken: their step is in Kafka."""
        for chunk in chunks:
            self.applied_to[chunk.topic] = chunk.end
            self._whole_bytes -= chunk.size_bytes
            chunk.ack()
