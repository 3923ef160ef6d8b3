"""The exchange: carries what partitions say about ranks to all others, over a topic that every segmenter reads from now on.

Nothing here must arrive: who gets no answer says it again. So records are sent without a transaction, read without a position that is
kept, and after any failure the next message is as good as the one that was lost. At rest nothing is sent.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from services.kit.background import Background
from services.kit.logs import die
from services.segmenter.metrics import Metrics
from services.segmenter.ownership import Ownership
from services.segmenter.ranks.messages import Message, decode, encode
from services.segmenter.ranks.referee import Referee
from services.segmenter.ranks.table import GATHERED_MS
from services.segmenter.settings import SegmenterSettings

log = logging.getLogger(__name__)

_LOOK_S: Final = GATHERED_MS / 2 / 1000
"""How often partitions are asked whether they have something to say."""
_MOST: Final = 10
"""Messages made in one go: a few milliseconds."""
_PATIENCE_MS: Final = 1_000
"""How long the referees of other processes leave what has come to the one beside partition 0."""
_TURN_MS: Final = 100
"""By how much longer than the one of the partition before."""
_AGAIN_S: Final = 1.0
_LOST: Final = (KafkaError, OSError, TimeoutError)


class Exchange:
    """One for each process."""

    def __init__(self, settings: SegmenterSettings, ownership: Ownership, metrics: Metrics) -> None:
        self._settings, self._ownership, self._metrics = settings, ownership, metrics
        self._tp = TopicPartition(settings.topics.rankings, 0)
        self._referee = Referee(settings.partitions)
        self._consumer: AIOKafkaConsumer | None = None
        self._producer: AIOKafkaProducer | None = None
        self._listening, self._talking = Background(log, "ranks-listen"), Background(log, "ranks-talk")

    async def start(self) -> None:
        """Listen from now on, and speak. Raises KafkaError when Kafka does not answer."""
        options = self._settings.kafka_options()
        # What was said before is of no use to whoever starts: it has to speak first, and is answered.
        consumer = AIOKafkaConsumer(**options, enable_auto_commit=False, auto_offset_reset="none", fetch_max_wait_ms=500)
        producer = AIOKafkaProducer(**options, acks="all")
        try:
            await consumer.start()
            consumer.assign([self._tp])
            await consumer.seek_to_end(self._tp)
            await producer.start()
        except BaseException:
            await asyncio.gather(consumer.stop(), producer.stop(), return_exceptions=True)
            raise
        self._consumer, self._producer = consumer, producer
        self._listening.start(functools.partial(self._always, self._listen))
        self._talking.start(functools.partial(self._always, self._talk))

    async def stop(self) -> None:
        """Say nothing more."""
        await self._listening.stop()
        await self._talking.stop()
        if self._consumer is not None and self._producer is not None:
            await asyncio.gather(self._consumer.stop(), self._producer.stop(), return_exceptions=True)

    async def _always(self, once: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await once()
            except OffsetOutOfRangeError:
                # What was said and has expired unheard may have been a ruling. Whoever starts speaks first, and is answered.
                die(log, "ranks: nothing was heard for longer than messages are kept")
            except _LOST as error:
                log.warning("ranks: %s; again in a second", error)
                await asyncio.sleep(_AGAIN_S)

    async def _listen(self) -> None:
        assert self._consumer is not None
        for records in (await self._consumer.getmany(self._tp, timeout_ms=1_000)).values():
            for place, record in enumerate(records):
                message = decode(record.value or b"")
                if message is None:
                    log.warning("ranks: record %s is no message", record.offset)
                    continue
                self._referee.hear(message)
                for pump in self._ownership.pumps:
                    if pump.core.hear(message):
                        pump.wake()
                if place % _MOST == _MOST - 1:
                    await asyncio.sleep(0)

    async def _talk(self) -> None:
        said = self._spoken(round(asyncio.get_running_loop().time() * 1000))
        assert self._producer is not None
        for message in said:
            self._metrics.rank_messages.labels(type(message).__name__.lower()).inc()
            async with asyncio.timeout(self._settings.segmenter_transaction_timeout_s):
                sent = await self._producer.send(self._tp.topic, encode(message), partition=0)
            sent.add_done_callback(_note)
        # Between two rounds others get their turn, however much there is to say.
        await asyncio.sleep(0 if len(said) >= _MOST else _LOOK_S)

    def _spoken(self, now_ms: int) -> list[Message]:
        said: list[Message] = []
        pumps = self._ownership.pumps
        for pump in pumps:
            said += pump.core.speak(now_ms, _MOST)
        if pumps:
            lowest = min(pump.core.number for pump in pumps)
            said += self._referee.speak(now_ms, _MOST, patience_ms=lowest and _PATIENCE_MS + lowest * _TURN_MS)
        return said


def _note(sent: asyncio.Future[object]) -> None:
    if not sent.cancelled() and (error := sent.exception()) is not None:
        log.warning("ranks: a message was lost (%s); it will be said again", error)
