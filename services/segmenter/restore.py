"""Reads a changelog partition in bulk: what the steps of all owners before have committed, and what was written since a place in it."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from services.segmenter.copies import spare_copies
from services.segmenter.core import PartitionCore
from services.segmenter.settings import SegmenterSettings

log = logging.getLogger(__name__)

_SLICE_RECORDS: Final = 500
_SLICE_S: Final = 0.004
_LOOK_S: Final = 30.0
_TAIL: Final = 16
"""Offsets in which the last record of a topic is sought first; then in so many times more."""


async def restore(settings: SegmenterSettings, core: PartitionCore) -> tuple[int, dict[int, int]]:
    """Feed every committed changelog record of the core's partition to it, in order; return how many.

    Returns the ends of `customer-moves` as well: whatever the former owners have sent there lies before them.

    The partition must be fenced: what its end is must not move any more. Waits for as long as Kafka does not answer; gives way
    to others every few milliseconds. Raises KafkaError.
    """
    tp = TopicPartition(settings.topics.rows, core.number)
    async with _consumer(settings, tp) as consumer:
        await consumer.seek_to_beginning(tp)
        end = (await consumer.end_offsets([tp]))[tp]
        count = 0
        async for records in _until(consumer, tp, end):
            since = time.perf_counter()
            for index, record in enumerate(records):
                core.restore(record.key, record.value)
                if index % _SLICE_RECORDS == 0 and time.perf_counter() - since > _SLICE_S:
                    await asyncio.sleep(0)
                    since = time.perf_counter()
            count += len(records)
            # Those who were restored stay, and each collection would walk over all of them.
            gc.freeze()
        moves = [TopicPartition(settings.topics.moves, number) for number in range(settings.partitions)]
        return count, {tp.partition: end for tp in moves if (end := await _after_last(consumer, tp))}


async def _after_last(consumer: AIOKafkaConsumer, tp: TopicPartition) -> int:
    """Return the offset after a partition's last record, 0 without any. Its end lies behind the marker of a transaction, which nobody applies."""
    consumer.assign([tp])
    first, end = (await consumer.beginning_offsets([tp]))[tp], (await consumer.end_offsets([tp]))[tp]
    back = _TAIL
    while end > first:
        start = max(first, end - back)
        consumer.seek(tp, start)
        last = -1
        async for records in _until(consumer, tp, end):
            last = max([last, *(record.offset for record in records)])
        if last >= 0 or start == first:
            return last + 1
        back *= _TAIL
    return 0


async def changed(settings: SegmenterSettings, number: int, start: int, end: int) -> set[bytes] | None:
    """Return the keys of what was committed to a partition's changelog from `start` on, at least up to `end`; None if Kafka does not say.

    Compaction leaves the latest record of every key, and that lies behind all others: so no key is missed that was written there.
    Those that were removed are found for as long as the topic's `delete.retention.ms` says.
    """
    tp = TopicPartition(settings.topics.rows, number)
    found: set[bytes] = set()
    if start >= end:  # a consumer that is stopped before it has begun stumbles over itself
        return found
    try:
        async with asyncio.timeout(_LOOK_S), _consumer(settings, tp) as consumer:
            consumer.seek(tp, start)
            async for records in _until(consumer, tp, end):
                found.update([record.key for record in records])
                await asyncio.sleep(0)
    except (KafkaError, OSError, TimeoutError) as error:
        log.warning("partition %s: its changelog from %s to %s cannot be read: %r", number, start, end, error)
        return None
    return found


@asynccontextmanager
async def _consumer(settings: SegmenterSettings, tp: TopicPartition) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(
        **settings.kafka_options(),
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        max_partition_fetch_bytes=settings.segmenter_restore_fetch_bytes,
        fetch_max_wait_ms=20,  # stopping waits for the fetch under way, which is one for records that are not there
    )
    await consumer.start()
    try:
        consumer.assign([tp])
        yield consumer
    finally:
        await consumer.stop()


async def _until(consumer: AIOKafkaConsumer, tp: TopicPartition, end: int) -> AsyncIterator[Sequence[Any]]:
    """Yield what is fetched from where the consumer stands, until that is `end`."""
    while await consumer.position(tp) < end:
        # The first record of a fetch says that the others are there, and these need not be copied.
        first = await consumer.getmany(tp, timeout_ms=200, max_records=1)
        spare_copies(consumer)
        for records in (*first.values(), *(await consumer.getmany(tp)).values()):
            yield records
