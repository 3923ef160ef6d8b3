"""Replays in one partition: transitions are read again, a slice at a time, and queued behind what is pending of their customers.

A replay is asked for on the topic of affairs and outlives every process: how far it is, is written in the transaction of the
deliveries that it queued. Few of its deliveries are pending at once, so that it neither fills the memory nor holds up others.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import logging
from collections import Counter
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError
from msgspec import Struct

from schemas.affairs import Replay, ReplayAsked, ReplayStep
from schemas.catalog import Endpoint
from schemas.deliveries import Delivery, decode_announced, delivery_of
from schemas.instants import iso
from schemas.partitions import record_key
from services.api.dispatcher.around import Around
from services.api.dispatcher.behind import Name
from services.api.dispatcher.matching import wants
from services.api.dispatcher.metrics import REPLAYED
from services.kit.kafka import look, reading

log = logging.getLogger(__name__)

_SLACK_MS: Final = 600_000
"""A transition's record is stamped when it is written, a moment after it was decided, by a clock that may have been set meanwhile."""
_DECIDED_MS: Final = 3_000
"""What was decided before a replay was asked for may be committed a moment later: where it ends is looked up after that."""
_IDLE_S: Final = 1.0
_LOST: Final = (KafkaError, OSError, TimeoutError)


Record: TypeAlias = ConsumerRecord[Any, Any]


class Taken(enum.Enum):
    """What became of a delivery that a replay wants: it is queued; that is not needed; there was no room for it."""

    QUEUED = enum.auto()
    NEEDLESS = enum.auto()
    FULL = enum.auto()


class _Way(Struct):
    """A replay that is under way here: where it ends, as was known when, and what it is looking for."""

    end: int
    end_known_ms: int
    step: ReplayStep
    ids: frozenset[str] | None
    prefix: bytes


