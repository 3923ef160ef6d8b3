"""The change feed: a tenant's transitions from any point on, read from Kafka by a small pool of consumers without a group.

A cursor is the next offset of every partition, so a reader that comes back with it misses nothing and sees nothing twice. The
transitions of one customer come in the order of their `seq`; those of different customers are merged by when they were decided.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import logging
from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from msgspec import Raw, Struct

from schemas.erasures import Erasures
from schemas.errors import Refusal
from schemas.partitions import record_key
from schemas.positions import decode_position, encode_position
from services.api.errors import Refused, refused, unavailable
from services.api.metrics import Metrics
from services.api.settings import ApiSettings
from services.api.shapes import ChangePage
from services.kit.follower import ErasuresFollower

log = logging.getLogger(__name__)

_NOW: Final = "now"
TURN_MS: Final = 20
LOOK_RECORDS: Final = 100
"""Records that are taken apart at once, for a millisecond or two: then everybody else's requests have their turn."""
LOST: Final = (KafkaError, OSError, TimeoutError)


class Glance(Struct):
    """What readers of the topic need of a transition; its bytes go out as they are."""

    tenant: str
    customer_id: str
    segment_id: str
    decided_at: str
    seq: int


glance: Final = msgspec.json.Decoder(Glance).decode

_Wanted = tuple[bytes, str | None]
"""What a key begins with (a tenant has no colon, so no other's does), and the segment asked for."""

_Found = tuple[str, int, int, bytes | None]
"""When it was decided, partition, next offset, and the transition (None: not this reader's)."""


