# ruff: noqa: SLF001 - Faust is extended from inside; a contract test fails when what is used here changes
"""Faust's way to Kafka, with a consumer that delivers a fetched run of records as one event and loses none of them.

Stock Faust spends four tasks on each record, drops what was fetched while its flow is suspended, and does not rewind a
partition that has no commit. Here the group gives membership and assignment only. Where to read is taken from the progress of
the partition, and committed offsets are a hint for those who watch lag.

Invariant: the records of a partition reach the agent as one contiguous run from its progress on (or from the earliest record,
where nothing was ever applied). `_cursor` is the position that the next run must start at; aiokafka's own positions tell
where a run starts and ends, transaction markers and expired records included, so a run that does not fit is recognised for
certain, dropped, and fetched again. So is whatever was found while a partition was sought or another look was under way: then positions
do not tell what was read.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple, cast

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import IllegalStateError, KafkaError
from aiokafka.structs import OffsetAndMetadata, TopicPartition
from faust.transport.consumer import ensure_TP, ensure_TPset
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, AppT, ConsumerMessage
from mode.utils.queues import FlowControlEvent
from yarl import URL

from services.segmenter.copies import spare_copies
from services.segmenter.ownership import Ownership
from services.segmenter.settings import SegmenterSettings

log = logging.getLogger(__name__)

CHUNK_RECORDS: Final = 500
"""Records of one event: enough to spread the 170 µs that an event costs, few enough to give others their turn."""

_FETCH_WAIT_MS: Final = 100
"""So long a fetch waits in the broker for records, and a partition that is opened meanwhile for the fetch: with half a second a new owner's
first step came a second after the restore, with a tenth after 0.2 s."""
_HEAR_S: Final = 0.25
_FOR_EVER_MS: Final = 2**31 - 1

_GATHER_S: Final = 0.008
"""Rest between two fetches that follow each other closely. A fetch of all inputs costs client and broker a millisecond or two
each, however little it brings; without this, a thousand records a second would be a thousand fetches."""


class Run(NamedTuple):
    """What was read of a partition from `start` to `end` (exclusive): its records, in order, with nothing left out."""

    start: int
    end: int
    records: list[Any]


class Flow(FlowControlEvent):
    """Faust's flow control, but what was delivered stays delivered when the flow goes on.

    After a rebalance Faust lets the flow go on twice, before it seeks and after, and empties the agents' queues each time: a run
    that follows a seek at once, and whose agent has not had its turn, would be lost between the two. What is out of date is
    emptied when partitions are revoked, and known by its generation.
    """

    def resume(self) -> None:
        """Let the flow go on, with what lies in the queues."""
        self._suspend.clear()
        self._resume.set()


class _Look:
    """One look for what was fetched. `disturbed`: what moved meanwhile may have been moved by a seek, or taken by another look."""

    disturbed = False


class InputThread(driver.AIOKafkaConsumerThread):
    """The thread that the group's aiokafka consumer lives in."""

    _looks: tuple[_Look, ...] = ()
    """Those under way. After a rebalance Faust begins a new one while the one before may not have ended, whose result nobody takes."""

    def _create_worker_consumer(self, transport: driver.Transport) -> AIOKafkaConsumer:
        settings = cast(Transport, transport).settings
        self._assignor = self.app.assignor
        return AIOKafkaConsumer(
            **settings.kafka_options(),
            group_id=settings.topics.group,
            partition_assignment_strategy=[self._assignor],
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=int(settings.segmenter_session_timeout_s * 1000),
            heartbeat_interval_ms=int(settings.segmenter_session_timeout_s * 1000 / 5),
            rebalance_timeout_ms=int(settings.segmenter_rebalance_timeout_s * 1000),
            max_partition_fetch_bytes=settings.segmenter_fetch_bytes,
            fetch_max_wait_ms=_FETCH_WAIT_MS,
            max_poll_records=settings.segmenter_poll_records,
            # Partitions that are full are not asked for, for as long as it takes. Whether a worker goes on is for `Watch` to say.
            max_poll_interval_ms=_FOR_EVER_MS,
        )

    async def _fetch_records(
        self,
        consumer: AIOKafkaConsumer,
        active_partitions: set[TP],
        timeout: float | None = None,  # noqa: ASYNC109 - Faust's signature
        max_records: int | None = None,
    ) -> Any:
        """Return a `Run` for each partition whose position moved, also when there was nothing but markers."""
        active_partitions = set(active_partitions)  # the other thread changes it
        look = _Look()
        self._looks = (*self._looks, look)
        if len(self._looks) > 1:
            self._disturb()
        before = self._positions(consumer, active_partitions)
        spare_copies(consumer)
        try:
            fetched = await super()._fetch_records(consumer, active_partitions, timeout, max_records)
        finally:
            self._looks = tuple([other for other in self._looks if other is not look])
        runs: dict[TP, Run] = {}
        for tp, end in self._positions(consumer, active_partitions).items():
            start = before.get(tp)
            # A seek in the middle may bring the position back to where it was, having consumed records, or nothing but markers.
            # Seen from start to end nothing has moved then; only the cursor tells that this is not where we should be.
            if end != start or fetched.get(tp) or self._own.cursor(tp) not in (None, end):
                # Where something else has moved the position, what lies between must not pass for a run of markers.
                runs[tp] = Run(-1 if start is None or look.disturbed else start, end, fetched.get(tp, []))
        return runs

    async def _seek_wait(self, consumer: AIOKafkaConsumer, partitions: Mapping[TP, int]) -> None:
        self._disturb()
        await super()._seek_wait(consumer, partitions)

    def _disturb(self) -> None:
        for look in self._looks:
            look.disturbed = True

    @property
    def _own(self) -> Consumer:
        return cast(Consumer, self.consumer)

    @staticmethod
    def _positions(consumer: AIOKafkaConsumer, tps: Iterable[TP]) -> dict[TP, int]:
        subscription = consumer._subscription.subscription
        if subscription is None or subscription.assignment is None:
            return {}
        states = subscription.assignment._tp_state
        return {tp: state._position for tp in tps if (state := states.get(tp)) is not None and state._position is not None}

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        here = self.assignment()
        wanted = {TopicPartition(*tp): OffsetAndMetadata(offset, "") for tp, offset in offsets.items() if tp in here}
        try:
            await self._ensure_consumer().commit(wanted)
        except (KafkaError, IllegalStateError) as error:
            log.info("offsets are not committed (a hint only): %s", error)
            return False
        return True

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Do nothing: the watch of the segmenter looks at real lag; Faust's guess would cry wolf over chunks."""


