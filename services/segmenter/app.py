"""The only wiring of the segmenter: settings in, a worker out. Nothing connects before the worker starts.

Agents need the Faust app and the app needs the agents; a factory that makes one after the other avoids the circle.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import logging
import secrets
import sys
import time
from collections.abc import Callable
from typing import Final, cast

import faust

from schemas.instants import Duration
from schemas.questions import PATH
from services.kit import clock
from services.kit.follower import Follower
from services.kit.health import serve
from services.kit.kafka import ensure_topics, when_reachable
from services.kit.logs import die
from services.segmenter.agents import add_agents
from services.segmenter.core import MakePartition
from services.segmenter.door import MOST_BYTES, Door, advertised
from services.segmenter.metrics import Metrics
from services.segmenter.ownership import Ownership
from services.segmenter.partition import Partition
from services.segmenter.plans import Limits, Plans
from services.segmenter.projection import Projector
from services.segmenter.ranks.exchange import Exchange
from services.segmenter.restore import changed
from services.segmenter.settings import SegmenterSettings
from services.segmenter.status import Status
from services.segmenter.surroundings import Surroundings
from services.segmenter.tables import add_table
from services.segmenter.transport import Consumer, Flow, Transport
from services.segmenter.watch import Watch

log = logging.getLogger(__name__)

_COLLECT: Final = (2_000, 5_000, 100)
"""What is new is walked over after so many allocations, for a millisecond or two: at ten thousand for ten beside a busy neighbour, at two
hundred thousand for a tenth of a second. Customers that are restored or come to life hold no cycles: the default of 700 would walk over
them all the time, and what has lived through one walk is looked at again after five thousand of them."""

_SWITCH_S: Final = 0.0005
"""What fetches is a thread of its own, and asks for the interpreter a dozen times for each fetch. With the default of five milliseconds that
took a tenth of a second while there was much to compute."""


class Segmenter:
    """A worker: starts, runs until `stop` is called, and hands its partitions over."""

    def __init__(self, settings: SegmenterSettings, make: Callable[[Follower], MakePartition], now_ms: Callable[[], int]) -> None:
        self.settings = settings
        self.follower = Follower(settings)
        metrics = Metrics()
        self._projector = Projector(settings, metrics, now_ms, secrets.token_hex(8), functools.partial(changed, settings))
        around = Surroundings(settings, self.follower, metrics, now_ms)
        metrics.price.set_function(lambda: around.shares.price(time.perf_counter()))
        self.ownership = Ownership(around, make(self.follower), self._projector)
        self._door = Door(around, self.ownership)
        self.app = _faust_app(settings)
        self._exchange = Exchange(settings, self.ownership, metrics)
        self._watch = Watch(settings, self.app, self.ownership, self._projector)
        self._status = Status(settings, self.app, self.ownership, self._projector, self.follower, self._watch)
        self.app.transport = self.app.producer_transport = Transport(self.app, settings, self.ownership)
        add_table(self.app, self.ownership, settings.partitions)
        add_agents(self.app, self.ownership, settings.topics.inputs, settings.partitions)

    async def run(self, stopping: asyncio.Event) -> None:
        """Work until `stopping` is set. Waits for Kafka at the start, never for Redis."""
        settings = self.settings
        status = self._status
        gc.set_threshold(*_COLLECT)
        sys.setswitchinterval(_SWITCH_S)
        server = await serve(
            settings.segmenter_host, settings.segmenter_port, status.readyz, {"/outcomes": status.outcomes},
            posts={PATH: self._door.ask}, most_bytes=MOST_BYTES,
        )  # fmt: skip
        try:
            self._projector.address = advertised(settings, server.addresses)
            await when_reachable(lambda: ensure_topics(settings), what="topics", timeout_s=settings.start_timeout_s)
            await when_reachable(self.follower.start, what="definitions", timeout_s=settings.start_timeout_s)
            self.follower.on_change(self.ownership.wake)
            await self._projector.start()
            await when_reachable(self._exchange.start, what="ranks", timeout_s=settings.start_timeout_s)
            await self._start_faust()
            await self._watch.start()
            # What is alive now stays alive: collections need not look at it again.
            gc.collect()
            gc.freeze()
            await stopping.wait()
            log.info("hands over %s partitions", len(self.ownership.numbers))
            try:
                async with asyncio.timeout(settings.segmenter_stop_s):
                    await self._stop()
            except TimeoutError:
                die(log, f"did not stop in {settings.segmenter_stop_s:g} s; whoever takes over fences what is left")
        finally:
            await server.cleanup()

    async def _start_faust(self) -> None:
        consumer = cast(Consumer, self.app.consumer)
        self.ownership.open = consumer.open_partition
        self.ownership.on_room = consumer.on_room
        self.app.in_worker = True
        self.app.finalize()
        await self.app.start()

    async def _stop(self) -> None:
        await self._watch.stop()
        await asyncio.gather(self._exchange.stop(), self.ownership.park())
        await self.app.consumer.commit()
        await self._projector.stop(self.settings.segmenter_handover_s)
        await self.ownership.close()
        # Last, for it leaves the group: whoever gets the partitions finds nothing open.
        await self.app.stop()
        await self.follower.stop()


def build_app(settings: SegmenterSettings, make: Callable[[Follower], MakePartition] | None = None) -> Segmenter:
    """Return the worker. `make` replaces the core of the partitions, for tests of everything around it."""
    return Segmenter(settings, make or (lambda follower: _maker(settings, follower)), clock.now_ms)


def _maker(settings: SegmenterSettings, follower: Follower) -> MakePartition:
    plans = Plans(follower.catalog, Duration(settings.segmenter_history_months, 0))
    limits = Limits(
        partitions=settings.partitions,
        live_customers=settings.segmenter_live_customers,
        live_facts=settings.segmenter_live_facts,
        events_per_customer=settings.segmenter_events_per_customer,
        column_bytes=settings.segmenter_column_bytes,
    )
    return lambda number: Partition(number, plans, settings.topics, limits)


def _faust_app(settings: SegmenterSettings) -> faust.App:
    app = faust.App(
        settings.topics.group,
        broker=";".join(f"kafka://{server}" for server in settings.kafka.split(",")),
        datadir=str(settings.data_dir),
        # What Faust would do by itself and we do or do not want: topics, its leader topic, standbys, its web server.
        topic_allow_declare=False,
        topic_disable_leader=True,
        table_standby_replicas=0,
        web_enabled=False,
        topic_partitions=settings.partitions,
        # Pumps are brought to rest by us; Faust would wait for every event, for as long as it takes.
        stream_wait_empty=False,
        # Counts chunks, and never fills: agents do not wait, and a full pump pauses its partition.
        stream_buffer_maxsize=4_096,
        # The changelog's restore is ours, in the background: nothing to wait for before Faust's own.
        stream_recovery_delay=0.0,
        broker_session_timeout=settings.segmenter_session_timeout_s,
        broker_heartbeat_interval=settings.segmenter_session_timeout_s / 5,
        broker_rebalance_timeout=settings.segmenter_rebalance_timeout_s,
        broker_request_timeout=max(40.0, settings.segmenter_session_timeout_s + 10),
        broker_commit_interval=1.0,
    )
    app.flow_control = Flow()  # a property that is made once
    return app
