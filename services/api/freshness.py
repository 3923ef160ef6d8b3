"""How fresh an answer is, and `?after=`: waiting until the facts behind a position are in the answer."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Sequence
from typing import Final

from schemas.catalog import Segment
from schemas.errors import Refusal
from schemas.positions import Offsets, decode_position
from services.api.errors import Refused, refused, unavailable
from services.api.metrics import Metrics
from services.api.reads import Known, Reads
from services.api.settings import ApiSettings
from services.kit.limits import Budget

_EVERY_S: Final = 0.003
"""How often markers are looked at while someone waits: a person does not notice, and Redis neither (one call for all)."""
_LATER: Final = 0.1
"""Whoever waits waits at most so much longer for its turn to be noticed: who has waited for long is not looked after all the time."""

_HOPS: Final = 4
"""What a merge leads to passes through so many partitions at most, if the survivor is not merged meanwhile."""

Needs = dict[int, dict[str, int]]
"""For each partition, the next offset of each topic that must have been applied."""

Markers = Sequence[Known | None]
"""Those of all partitions, of one moment. What they say is applied stays so."""


def oldest(markers: Iterable[Known | None]) -> Known:
    """Return the oldest marker; raises `Refused` (503) when one is absent."""
    found: Known | None = None
    for known in markers:
        if known is None:
            raise unavailable("the projection of a partition is being built; nothing can be known of its customers yet")
        if found is None or known.marker.as_of_ms < found.marker.as_of_ms:
            found = known
    if found is None:
        raise unavailable("there are no partitions")
    return found


def swept(segment: Segment, markers: Iterable[Known | None]) -> None:
    """Check that the customers of these partitions have been looked at under a segment's last definition, else 503.

    A customer whom the backfill has not reached is neither in nor out: what stands there was decided under another definition.
    """
    for known in markers:
        if known is not None and known.marker.definitions <= segment.answers_from:
            raise unavailable(f"segment {segment.id} version {segment.version} is being backfilled; this is not known yet")


def applied(needs: Needs, partition: int, known: Known | None, tenant: str) -> bool:
    """Whether a marker says that what a tenant needs of its partition has been applied."""
    wanted = needs.get(partition)
    if not wanted:
        return True
    return known is not None and all(known.marker.reached(topic, tenant) >= offset for topic, offset in wanted.items())


def all_applied(needs: Needs, markers: Markers, tenant: str) -> bool:
    """Whether the markers of all partitions say so of everything that a tenant needs."""
    return all(applied(needs, partition, markers[partition], tenant) for partition in needs)


class Freshness:
    """Lets reads wait for facts. One task looks at the markers for all who wait."""

    def __init__(self, settings: ApiSettings, reads: Reads, metrics: Metrics) -> None:
        self._settings, self._reads, self._metrics = settings, reads, metrics
        self._topics = frozenset(settings.topics.inputs)
        self._moves = settings.topics.moves
        self._people = settings.topics.family("customer-merge")
        self._waiting: dict[asyncio.Future[Markers], tuple[Needs, str, float]] = {}
        """What each needs, whose it is, and since when it waits: the last one for the shortest time."""
        self._came = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None
        self._places = Budget(settings.api_max_waiting, settings.tenant_share, "reads wait for ?after=")

    def needs(self, token: str | None) -> Needs:
        """Read the parameter `after`; raises `Refused` (422) when it is no position of this installation."""
        if token is None:
            return {}
        try:
            offsets: Offsets = decode_position(token, partitions=self._settings.partitions)
        except Refusal as refusal:
            raise refused(refusal) from None
        if not offsets.keys() <= self._topics:
            raise Refused(422, "after is not a position that this API gave", pointer="/after")
        needs: Needs = {}
        for topic, places in offsets.items():
            for partition, offset in places.items():
                needs.setdefault(partition, {})[topic] = offset
        return needs

    def of(self, needs: Needs, partition: int) -> Needs:
        """Return what of some needs concerns those who live in a partition, as far as one can tell without having read of them.

        Behind a merge it is everything, for whom it joins may live anywhere.
        """
        if any(self._people in topics for topics in needs.values()):
            return needs
        return {partition: needs[partition]} if partition in needs else {}

    def deadline_s(self) -> float:
        """Return until when a read that begins now may wait, on the event loop's clock."""
        return asyncio.get_running_loop().time() + self._settings.api_after_timeout_s

    async def wait(self, needs: Needs, until_s: float, tenant: str) -> Markers:
        """Return the first markers that say that all is applied; raises `Refused` (503) when they do not in time."""
        loop = asyncio.get_running_loop()
        reached: asyncio.Future[Markers] = loop.create_future()
        self._waiting[reached] = needs, tenant, loop.time()
        self._came.set()
        if self._watching is None:
            self._watching = asyncio.create_task(self._watch(), name="freshness")
        try:
            async with asyncio.timeout_at(until_s):
                return await reached
        except TimeoutError:
            markers: Markers = await self._reads.markers()  # whoever has waited for long was looked after seldom
            if all_applied(needs, markers, tenant):
                return markers
            self._metrics.too_late.inc()
            waited = self._settings.api_after_timeout_s
            raise unavailable(f"the events of `after` were not in the answer within {waited:g} s; ask again") from None
        finally:
            self._waiting.pop(reached, None)

    async def settle(self, needs: Needs, until_s: float, tenant: str) -> None:
        """Wait for what is needed, and for what it has led to in other partitions, for facts may be about merged customers.

        Raises as `wait` does, and `Full`. A merge goes from the old id's partition to the tenant's, back, and to the survivor's; a
        fact about an old id goes to the survivor's. What was sent besides is waited for as well: nobody notes which record led to
        which. The caller reads afterwards, and believes only the markers of that read.
        """
        markers: Markers = await self._reads.markers() if needs else ()
        for _ in range(_HOPS + 1):
            if not needs:
                return
            if not all_applied(needs, markers, tenant):
                with self._places.lent(tenant):
                    markers = await self.wait(needs, until_s, tenant)
            following: Needs = {}
            for partition in needs:
                known = markers[partition]
                for home, offset in (known.marker.sent if known is not None else {}).items():
                    place = following.setdefault(home, {})
                    place[self._moves] = max(offset, place.get(self._moves, 0))
            needs = following

    async def close(self) -> None:
        """End the watching task."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)

    async def _watch(self) -> None:
        try:
            while self._waiting:
                self._metrics.waiting.set(len(self._waiting))
                await self._pause()
                try:
                    markers: Markers = await self._reads.markers()
                except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must get it as their answer
                    for reached in list(self._waiting):
                        if not reached.done():
                            reached.set_exception(error)
                    return
                for reached, (needs, tenant, _) in list(self._waiting.items()):
                    if not reached.done() and all_applied(needs, markers, tenant):
                        reached.set_result(markers)
        finally:
            self._watching = None
            self._metrics.waiting.set(0)

    async def _pause(self) -> None:
        """Rest until the markers are looked at again: shortly, unless all who wait have waited for long and nobody joins them."""
        _, _, since_s = next(reversed(self._waiting.values()))
        self._came.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout((asyncio.get_running_loop().time() - since_s) * _LATER - _EVERY_S):
                await self._came.wait()
        await asyncio.sleep(_EVERY_S)
