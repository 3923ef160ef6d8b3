"""The producer on a real Kafka: groups, their offsets, its bound, and what it does after an error that it cannot survive."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable

import pytest
from aiokafka import TopicPartition as InnerPartition
from confluent_kafka import Consumer, TopicPartition

from services.ingest.metrics import Metrics
from services.ingest.producer import GroupProducer, Lane, NotAcknowledged, Record
from services.ingest.settings import IngestSettings
from services.kit.kafka import ensure_topics
from services.kit.limits import Full

PARTITIONS = 2


def settings(kafka: str) -> IngestSettings:
    """Return settings with topics of their own and the smallest limits."""
    return IngestSettings(
        kafka=kafka, topic_prefix=f"t{uuid.uuid4().hex[:8]}-", partitions=PARTITIONS, ingest_max_body_bytes=1 << 19,
        ingest_pending_bytes=1 << 20, ingest_batch_bytes=16_384, ingest_ack_timeout_s=5.0,
    )  # fmt: skip


def run(kafka: str, use: Callable[[GroupProducer, Lane, IngestSettings], Awaitable[None]]) -> None:
    """Run a coroutine with a started producer and a lane of its own."""

    async def main() -> None:
        its = settings(kafka)
        await ensure_topics(its)
        producer = GroupProducer(its, Metrics(), time.monotonic)
        await producer.start()
        try:
            await use(producer, (its.topics.events[0], 0), its)
        finally:
            await producer.close(5)

    asyncio.run(main())


def values(kafka: str, lane: Lane) -> list[bytes]:
    """Return all values of a partition, by offset."""
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": "none", "enable.auto.commit": False})
    end = consumer.get_watermark_offsets(TopicPartition(*lane), timeout=20)[1]
    consumer.assign([TopicPartition(*lane, 0)])
    found = [message.value() for message in consumer.consume(end, timeout=20)] if end else []
    consumer.close()
    assert len(found) == end
    return found  # type: ignore[return-value]


def test_many_requests_at_once_each_learn_their_own_place(kafka: str) -> None:
    """Requests share batches and outgrow them, and each offset is the one after that request's last record."""

    async def use(producer: GroupProducer, lane: Lane, its: IngestSettings) -> None:
        other = (lane[0], 1)
        requests: list[dict[Lane, list[Record]]] = [
            {at: [(b"k", b"%d.%d " % (number, index) + b"x" * 400) for index in range(number + 1)] for at in (lane, other)} for number in range(45)
        ]
        answers = await asyncio.gather(*(producer.send(request, 800 * (number + 1), f"t{number}") for number, request in enumerate(requests)))
        for at in (lane, other):
            written = await asyncio.to_thread(values, its.kafka, at)
            assert len(written) == sum(len(request[at]) for request in requests)
            for request, answer in zip(requests, answers, strict=True):
                after = answer[at[0]][at[1]]
                assert written[after - len(request[at]) : after] == [value for _, value in request[at]]
        assert producer.pending_bytes == 0

    run(kafka, use)


def test_what_is_pending_is_bounded(kafka: str) -> None:
    """Beyond the limit a request is refused at once, and what was taken is still acknowledged."""

    async def use(producer: GroupProducer, lane: Lane, its: IngestSettings) -> None:
        first = asyncio.create_task(producer.send({lane: [(b"k", b"v")]}, its.ingest_pending_bytes, "demo"))
        await asyncio.sleep(0)
        with pytest.raises(Full):
            await producer.send({lane: [(b"k", b"v")]}, 1, "demo")
        assert (await first)[lane[0]] == {0: 1}
        assert await producer.send({lane: [(b"k", b"v")]}, 1, "demo")

    run(kafka, use)


def test_a_producer_with_a_hole_in_its_sequence_is_replaced(kafka: str) -> None:
    """After a batch that Kafka refuses for ever, those who waited learn it, and the next request is served by a new producer."""

    async def use(producer: GroupProducer, lane: Lane, its: IngestSettings) -> None:
        await producer.send({lane: [(b"k", b"1")]}, 1, "demo")
        inner = producer._producer
        inner._txn_manager.increment_sequence_number(InnerPartition(*lane), 7)  # type: ignore[union-attr]
        with pytest.raises(NotAcknowledged):
            await producer.send({lane: [(b"k", b"refused")]}, 1, "demo")
        async with asyncio.timeout(10):
            while not await producer.reachable():
                await asyncio.sleep(0.05)
        assert (await producer.send({lane: [(b"k", b"2")]}, 1, "demo"))[lane[0]] == {0: 2}
        assert producer._producer is not inner
        assert await asyncio.to_thread(values, its.kafka, lane) == [b"1", b"2"]

    run(kafka, use)
