"""Writes: definitions and manual entries go to Kafka, and nothing is answered before Kafka has them on all replicas.

A definition is true when the fold accepts it, so `define` reads its own record back and tells what the fold said. An idempotent
producer that gave up a batch may be refused for ever after; after any failure it is replaced by the next write.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, Final, Literal

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from schemas.affairs import Affair, encode_affair
from schemas.catalog import Segment
from schemas.definitions import Definition, encode_definition
from schemas.manual import ManualEntry, encode_manual
from schemas.partitions import partition_of, record_key
from schemas.positions import Offsets
from services.api.errors import Refused, conflicting, unavailable
from services.api.metrics import Metrics
from services.api.settings import ApiSettings
from services.kit import failpoints
from services.kit.follower import AffairsFollower, Follower

log = logging.getLogger(__name__)

MAX_DEFINITION_BYTES: Final = 900_000
"""Kafka takes records of a megabyte; the rest is the envelope's."""
_BATCH_BYTES: Final = 512 * 1024
_SLICE: Final = 500
"""Entries prepared before other requests get their turn: a few milliseconds."""
_LOST: Final = (KafkaError, OSError, TimeoutError)

ListName = Literal["include", "exclude"]
Edit = tuple[ListName, str, bool]
"""List, customer, and whether the customer is put on it or taken off."""


