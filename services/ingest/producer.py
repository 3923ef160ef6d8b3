"""A producer that commits in groups: whatever waits for a partition goes out as one batch, acknowledged by all replicas.

`AIOKafkaProducer.send` costs 20 to 30 µs for each event; a batch costs that once. Each partition has at most one batch on its
way, so groups form by themselves under load and a lone event leaves at once. Two invariants: an event is reported only after
its batch was acknowledged, and what is pending is bounded by a budget.

An idempotent producer numbers its batches, and a batch that it gives up leaves a hole that the broker refuses for ever after;
so after any failed batch the whole producer is replaced, and those who waited are told that nothing was acknowledged.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from schemas.errors import RollcallError
from schemas.positions import Offsets
from services.ingest.metrics import Metrics
from services.ingest.settings import IngestSettings
from services.kit import failpoints
from services.kit.background import Background
from services.kit.limits import Budget

log = logging.getLogger(__name__)

Lane = tuple[str, int]
"""Topic and partition."""

Record = tuple[bytes | None, bytes]
"""Key and value."""


class NotAcknowledged(RollcallError):
    """Kafka did not acknowledge; the events may or may not arrive, and sending them again is safe."""


@dataclass(slots=True, eq=False)
class _Waiter:
    """One request: how many of its parcels are not acknowledged yet, and the next offsets of those that are."""

    done: asyncio.Future[Offsets]
    left: int
    offsets: Offsets = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class _Parcel:
    """The records of one request for one lane; `sent` of them are in batches already."""

    waiter: _Waiter
    records: Sequence[Record]
    sent: int = 0


@dataclass(slots=True, eq=False)
class _Batch:
    """A batch on its way, with the parcels that end in it and the index of each one's last record."""

    producer: AIOKafkaProducer
    sent_at_s: float
    ends: list[tuple[_Parcel, int]]
    touched: list[_Parcel]


@dataclass(slots=True, eq=False)
class _Queue:
    parcels: deque[_Parcel] = field(default_factory=deque)
    ready: bool = False


