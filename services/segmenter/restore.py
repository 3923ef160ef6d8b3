"""Reads a changelog partition to its end, in bulk: what the steps of all owners before have committed."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from services.segmenter.copies import spare_copies
from services.segmenter.core import PartitionCore
from services.segmenter.settings import SegmenterSettings

_SLICE_RECORDS: Final = 500
_SLICE_S: Final = 0.004


async def restore(settings: SegmenterSettings, core: PartitionCore) -> tuple[int, dict[int, int]]:
    """Feed every committed changelog record of the core's partition to it, in order; return how many.

    Returns the ends of `customer-moves` as well: whatever the former owners have sent there lies before them.

    The partition must be fenced: what its end is must not move any more. Waits for as long as Kafka does not answer; gives way
    to others every few milliseconds. Raises KafkaError.
    """
    tp = TopicPartition(settings.topics.rows, core.number)
    consumer = AIOKafkaConsumer(
        **settings.kafka_options(),
        enable_auto_commit=False,
        isolation_level="read_committed",
        max_partition_fetch_bytes=settings.segmenter_restore_fetch_bytes,
        fetch_max_wait_ms=20,  # stopping waits for the fetch under way, which is one for records that are not there
    )
    await consumer.start()
    try:
        consumer.assign([tp])
        await consumer.seek_to_beginning(tp)
        end = (await consumer.end_offsets([tp]))[tp]
        count = 0
        while await consumer.position(tp) < end:
            # The first record of a fetch says that the others are there, and these need not be copied.
            first = await consumer.getmany(tp, timeout_ms=200, max_records=1)
            spare_copies(consumer)
            for records in (*first.values(), *(await consumer.getmany(tp)).values()):
                since = time.perf_counter()
                for index, record in enumerate(records):
                    core.restore(record.key, record.value)
                    if index % _SLICE_RECORDS == 0 and time.perf_counter() - since > _SLICE_S:
                        await asyncio.sleep(0)
                        since = time.perf_counter()
                count += len(records)
        moves = [TopicPartition(settings.topics.moves, number) for number in range(settings.partitions)]
        sent = {tp.partition: end for tp, end in (await consumer.end_offsets(moves)).items() if end}
        return count, sent
    finally:
        await consumer.stop()