class Replaying:
    """`take` queues a delivery if it can; `steps` are to be written with the deliveries that were taken before.

    `reach` tells up to which offset an endpoint has been queued what comes to it for the first time.
    """

    def __init__(self, number: int, around: Around, take: Callable[[Delivery], Taken], reach: Callable[[Name], int]) -> None:
        self._number, self._around, self._take, self._reach = number, around, take, reach
        self._tp = TopicPartition(around.settings.topics.changes, number)
        self._ways: dict[str, _Way] = {}
        self._pending: Counter[str] = Counter()
        self._wake = asyncio.Event()
        self.steps: dict[str, ReplayStep] = {}

    def wake(self) -> None:
        """Look at what there is to do."""
        self._wake.set()

    def queued(self, delivery: Delivery) -> None:
        """Count a delivery that is pending."""
        if delivery.replay:
            self._pending[delivery.replay] += 1

    def ended(self, delivery: Delivery) -> None:
        """Count one that is no more."""
        if delivery.replay:
            self._pending[delivery.replay] -= 1
            if not self._pending[delivery.replay]:
                del self._pending[delivery.replay]
                self.wake()

    async def run(self) -> None:
        """Go on for as long as the partition is ours."""
        while True:
            self._wake.clear()
            if not any(self._open()):
                await self._rest()
                continue
            try:
                await self._work()
            except _LOST as error:
                log.warning("partition %s: a replay cannot go on (%r); again in a moment", self._number, error)
                await asyncio.sleep(_IDLE_S)

    def _open(self) -> list[Replay]:
        return [replay for replay in self._around.affairs.open_in(self._number) if not self._done(replay.asked)]

    def _done(self, asked: ReplayAsked) -> bool:
        return (way := self._ways.get(asked.replay_id)) is not None and way.step.done

    async def _rest(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_IDLE_S):
                await self._wake.wait()

    async def _work(self) -> None:
        """Go on with all that is open, by turns, until nothing is."""
        try:
            async with reading(self._around.settings, [self._tp]) as consumer:
                while replays := self._open():
                    self._wake.clear()
                    self._forget()
                    if not any([await self._slice(consumer, replay, len(replays)) for replay in replays]):
                        await self._rest()
        finally:
            self._forget()

    def _forget(self) -> None:
        """Forget the ways of replays that everybody knows to be done here."""
        known = {replay.asked.replay_id for replay in self._around.affairs.open_in(self._number)}
        self._ways = {replay_id: way for replay_id, way in self._ways.items() if replay_id in known}

    async def _slice(self, consumer: AIOKafkaConsumer, replay: Replay, sharing: int) -> bool:
        """Go on with one replay of several, and say whether there was anything to do."""
        asked = replay.asked
        way = self._ways.get(asked.replay_id)
        if way is None:
            way = self._ways[asked.replay_id] = await self._begun(consumer, replay)
        endpoint = self._around.catalog.endpoints.get(asked.tenant, {}).get(asked.endpoint_id)
        if self._around.catalog.offset < asked.definitions:
            return False  # whoever asked knew more of the endpoint than is known here by now
        if endpoint is None or not endpoint.on or 0 < asked.on_since_ms < endpoint.on_since_ms:
            off = "endpoint_gone" if endpoint is None or endpoint.deleted else "endpoint_was_off" if endpoint.on else f"endpoint_{endpoint.status}"
            self._stepped(asked, way, way.step.offset, 0, done=True, reason=off)
            return True
        room = max(1, self._around.settings.dispatcher_replay_pending // sharing) - self._pending[asked.replay_id]
        if room <= 0:
            return False
        if way.step.offset >= way.end:
            await self._look_up_end(consumer, asked, way)
        records, position = list[Record](), way.step.offset
        if position < way.end:
            records, position = await look(consumer, self._tp, position, self._around.settings.dispatcher_read_records)
        return self._queue(asked, way, endpoint, records, position, room)

    def _queue(self, asked: ReplayAsked, way: _Way, endpoint: Endpoint, records: list[Record], position: int, room: int) -> bool:
        """Queue what is wanted of the next records, as long as there is room, and say whether the replay has come further.

        Nothing is awaited here: what is queued and how far that is must be written together.
        """
        offset, queued, late, stopped = way.step.offset, 0, False, False
        reach = self._reach((asked.tenant, asked.endpoint_id))
        for record in records:
            late = record.timestamp > asked.to_ms + _SLACK_MS
            if late:
                break
            if record.offset >= way.end:
                offset = way.end  # before it lie markers of transactions, which are no records
                break
            stopped = queued == room or record.offset >= reach
            taken = Taken.FULL if stopped else self._looked(asked, way, endpoint, record.offset, record.key or b"", record.value)
            if taken is Taken.FULL:
                stopped = True
                break
            queued += taken is Taken.QUEUED
            offset = record.offset + 1
        else:
            offset = max(offset, position)
        done = not stopped and (late or (offset >= way.end and self._all_known(asked, way)))
        moved = done or offset > way.step.offset
        self._stepped(asked, way, offset, queued, done=done)
        return moved

    @staticmethod
    def _all_known(asked: ReplayAsked, way: _Way) -> bool:
        """Whether nothing that was asked for can come behind the end that is known."""
        return asked.ids is not None or way.end_known_ms >= asked.to_ms + _DECIDED_MS

    async def _look_up_end(self, consumer: AIOKafkaConsumer, asked: ReplayAsked, way: _Way) -> None:
        now_ms = self._around.now_ms()
        if not self._all_known(asked, way) and now_ms >= asked.to_ms + _DECIDED_MS:
            way.end, way.end_known_ms = (await consumer.end_offsets([self._tp]))[self._tp], now_ms

    async def _begun(self, consumer: AIOKafkaConsumer, replay: Replay) -> _Way:
        asked, tp, now_ms = replay.asked, self._tp, self._around.now_ms()
        end = (await consumer.end_offsets([tp]))[tp]
        step = replay.steps.get(self._number)
        if step is None:
            found = (await consumer.offsets_for_times({tp: max(0, asked.from_ms - _SLACK_MS)}))[tp]
            step = ReplayStep(asked.tenant, asked.endpoint_id, asked.replay_id, self._number, end if found is None else found.offset, 0)
        return _Way(end, now_ms, step, None if asked.ids is None else frozenset(asked.ids), record_key(asked.tenant, ""))

    def _looked(self, asked: ReplayAsked, way: _Way, endpoint: Endpoint, offset: int, key: bytes, document: bytes) -> Taken:
        """Queue a transition if it was asked for, and say what became of it."""
        if not key.startswith(way.prefix):
            return Taken.NEEDLESS
        transition = decode_announced(document)
        if way.ids is not None:
            asked_for = transition.id in way.ids
        else:
            asked_for = iso(asked.from_ms) <= transition.decided_at < iso(asked.to_ms) and wants(endpoint, transition)
        if not asked_for:
            return Taken.NEEDLESS
        now_ms, replay_id = self._around.now_ms(), asked.replay_id
        taken = self._take(delivery_of(transition, document, endpoint.id, offset, now_ms, on_since_ms=asked.on_since_ms, replay=replay_id))
        REPLAYED.inc(taken is Taken.QUEUED)
        return taken

    def _stepped(self, asked: ReplayAsked, way: _Way, offset: int, queued: int, *, done: bool, reason: str = "") -> None:
        """Take note of how far a replay is; written where it matters, so that nothing is queued twice."""
        way.step = ReplayStep(asked.tenant, asked.endpoint_id, asked.replay_id, self._number, offset, way.step.queued + queued, done, reason)
        if queued or done:
            self.steps[asked.replay_id] = way.step
