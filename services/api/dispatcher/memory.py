"""What the topic `deliveries` remembers of one partition, and how it is read. Pure but for the reading.

What is pending must be found again without reading thirty days of what has ended: the progress says from where on its records lie,
and those that fall behind are written again (as in a log that cleans itself), so that the way there stays short.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from msgspec import Struct

from schemas.deliveries import PROGRESS, Delivery, DispatchProgress, decode_delivery, decode_progress
from schemas.instants import DAY_MS
from services.api.dispatcher.settings import DispatcherSettings
from services.kit.kafka import between, reading

_LOOK_BACK: Final = 8
"""The progress is the last record of its transaction, before one marker; it is found at once."""
_SLACK: Final = 2_000
_CARRIED: Final = 500
CARRY_AFTER_MS: Final = DAY_MS
"""Records expire after 30 days. What counts is written again each day."""


class Place(Struct, gc=False):
    """Where the last record of a pending delivery lies, and when it was written."""

    delivery: Delivery
    offset: int
    written_ms: int


class Memory:
    """The pending deliveries of a partition that have been written down, in the order of their last records."""

    def __init__(self, end: int = 0) -> None:
        self._places: dict[str, Place] = {}
        self._end = end
        """The offset after the last record."""

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, key: str) -> bool:
        return key in self._places

    @property
    def since(self) -> int:
        """The offset from which on the last records of all pending deliveries lie, those of the next transaction included."""
        return next((place.offset for place in self._places.values()), self._end)

    def wrote(self, delivery: Delivery, offset: int, now_ms: int, *, pending: bool) -> None:
        """Take note of a record, which says that a delivery is pending or has ended; offsets come in their order."""
        self._places.pop(delivery.key, None)
        if pending:
            self._places[delivery.key] = Place(delivery, offset, now_ms)
        self._end = max(self._end, offset + 1)

    def behind(self, now_ms: int) -> list[Delivery]:
        """Return what is to be written again: old records, and the first where far fewer are pending than lie between."""
        found: list[Delivery] = []
        for place in self._places.values():
            far = self._end - place.offset > _SLACK + 4 * len(self._places)
            if len(found) == _CARRIED or not (far or now_ms - place.written_ms >= CARRY_AFTER_MS):
                break
            found.append(place.delivery)
        return found


async def progress_of(consumer: AIOKafkaConsumer, tp: TopicPartition, begin: int, end: int) -> DispatchProgress | None:
    """Return the last progress of a partition, which was given to `hold`; None when there is none."""
    back = _LOOK_BACK
    while True:
        found = None
        async for record in between(consumer, tp, max(begin, end - back), end):
            if record.key == PROGRESS:
                found = decode_progress(record.value)
        if found is not None or end - back <= begin:
            return found
        back *= 8


async def pending_of(
    consumer: AIOKafkaConsumer, tp: TopicPartition, since: int, end: int, take: Callable[[Delivery], Delivery | None]
) -> list[Place]:
    """Return what is pending at `end`, in the order of the last records: what `take` makes of each delivery, if anything."""
    found: dict[bytes, Place] = {}
    async for record in between(consumer, tp, since, end):
        if record.key == PROGRESS:
            continue
        found.pop(record.key, None)
        delivery = decode_delivery(record.value)
        if delivery.state == "pending" and (taken := take(delivery)) is not None:
            found[record.key] = Place(taken, record.offset, record.timestamp)
    return list(found.values())


async def restored(settings: DispatcherSettings, number: int) -> tuple[DispatchProgress | None, Memory, list[Delivery]]:
    """Return what a partition's former owner wrote: its progress, and what is pending, in the order of the transitions."""
    tp = TopicPartition(settings.topics.deliveries, number)
    async with reading(settings, [tp]) as consumer:
        begin, end = (await consumer.beginning_offsets([tp]))[tp], (await consumer.end_offsets([tp]))[tp]
        progress = await progress_of(consumer, tp, begin, end)
        places = await pending_of(consumer, tp, begin if progress is None else progress.since, end, lambda delivery: delivery)
    memory = Memory(end)
    for place in places:
        memory.wrote(place.delivery, place.offset, place.written_ms, pending=True)
    # Replays come behind what their customers had pending; and what was tried was first in its lane.
    return progress, memory, sorted((place.delivery for place in places), key=lambda delivery: (not delivery.attempts, delivery.offset))