class Writer:
    """The one place that produces. One for each process."""

    def __init__(self, settings: ApiSettings, follower: Follower, metrics: Metrics) -> None:
        self._settings, self._follower, self._metrics = settings, follower, metrics
        self._definitions = TopicPartition(settings.topics.definitions, 0)
        self._producer: AIOKafkaProducer | None = None
        self._connecting = asyncio.Lock()
        # Its own connection: behind the follower's, which waits for records, a question would wait as well.
        self._ends: AIOKafkaConsumer | None = None
        self._leaving: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Connect; raises KafkaError when Kafka does not answer."""
        self._producer = await self._connected()
        ends = AIOKafkaConsumer(**self._settings.kafka_options(), enable_auto_commit=False)
        try:
            await ends.start()
        except BaseException:
            await ends.stop()
            raise
        self._ends = ends

    async def close(self) -> None:
        """Disconnect."""
        if self._producer is not None:
            await _disconnected(self._producer)
        if self._ends is not None:
            await self._ends.stop()
        await asyncio.gather(*self._leaving, return_exceptions=True)

    async def reachable(self) -> bool:
        """Whether Kafka answers a metadata request; replaces a producer that was given up, for without one no write will come."""
        if self._ends is None:
            return False
        try:
            async with asyncio.timeout(2.0):
                await (await self._current()).client.fetch_all_metadata()
        except _LOST:
            return False
        return True

    async def define(self, record: Definition) -> int:
        """Write a definition and return its offset once the fold has accepted it.

        Raises `Refused`: with the fold's status when it was not accepted, 503 when Kafka did not answer, in which case the
        definition may be in force all the same and the client must read again.
        """
        document = encode_definition(record)
        if len(document) > MAX_DEFINITION_BYTES:
            raise Refused(422, f"a definition has at most {MAX_DEFINITION_BYTES} bytes, this one has {len(document)}")
        try:
            async with asyncio.timeout(self._settings.api_write_timeout_s):
                offset = await self._sent(self._definitions.topic, document)
                outcome = await self._follower.outcome(offset, self._settings.api_write_timeout_s)
        except _LOST as error:
            self._metrics.definitions.labels("unknown").inc()
            raise unavailable(f"Kafka did not acknowledge in time ({error!r}); read again before you write again", 2) from None
        self._metrics.definitions.labels("accepted" if outcome.accepted else str(outcome.status)).inc()
        if not outcome.accepted:
            raise conflicting(outcome)
        return offset

    async def tell(self, affair: Affair, follower: AffairsFollower) -> None:
        """Write an affair and return once this process has read it back; raises `Refused` (503) when Kafka did not answer."""
        timeout_s = self._settings.api_write_timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                await follower.reached(await self._sent(self._settings.topics.affairs, encode_affair(affair)) + 1, timeout_s)
        except _LOST as error:
            raise unavailable(f"Kafka did not acknowledge in time ({error!r}); read again before you write again", 2) from None

    async def _sent(self, topic: str, document: bytes) -> int:
        """Write a record to a topic of one partition and return its offset; raises what `_LOST` names."""
        async with self._lent() as producer:
            failpoints.hit("api.before_write")
            offset: int = (await (await producer.send(topic, document, partition=0))).offset
            failpoints.hit("api.after_write")
            if offset < 0:
                raise KafkaError("acknowledged without an offset")  # a repeated batch whose place the broker forgot
            return offset

    async def settled(self) -> None:
        """Wait until this process has read every definition that Kafka has now.

        A manual entry names the list that it belongs to. Were the list's reset, which another process has answered, not read
        here yet, the entry would name the former list and count for nothing.
        """
        try:
            async with asyncio.timeout(self._settings.api_write_timeout_s):
                if self._ends is None:
                    raise KafkaError("not connected")
                end = (await self._ends.end_offsets([self._definitions]))[self._definitions]
                await self._follower.reached(end, self._settings.api_write_timeout_s)
        except _LOST as error:
            raise unavailable(f"the definitions cannot be read ({error!r})", 2) from None

    async def entries(self, segment: Segment, edits: Sequence[Edit], nonce: bytes, *, announced: bool = False) -> Offsets:
        """Write manual entries, `announced` by the segment's definition or not, and return the position behind them.

        The nonce tells one request's entries from another's: put on, taken off and put on again are three events.
        """
        topic = self._settings.topics.manual_entries
        lanes: dict[int, list[tuple[bytes, bytes]]] = {}
        for index, edit in enumerate(edits):
            if index % _SLICE == _SLICE - 1:
                await asyncio.sleep(0)
            entry = _entry(segment, edit, nonce, announced=announced)
            key = record_key(entry.tenant, entry.customer_id)
            lanes.setdefault(partition_of(key, self._settings.partitions), []).append((key, encode_manual(entry)))
        try:
            async with self._lent() as producer:
                places = await asyncio.gather(*(self._lane(producer, topic, number, records) for number, records in lanes.items()))
        except _LOST as error:
            raise unavailable(f"Kafka did not acknowledge all entries in time ({error!r}); send them again", 2) from None
        self._metrics.entries.inc(len(edits))
        return {topic: dict(zip(lanes, places, strict=True))} if lanes else {}

    async def _lane(self, producer: AIOKafkaProducer, topic: str, number: int, records: list[tuple[bytes, bytes]]) -> int:
        """Send one partition's records in order and return the offset behind the last."""
        place, at = 0, 0
        while at < len(records):
            builder, begun = producer.create_batch(), at
            while at < len(records) and builder.append(timestamp=None, key=records[at][0], value=records[at][1]) is not None:
                at += 1
            async with asyncio.timeout(self._settings.api_write_timeout_s):
                failpoints.hit("api.before_write")
                base = (await (await producer.send_batch(builder, topic, partition=number))).offset
                failpoints.hit("api.after_write")
            if base < 0:
                raise KafkaError("acknowledged without an offset")
            place = base + at - begun
        return place

    @contextlib.asynccontextmanager
    async def _lent(self) -> Any:
        producer = await self._current()
        try:
            yield producer
        except (*_LOST, asyncio.CancelledError):
            if self._producer is producer:
                self._producer = None
                leaving = asyncio.create_task(_disconnected(producer))
                self._leaving.add(leaving)
                leaving.add_done_callback(self._leaving.discard)
            raise

    async def _current(self) -> AIOKafkaProducer:
        async with self._connecting:
            if self._producer is None:
                self._metrics.renewals.inc()
                self._producer = await self._connected()
            return self._producer

    async def _connected(self) -> AIOKafkaProducer:
        timeout_s = self._settings.api_write_timeout_s
        producer = AIOKafkaProducer(
            **self._settings.kafka_options(),
            client_id="rollcall-api",
            acks="all",
            enable_idempotence=True,
            max_batch_size=_BATCH_BYTES,
            request_timeout_ms=int(timeout_s * 1_000),
        )
        try:
            async with asyncio.timeout(timeout_s):
                await producer.start()
        except BaseException:
            await _disconnected(producer)
            raise
        return producer


def _entry(segment: Segment, edit: Edit, nonce: bytes, *, announced: bool) -> ManualEntry:
    entries, customer_id, present = edit
    since = segment.include_since if entries == "include" else segment.exclude_since
    parts = (segment.tenant, segment.id, entries, customer_id, str(since), str(present))
    digest = blake2b("\0".join(parts).encode(), digest_size=20, key=nonce).hexdigest()
    return ManualEntry(
        event_id=f"manual-{digest}",
        tenant=segment.tenant,
        customer_id=customer_id,
        segment_id=segment.id,
        entries=entries,
        present=present,
        since=since,
        announced=announced,
    )


async def _disconnected(producer: AIOKafkaProducer, timeout_s: float = 3.0) -> None:
    """Stop a producer that may be broken: politely, then by cancelling its sender, which `stop` would wait for for ever."""
    for stop in (producer.stop, producer._sender.close, producer.client.close):  # noqa: SLF001 - the public way can hang
        with contextlib.suppress(*_LOST):
            async with asyncio.timeout(timeout_s):
                await stop()
