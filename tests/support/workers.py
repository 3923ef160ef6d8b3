"""Segmenters as processes of their own, a load on their inputs, and what a reader of whole steps finds afterwards."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from deploy.local.ports import free_port
from schemas.partitions import partition_of
from schemas.topics import Topics
from services.kit.kafka import ensure_topics
from services.segmenter.settings import SegmenterSettings
from tests.support.sending import sender

PARTITIONS = 6
SESSION_S = 6.0
"""The shortest session that a broker allows; a worker stopped for longer loses its partitions."""

_TENANTS = (b"demo", b"demo", b"acme", b"zoo")
ROOT = Path(__file__).parents[2]


class Workers:
    """Counting segmenters over topics of their own (`prefix`)."""

    def __init__(self, kafka: str, redis_url: str, prefix: str, folder: Path) -> None:
        self.kafka, self.prefix, self.folder = kafka, prefix, folder
        self.topics = Topics(prefix)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.ports: dict[str, int] = {}
        self._started = 0
        self.environ = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "ROLLCALL_KAFKA": kafka,
            "ROLLCALL_REDIS_URL": redis_url,
            "ROLLCALL_REDIS_PREFIX": prefix,
            "ROLLCALL_TOPIC_PREFIX": prefix,
            "ROLLCALL_PARTITIONS": str(PARTITIONS),
            "ROLLCALL_SEGMENTER_SESSION_TIMEOUT_S": str(SESSION_S),
            "ROLLCALL_SEGMENTER_REBALANCE_TIMEOUT_S": "12",
        }

    def settings(self) -> SegmenterSettings:
        """Return the settings of the workers."""
        return SegmenterSettings.model_validate({"kafka": self.kafka, "topic_prefix": self.prefix, "partitions": PARTITIONS})

    def create_topics(self) -> None:
        """Create the topics before anything is sent to them."""
        asyncio.run(ensure_topics(self.settings()))

    def start(self) -> str:
        """Start one more worker and return its name."""
        self._started += 1
        name = f"w{self._started}"
        self.ports[name] = free_port()
        data = self.folder / name
        environ = {**self.environ, "ROLLCALL_SEGMENTER_PORT": str(self.ports[name]), "ROLLCALL_DATA_DIR": str(data)}
        log = (self.folder / f"{name}.log").open("wb")
        self.processes[name] = subprocess.Popen(
            [sys.executable, "-m", "tests.support.counting"], env=environ, cwd=self.folder, stdout=log, stderr=log
        )
        log.close()
        return name

    @property
    def alive(self) -> list[str]:
        """The names of the workers that run."""
        return [name for name, process in self.processes.items() if process.poll() is None]

    def signal(self, name: str, signum: signal.Signals) -> None:
        """Send a signal to a worker."""
        self.processes[name].send_signal(signum)

    def wait(self, name: str, timeout_s: float = 60.0) -> int:
        """Wait until a worker has ended and return its exit status."""
        return self.processes[name].wait(timeout_s)

    def get(self, name: str, path: str) -> tuple[int, dict[str, Any]]:
        """Ask a worker; status 0 when it does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[name]}{path}", timeout=2) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)
        except (OSError, ValueError):
            return 0, {}

    def ready(self, name: str) -> bool:
        """Whether a worker says that it is ready."""
        return self.get(name, "/readyz")[0] == 200

    def owned(self) -> list[int]:
        """The partitions that the workers say they have restored, all together."""
        return sorted(number for name in self.alive for number in self.get(name, "/readyz")[1].get("restored", []))

    def log(self, name: str) -> str:
        """Return what a worker has written."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def stop(self) -> None:
        """End all workers."""
        for name in self.alive:
            self.signal(name, signal.SIGCONT)
            self.signal(name, signal.SIGTERM)
        for process in self.processes.values():
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class Load:
    """Sends records of many keys to several topics at a steady rate, from a thread of its own, and knows what it sent."""

    def __init__(self, workers: Workers, *, per_s: float, keys: int, seed: int) -> None:
        self._random = random.Random(seed)
        self._per_s, self._keys = per_s, keys
        self._topics = [workers.topics.events[i] for i in (0, 1, 3)]
        self._producer = sender(workers.kafka, linger_ms=2)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.sent: Counter[bytes] = Counter()
        self.refused: list[str] = []

    def send(self, count: int, value: bytes = b"x") -> None:
        """Send `count` records at once."""
        for _ in range(count):
            self._one(value)
        self._ended()

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def stop(self) -> None:
        """Stop sending and wait for the acknowledgements."""
        self._stop.set()
        self._thread.join()
        self._ended()

    def _ended(self) -> None:
        assert self._producer.flush(60) == 0
        assert not self.refused, self.refused

    def _run(self) -> None:
        start, count = time.monotonic(), 0
        while not self._stop.is_set():
            while count < (time.monotonic() - start) * self._per_s:
                self._one(b"x")
                count += 1
            self._producer.poll(0)
            self._stop.wait(0.005)

    def _one(self, value: bytes) -> None:
        number = self._random.randrange(self._keys)
        key = b"%s:%d" % (_TENANTS[number % len(_TENANTS)], number)
        self._producer.produce(self._random.choice(self._topics), value, key=key, partition=partition_of(key, PARTITIONS), on_delivery=self._told)

    def _told(self, error: KafkaError | None, message: Message) -> None:
        if error is not None or message.offset() is None:
            self.refused.append(str(error or "acknowledged without an offset"))
        else:
            self.sent[message.key() or b""] += 1


def read_all(kafka: str, topic: str, isolation: str = "read_committed", partitions: int = PARTITIONS) -> list[tuple[int, bytes, bytes | None, int]]:
    """Return partition, key, value and Kafka timestamp of every record of a topic, in the order of each partition.

    Up to where it ends for readers of everything: a transaction is acknowledged a moment before its marker lets others see it.
    """
    consumer = Consumer(
        {
            "bootstrap.servers": kafka,
            "group.id": "reader-of-tests",
            "isolation.level": isolation,
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
        }
    )
    places = [TopicPartition(topic, number, 0) for number in range(partitions)]
    ends = _ends(kafka, places)
    consumer.assign(places)
    found: list[tuple[int, bytes, bytes | None, int]] = []
    ended: set[int] = set()
    until = time.monotonic() + 60
    while len(ended) < partitions:
        assert time.monotonic() < until, f"{topic} was not read to its end"
        for message in consumer.consume(5_000, 0.2):
            number = message.partition() or 0
            if message.error() is None:
                found.append((number, message.key() or b"", message.value(), message.timestamp()[1]))
            elif (message.offset() or 0) >= ends[number]:
                ended.add(number)
    consumer.close()
    return found


def _ends(kafka: str, places: list[TopicPartition]) -> dict[int, int]:
    """Return where partitions end, transactions under way included."""
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": "reader-of-tests", "isolation.level": "read_uncommitted"})
    found = {place.partition: consumer.get_watermark_offsets(place, timeout=20)[1] for place in places}
    consumer.close()
    return found


def verdict(workers: Workers, sent: Counter[bytes]) -> dict[str, int]:
    """Compare what was sent with rows and changes; every number that is returned must be 0 but `records`."""
    counts: Counter[bytes] = Counter()
    out_of_sequence = 0
    for _, key, value, _ in read_all(workers.kafka, workers.topics.changes):
        number = int(value or b"0")
        out_of_sequence += number != counts[key] + 1
        counts[key] = number
    rows: dict[bytes, int] = {}
    backwards = 0
    for _, key, value, _ in read_all(workers.kafka, workers.topics.rows):
        if key[:1] == b"r":
            number = msgspec.msgpack.decode(value or b"")[0]
            backwards += number < rows.get(key[1:], 0)
            rows[key[1:]] = number
    return {
        "records": sum(sent.values()),
        "changes_lost_or_repeated": sum(abs(counts[key] - number) for key, number in sent.items()),
        "changes_out_of_sequence": out_of_sequence,
        "rows_wrong": sum(rows.get(key, 0) != number for key, number in sent.items()),
        "rows_backwards": backwards,
        "unknown_keys": len((counts.keys() | rows.keys()) - sent.keys()),
    }


def caught_up(workers: Workers, total: int) -> bool:
    """Whether the workers together own every partition and have counted `total` records."""
    answers = [workers.get(name, "/outcomes")[1] for name in workers.alive]
    numbers = sorted(number for answer in answers for number in answer.get("partitions", []))
    return numbers == list(range(PARTITIONS)) and sum(answer.get("total", {}).get("applied", 0) for answer in answers) == total
