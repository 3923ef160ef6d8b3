"""Kafka as every process meets it at its start (the topics must exist, with the partitions that we were told), and as it is read in pieces."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError

from schemas.errors import RollcallError
from services.kit.settings import CommonSettings

log = logging.getLogger(__name__)
T = TypeVar("T")

SHORTENED: Final = (
    "Kafka has lost what it had acknowledged, or the topic was made anew. Bring its files back, or begin anew with another ROLLCALL_TOPIC_PREFIX"
)
"""What whoever reads a topic says that ends before what is known of it."""


class WrongPartitions(RollcallError):
    """A topic has another number of partitions than the settings say; starting would split customers in two."""


async def ensure_topics(settings: CommonSettings) -> None:
    """Create the topics that are missing and check the others; safe to call from many processes at once.

    Raises `WrongPartitions` when a customer topic has another number of partitions than `settings.partitions`.
    """
    admin = AIOKafkaAdminClient(**settings.kafka_options(), request_timeout_ms=10_000)
    await admin.start()
    try:
        known = set(await admin.list_topics())
        specs = settings.topics.all()
        missing = [spec for spec in specs if spec.name not in known]
        if missing:
            new = [NewTopic(s.name, s.partitions or settings.partitions, settings.replication_factor, topic_configs=s.settings) for s in missing]
            try:
                await admin.create_topics(new)
                log.info("created topics %s", ", ".join(s.name for s in missing))
            except TopicAlreadyExistsError:
                pass
        described = await _when_all_known(admin, [spec.name for spec in specs])
        for spec in specs:
            wanted = spec.partitions or settings.partitions
            if described[spec.name] != wanted:
                raise WrongPartitions(
                    f"topic {spec.name} has {described[spec.name]} partitions, the settings say {wanted}; "
                    f"set ROLLCALL_PARTITIONS={described[spec.name]} or use an empty Kafka"
                )
    finally:
        await admin.close()


@asynccontextmanager
async def reading(settings: CommonSettings, places: Sequence[TopicPartition], **options: Any) -> AsyncIterator[AIOKafkaConsumer]:
    """Give a consumer of what is committed, of no group, that holds these places. Raises KafkaError."""
    consumer = AIOKafkaConsumer(
        **settings.kafka_options(), isolation_level="read_committed", enable_auto_commit=False, auto_offset_reset="earliest", **options
    )
    try:
        await consumer.start()
        hold(consumer, places)
        yield consumer
    finally:
        await consumer.stop()


def hold(consumer: AIOKafkaConsumer, places: Sequence[TopicPartition]) -> None:
    """Assign everything that `between` and `look` will be asked for, paused.

    All at once: a consumer without a group that is assigned anew may never stop.
    """
    consumer.assign(places)
    consumer.pause(*places)


async def between(consumer: AIOKafkaConsumer, tp: TopicPartition, start: int, end: int) -> AsyncIterator[ConsumerRecord[Any, Any]]:
    """Yield what is kept of a partition from one offset up to another (exclusive). It was given to `hold`."""
    if start >= end:
        return
    consumer.seek(tp, max(start, (await consumer.beginning_offsets([tp]))[tp]))
    consumer.resume(tp)
    while await consumer.position(tp) < end:
        for record in (await consumer.getmany(tp, timeout_ms=500)).get(tp, []):
            if record.offset < end:
                yield record
    consumer.pause(tp)


async def look(consumer: AIOKafkaConsumer, tp: TopicPartition, start: int, most: int) -> tuple[list[ConsumerRecord[Any, Any]], int]:
    """Return the next records of a partition from an offset on, `most` of them, and the offset behind them and what markers follow.

    The partition was given to `hold`. Where it ends there, nothing is returned after half a second.
    """
    consumer.seek(tp, start)
    consumer.resume(tp)
    records = (await consumer.getmany(tp, timeout_ms=500, max_records=most)).get(tp, [])
    consumer.pause(tp)
    return records, await consumer.position(tp)


async def _when_all_known(admin: AIOKafkaAdminClient, names: list[str]) -> dict[str, int]:
    """Return the partitions of each topic, once the broker's metadata show them all (a creation takes a moment to be seen)."""
    for attempt in range(100):
        described = {t["topic"]: len(t["partitions"]) for t in await admin.describe_topics(names) if t["error_code"] == 0}
        if len(described) == len(names):
            return described
        await asyncio.sleep(0.05 * min(attempt + 1, 10))
    raise RollcallError(f"Kafka does not show the topics {sorted(set(names) - set(described))}")


async def when_reachable(action: Callable[[], Awaitable[T]], *, what: str, timeout_s: float) -> T:
    """Run `action` until Kafka answers it: a process that starts before its broker waits for it, for so long, saying so."""
    loop = asyncio.get_running_loop()
    deadline, delay_s = loop.time() + timeout_s, 0.1
    while True:
        try:
            return await action()
        except (KafkaError, OSError) as error:
            if loop.time() > deadline:
                raise
            log.warning("%s: Kafka does not answer yet (%s); again in %.1f s", what, error, delay_s)
            await asyncio.sleep(delay_s)
            delay_s = min(delay_s * 2, 2.0)
