"""What has become of an endpoint's deliveries, read from the topic on which the dispatchers remember them.

What is pending is folded from where each partition's progress says on; what has ended has one record each and is read backwards.
A cursor begins with a letter for the part that it goes on in.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition

from schemas.deliveries import PROGRESS, Delivery, decode_delivery
from schemas.instants import iso
from services.api.backwards import Backwards
from services.api.changes import LOST, Feed
from services.api.cursors import bad_cursor, decode_cursor, encode_cursor
from services.api.delivery_shapes import AttemptView, DeliveryPage, DeliveryView
from services.api.dispatcher.memory import pending_of, progress_of
from services.api.errors import unavailable
from services.api.settings import ApiSettings
from services.kit.kafka import hold

_PENDING, _ENDED = "p", "e"


class _Place(NamedTuple):
    """Where a page of what is pending ends."""

    partition: int
    offset: int
    """The transition's."""
    key: str
    """The delivery's."""


_BEGIN: Final = _Place(0, -1, "")


class DeliveryLog:
    """Reads the topic of deliveries; shares the consumers of the feed."""

    def __init__(self, settings: ApiSettings, feed: Feed, backwards: Backwards) -> None:
        self._settings, self._feed, self._backwards = settings, feed, backwards

    async def page(self, tenant: str, endpoint_id: str, state: str | None, cursor: str | None, limit: int) -> DeliveryPage:
        """Return deliveries after a cursor, of one state or of all. Raises `Refused`: 422 for what is no cursor, 503 when Kafka does not answer."""
        part, rest = (_PENDING if state in (None, "pending") else _ENDED, "") if cursor is None else (cursor[:1], cursor[1:])
        if part not in (_PENDING, _ENDED) or (part == _ENDED and state == "pending"):
            raise bad_cursor()
        mine = tenant, endpoint_id
        found: list[DeliveryView] = []
        if part == _PENDING:
            found, following = await self._pending(mine, decode_cursor(rest, _Place) if rest else _BEGIN, limit)
            if following is not None:
                return DeliveryPage(found, _PENDING + encode_cursor(following))
            if state == "pending" or len(found) == limit:
                return DeliveryPage(found, None if state == "pending" else _ENDED)
            rest = ""
        ended, next_ = await self._ended(mine, state, rest or None, limit - len(found))
        return DeliveryPage([*found, *ended], None if next_ is None else _ENDED + next_)

    async def _pending(self, mine: tuple[str, str], after: _Place, limit: int) -> tuple[list[DeliveryView], _Place | None]:
        """Return what is pending after a place, partition by partition, and where to go on."""
        tps = [TopicPartition(self._settings.topics.deliveries, number) for number in range(after[0], self._settings.partitions)]
        if not tps or after[0] < 0:
            raise bad_cursor()
        found: list[tuple[_Place, Delivery]] = []
        try:
            async with asyncio.timeout(self._settings.api_feed_timeout_s), self._feed.consumer(mine[0]) as consumer:
                hold(consumer, tps)
                for tp in tps:
                    places = [(_Place(tp.partition, one.offset, one.key), one) for one in await self._of_partition(consumer, tp, mine)]
                    found.extend(sorted((one for one in places if one[0] > after), key=lambda one: one[0]))
                    if len(found) > limit:
                        break
        except LOST as error:
            raise unavailable(f"the deliveries cannot be read ({error!r})", 2) from None
        return [self._view(one) for _, one in found[:limit]], found[limit - 1][0] if len(found) > limit else None

    async def _of_partition(self, consumer: AIOKafkaConsumer, tp: TopicPartition, mine: tuple[str, str]) -> list[Delivery]:
        def take(delivery: Delivery) -> Delivery | None:
            delivery.transition = b""
            return delivery if (delivery.tenant, delivery.endpoint_id) == mine else None

        begin, end = (await consumer.beginning_offsets([tp]))[tp], (await consumer.end_offsets([tp]))[tp]
        progress = await progress_of(consumer, tp, begin, end)
        return [place.delivery for place in await pending_of(consumer, tp, begin if progress is None else progress.since, end, take)]

    async def _ended(self, mine: tuple[str, str], state: str | None, cursor: str | None, limit: int) -> tuple[list[DeliveryView], str | None]:
        def look(record: Any) -> tuple[str, DeliveryView | None]:
            written_at = iso(record.timestamp)
            if record.key == PROGRESS:
                return written_at, None
            delivery = decode_delivery(record.value)
            asked = (delivery.tenant, delivery.endpoint_id) == mine and delivery.state != "pending" and state in (None, delivery.state)
            return written_at, self._view(delivery) if asked else None

        return await self._backwards.read(mine[0], self._settings.topics.deliveries, range(self._settings.partitions), look, cursor, limit)

    def _view(self, delivery: Delivery) -> DeliveryView:
        pending = delivery.state == "pending"
        # One that was remembered before `seq` was counts as of a former life.
        erased = delivery.seq <= self._feed.erasures.last_seq(delivery.tenant, delivery.customer_id)
        when = iso(delivery.next_ms)
        return DeliveryView(
            id=delivery.id,
            transition_id=delivery.transition_id or None,
            customer_id=None if erased else delivery.customer_id,
            segment_id=delivery.segment_id or None,
            change=delivery.change,
            state=delivery.state,
            reason=delivery.reason or None,
            created_at=iso(delivery.created_ms),
            next_attempt_at=when if pending else None,
            ended_at=None if pending else when,
            replay=delivery.replay or None,
            attempts=[AttemptView(iso(one.at_ms), one.status, one.duration_ms, one.error) for one in delivery.attempts],
        )
