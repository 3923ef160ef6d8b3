"""Shares the partitions of transitions with other dispatchers, and keeps a desk for each that is its own."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError

from schemas.affairs import Affair, encode_affair
from schemas.catalog import Catalog, Endpoint
from schemas.definitions import DisabledReason, EndpointDisabled, encode_definition
from services.api.dispatcher.around import Around
from services.api.dispatcher.attempts import Attempts
from services.api.dispatcher.behind import Name, Room
from services.api.dispatcher.client import Client
from services.api.dispatcher.desk import Desk
from services.api.dispatcher.metrics import BEHIND, DISABLED, LAG, PENDING
from services.api.dispatcher.settings import DispatcherSettings
from services.kit.follower import AffairsFollower, ErasuresFollower, Follower
from services.kit.kafka import SHORTENED
from services.kit.logs import die

log = logging.getLogger(__name__)

_POLL_MS: Final = 250
_MEASURE_S: Final = 0.5


class Dispatcher(ConsumerRebalanceListener):
    """Reads transitions of the partitions that the group gives it. Its offsets are its own: the group's commits are not used."""

    def __init__(
        self,
        settings: DispatcherSettings,
        follower: Follower,
        erasures: ErasuresFollower,
        affairs: AffairsFollower,
        client: Client,
        *,
        now_ms: Callable[[], int],
        draw: Callable[[], float],
    ) -> None:
        self._settings, self._now_ms = settings, now_ms
        self._around = Around(
            settings, follower.catalog, erasures.erasures, affairs.affairs, client,
            now_ms=now_ms, draw=draw, disable=self._disable, say=self._say, room=Room(settings), attempts=Attempts(settings),
        )  # fmt: skip
        erasures.on_change(self._cancel_erased)
        follower.on_change(self._hear_definitions)
        self._on, self._on_at = _on(follower.catalog), follower.catalog.endpoints_at
        affairs.on_change(self._hear)
        self._affairs = affairs
        self._desks: dict[int, Desk] = {}
        self._consumer: AIOKafkaConsumer | None = None
        self._definitions: AIOKafkaProducer | None = None
        self._changes_of_hands = 0
        self._lag: dict[int, int] = {}
        self._measured_s = -math.inf
        self._saying: set[asyncio.Task[None]] = set()
        self._disabled: dict[tuple[str, str], int] = {}
        """The revision at which each endpoint was turned off last: of many failures one says so."""

    def _cancel_erased(self) -> None:
        for desk in self._desks.values():
            desk.cancel_erased()

    def _hear_definitions(self) -> None:
        catalog, late, again = self._around.catalog, list[Endpoint](), set[Name]()
        if catalog.endpoints_at != self._on_at:  # most of what is heard is about segments
            # Who was off and on again before it was heard of has been taken for on all the time, and is not late; but what was
            # pending then is cancelled.
            before, self._on, self._on_at = self._on, _on(catalog), catalog.endpoints_at
            late = [endpoint for name, endpoint in self._on.items() if name not in before]
            again = {name for name, endpoint in self._on.items() if name in before and before[name].on_since_ms != endpoint.on_since_ms}
        for desk in self._desks.values():
            desk.cancel_off(again)
            for endpoint in late:
                desk.greet(endpoint)

    def _hear(self) -> None:
        for desk in self._desks.values():
            desk.hear()

    @property
    def status(self) -> Mapping[str, Any]:
        """Which partitions are open, how many transitions have not been read of each, and how much is pending."""
        lag = {str(number): self._lag.get(number, 0) for number in sorted(self._desks)}
        return {"partitions": sorted(self._desks), "lag": sum(lag.values()), "lag_by_partition": lag, "pending": self._pending}

    async def _measure(self, consumer: AIOKafkaConsumer) -> None:
        PENDING.set(self._pending)
        BEHIND.set(sum(desk.behind for desk in self._desks.values()))
        # Where the partitions ended when they were fetched last; before that nothing is known.
        tps = [tp for tp in consumer.assignment() if tp.partition in self._desks]
        with suppress(IllegalStateError, AssertionError):  # revoked meanwhile
            self._lag = {tp.partition: max(0, (consumer.last_stable_offset(tp) or 0) - await consumer.position(tp)) for tp in tps}
        LAG.set(sum(self._lag.values()))

    @property
    def _pending(self) -> int:
        return sum(desk.pending for desk in self._desks.values())

    async def run(self, stop: asyncio.Event) -> None:
        """Dispatch until told to stop."""
        settings = self._settings
        self._definitions = AIOKafkaProducer(**settings.kafka_options(), acks="all", enable_idempotence=True)
        await self._definitions.start()
        consumer = self._consumer = AIOKafkaConsumer(
            **settings.kafka_options(),
            group_id=f"{settings.topic_prefix}rollcall-dispatcher",
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=int(settings.dispatcher_session_timeout_s * 1000),
            heartbeat_interval_ms=int(settings.dispatcher_session_timeout_s * 1000 / 5),
        )
        await consumer.start()
        consumer.subscribe([settings.topics.changes], listener=self)
        try:
            while not stop.is_set():
                await self._turn(consumer)
        except Exception as error:  # noqa: BLE001 - a dispatcher that cannot read must not look alive
            die(log, f"dispatcher: {error!r}")
        finally:
            await self.on_partitions_revoked([TopicPartition(settings.topics.changes, number) for number in self._desks])
            await consumer.stop()
            await self._definitions.stop()

    async def _turn(self, consumer: AIOKafkaConsumer) -> None:
        if time.monotonic() - self._measured_s >= _MEASURE_S:
            self._measured_s = time.monotonic()
            await self._measure(consumer)
        before = self._changes_of_hands
        fetched = await consumer.getmany(timeout_ms=_POLL_MS, max_records=self._settings.dispatcher_read_records)
        if before != self._changes_of_hands:
            # What was fetched may be from before a desk was opened anew: every desk goes on where it had got to.
            for desk in list(self._desks.values()):
                await self._seek(TopicPartition(self._settings.topics.changes, desk.number), desk.read_to)
            return
        for tp, records in fetched.items():
            if (reader := self._desks.get(tp.partition)) is not None:
                for record in records:
                    if record.offset < (reader.read_to or 0):
                        # Whoever reads on behind the end is brought back to the beginning, and would push everything again.
                        die(log, f"partition {tp.partition}: {record.offset} comes after {reader.read_to}: {SHORTENED}")
                    reader.read(record.offset, record.value)
        await asyncio.sleep(0)

    async def on_partitions_assigned(self, assigned: list[TopicPartition]) -> None:
        """Open a desk for each partition gained and read on where its last owner had got to."""
        self._changes_of_hands += 1
        try:
            gained = [await self._open(tp) for tp in assigned if tp.partition not in self._desks]
            # The former owners are fenced: what they have told is all that there is of theirs.
            await self._affairs.settled()
            for desk in gained:
                desk.replay()
        except Exception as error:  # noqa: BLE001 - the group swallows what a listener raises
            die(log, f"partitions cannot be gained: {error!r}")

    async def _open(self, tp: TopicPartition) -> Desk:
        assert self._consumer is not None
        desk = Desk(tp.partition, self._around)
        offset = await desk.open()
        await self._seek(tp, offset)
        self._desks[tp.partition] = desk
        log.info("partition %s: opened at %s with %s pending", tp.partition, offset, desk.pending)
        return desk

    async def _seek(self, tp: TopicPartition, offset: int | None) -> None:
        assert self._consumer is not None
        if offset is None:
            await self._consumer.seek_to_beginning(tp)
        else:
            self._consumer.seek(tp, offset)

    async def on_partitions_revoked(self, revoked: list[TopicPartition]) -> None:
        """Write down what is known of the partitions that go, and close them."""
        self._changes_of_hands += 1
        desks = [desk for tp in revoked if (desk := self._desks.pop(tp.partition, None)) is not None]
        await asyncio.gather(*(desk.close() for desk in desks))

    def _disable(self, endpoint: Endpoint, reason: DisabledReason) -> None:
        """Turn an endpoint off, unless somebody has changed it meanwhile: the fold decides."""
        name = endpoint.tenant, endpoint.id
        if self._disabled.get(name) == endpoint.revision:
            return
        self._disabled[name] = endpoint.revision
        said = "answered 410" if reason == "gone" else f"has taken nothing for {self._settings.dispatcher_disable_after_s / 3600:g} hours"
        log.warning("endpoint %s of %s %s and is disabled", endpoint.id, endpoint.tenant, said)
        DISABLED.labels(reason).inc()
        record = EndpointDisabled(tenant=endpoint.tenant, at_ms=self._now_ms(), endpoint_id=endpoint.id, revision=endpoint.revision, reason=reason)
        self._send(self._settings.topics.definitions, encode_definition(record))

    def _say(self, affair: Affair) -> None:
        self._send(self._settings.topics.affairs, encode_affair(affair))

    def _send(self, topic: str, document: bytes) -> None:
        """Write to a topic of one partition; who cannot say what must be known ends, and is asked again by what happens next."""
        task = asyncio.create_task(self._sent(topic, document))
        self._saying.add(task)
        task.add_done_callback(self._saying.discard)

    async def _sent(self, topic: str, document: bytes) -> None:
        assert self._definitions is not None
        try:
            await self._definitions.send_and_wait(topic, document, partition=0)
        except KafkaError as error:
            die(log, f"{topic} cannot be written: {error!r}")


def _on(catalog: Catalog) -> dict[Name, Endpoint]:
    """Return the endpoints that are on."""
    return {(one.tenant, one.id): one for known in catalog.endpoints.values() for one in known.values() if one.on}