class Feed:
    """Reads the changes topic. The pool bounds how many read at once."""

    def __init__(self, settings: ApiSettings, erasures: ErasuresFollower, metrics: Metrics) -> None:
        self._settings, self._erasures, self._metrics = settings, erasures, metrics
        self._places = [TopicPartition(settings.topics.changes, number) for number in range(settings.partitions)]
        self._idle: list[AIOKafkaConsumer] = []
        self._turns = asyncio.Semaphore(settings.api_feed_consumers)
        self._turns_of_one = max(1, int(settings.api_feed_consumers * settings.tenant_share))
        self._turns_of: dict[str, asyncio.Semaphore] = {}

    @property
    def erasures(self) -> Erasures:
        """Whose transitions are served no more; raises `Refused` (503) before that is known."""
        if not self._erasures.caught_up:
            raise unavailable("starting: it is not known yet who was erased", 2)
        return self._erasures.erasures

    async def close(self) -> None:
        """Disconnect."""
        while self._idle:
            await self._idle.pop().stop()

    async def page(self, tenant: str, segment_id: str | None, after: str | None, limit: int) -> ChangePage:
        """Return up to `limit` transitions of a tenant from a cursor on.

        `after` None is the beginning, `now` the end. Raises `Refused`: 422 for what is no cursor, 410 for one whose records
        have expired, 503 when Kafka does not answer.
        """
        erasures = self.erasures
        places = None if after in (None, _NOW) else self._cursor(str(after))
        try:
            async with asyncio.timeout(self._settings.api_feed_timeout_s), self.consumer(tenant) as consumer:
                ends = await self.offsets(consumer, ends=True)
                if after == _NOW:
                    return ChangePage([], self._token(ends), more=False)
                begins = await self.offsets(consumer, ends=False)
                if places is None:
                    places = begins
                self._check(places, begins, ends)
                found = await self._read(consumer, (record_key(tenant, ""), segment_id), places, ends, limit, erasures)
        except LOST as error:
            raise unavailable(f"the change feed cannot be read ({error!r})", 2) from None
        return self._merge(found, places, ends, limit)

    def _merge(self, found: list[list[_Found]], places: dict[int, int], ends: dict[int, int], limit: int) -> ChangePage:
        # A merge of lists keeps the order within each, also where clocks of former owners were ahead.
        changes: list[Raw] = []
        for _, partition, following, document in heapq.merge(*found, key=lambda one: one[0]):
            if document is not None:
                if len(changes) == limit:
                    break
                changes.append(Raw(document))
            places[partition] = following
        more = any(places[partition] < end for partition, end in ends.items())
        return ChangePage(changes, self._token(places), more=more)

    async def _read(
        self, consumer: AIOKafkaConsumer, wanted: _Wanted, places: dict[int, int], ends: dict[int, int], limit: int, erasures: Erasures
    ) -> list[list[_Found]]:
        """Look at records from the places on, until the ends, or until enough were found or looked at."""
        unread = {tp for tp in self._places if places[tp.partition] < ends[tp.partition]}
        if not unread:
            return []
        found: dict[int, list[_Found]] = {tp.partition: [] for tp in unread}
        consumer.assign(list(unread))
        for tp in unread:
            consumer.seek(tp, places[tp.partition])
        left, matched = self._settings.api_feed_scan, 0
        while unread and left > 0 and matched < limit:
            # A look at each partition, so that none runs ahead of the others and little is read that the page has no room for.
            waiting = set(unread)
            while waiting and left > 0:
                looked = await consumer.getmany(*waiting, timeout_ms=TURN_MS, max_records=min(left, LOOK_RECORDS))
                for tp, records in looked.items():
                    left -= len(records)
                    self._metrics.feed_records.inc(len(records))
                    mine = found[tp.partition]
                    for record in records:
                        mine.append(_found(record, wanted, mine, erasures))
                        matched += mine[-1][3] is not None
                waiting = waiting - looked.keys() if looked else set()
                await asyncio.sleep(0)
            for tp in list(unread):
                # Transaction markers have offsets and are no records: the position, not the last record, tells the end.
                position, mine = await consumer.position(tp), found[tp.partition]
                if position >= ends[tp.partition]:
                    unread.discard(tp)
                    mine.append((_last(mine), tp.partition, position, None))
        return list(found.values())

    async def offsets(self, consumer: AIOKafkaConsumer, *, ends: bool) -> dict[int, int]:
        """Return where each partition of the topic begins, or ends."""
        found = await (consumer.end_offsets(self._places) if ends else consumer.beginning_offsets(self._places))
        return {tp.partition: offset for tp, offset in found.items()}

    def _cursor(self, token: str) -> dict[int, int]:
        try:
            places = decode_position(token, partitions=self._settings.partitions)
        except Refusal as refusal:
            raise refused(refusal) from None
        if places.keys() != {""} or len(places[""]) != self._settings.partitions:
            raise Refused(422, "after is not a cursor that this API gave", pointer="/after")
        return places[""]

    def _check(self, places: dict[int, int], begins: dict[int, int], ends: dict[int, int]) -> None:
        for partition, place in places.items():
            if place > ends[partition]:
                raise Refused(422, "after is not a cursor that this API gave: it lies behind the end", pointer="/after")
            if place < begins[partition]:
                raise Refused(410, "the transitions after this cursor have expired; begin anew without after", pointer="/after")

    @staticmethod
    def _token(places: dict[int, int]) -> str:
        return encode_position({"": dict(sorted(places.items()))})

    @contextlib.asynccontextmanager
    async def consumer(self, tenant: str) -> AsyncIterator[AIOKafkaConsumer]:
        """Lend a consumer of the pool, waiting for a turn: first among the tenant's own, so that it never has more than its share."""
        mine = self._turns_of.setdefault(tenant, asyncio.Semaphore(self._turns_of_one))
        async with mine, self._turns:
            consumer = self._idle.pop() if self._idle else await self._connected()
            try:
                yield consumer
                # Assigned to nothing, it fetches nothing until it is wanted again.
                consumer.assign([])
            except BaseException as error:
                # A refusal is an answer; after anything else nobody knows what this consumer is in the middle of.
                if isinstance(error, Refused):
                    self._idle.append(consumer)
                else:
                    await asyncio.shield(_stopped(consumer))
                raise
            self._idle.append(consumer)

    async def _connected(self) -> AIOKafkaConsumer:
        consumer = AIOKafkaConsumer(
            **self._settings.kafka_options(),
            client_id="rollcall-api-feed",
            enable_auto_commit=False,
            isolation_level="read_committed",
            auto_offset_reset="none",
            fetch_max_wait_ms=TURN_MS,
            max_partition_fetch_bytes=self._settings.api_feed_fetch_bytes,
        )
        try:
            await consumer.start()
        except BaseException:
            await _stopped(consumer)
            raise
        return consumer


def _found(record: Any, wanted: _Wanted, before: list[_Found], erasures: Erasures) -> _Found:
    prefix, segment_id = wanted
    following = record.offset + 1
    if record.value is None or not (record.key or b"").startswith(prefix):
        return _last(before), record.partition, following, None
    seen = glance(record.value)
    # What names somebody who was erased is served to nobody, whenever it was decided.
    mine = segment_id in (None, seen.segment_id) and seen.seq > erasures.last_seq(seen.tenant, seen.customer_id)
    return seen.decided_at, record.partition, following, record.value if mine else None


def _last(before: list[_Found]) -> str:
    return before[-1][0] if before else ""


async def _stopped(consumer: AIOKafkaConsumer, timeout_s: float = 3.0) -> None:
    with contextlib.suppress(*LOST):
        async with asyncio.timeout(timeout_s):
            await consumer.stop()
