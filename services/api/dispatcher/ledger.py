"""The ledger of one partition: its owner alone writes it, in transactions, each of them states and behind them how far everything is."""

from __future__ import annotations

import asyncio
from typing import Final, NamedTuple

from aiokafka import AIOKafkaProducer

from schemas import deliveries
from schemas.deliveries import Delivery, DispatchProgress, delivery_key
from services.api.dispatcher.memory import Memory, restored
from services.api.dispatcher.settings import DispatcherSettings
from services.kit import failpoints

_MOST_BYTES: Final = 10 << 20
"""A state holds its transition, and may be as large as a record of either topic."""


class Entry(NamedTuple):
    """A state as it is written."""

    delivery: Delivery
    document: bytes
    pending: bool


class Ledger:
    """Writes the partition of `deliveries`; `memory` is what is pending of it."""

    def __init__(self, number: int, settings: DispatcherSettings) -> None:
        self._number, self._settings = number, settings
        self._producer: AIOKafkaProducer | None = None
        self.memory = Memory()

    async def open(self) -> tuple[DispatchProgress | None, list[Delivery]]:
        """Fence the former owner, and return what it wrote: its progress, and what is pending, in the order of the transitions."""
        settings = self._settings
        self._producer = AIOKafkaProducer(
            **settings.kafka_options(),
            transactional_id=f"{settings.topic_prefix}rollcall-dispatcher-{self._number}",
            transaction_timeout_ms=int(settings.dispatcher_transaction_timeout_s * 1000),
            compression_type="zstd",
            linger_ms=0,
            max_request_size=_MOST_BYTES,
        )
        await self._producer.start()
        progress, self.memory, pending = await restored(settings, self._number)
        return progress, pending

    async def close(self) -> None:
        """Write nothing more."""
        if self._producer is not None:
            await self._producer.stop()

    async def write(self, entries: list[Entry], progress: DispatchProgress | None, affairs: list[bytes], now_ms: int) -> None:
        """Write states, behind them how far the partition is, and what it has to say about replays, in one transaction. Raises KafkaError."""
        assert self._producer is not None
        records = [(delivery_key(one.delivery.key), one.document) for one in entries]
        if progress is not None:
            records.append((deliveries.PROGRESS, deliveries.encode(progress)))
        if not records and not affairs:
            return
        topics = self._settings.topics
        failpoints.hit("dispatcher.before_transaction")
        async with self._producer.transaction():
            sent = [await self._producer.send(topics.deliveries, value, key=key, partition=self._number) for key, value in records]
            told = [await self._producer.send(topics.affairs, affair, partition=0) for affair in affairs]
            places = await asyncio.gather(*sent)
            await asyncio.gather(*told)
            failpoints.hit("dispatcher.in_transaction")
        failpoints.hit("dispatcher.after_transaction")
        for one, place in zip(entries, places, strict=False):
            self.memory.wrote(one.delivery, place.offset, now_ms, pending=one.pending)
