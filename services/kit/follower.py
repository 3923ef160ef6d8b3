"""Follows topics of one partition that every process folds: it has what is in force in memory, and lags by a record at most."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from schemas.affairs import Affairs
from schemas.catalog import Catalog, Outcome
from schemas.erasures import Erasures
from services.kit.background import Background
from services.kit.settings import CommonSettings

log = logging.getLogger(__name__)

_LATELY_MS: Final = 5_000


class TopicFollower:
    """Reads a topic of one partition from its beginning, for as long as the process lives; `fold` is called for each record."""

    def __init__(self, settings: CommonSettings, topic: str, what: str) -> None:
        self._settings = settings
        self._what = what
        self._tp = TopicPartition(topic, 0)
        self._changed = asyncio.Event()
        self._following = Background(log, what)
        self._consumer: AIOKafkaConsumer | None = None
        self._listeners: list[Callable[[], None]] = []
        self._position = 0
        self.caught_up = False

    def fold(self, offset: int, document: bytes) -> None:
        """Take in the next record."""
        raise NotImplementedError

    async def start(self) -> None:
        """Read all there is, then go on in the background."""
        consumer = self._consumer = AIOKafkaConsumer(
            **self._settings.kafka_options(),
            enable_auto_commit=False,
            isolation_level="read_committed",
            fetch_max_wait_ms=500,
        )
        await consumer.start()
        consumer.assign([self._tp])
        await consumer.seek_to_beginning(self._tp)
        end = (await consumer.end_offsets([self._tp]))[self._tp]
        while await consumer.position(self._tp) < end:
            await self._read(consumer, 1_000)
        self.caught_up = True
        log.info("%s: read %s records", self._what, end)
        self._following.start(functools.partial(self._follow, consumer))

    async def stop(self) -> None:
        """Stop following."""
        await self._following.stop()
        if self._consumer is not None:
            await self._consumer.stop()

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call `listener` after each batch of records that was folded."""
        self._listeners.append(listener)

    def hears(self, now_ms: int) -> bool:
        """Whether Kafka has answered lately: it is asked all the time, and says that there is nothing new."""
        heard_ms = None if self._consumer is None else self._consumer.last_poll_timestamp(self._tp)
        return heard_ms is not None and now_ms - heard_ms <= _LATELY_MS

    async def reached(self, offset: int, timeout_s: float = 10.0) -> None:
        """Wait until every record before `offset` has been folded; raise TimeoutError otherwise."""
        async with asyncio.timeout(timeout_s):
            while self._position < offset:
                self._changed.clear()
                await self._changed.wait()

    async def settled(self, timeout_s: float = 10.0) -> None:
        """Wait until everything has been folded that is on the topic now; raise TimeoutError otherwise."""
        if self._consumer is not None:
            await self.reached((await self._consumer.end_offsets([self._tp]))[self._tp], timeout_s)

    async def _follow(self, consumer: AIOKafkaConsumer) -> None:
        while True:
            try:
                await self._read(consumer, 1_000)
            except KafkaError as error:
                log.warning("%s: %s; again in a second", self._what, error)
                await asyncio.sleep(1)

    async def _read(self, consumer: AIOKafkaConsumer, timeout_ms: int) -> None:
        for records in (await consumer.getmany(self._tp, timeout_ms=timeout_ms)).values():
            for record in records:
                self.fold(record.offset, record.value or b"")
            for listener in self._listeners:
                listener()
        # Behind the records there may be markers of transactions, which are none.
        self._position = await consumer.position(self._tp)
        self._changed.set()


class Follower(TopicFollower):
    """Folds the definitions topic into `catalog`."""

    def __init__(self, settings: CommonSettings) -> None:
        super().__init__(settings, settings.topics.definitions, "definitions")
        self.catalog = Catalog()

    def fold(self, offset: int, document: bytes) -> None:
        """Fold a definition."""
        outcome = self.catalog.apply(offset, document)
        if not outcome.accepted:
            log.info("definitions: refused record %s: %s", offset, outcome.detail)

    async def outcome(self, offset: int, timeout_s: float = 10.0) -> Outcome:
        """Wait until the record at `offset` has been folded and return what was said of it."""
        await self.reached(offset + 1, timeout_s)
        return self.catalog.outcome(offset)


class ErasuresFollower(TopicFollower):
    """Folds the erasures into `erasures`."""

    def __init__(self, settings: CommonSettings, catalog: Catalog) -> None:
        super().__init__(settings, settings.topics.erasures, "erasures")
        self.erasures = Erasures(catalog)

    def fold(self, offset: int, document: bytes) -> None:
        """Take note of an erased id."""
        self.erasures.apply(document)


class AffairsFollower(TopicFollower):
    """Folds the affairs of endpoints into `affairs`."""

    def __init__(self, settings: CommonSettings) -> None:
        super().__init__(settings, settings.topics.affairs, "affairs")
        self.affairs = Affairs(settings.partitions, settings.replays_kept)

    def fold(self, offset: int, document: bytes) -> None:
        """Take note of what is told about an endpoint."""
        self.affairs.apply(document)
