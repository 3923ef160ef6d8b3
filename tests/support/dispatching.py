"""One partition being dispatched within the test, on a real Kafka, to a real receiver; the clock is the test's."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from aiokafka import AIOKafkaProducer, TopicPartition

from schemas import deliveries
from schemas.affairs import Affair, Affairs, Replay, ReplayAsked, encode_affair
from schemas.catalog import Catalog, Endpoint
from schemas.definitions import Definition, EndpointPut, TenantPut, encode_definition
from schemas.deliveries import Delivery, decode_delivery
from schemas.erasures import Erasures
from schemas.instants import iso
from schemas.partitions import record_key
from services.api.dispatcher.around import Around
from services.api.dispatcher.attempts import Attempts
from services.api.dispatcher.behind import Room
from services.api.dispatcher.client import Client
from services.api.dispatcher.desk import Desk
from services.api.dispatcher.settings import DispatcherSettings
from services.kit.follower import AffairsFollower
from services.kit.kafka import between, ensure_topics, reading
from tests.support.services import SECRET

BEGIN_MS = 1_764_000_000_000


def around(catalog: Catalog, erasures: Erasures | None = None, **more: Any) -> Around:
    """What a desk works with: a plain clock, no way out, nobody to tell."""
    settings = more.get("settings", DispatcherSettings())
    usual: dict[str, Any] = {
        "settings": settings, "catalog": catalog, "erasures": erasures or Erasures(catalog), "affairs": Affairs(settings.partitions),
        "client": Client(settings), "now_ms": lambda: 3_000, "draw": lambda: 0.5, "disable": lambda *_: None, "say": lambda _: None,
        "room": Room(settings), "attempts": Attempts(settings),
    }  # fmt: skip
    return Around(**(usual | more))


class Dispatching:
    """A desk that is opened and closed at will, what it works with, and what came to its receiver."""

    def __init__(self, settings: DispatcherSettings, draw: float) -> None:
        self.settings, self.draw = settings, draw
        self.now_ms = BEGIN_MS
        self.catalog = Catalog()
        self.erasures = Erasures(self.catalog)
        self.follower = AffairsFollower(settings)
        self.follower.on_change(self._hear)
        self.affairs = self.follower.affairs
        self.disabled: list[tuple[Endpoint, str]] = []
        self.said: list[Affair] = []
        self.came: list[tuple[int, str, bytes]] = []
        self.answers: Callable[[str], int] = lambda _: 204
        self.url = ""
        self.desk: Desk
        self.client: Client
        self._offset = self._numbered = self._asked = 0
        self._producer: AIOKafkaProducer | None = None
        self.define(TenantPut(tenant="t", at_ms=1, timezone="UTC", currency="EUR", country="FR", salt="s"))

    def define(self, record: Definition) -> None:
        """Have the catalog fold a record, which must be accepted."""
        outcome = self.catalog.apply(self.catalog.offset, encode_definition(record))
        assert outcome.accepted, outcome

    def endpoint(self, endpoint_id: str = "e", **more: Any) -> None:
        """Make an endpoint at the receiver."""
        url = more.pop("url", f"{self.url}/{endpoint_id}")
        self.define(EndpointPut(tenant="t", at_ms=self.now_ms, endpoint_id=endpoint_id, replaces=0, url=url, secret=SECRET, **more))

    def found(self, endpoint_id: str = "e") -> Endpoint:
        """Return an endpoint as it is."""
        return self.catalog.endpoints["t"][endpoint_id]

    async def open(self) -> None:
        """Open the desk; what it does comes before this returns only as far as what it had to restore."""
        self.desk = Desk(0, around(
            self.catalog, self.erasures, settings=self.settings, affairs=self.affairs, client=self.client, now_ms=lambda: self.now_ms,
            draw=lambda: self.draw, disable=lambda endpoint, reason: self.disabled.append((endpoint, reason)), say=self.say,
        ))  # fmt: skip
        await self.desk.open()
        await self.follower.settled()
        self.desk.replay()
        await asyncio.sleep(0)  # what is closed before it has begun is complained of

    async def replay(
        self, from_ms: int, to_ms: int, *, ids: list[str] | None = None, endpoint_id: str = "e", definitions: int = 0, then_s: float = 4.0
    ) -> Replay:
        """Ask for a replay, as the API does, let some time pass in which what was decided is committed, and return what becomes of it."""
        self._asked += 1
        on_since_ms = 0 if definitions else self.found(endpoint_id).on_since_ms  # whoever knows more than we do may know another
        asked = ReplayAsked(
            "t", endpoint_id, f"rpl_{self._asked}", self.now_ms, from_ms, to_ms, ids, definitions, on_since_ms
        )  # fmt: skip
        await self._produce(self.settings.topics.affairs, b"", encode_affair(asked))
        await self.until(lambda: self.affairs.replay("t", endpoint_id, asked.replay_id) is not None)
        found = self.affairs.replay("t", endpoint_id, asked.replay_id)
        assert found is not None
        self.pass_s(then_s)
        return found

    async def publish(self, *customers: str, **more: Any) -> list[bytes]:
        """Write a transition of each customer on the topic, have the desk read them, and return them."""
        written = []
        for customer in customers:
            document = self.transition(customer, self._numbered, **more)
            self._numbered += 1
            offset = await self.write(document, customer)
            self.desk.read(offset, document)
            written.append(document)
        return written

    async def write(self, document: bytes, customer: str) -> int:
        """Write a transition on the topic, and return its offset."""
        return await self._produce(self.settings.topics.changes, record_key("t", customer), document)

    async def decide(self, *customers: str) -> list[bytes]:
        """Write a transition of each customer in one transaction, as segmenters do, have the desk read them, and return them."""
        producer = AIOKafkaProducer(bootstrap_servers=self.settings.kafka, transactional_id=f"{self.settings.topic_prefix}segmenter")
        documents = [self.transition(customer, self._numbered + number) for number, customer in enumerate(customers)]
        self._numbered += len(customers)
        async with producer, producer.transaction():
            sent = [
                await producer.send(self.settings.topics.changes, document, record_key("t", customer), 0, self.now_ms)
                for customer, document in zip(customers, documents, strict=True)
            ]
            places = await asyncio.gather(*sent)
        for place, document in zip(places, documents, strict=True):
            self.desk.read(place.offset, document)
        return documents

    async def _produce(self, topic: str, key: bytes, document: bytes) -> int:
        if self._producer is None:
            self._producer = AIOKafkaProducer(bootstrap_servers=self.settings.kafka, acks="all")
            await self._producer.start()
        place = await self._producer.send_and_wait(topic, document, key=key, partition=0, timestamp_ms=self.now_ms)
        return int(place.offset)

    def say(self, affair: Affair) -> None:
        """Tell everybody at once."""
        self.said.append(affair)
        self.affairs.apply(encode_affair(affair))

    def transition(self, customer: str, number: int, **more: Any) -> bytes:
        """Return a transition decided now."""
        at = iso(self.now_ms)
        usual = {
            "id": f"trn_{number:04d}",
            "tenant": "t",
            "customer_id": customer,
            "segment_id": "s",
            "change": "entered",
            "at": at,
            "decided_at": at,
        }
        return json.dumps(usual | {"seq": number, "cause": {"kind": "event"}} | more).encode()

    def announce(self, *customers: str) -> None:
        """Have the desk read a transition of each customer."""
        for customer in customers:
            self.desk.read(self._offset, self.transition(customer, self._offset))
            self._offset += 1

    def pass_s(self, seconds: float) -> None:
        """Let time pass, and let the desk look at it."""
        self.now_ms += int(seconds * 1000)
        self.desk._wake.set()

    async def settle(self) -> None:
        """Let the desk look at the clock, and begin what it finds due."""
        await self.until(lambda: not self.desk._wake.is_set())
        await asyncio.sleep(0)
        assert not self.desk._flying

    async def until(self, holds: Callable[[], bool], timeout_s: float = 20.0) -> None:
        """Wait for a condition."""
        async with asyncio.timeout(timeout_s):
            while not holds():
                await asyncio.sleep(0.01)

    async def recorded(self) -> None:
        """Wait until everything that is known has been written down, and nothing is under way."""

        def rests() -> bool:
            desk, queues = self.desk, self.desk._queues
            written = not desk._unwritten and len(desk._ledger.memory) == desk.pending and desk._written_to == desk.read_to
            return written and len(queues._turns) == len(queues._lanes)

        await self.until(rests)

    async def states(self) -> list[Delivery]:
        """Return the last record of each delivery, in the order in which they were written."""
        await self.recorded()
        found: dict[bytes, Delivery] = {}
        tp = TopicPartition(self.settings.topics.deliveries, 0)
        async with reading(self.settings, [tp]) as consumer:
            async for record in between(consumer, tp, 0, (await consumer.end_offsets([tp]))[tp]):
                if record.key != deliveries.PROGRESS:
                    found.pop(record.key, None)
                    found[record.key] = decode_delivery(record.value)
        return list(found.values())

    def _hear(self) -> None:
        self.desk.hear()

    async def _hook(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        self.came.append((self.now_ms, request.headers["webhook-id"], await request.read()))
        return web.Response(status=self.answers(name))


@asynccontextmanager
async def dispatching(kafka: str, *, draw: float = 0.5, **more: Any) -> AsyncIterator[Dispatching]:
    """Give a desk, open, and its receiver; the topics are its own."""
    usual: dict[str, Any] = {
        "webhook_allow": "127.0.0.1/32",
        "kafka": kafka,
        "topic_prefix": f"d{uuid.uuid4().hex[:8]}-",
        "partitions": 1,
        "dispatcher_record_every_ms": 5,
    }
    settings = DispatcherSettings.model_validate(usual | more)
    await ensure_topics(settings)
    scene = Dispatching(settings, draw)
    app = web.Application(client_max_size=10 << 20)
    app.router.add_post("/{name}", scene._hook)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    scene.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    async with Client(settings) as scene.client:
        await scene.follower.start()
        await scene.open()
        try:
            yield scene
        finally:
            await scene.desk.close()
            await scene.follower.stop()
            if scene._producer is not None:
                await scene._producer.stop()
            await runner.cleanup()
