"""The load: honest clients that send each batch again until it is accepted, over HTTP and straight to Kafka, at a steady rate.

What is accepted, by a 202 or by Kafka's acknowledgement, goes into the judge's book, and nothing else does.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import aiohttp

from schemas.partitions import partition_of, record_key
from schemas.positions import Offsets, decode_position, encode_position
from schemas.topics import Topics
from tests.chaos.sight import Sight
from tests.chaos.stream import Stream
from tests.chaos.town import Book
from tests.support.sending import sender
from tests.support.services import PARTITIONS, now_ms

Json = dict[str, Any]

_BATCH: Final = 25
_SENDERS: Final = 8
_STRAIGHT: Final = 0.1
"""The share of batches that goes straight to Kafka; every eighth record of those to a partition that is not its own."""

_AGAIN_S: Final = 0.2
_POISON: Final = (b"{", b"\xff\xfe", b'{"type":"checkout","tenant":"nobody","event_id":"x","customer_id":"c1","occurred_at":"2026-01-01T00:00:00Z"}')


class Load:
    """Runs in a thread of its own between `start` and `stop`; `pause` returns when nothing is on its way."""

    def __init__(self, ingest: str, bootstrap: str, topics: Topics, keys: dict[str, str], book: Book, sight: Sight, *, per_s: int, seed: int) -> None:
        self._url, self._topics, self._keys, self._book, self._sight = f"{ingest}/v1/events", topics, keys, book, sight
        self.per_s = per_s
        self._stream = Stream(seed)
        self._going, self._stopping = threading.Event(), threading.Event()
        self._batches: deque[tuple[str, list[Json]]] = deque()
        self._open = 0
        self._producer = sender(bootstrap, linger_ms=2, message_timeout_ms=300_000, log_level=0)
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True, name="load")
        self._offsets: dict[str, Offsets] = {tenant: {} for tenant in keys}
        self._lock = threading.Lock()
        self.ahead_ms = 0
        self.poison = 0
        self.sent: Counter[str] = Counter()
        """Documents accepted, by the way they went."""
        self.busy_s = 0.0
        """How long the load was not paused."""
        self.failed: BaseException | None = None

    def start(self) -> None:
        """Begin."""
        self._going.set()
        self._thread.start()

    def pause(self, timeout_s: float = 120.0) -> None:
        """Stop beginning batches and wait until those that were begun are accepted."""
        self._going.clear()
        until = time.monotonic() + timeout_s
        while self._producer.flush(0.5) or self._open:
            if self.failed is not None:
                raise self.failed
            if time.monotonic() > until:
                raise TimeoutError(f"{self._open} batches were not accepted within {timeout_s:.0f} s after the fault")
            time.sleep(0.01)

    def resume(self) -> None:
        """Go on."""
        self._going.set()

    def stop(self) -> None:
        """End for good."""
        self._stopping.set()
        self._going.set()
        if self._thread.is_alive():
            self._thread.join(30)

    @property
    def going(self) -> bool:
        """Whether the load is not paused."""
        return self._going.is_set()

    def rate(self) -> float:
        """Return the events a second that were accepted while the load was not paused."""
        return (self.sent["http"] + self.sent["kafka"]) / max(self.busy_s, 1e-3)

    def position(self, tenant: str) -> str:
        """Return the position behind everything that was accepted of a tenant."""
        with self._lock:
            return encode_position(self._offsets[tenant])

    def accepted(self, tenant: str, documents: list[Json], offsets: Offsets, way: str) -> None:
        """Write down what was accepted, and how far it reaches."""
        with self._lock:
            for topic, places in offsets.items():
                mine = self._offsets[tenant].setdefault(topic, {})
                for partition, offset in places.items():
                    mine[partition] = max(offset, mine.get(partition, 0))
            self.sent[way] += len(documents)
        self._book.take(tenant, documents)

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """Have `pause` wait for what somebody else sends meanwhile."""
        self._opened(1)
        try:
            yield
        finally:
            self._opened(-1)

    def _opened(self, batches: int) -> None:
        # Kafka's acknowledgements are told to whichever thread asks for them.
        with self._lock:
            self._open += batches

    # ---- the thread

    async def _run(self) -> None:
        try:
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=12, sock_connect=2)) as session:
                await asyncio.gather(self._pace(), *(self._sender(session) for _ in range(_SENDERS)))
        except Exception as error:  # noqa: BLE001 - told to whoever waits for the load
            self.failed = error

    async def _pace(self) -> None:
        """Make documents as fast as they are wanted, and no further ahead than the senders can follow."""
        made, since = 0, time.monotonic()
        while not self._stopping.is_set():
            if not self._going.is_set():
                paused = time.monotonic()
                await asyncio.to_thread(self._going.wait)
                since += time.monotonic() - paused
                continue
            self.busy_s = time.monotonic() - since
            due = self.busy_s * self.per_s
            while made < due and len(self._batches) < 4 * _SENDERS:
                self._make()
                made += _BATCH
            # What could not be sent while somebody was down is made up for, of ten seconds at most.
            made = max(made, int(due) - 10 * self.per_s)
            self._producer.poll(0)
            await asyncio.sleep(0.005)

    def _make(self) -> None:
        batches: dict[str, list[Json]] = {}
        for _ in range(_BATCH):
            tenant, document = self._stream.next(now_ms() + self.ahead_ms)
            batches.setdefault(tenant, []).append(document)
        for tenant, documents in batches.items():
            self._opened(1)
            if self._stream.chance(_STRAIGHT):
                self._straight(tenant, documents)
            else:
                self._batches.append((tenant, documents))

    async def _sender(self, session: aiohttp.ClientSession) -> None:
        while not self._stopping.is_set():
            if not self._batches:
                await asyncio.sleep(0.005)
                continue
            tenant, documents = self._batches.popleft()
            body = "\n".join(map(json.dumps, documents)).encode()
            while not (position := await self._posted(session, tenant, body)):
                await asyncio.sleep(_AGAIN_S)
            self.accepted(tenant, documents, decode_position(position, partitions=PARTITIONS), "http")
            self._opened(-1)

    async def _posted(self, session: aiohttp.ClientSession, tenant: str, body: bytes) -> str:
        """Post once; return the position when all was accepted, nothing when it must be sent again."""
        headers = {"Authorization": f"Bearer {self._keys[tenant]}", "Content-Type": "application/x-ndjson"}
        try:
            async with session.post(self._url, data=body, headers=headers) as response:
                self._sight.saw("tills", response.status)
                if response.status != 202:
                    if response.status < 500 and response.status != 429:
                        raise AssertionError(f"an honest batch was refused: {response.status} {await response.text()}")
                    return ""
                answer = await response.json()
        except TimeoutError:
            self._sight.saw("tills", "timeout")
            return ""
        except (aiohttp.ClientError, OSError):
            self._sight.saw("tills", "no connection")
            return ""
        if answer["rejected"]:
            raise AssertionError(f"honest events were refused: {answer['results'][:3]}")
        return str(answer["position"])

    # ---- straight to Kafka

    def _straight(self, tenant: str, documents: list[Json]) -> None:
        left = [len(documents)]
        for number, document in enumerate(documents):
            topic = self._topics.family(document["type"])
            key = record_key(tenant, document["customer_id"]) if "customer_id" in document else None
            partition = partition_of(key or b"", PARTITIONS)
            value = json.dumps(document | {"tenant": tenant}).encode()
            self._produce(topic, value, key, (partition + (number % 8 == 7)) % PARTITIONS, (tenant, document, left))
        if self._stream.chance(0.2):
            self.poison += 1
            self._producer.produce(self._topics.family("checkout"), _POISON[self.poison % len(_POISON)], partition=self.poison % PARTITIONS)

    def _produce(self, topic: str, value: bytes, key: bytes | None, partition: int, about: tuple[str, Json, list[int]]) -> None:
        tenant, document, left = about

        def told(error: Any, message: Any) -> None:
            if error is not None:
                self._produce(topic, value, key, partition, about)
                return
            self.accepted(tenant, [document], {topic: {partition: message.offset() + 1}}, "kafka")
            left[0] -= 1
            if not left[0]:
                self._opened(-1)

        self._producer.produce(topic, value, key=key, partition=partition, on_delivery=told)
