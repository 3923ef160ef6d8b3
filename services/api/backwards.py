"""What is on a topic, the newest first, read backwards from Kafka block by block: transitions as they were decided, among others.

A cursor is, for each partition, the offset before which to go on. A page looks at a bounded number of records at once, so it may be
short while there is more. While it has nothing it goes on, for half of the time that it may take: so an empty page is the end, unless
there is so much of others to be passed over that this takes longer.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Sequence
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from msgspec import Raw, Struct

from schemas.erasures import Erasures
from schemas.partitions import partition_of, record_key
from services.api.changes import LOOK_RECORDS, LOST, TURN_MS, Feed, glance
from services.api.cursors import bad_cursor, decode_cursor, encode_cursor
from services.api.errors import unavailable
from services.api.metrics import Metrics
from services.api.question_shapes import HistoryPage
from services.api.settings import ApiSettings

_LATEST: Final = "~"
"""Later than every instant."""


class _Found(Struct, frozen=True):
    """A record asked for: what is shown of it, its instant, and where it lies."""

    at: str
    partition: int
    offset: int
    shown: Any


Look = Callable[[Any], tuple[str, Any]]
"""From a record to its instant, and what is shown of it, None when it is not asked for. Instants follow the offsets, or nearly so."""


class _Block(Struct):
    """A run of one partition's records that has been looked at: what was asked for in it, and the earliest instant of all."""

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
    """Reads topics that all customers share from their end; shares the consumers of the feed."""

    def __init__(self, settings: ApiSettings, metrics: Metrics, feed: Feed) -> None:
        self._settings, self._metrics, self._feed = settings, metrics, feed

    async def page(self, wanted: Wanted, cursor: str | None, limit: int) -> HistoryPage:
        """Return up to `limit` transitions before a cursor. Raises as `read` does."""
        numbers = range(self._settings.partitions)
        if wanted.customer_id is not None:
            number = partition_of(record_key(wanted.tenant, wanted.customer_id), self._settings.partitions)
            numbers = range(number, number + 1)
        erasures = self._feed.erasures
        return HistoryPage(
            *await self.read(
                wanted.tenant, self._settings.topics.changes, numbers, lambda record: _transition(record, wanted, erasures), cursor, limit
            )
        )

    async def read(self, tenant: str, topic: str, numbers: Sequence[int], look: Look, cursor: str | None, limit: int) -> tuple[list[Any], str | None]:
        """For a tenant: return up to `limit` of what `look` shows of some partitions before a cursor, and the cursor to go on with.

        Raises `Refused`: 422 for what is no cursor, 503 when Kafka does not answer.
        """
        tps, clock = [TopicPartition(topic, number) for number in numbers], asyncio.get_running_loop().time
        patience_s = clock() + self._settings.api_feed_timeout_s / 2
        try:
            async with asyncio.timeout(self._settings.api_feed_timeout_s), self._feed.consumer(tenant) as consumer:
                ends = {tp.partition: end for tp, end in (await consumer.end_offsets(tps)).items()}
                begins = {tp.partition: begin for tp, begin in (await consumer.beginning_offsets(tps)).items()}
                places = ends if cursor is None else _places(cursor, list(numbers), ends)
                while True:
                    found, following = _merged(await self._read(consumer, topic, look, places, begins), places, begins, limit)
                    if found or following is None or clock() >= patience_s:
                        break
                    places = following
        except LOST as error:
            raise unavailable(f"the history cannot be read ({error!r})", 2) from None
        return found, None if following is None else encode_cursor(following)

    async def _read(
        self, consumer: AIOKafkaConsumer, topic: str, look: Look, places: dict[int, int], begins: dict[int, int]
    ) -> dict[int, _Block]:  # fmt: skip
        """Look at a block before each place."""
        size = max(1, self._settings.api_feed_scan // len(places))
        blocks = {number: _Block(max(begins[number], place - size), []) for number, place in places.items() if place > begins[number]}
        unread = {TopicPartition(topic, number) for number in blocks}
        consumer.assign(list(unread))
        for tp in unread:
            consumer.seek(tp, blocks[tp.partition].start)
        while unread:
            for tp, records in (await consumer.getmany(*unread, timeout_ms=TURN_MS, max_records=LOOK_RECORDS)).items():
                self._metrics.feed_records.inc(len(records))
                _look(blocks[tp.partition], [record for record in records if record.offset < places[tp.partition]], look)
            await asyncio.sleep(0)
            # Transaction markers have offsets and are no records: the position, not the last record, tells the end.
            unread = {tp for tp in unread if await consumer.position(tp) < places[tp.partition]}
        return blocks


def _transition(record: Any, wanted: Wanted, erasures: Erasures) -> tuple[str, Raw | None]:
    seen = glance(record.value)
    asked = wanted.matches(record.key or b"") and wanted.segment_id in (None, seen.segment_id)
    served = asked and seen.seq > erasures.last_seq(seen.tenant, seen.customer_id)
    return seen.decided_at, Raw(record.value) if served else None


def _look(block: _Block, records: list[Any], look: Look) -> None:
    for record in records:
        if record.value is None:
            continue
        at, shown = look(record)
        block.since = min(block.since, at)
        if shown is not None:
            block.found.append(_Found(at, record.partition, record.offset, shown))


def _merged(blocks: dict[int, _Block], places: dict[int, int], begins: dict[int, int], limit: int) -> tuple[list[Any], dict[int, int] | None]:
    """Return the newest of what was found, and where to go on, None at the end. `places` is changed.

    What is older than the beginning of a block with more before it waits: something that was decided later may lie there. The
    order within a partition is kept, also where clocks of former owners were ahead.
    """
    horizon = max((block.since for number, block in blocks.items() if block.start > begins[number]), default="")
    following = places | {number: block.start for number, block in blocks.items()}
    left = {number: len(block.found) for number, block in blocks.items()}
    taken: list[Any] = []
    for one in heapq.merge(*(reversed(block.found) for block in blocks.values()), key=lambda one: one.at, reverse=True):
        if len(taken) == limit or one.at < horizon:
            break
        taken.append(one.shown)
        left[one.partition] -= 1
        places[one.partition] = one.offset
    following |= {number: places[number] for number, count in left.items() if count}
    more = any(following[number] > begins[number] for number in following)
    return taken, following if more else None


def _places(cursor: str, numbers: list[int], ends: dict[int, int]) -> dict[int, int]:
    places = decode_cursor(cursor, dict[int, int])
    if sorted(places) != numbers or not all(0 <= place <= ends[number] for number, place in places.items()):
        raise bad_cursor()
    return places
