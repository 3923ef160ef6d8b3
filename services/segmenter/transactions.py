"""Writes the steps of one partition to Kafka, each in one transaction, fenced against the partition's former owner.

`start` takes the transactional id of the partition: from then on the broker refuses whatever a former owner still sends, and
has ended what it left open. A `read_committed` reader sees whole steps only. Any failure of `write` is final: the transaction's
fate may be unknown, so the process must end and a successor read the truth from the changelog.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.client import CoordinationType
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.producer.sender import AddPartitionsToTxnHandler, Sender

from schemas.topics import Topics
from services.kit import failpoints
from services.segmenter.settings import SegmenterSettings
from services.segmenter.steps import Step, Written

_TURNAROUND_S: Final = 0.002
"""How soon to ask again while the broker still writes the markers of the previous transaction; doubled each time. It takes a few
milliseconds; aiokafka would wait 20, which is most of the delay of an event."""

_TURNAROUND_MOST_S: Final = 0.016

_Headers = list[tuple[str, bytes]]
_Message = tuple[bytes | None, bytes | None, _Headers]


class _PromptAddPartitions(AddPartitionsToTxnHandler):
    """Adds partitions to a transaction and does not dawdle while the previous one ends."""

    def __init__(self, sender: Sender, tps: Any, most_s: float) -> None:
        super().__init__(sender, tps)
        self._most_s = most_s

    def handle_response(self, response: Any) -> float | None:
        backoff_s = super().handle_response(response)
        return None if backoff_s is None else min(backoff_s, self._most_s)


class _PromptSender(Sender):
    _turnaround_s = _TURNAROUND_S

    async def _do_add_partitions_to_txn(self, tps: Any) -> bool:
        node_id = await self._find_coordinator(CoordinationType.TRANSACTION, self._txn_manager.transactional_id)
        added = bool(await _PromptAddPartitions(self, tps, self._turnaround_s).do(node_id))
        self._turnaround_s = _TURNAROUND_S if added else min(self._turnaround_s * 2, _TURNAROUND_MOST_S)
        return added


class TransactionalProducer(AIOKafkaProducer):
    """A transactional producer with a sender that turns round quickly between transactions."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._sender = _PromptSender(
            self.client,
            acks=-1,
            txn_manager=self._txn_manager,
            retry_backoff_ms=100,
            message_accumulator=self._message_accumulator,
            request_timeout_ms=self._request_timeout_ms,
        )


class StepWriter:
    """The only writer of a partition's outputs."""

    def __init__(self, settings: SegmenterSettings, number: int) -> None:
        self._settings = settings
        self._topics: Topics = settings.topics
        self.number = number
        self._producer: AIOKafkaProducer | None = None

    async def start(self) -> None:
        """Fence the former owner; return when nothing of it is open any more. Raises KafkaError when Kafka does not answer."""
        settings = self._settings
        producer = TransactionalProducer(
            **settings.kafka_options(),
            transactional_id=f"{self._topics.group}-{self.number}",
            transaction_timeout_ms=int(settings.segmenter_transaction_timeout_s * 1000),
            request_timeout_ms=int(settings.segmenter_transaction_timeout_s * 1000),
            compression_type=None if settings.segmenter_compression == "none" else settings.segmenter_compression,
            max_batch_size=settings.segmenter_batch_bytes,
        )
        self._producer = producer
        await producer.start()

    async def write(self, step: Step) -> Written:
        """Write a step as a whole; return how far it reaches when it is committed. Raises ProducerFenced when another worker owns the partition."""
        outputs = self._outputs(step)
        failpoints.hit("segmenter.before_transaction")
        async with asyncio.timeout(self._settings.segmenter_transaction_timeout_s), self._started.transaction():
            if len(outputs) == 1:
                ends = [await self._send(*outputs[0])]
            else:
                # Together, so that one request adds all their partitions to the transaction.
                ends = await asyncio.gather(*(self._send(*output) for output in outputs))
            failpoints.hit("segmenter.in_transaction")
        failpoints.hit("segmenter.after_transaction")
        moves = {partition: end for (topic, partition, _), end in zip(outputs, ends, strict=True) if topic == self._topics.moves}
        return Written(ends[0], moves)

    async def stop(self) -> None:
        """Close the producer; an open transaction is left to the broker, which aborts it for the next owner."""
        if self._producer is not None:
            await self._producer.stop()

    @property
    def _started(self) -> AIOKafkaProducer:
        if self._producer is None:
            raise RuntimeError("a writer must be started before it writes")
        return self._producer

    def _outputs(self, step: Step) -> list[tuple[str, int, Iterable[_Message]]]:
        topics = self._topics
        # Every step has the progress, so there are rows, and they are the first.
        outputs: list[tuple[str, int, Iterable[_Message]]] = [(topics.rows, self.number, ((key, value, []) for key, value in step.rows.items()))]
        if step.changes:
            outputs.append((topics.changes, self.number, ((key, value, []) for key, value in step.changes)))
        if step.dead_letters:
            outputs.append((topics.dead_letters, self.number, step.dead_letters))
        if step.erasures:
            outputs.append((topics.erasures, 0, ((None, value, []) for value in step.erasures)))
        homes: dict[tuple[str, int], list[_Message]] = {}
        for topic, partition, key, value in step.forwards:
            homes.setdefault((topic, partition), []).append((key, value, []))
        outputs.extend((topic, partition, messages) for (topic, partition), messages in homes.items())
        return outputs

    async def _send(self, topic: str, partition: int, messages: Iterable[_Message]) -> int:
        """Send messages; return the offset after the last."""
        producer, sent, count = self._started, [], 0
        for batch in self._batches(messages):
            count = batch.record_count()
            sent.append(await producer.send_batch(batch, topic, partition=partition))
        return int((await asyncio.gather(*sent))[-1].offset) + count

    def _batches(self, messages: Iterable[_Message]) -> Iterator[BatchBuilder]:
        producer = self._started
        batch = producer.create_batch()
        for key, value, headers in messages:
            if batch.append(timestamp=None, key=key, value=value, headers=headers) is None:
                yield batch
                batch = producer.create_batch()
                batch.append(timestamp=None, key=key, value=value, headers=headers)
        yield batch