class GroupProducer:
    """Sends the events of many requests in few batches. One for each process."""

    def __init__(self, settings: IngestSettings, metrics: Metrics, monotonic_s: Callable[[], float]) -> None:
        self._settings = settings
        self._metrics = metrics
        self._now_s = monotonic_s
        self._budget = Budget(settings.ingest_pending_bytes, settings.tenant_share, "bytes wait for Kafka")
        self._queues: dict[Lane, _Queue] = {}
        self._on_their_way: dict[Lane, _Batch] = {}
        """In the order in which they were sent: the first is the oldest."""
        self._ready: deque[Lane] = deque()
        self._wake = asyncio.Event()
        self._broken: BaseException | None = None
        self._renewing_since_s: float | None = None
        self._acked_at_s = float("-inf")
        self._producer: AIOKafkaProducer | None = None
        self._flusher = Background(log, "producer")
        self._closing = False

    @property
    def pending_bytes(self) -> int:
        """Bytes of events that are not acknowledged yet."""
        return self._budget.held

    async def start(self) -> None:
        """Connect and learn the partitions of every event topic; raises KafkaError when Kafka does not answer."""
        self._producer = await self._connected()
        self._flusher.start(self._flush_for_ever)

    async def send(self, parcels: dict[Lane, list[Record]], size_bytes: int, tenant: str) -> Offsets:
        """Send a tenant's records and return the next offset of each partition after them, once all replicas have acknowledged.

        Raises `Full` at once when too much is pending, `NotAcknowledged` when Kafka is gone or too slow.
        """
        if self._closing or self._producer is None:
            raise NotAcknowledged("this process is not connected to Kafka")
        now_s = self._now_s()
        if self._stalled_s(now_s) > self._settings.ingest_ack_timeout_s:
            raise NotAcknowledged("Kafka does not acknowledge")
        self._budget.take(size_bytes, tenant)
        waiter = _Waiter(asyncio.get_running_loop().create_future(), len(parcels))
        try:
            mine = [self._enqueue(lane, _Parcel(waiter, records)) for lane, records in parcels.items()]
            self._wake.set()
            async with asyncio.timeout(self._settings.ingest_ack_timeout_s):
                offsets = await waiter.done
        except TimeoutError:
            raise NotAcknowledged(f"Kafka did not acknowledge within {self._settings.ingest_ack_timeout_s:g} s") from None
        finally:
            self._budget.give_back(size_bytes, tenant)
            if not waiter.done.done() or waiter.done.cancelled() or waiter.done.exception():
                for parcel in mine:
                    parcel.records = ()  # nobody waits for it any more: not sent if it was not, and its memory is free
        self._metrics.ack_seconds.observe(self._now_s() - now_s)
        return offsets

    async def reachable(self, timeout_s: float = 2.0) -> bool:
        """Whether Kafka acknowledged something within the last seconds, or answers a metadata request now."""
        producer, now_s = self._producer, self._now_s()
        if producer is None or self._renewing_since_s is not None or self._stalled_s(now_s) > timeout_s:
            return False
        if now_s - self._acked_at_s < timeout_s:
            return True
        try:
            async with asyncio.timeout(timeout_s):
                await producer.client.fetch_all_metadata()
        except (KafkaError, OSError, TimeoutError):
            return False
        return True

    async def close(self, timeout_s: float) -> None:
        """Send what is pending for as long as `timeout_s`, then disconnect."""
        self._closing = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self._on_their_way or any(queue.parcels for queue in self._queues.values()):  # noqa: ASYNC110 - no one event tells that all lanes are empty
                    await asyncio.sleep(0.01)
        await self._flusher.stop()
        if self._producer is not None:
            await _disconnected(self._producer)

    def _enqueue(self, lane: Lane, parcel: _Parcel) -> _Parcel:
        queue = self._queues.get(lane)
        if queue is None:
            queue = self._queues[lane] = _Queue()
        queue.parcels.append(parcel)
        self._make_ready(lane, queue)
        return parcel

    def _make_ready(self, lane: Lane, queue: _Queue) -> None:
        if queue.parcels and lane not in self._on_their_way and not queue.ready:
            queue.ready = True
            self._ready.append(lane)
            self._wake.set()

    def _stalled_s(self, now_s: float) -> float:
        """Return for how long the oldest batch has been on its way, or the producer been replaced."""
        oldest = next(iter(self._on_their_way.values()), None)
        since_s = now_s if oldest is None else oldest.sent_at_s
        return now_s - min(since_s, self._renewing_since_s or since_s)

    async def _flush_for_ever(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._broken is not None:
                await self._renew()
            while self._ready and self._broken is None and self._producer is not None:
                lane = self._ready.popleft()
                queue = self._queues[lane]
                queue.ready = False
                await self._dispatch(self._producer, lane, queue)

    async def _dispatch(self, producer: AIOKafkaProducer, lane: Lane, queue: _Queue) -> None:
        """Send one batch of what waits for a lane; the acknowledgement makes the lane ready again."""
        builder = producer.create_batch()
        batch = _Batch(producer, self._now_s(), [], [])
        count, parcels = 0, queue.parcels
        while parcels:
            parcel = parcels[0]
            records, position = parcel.records, parcel.sent
            while position < len(records):
                key, value = records[position]
                if builder.append(timestamp=None, key=key, value=value) is None:
                    break
                position += 1
            count += position - parcel.sent
            parcel.sent = position
            batch.touched.append(parcel)
            if position < len(records):
                break
            if records:
                batch.ends.append((parcel, count - 1))
            parcels.popleft()
        if not count:
            return
        self._on_their_way[lane] = batch
        failpoints.hit("ingest.before_write")
        try:
            acknowledged = await producer.send_batch(builder, lane[0], partition=lane[1])
        except Exception as error:  # noqa: BLE001 - whatever the client raises, those who wait must get their answer
            self._failed(lane, batch, error)
            return
        acknowledged.add_done_callback(partial(self._settled, lane, batch))

    def _settled(self, lane: Lane, batch: _Batch, acknowledged: asyncio.Future[Any]) -> None:
        error = KafkaError("given up") if acknowledged.cancelled() else acknowledged.exception()
        if self._on_their_way.get(lane) is not batch:
            return  # given up by a renewal, and those who waited have been told
        base: int = -1 if error else acknowledged.result().offset
        if base < 0:
            # No error and no offset: a repeated batch whose first answer was lost. It is there, but the broker forgot where.
            self._failed(lane, batch, error or KafkaError("acknowledged without an offset"))
            return
        failpoints.hit("ingest.after_write")
        del self._on_their_way[lane]
        self._acked_at_s = self._now_s()
        self._metrics.batches.inc()
        topic, partition = lane
        for parcel, last in batch.ends:
            waiter = parcel.waiter
            waiter.offsets.setdefault(topic, {})[partition] = base + last + 1
            waiter.left -= 1
            if not waiter.left and not waiter.done.done():
                waiter.done.set_result(waiter.offsets)
        self._make_ready(lane, self._queues[lane])

    def _failed(self, lane: Lane, batch: _Batch, error: BaseException) -> None:
        del self._on_their_way[lane]
        for parcel in batch.touched:
            if not parcel.waiter.done.done():
                parcel.waiter.done.set_exception(NotAcknowledged(f"Kafka refused: {error!r}"))
        self._make_ready(lane, self._queues[lane])
        if batch.producer is self._producer:
            self._broken = error
            self._wake.set()

    async def _renew(self) -> None:
        """Replace the producer; every batch on its way is given up, and what only waits goes out through the new one."""
        log.warning("the Kafka producer is replaced after %r", self._broken)
        self._renewing_since_s = self._now_s()
        self._metrics.renewals.inc()
        old = self._producer
        self._producer = None
        for lane, batch in list(self._on_their_way.items()):
            self._failed(lane, batch, KafkaError("the producer was replaced"))
        if old is not None:
            await _disconnected(old)
        delay_s = 0.1
        while self._producer is None:
            try:
                self._producer = await self._connected()
            except (KafkaError, OSError) as error:
                log.warning("Kafka does not answer (%r); again in %.1f s", error, delay_s)
                await asyncio.sleep(delay_s)
                delay_s = min(delay_s * 2, 2.0)
        self._broken = None
        self._renewing_since_s = None
        log.info("the Kafka producer has been replaced")

    async def _connected(self) -> AIOKafkaProducer:
        settings = self._settings
        producer = AIOKafkaProducer(
            **settings.kafka_options(),
            client_id="rollcall-ingest",
            acks="all",
            enable_idempotence=True,
            compression_type=None if settings.ingest_compression == "none" else settings.ingest_compression,
            max_batch_size=settings.ingest_batch_bytes,
            request_timeout_ms=int(settings.ingest_ack_timeout_s * 1_000),
            metadata_max_age_ms=60_000,
        )
        try:
            await producer.start()
            for topic in settings.topics.events:
                await producer.partitions_for(topic)
        except BaseException:
            await _disconnected(producer)
            raise
        return producer


async def _disconnected(producer: AIOKafkaProducer, timeout_s: float = 3.0) -> None:
    """Stop a producer that may be broken: politely, then by cancelling its sender, which `stop` would wait for for ever."""
    for stop in (producer.stop, producer._sender.close, producer.client.close):  # noqa: SLF001 - the public way can hang
        with contextlib.suppress(KafkaError, OSError, TimeoutError):
            async with asyncio.timeout(timeout_s):
                await stop()