class Consumer(driver.Consumer):
    """Delivers runs of records, and seeks to what was applied."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._cursor: dict[TP, int] = {}
        self._refetch: set[TP] = set()
        self._opening = asyncio.Lock()

    @property
    def _own(self) -> Transport:
        return cast(Transport, self.transport)

    def _new_consumer_thread(self) -> InputThread:
        return InputThread(self, loop=self.loop, beacon=self.beacon)

    # ---- where to read

    def cursor(self, tp: TP) -> int | None:
        """Return the position that the next run of a partition must start at, None while it is not open. For any thread."""
        return self._cursor.get(tp)

    async def perform_seek(self) -> None:
        """Seek every restored partition to its progress. Faust calls this after each rebalance."""
        changelog = [TopicPartition(*tp) for tp in self.assignment() if tp.topic not in self._own.inputs]
        await self._thread.call_thread(self._thread._ensure_consumer().pause, *changelog)
        self._cursor.clear()
        for pump in self._own.ownership.pumps:
            await self.open_partition(pump.core.number)

    async def open_partition(self, number: int) -> None:
        """Deliver the records of a restored partition from its progress on. Does nothing for one that is no longer assigned."""
        async with self._opening:
            pump = self._own.ownership.pump(number)
            tps = {tp for tp in self.assignment() if tp.partition == number and tp.topic in self._own.inputs}
            if pump is None or not tps:
                return
            for tp in tps:
                self._cursor.pop(tp, None)  # closed while it is sought
            try:
                first = await self.earliest_offsets(*tps)
                wanted = {tp: max(pump.inbox.next_offset(tp.topic) or 0, first.get(tp) or 0) for tp in tps}
                # Open before the seek: the other thread may fetch from the new position before this task goes on, and a run
                # that finds its partition closed is dropped for good. One that does not start at the cursor is sought again.
                for tp, offset in wanted.items():
                    pump.inbox.expect(tp.topic, offset)
                    self._cursor[tp] = offset
                    self._acked[tp] = []  # makes Faust ask `_new_offset` of it from now on
                await self.seek_wait(wanted)
            except IllegalStateError:
                for tp in tps:
                    self._cursor.pop(tp, None)  # revoked meanwhile: the next assignment seeks

    async def earliest_offsets(self, *partitions: TP) -> Mapping[TP, int]:
        """Return the earliest offset of each partition."""
        return {ensure_TP(tp): offset for tp, offset in (await super().earliest_offsets(*partitions)).items()}

    async def highwaters(self, *partitions: TP) -> Mapping[TP, int]:
        """Tell Faust's recovery, the only one to ask, that changelogs end where they begin: we restore by ourselves."""
        return await self.earliest_offsets(*partitions)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Bring all partitions to rest and say how far they came, before others may take them."""
        if revoked:
            self.stop_flow()
            self.app.flow_control.suspend()
            self.app.flow_control.clear()
            self._cursor.clear()
            self._refetch.clear()
            await self._own.ownership.park()
            await self.commit()
        await super().on_partitions_revoked(revoked)

    # ---- commits, a hint

    def _new_offset(self, tp: TP) -> int | None:
        self._acked[tp].clear()
        self._acked_index[tp].clear()
        pump = self._own.ownership.pump(tp.partition)
        return pump.written.get(tp.topic) if pump is not None else None

    # ---- delivery

    def on_room(self, number: int, *, room: bool) -> None:
        """Fetch a partition's inputs only while it has room for more."""
        tps = {TP(topic, number) for topic in self._own.inputs}
        active = self._get_active_partitions()
        if room:
            active.update(tps & ensure_TPset(self.assignment()))
        else:
            active.difference_update(tps)

    async def _drain_messages(self, fetcher: Any) -> None:
        fetched_before_s = heard_s = 0.0
        try:
            while not (self._stopped.is_set() or fetcher._stopped.is_set()):
                if self._refetch and self.flow_active:
                    await self._seek_again()
                runs, _ = await self._wait_next_records(1.0)
                fetched_s = time.perf_counter()
                if fetched_s - heard_s >= _HEAR_S:
                    heard_s = fetched_s
                    self._hear()
                generation = self.app.consumer_generation_id
                if runs and not self.should_stop:
                    for tp, run in cast(dict[TP, Run], runs).items():
                        await self._deliver_run(tp, run, generation)
                await asyncio.sleep(max(0.0, min(_GATHER_S, fetched_before_s + 2 * _GATHER_S - fetched_s)))
                fetched_before_s = fetched_s
        except self.consumer_stopped_errors:
            if not self.app.should_stop:
                raise
        except asyncio.CancelledError:
            if not self.app.should_stop:
                raise

    def _hear(self) -> None:
        """Tell the pumps where their topics ended when they were fetched last."""
        consumer, now_ms = self._thread._ensure_consumer(), time.time_ns() // 1_000_000
        assigned = consumer.assignment()
        for pump in self._own.ownership.pumps:
            for topic in self._own.inputs:
                tp = TopicPartition(topic, pump.core.number)
                if tp in assigned:
                    with contextlib.suppress(AssertionError, AttributeError):  # the other thread has lost it meanwhile
                        end, at_ms = consumer.last_stable_offset(tp), consumer.last_poll_timestamp(tp)
                        if end is not None and at_ms is not None:
                            pump.inbox.hears(topic, end, now_ms - at_ms)

    async def _seek_again(self) -> None:
        back = {tp: self._cursor[tp] for tp in self._refetch if tp in self._cursor and tp in self.assignment()}
        self._refetch.clear()
        if back:
            self._own.ownership.metrics.reseeks.inc(len(back))
            try:
                await self.seek_wait(back)
            except IllegalStateError:
                log.info("not sought again, the assignment has changed: %s", back)

    async def _deliver_run(self, tp: TP, run: Run, generation: int) -> None:
        start, records = run.start, run.records
        for at in range(0, max(len(records), 1), CHUNK_RECORDS):
            cursor = self._cursor.get(tp)
            if cursor is None:
                return  # not restored yet, or revoked: the seek that opens it brings this back
            if start != cursor or not self.flow_active or generation != self.app.consumer_generation_id:
                self._refetch.add(tp)
                return
            part = records[at : at + CHUNK_RECORDS]
            end = run.end if at + CHUNK_RECORDS >= len(records) else part[-1].offset + 1
            # Before the delivery: whoever seeks while it waits sets the cursor back, and must not be overwritten.
            self._cursor[tp] = start = end
            message = self._message(tp, Run(cursor, end, part), generation)
            await self.wait_first(self.callback(message), self.suspend_flow.wait())
            self.app.monitor.track_tp_end_offset(tp, end)

    def _message(self, tp: TP, run: Run, generation: int) -> ConsumerMessage:
        last = run.records[-1].timestamp / 1000 if run.records else 0.0
        return ConsumerMessage(
            tp.topic, tp.partition, run.end - 1, last, 0, None, None, cast(Any, run), None, 0, 0, tp, generation_id=generation
        )  # fmt: skip


class Producer(driver.Producer):
    """Faust's own producer. Nothing is sent through it, but Faust starts one."""

    def _settings_auth(self) -> Mapping[str, Any]:
        return cast(Transport, self.transport).settings.kafka_options()


class Transport(driver.Transport):
    """Faust's transport, told which partitions are owned and how far they are."""

    Consumer = Consumer
    Producer = Producer

    def __init__(self, app: AppT, settings: SegmenterSettings, ownership: Ownership) -> None:
        super().__init__([URL(f"kafka://{server}") for server in settings.kafka.split(",")], app)
        self.settings = settings
        self.ownership = ownership
        self.inputs = frozenset(settings.topics.inputs)
