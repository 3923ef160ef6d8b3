"""Looks at the worker from outside, once a second: real lag, progress, health. Ends it when it stands still.

Lag is asked of Kafka itself, with a client that has no part in consuming, for a consumer that hangs does not know that it lags.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Mapping
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from faust import App

from services.kit.background import Background
from services.kit.kafka import SHORTENED
from services.kit.logs import die
from services.segmenter.ownership import Ownership
from services.segmenter.projection import Projector
from services.segmenter.pump import Pump
from services.segmenter.settings import SegmenterSettings

log = logging.getLogger(__name__)

_EVERY_S: Final = 1.0


class Watch:
    """Measures, and ends the process when it has lag and makes no progress."""

    def __init__(self, settings: SegmenterSettings, app: App, ownership: Ownership, projector: Projector) -> None:
        self._settings, self._app, self._ownership, self._projector = settings, app, ownership, projector
        self._watching = Background(log, "watch")
        self._progress: dict[int, tuple[tuple[int, ...], float]] = {}
        self._rebalancing_since: float | None = None
        self._short: set[TopicPartition] = set()
        """Topics that end before what was applied of them, as of the last look."""
        self.kafka_reachable = False
        self.lag: dict[int, int] = {}

    async def start(self) -> None:
        """Begin to watch."""
        self._watching.start(self._run)

    async def stop(self) -> None:
        """Stop watching."""
        await self._watching.stop()

    async def _run(self) -> None:
        consumer = AIOKafkaConsumer(**self._settings.kafka_options(), isolation_level="read_committed", request_timeout_ms=10_000)
        try:
            await consumer.start()
            while True:
                await asyncio.sleep(_EVERY_S)
                self._faust()
                await self._measure(consumer)
                self._progressing(time.monotonic())
        finally:
            with contextlib.suppress(KafkaError, OSError):
                await consumer.stop()

    def _faust(self) -> None:
        if self._app.crashed:
            die(log, f"Faust has crashed: {self._app.crash_reason!r}")
        if not self._app.rebalancing:
            self._rebalancing_since = None
        elif self._rebalancing_since is None:
            self._rebalancing_since = time.monotonic()
        elif time.monotonic() - self._rebalancing_since > self._settings.segmenter_rebalance_stall_s:
            die(log, f"a rebalance has not ended for {self._settings.segmenter_rebalance_stall_s:.0f} s")

    async def _measure(self, consumer: AIOKafkaConsumer) -> None:
        pumps = self._ownership.pumps
        tps = [TopicPartition(topic, pump.core.number) for pump in pumps for topic in self._settings.topics.inputs]
        # As of before it is asked: brokers answer at different times, and the quickest answer waits for the slowest.
        applied = {TopicPartition(topic, pump.core.number): offset for pump in pumps for topic, offset in pump.inbox.applied_to.items()}
        try:
            ends = await consumer.end_offsets(tps) if tps else {}
            self.kafka_reachable = True
        except KafkaError as error:
            log.warning("Kafka does not say how far its topics reach: %s", error)
            self.kafka_reachable = False
            return
        self._complete(applied, ends)
        self.lag = {pump.core.number: self._lag(pump, ends) for pump in pumps}
        self._publish(pumps)

    def _complete(self, applied: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]) -> None:
        """End the process where Kafka has less than was applied: what it accepts from then on would be taken for what is known."""
        short = {tp: offset for tp, offset in applied.items() if ends.get(tp, offset) < offset}
        for tp in short.keys() & self._short:  # twice, for a broker that has just started may not know its end yet
            die(log, f"{tp.topic}/{tp.partition} ends at {ends[tp]}, and {short[tp]} records of it were applied: {SHORTENED}")
        self._short = set(short)

    def _lag(self, pump: Pump, ends: dict[TopicPartition, int]) -> int:
        lag = 0
        for topic in self._settings.topics.inputs:
            end = ends.get(TopicPartition(topic, pump.core.number), 0)
            lag += max(0, end - pump.inbox.applied_to.get(topic, pump.core.offsets.get(topic, 0)))
        return lag

    def _progressing(self, now_s: float) -> None:
        for pump in self._ownership.pumps:
            number = pump.core.number
            mark = (pump.inbox.applied, *pump.inbox.applied_to.values())
            known = self._progress.get(number)
            standing = self.lag.get(number, 0) > 0 and not pump.waiting and self.kafka_reachable
            if known is None or known[0] != mark or not standing:
                self._progress[number] = (mark, now_s)
            elif now_s - known[1] > self._settings.segmenter_stall_s:
                die(log, f"partition {number}: {self.lag[number]} records behind and no progress for {now_s - known[1]:.0f} s")

    def _publish(self, pumps: list[Pump]) -> None:
        metrics, now_ms = self._ownership.metrics, 0
        metrics.restored.set(len(pumps))
        outcomes: dict[tuple[str, str], int] = {}
        offsets: dict[str, int] = {}
        for gauge in (metrics.lag, metrics.pending_records, metrics.pending_bytes, metrics.waiting, metrics.customers, metrics.projection_queue):
            gauge.clear()
        metrics.sweep_done.clear()
        metrics.sweep_total.clear()
        for pump in pumps:
            number = pump.core.number
            metrics.lag.labels(number).set(self.lag[number])
            metrics.pending_records.labels(number).set(pump.inbox.pending)
            metrics.pending_bytes.labels(number).set(pump.inbox.pending_bytes)
            metrics.waiting.labels(number).set(1 if pump.waiting else 0)
            metrics.customers.labels(number).set(pump.core.customers)
            metrics.projection_queue.labels(number).set(self._projector.owed(number))
            sweep = pump.core.marker(now_ms).sweep
            metrics.sweep_done.labels(number).set(sweep.done if sweep else 0)
            metrics.sweep_total.labels(number).set(sweep.total if sweep else 0)
            for topic, offset in pump.written.items():
                offsets[topic] = offsets.get(topic, 0) + offset
            for topic, counts in pump.outcomes.items():
                for outcome, count in counts.items():
                    outcomes[topic, outcome] = outcomes.get((topic, outcome), 0) + count
        metrics.outcomes.clear()
        for (topic, outcome), count in outcomes.items():
            metrics.outcomes.labels(topic, outcome).set(count)
        metrics.offsets.clear()
        for topic, offset in offsets.items():
            metrics.offsets.labels(topic).set(offset)
