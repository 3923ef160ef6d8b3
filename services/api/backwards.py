"""The transitions of a customer or a segment as they were decided, the newest first, read backwards from Kafka block by block.

A cursor is, for each partition, the offset before which to go on. A page looks at a bounded number of records, so it may be short,
or empty, while there is more.
"""

from __future__ import annotations

import asyncio
import heapq
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from msgspec import Raw, Struct

from schemas.erasures import Erasures
from schemas.partitions import partition_of, record_key
from services.api.changes import LOST, TURN_MS, Feed, glance
from services.api.cursors import bad_cursor, decode_cursor, encode_cursor
from services.api.errors import unavailable
from services.api.metrics import Metrics
from services.api.question_shapes import HistoryPage
from services.api.settings import ApiSettings

_LATEST: Final = "~"
"""Later than every instant."""


class _Found(Struct, frozen=True):
    """A transition asked for, and where it lies."""

    decided_at: str
    partition: int
    offset: int
    document: bytes


class _Block(Struct):
    """A run of one partition's records that has been looked at: what was asked for in it, and when its earliest was decided."""

    start: int
    found: list[_Found]
    since: str = _LATEST


class Wanted(Struct, frozen=True):
    """Whose transitions: a tenant's, perhaps of one customer, perhaps of one segment."""

    tenant: str
    customer_id: str | None = None
    segment_id: str | None = None

    def matches(self, key: bytes) -> bool:
        """Whether a record's key is of those who are asked about."""
        if self.customer_id is not None:
            return key == record_key(self.tenant, self.customer_id)
        return key.startswith(record_key(self.tenant, ""))


class Backwards:
    """Reads the changes topic from its end; shares the consumers of the feed."""

    def __init__(self, settings: ApiSettings, metrics: Metrics, feed: Feed) -> None:
        self._settings, self._metrics, self._feed = settings, metrics, feed

    async def page(self, wanted: Wanted, cursor: str | None, limit: int) -> HistoryPage:
        """Return up to `limit` transitions before a cursor. Raises `Refused`: 422 for what is no cursor, 503 when Kafka does not answer."""
        settings = self._settings
        numbers = list(range(settings.partitions))
        if wanted.customer_id is not None:
            numbers = [partition_of(record_key(wanted.tenant, wanted.customer_id), settings.partitions)]
        try:
            async with asyncio.timeout(settings.api_feed_timeout_s), self._feed.consumer() as consumer:
                ends = await self._feed.offsets(consumer, ends=True)
                begins = await self._feed.offsets(consumer, ends=False)
                places = {number: ends[number] for number in numbers} if cursor is None else _places(cursor, numbers, ends)
                blocks = await self._read(consumer, wanted, places, begins)
        except LOST as error:
            raise unavailable(f"the history cannot be read ({error!r})", 2) from None
        return _merged(blocks, places, begins, limit)

    async def _read(
        self, consumer: AIOKafkaConsumer, wanted: Wanted, places: dict[int, int], begins: dict[int, int]
    ) -> dict[int, _Block]:  # fmt: skip
        """Look at a block before each place."""
        size = max(1, self._settings.api_feed_scan // len(places))
        blocks = {number: _Block(max(begins[number], place - size), []) for number, place in places.items() if place > begins[number]}
        unread = {TopicPartition(self._settings.topics.changes, number) for number in blocks}
        consumer.assign(list(unread))
        for tp in unread:
            consumer.seek(tp, blocks[tp.partition].start)
        while unread:
            for tp, records in (await consumer.getmany(*unread, timeout_ms=TURN_MS)).items():
                self._metrics.feed_records.inc(len(records))
                mine = [record for record in records if record.offset < places[tp.partition]]
                _look(blocks[tp.partition], mine, wanted, self._feed.erasures)
            # Transaction markers have offsets and are no records: the position, not the last record, tells the end.
            unread = {tp for tp in unread if await consumer.position(tp) < places[tp.partition]}
        return blocks


def _look(block: _Block, records: list[Any], wanted: Wanted, erasures: Erasures) -> None:
    for record in records:
        if record.value is None:
            continue
        seen = glance(record.value)
        block.since = min(block.since, seen.decided_at)
        asked = wanted.matches(record.key or b"") and wanted.segment_id in (None, seen.segment_id)
        if asked and seen.seq > erasures.last_seq(seen.tenant, seen.customer_id):
            block.found.append(_Found(seen.decided_at, record.partition, record.offset, record.value))


def _merged(blocks: dict[int, _Block], places: dict[int, int], begins: dict[int, int], limit: int) -> HistoryPage:
    """Return the newest of what was found, and where to go on.

    What is older than the beginning of a block with more before it waits: something that was decided later may lie there. The
    order within a partition is kept, also where clocks of former owners were ahead.
    """
    horizon = max((block.since for number, block in blocks.items() if block.start > begins[number]), default="")
    following = places | {number: block.start for number, block in blocks.items()}
    left = {number: len(block.found) for number, block in blocks.items()}
    taken: list[Raw] = []
    for one in heapq.merge(*(reversed(block.found) for block in blocks.values()), key=lambda one: one.decided_at, reverse=True):
        if len(taken) == limit or one.decided_at < horizon:
            break
        taken.append(Raw(one.document))
        left[one.partition] -= 1
        places[one.partition] = one.offset
    following |= {number: places[number] for number, count in left.items() if count}
    more = any(following[number] > begins[number] for number in following)
    return HistoryPage(taken, encode_cursor(following) if more else None)


def _places(cursor: str, numbers: list[int], ends: dict[int, int]) -> dict[int, int]:
    places = decode_cursor(cursor, dict[int, int])
    if sorted(places) != numbers or not all(0 <= place <= ends[number] for number, place in places.items()):
        raise bad_cursor()
    return places
