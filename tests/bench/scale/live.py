"""Live traffic beside something large: each event the first of a new customer, so that it publishes a transition, and how long that took."""

from __future__ import annotations

import gc
import json
import threading
import time
from typing import Any, Final, NamedTuple, Self

from confluent_kafka import Consumer, Message, Producer

from schemas.instants import iso
from schemas.partitions import partition_of, record_key
from tests.support.services import PARTITIONS, TENANT, Stack, now_ms

_RATE: Final = 200


class Change(NamedTuple):
    """A published transition, and when it was read."""

    at_s: float
    value: bytes


class Live:
    """Posts to Kafka and reads transitions, each in a thread, from `with` to its end. `changes` has all transitions that were read."""

    def __init__(self, stack: Stack, label: str) -> None:
        self._stack, self._label = stack, label
        self._posted: dict[str, float] = {}
        self._arrived: dict[str, float] = {}
        self._stopping = threading.Event()
        self._reading = threading.Event()
        self._threads = [threading.Thread(target=target, daemon=True) for target in (self._read, self._post)]
        self.changes: list[Change] = []

    def __enter__(self) -> Self:
        self._threads[0].start()
        if not self._reading.wait(30):
            raise TimeoutError("the topic of transitions cannot be read")
        self._threads[1].start()
        # A collection walks over all that was read, and a transition that comes meanwhile would be read late: a third of a second of a million.
        gc.disable()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        gc.enable()

    def delays_ms(self, from_s: float, to_s: float) -> list[float]:
        """Return how long the transitions of events posted between two instants of the performance counter took, in order of length.

        Those that have not arrived count as of now.
        """
        now_s = time.perf_counter()
        posted = [(customer, due_s) for customer, due_s in list(self._posted.items()) if from_s <= due_s <= to_s]
        return sorted(1000 * (self._arrived.get(customer, now_s) - due_s) for customer, due_s in posted)

    def _post(self) -> None:
        producer = Producer({"bootstrap.servers": self._stack.bootstrap, "linger.ms": 0, "acks": "all"})
        topic, number, start_s = self._stack.topics.family("checkout"), 0, time.perf_counter()
        while not self._stopping.is_set():
            due_s = start_s + number / _RATE
            if (rest_s := due_s - time.perf_counter()) > 0:
                time.sleep(rest_s)
            customer = f"live-{self._label}-{number}"
            event = {
                "type": "checkout",
                "event_id": customer,
                "tenant": TENANT,
                "customer_id": customer,
                "occurred_at": iso(now_ms()),
                "total": "12.50",
            }
            key = record_key(TENANT, customer)
            self._posted[customer] = due_s
            producer.produce(topic, json.dumps(event).encode(), key=key, partition=partition_of(key, PARTITIONS))
            producer.poll(0)
            number += 1
        producer.flush(10)

    def _read(self) -> None:
        options = {"bootstrap.servers": self._stack.bootstrap, "group.id": f"bench-{self._label}", "isolation.level": "read_committed"}
        consumer = Consumer(options | {"auto.offset.reset": "latest", "fetch.wait.max.ms": 10, "enable.auto.commit": False})
        consumer.subscribe([self._stack.topics.changes], on_assign=lambda *_: self._reading.set())
        while not self._stopping.is_set():
            # Asked for many it waits until they are there; asked for one it has the others ready.
            first = consumer.poll(0.02)
            for message in [] if first is None else [first, *consumer.consume(1000, 0)]:
                self._take(message)
        consumer.close()

    def _take(self, message: Message) -> None:
        value: Any = message.value()
        if message.error() is not None or value is None:
            return
        now_s = time.perf_counter()
        self.changes.append(Change(now_s, value))
        customer = (message.key() or b"").rpartition(b":")[2].decode()
        if customer in self._posted:
            self._arrived.setdefault(customer, now_s)


def p99(delays: list[float]) -> float:
    """Return the 99th percentile of delays in order."""
    return delays[int(len(delays) * 0.99)] if delays else 0.0
