"""The records that could not be applied: read from the topic `dead-letters`, and sent again once they are repaired.

A letter is named by its place on that topic, `partition/offset`. Replaying one changes nothing on the topic: it is a new record of the
input topic, with the same `event_id`, so one that was replayed twice counts once.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition

from schemas.catalog import Catalog
from schemas.decoding import decode_event
from schemas.errors import Refusal, RollcallError, shown
from schemas.events import Event
from schemas.partitions import partition_of, record_key
from schemas.reading import Facts, check_admission
from services.kit.kafka import between
from services.kit.settings import CommonSettings

_GONE: Final = "what is kept of dead letters begins at {begin} and ends before {end} in partition {partition}"


class Failed(RollcallError):
    """A command that could not do what it was asked."""


@dataclass(frozen=True)
class Place:
    """Where a letter lies on the topic."""

    partition: int
    offset: int

    @classmethod
    def read(cls, text: str) -> Place:
        """Read `partition/offset`; raises `Failed`."""
        partition, _, offset = text.partition("/")
        if not (partition.isascii() and partition.isdecimal() and offset.isascii() and offset.isdecimal() and len(text) < 24):
            raise Failed(f"{shown(text)} is no place of a dead letter; `list` shows them, like 3/1047")
        return cls(int(partition), int(offset))

    def __str__(self) -> str:
        return f"{self.partition}/{self.offset}"


@dataclass(frozen=True)
class Letter:
    """A record that was set aside: where it stood (`topic`, `partition`, `offset`), why, and its bytes."""

    place: Place
    at_ms: int
    topic: str
    partition: str
    offset: str
    reason: str
    detail: str
    key: bytes | None
    value: bytes


class DeadLetters:
    """Reads the topic's partitions, which the consumer holds. It has one fetch in memory, however many letters there are."""

    def __init__(self, consumer: AIOKafkaConsumer, places: Sequence[TopicPartition]) -> None:
        self._consumer, self._places = consumer, places

    async def one(self, place: Place) -> Letter:
        """Return the letter at a place in one of the partitions; raises `Failed` where there is none."""
        begin, end = await self._bounds(self._places[place.partition])
        if not begin <= place.offset < end:
            raise Failed(f"there is no dead letter at {place}: " + _GONE.format(begin=begin, end=end, partition=place.partition))
        async for record in between(self._consumer, self._places[place.partition], place.offset, end):
            if record.offset == place.offset:
                return _letter(record)
            break
        raise Failed(f"there is no dead letter at {place}: the end of a transaction stands there")

    async def all(self, wanted: Callable[[Letter], bool]) -> AsyncIterator[Letter]:
        """Give every letter that is there now and wanted, in the order of each partition."""
        for tp in self._places:
            begin, end = await self._bounds(tp)
            async for record in between(self._consumer, tp, begin, end):
                if wanted(letter := _letter(record)):
                    yield letter

    async def _bounds(self, tp: TopicPartition) -> tuple[int, int]:
        begin, end = await self._consumer.beginning_offsets([tp]), await self._consumer.end_offsets([tp])
        return begin[tp], end[tp]


def _letter(record: ConsumerRecord[bytes, bytes]) -> Letter:
    said = {name: text.decode(errors="replace") for name, text in record.headers}
    return Letter(
        place=Place(record.partition, record.offset),
        at_ms=record.timestamp,
        topic=said.get("topic", ""),
        partition=said.get("partition", ""),
        offset=said.get("offset", ""),
        reason=said.get("reason", ""),
        detail=said.get("detail", ""),
        key=record.key,
        value=record.value or b"",
    )


class Replay:
    """Sends letters again to where they belong."""

    def __init__(self, settings: CommonSettings, catalog: Catalog, producer: AIOKafkaProducer, now_ms: Callable[[], int]) -> None:
        self._topics, self._partitions = settings.topics, settings.partitions
        self._catalog, self._producer, self._now_ms = catalog, producer, now_ms

    async def send(self, letter: Letter, repaired: bytes | None = None) -> str:
        """Send a letter, or its repaired bytes, and return where it is now; raises `Refusal` for what would come back at once.

        What only the customer's history can tell (a conflict, a limit) is told by the segmenter.
        """
        document = letter.value if repaired is None else repaired
        if letter.topic in self._topics.events:
            topic, key, partition = self._addressed(document)
        elif letter.topic in self._topics.inputs and repaired is None:
            topic, key, partition = letter.topic, letter.key, int(letter.partition)
        else:
            raise Refusal(f"what stood on {shown(letter.topic)} is sent again as it was, or not at all", reason="topic")
        found = await self._producer.send_and_wait(topic, document, key=key, partition=partition)
        return f"{topic} {found.partition}/{found.offset}"

    def _addressed(self, document: bytes) -> tuple[str, bytes | None, int]:
        """Judge an event as the segmenter will, and return its topic, key and partition."""
        event: Event = decode_event(document)
        if event.tenant is None:
            raise Refusal("tenant is missing", pointer="/tenant", reason="missing_field")
        tenant = self._catalog.tenants.get(event.tenant)
        if tenant is None:
            raise Refusal(f"no tenant {shown(event.tenant)}", pointer="/tenant", reason="unknown_tenant")
        check_admission(event, Facts(tenant.currency).of(event).at_ms, self._now_ms())
        key = None if event.customer_id is None else record_key(event.tenant, event.customer_id)
        topic = self._topics.family(str(type(event).__struct_config__.tag))
        return topic, key, partition_of(event.event_id.encode() if key is None else key, self._partitions)
