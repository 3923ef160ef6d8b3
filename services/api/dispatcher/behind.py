"""Endpoints of one partition for which there was no room: from which transition on nothing was queued, and catching up as room comes.

So one that takes little holds up nobody else: reading goes on for all others, and what it missed is read again from the topic.
While an endpoint is behind, whatever is new for it waits there as well, so that each customer's order is kept.

An endpoint of which the dispatcher hears late is behind as well, where something was decided for it and had been read already.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from services.api.dispatcher.settings import DispatcherSettings
from services.kit.kafka import look, reading
from services.kit.limits import Budget, Full

log = logging.getLogger(__name__)

_IDLE_S: Final = 0.5
_LOST: Final = (KafkaError, OSError, TimeoutError)

Name = tuple[str, str]
"""Tenant and endpoint."""


class Room:
    """How many deliveries one dispatcher holds, of all its partitions: each tenant its share, and each endpoint half as much."""

    def __init__(self, settings: DispatcherSettings) -> None:
        limit, share, what = settings.dispatcher_pending, settings.tenant_share, "deliveries are pending"
        self._tenants, self._endpoints = Budget(limit, share, what), Budget(limit, share / 2, what)

    @property
    def held(self) -> int:
        """How many are held."""
        return self._tenants.held

    def has(self, name: Name) -> bool:
        """Whether there is room for one."""
        if not self.take(name):
            return False
        self.give_back(name)
        return True

    def take(self, name: Name) -> bool:
        """Take one if there is room for it."""
        try:
            self._tenants.take(1, name[0])
        except Full:
            return False
        try:
            self._endpoints.take(1, "/".join(name))
        except Full:
            self._tenants.give_back(1, name[0])
            return False
        return True

    def hold(self, name: Name) -> None:
        """Take one whether or not there is room: what a former owner held is there."""
        self._tenants.hold(1, name[0])
        self._endpoints.hold(1, "/".join(name))

    def give_back(self, name: Name, count: int = 1) -> None:
        """Give back what was taken."""
        self._tenants.give_back(count, name[0])
        self._endpoints.give_back(count, "/".join(name))


class Behind:
    """Who is behind.

    `again` queues the transition at an offset for those named that want it and returns for whom there was no room; `read_to` tells
    where reading has got to.
    """

    def __init__(
        self,
        number: int,
        settings: DispatcherSettings,
        room: Room,
        again: Callable[[int, bytes, set[Name]], set[Name]],
        read_to: Callable[[], int],
    ) -> None:
        self.places: dict[Name, int] = {}
        """The first offset that was not queued for each; written with the progress, in the transaction of what was."""
        self._settings, self._tp = settings, TopicPartition(settings.topics.changes, number)
        self._room, self._again, self._read_to = room, again, read_to
        self._wake = asyncio.Event()

    def fall(self, name: Name, offset: int) -> None:
        """Take note that from an offset on nothing is queued for an endpoint."""
        self.places[name] = min(offset, self.places.get(name, offset))
        self._wake.set()

    async def run(self) -> None:
        """Catch up for as long as the partition is ours."""
        while True:
            if not self.places:
                self._wake.clear()
                await self._wake.wait()
            try:
                await self._work()
            except _LOST as error:
                log.warning("partition %s: endpoints that are behind cannot catch up (%r); again in a moment", self._tp.partition, error)
                await asyncio.sleep(_IDLE_S)

    async def _work(self) -> None:
        async with reading(self._settings, [self._tp]) as consumer:
            passed = 0
            while self.places:
                turn = next(iter(self.places))
                self.places[turn] = self.places.pop(turn)
                # What lies where there is no room is not even read.
                passed = 0 if self._room.has(turn) and await self._slice(consumer, turn) else passed + 1
                if passed >= len(self.places):
                    await asyncio.sleep(_IDLE_S)
                    passed = 0

    async def _slice(self, consumer: AIOKafkaConsumer, turn: Name) -> bool:
        """Read on where the one is whose turn it is, and say whether anybody has come further.

        They take turns: one that takes nothing stays where it is, and would otherwise have what lies there read for ever.
        """
        start = self.places[turn]
        records, position = await look(consumer, self._tp, start, self._settings.dispatcher_read_records)
        # From here on nothing is awaited: what is queued and where everybody is must be written together.
        end = self._read_to()
        stuck: set[Name] = set()
        before = dict(self.places)
        for record in records:
            if record.offset >= end:
                break
            wanted = {name for name, place in self.places.items() if start <= place <= record.offset} - stuck
            full = self._again(record.offset, record.value, wanted) if wanted else set()
            for name in full:
                self.places[name] = record.offset
            stuck |= full
        for name, place in list(self.places.items()):
            if place >= start and name not in stuck:
                self.places[name] = max(place, min(position, end))
            if self.places[name] >= end:
                del self.places[name]
        return self.places != before
