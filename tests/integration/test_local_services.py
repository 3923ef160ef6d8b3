"""The real Kafka and the real Valkey of `make run` keep their data over a stop and over `kill -9`."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from deploy.local.broker import LocalBroker
from deploy.local.ports import HOST
from deploy.local.valkey import LocalValkey

TOPIC = "kept"
TIMEOUT_S = 30


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalBroker]:
    """Run a broker that these tests may kill."""
    with LocalBroker(tmp_path_factory.mktemp("broker")) as running:
        # Kept in a variable: the client gives up its requests when it is collected.
        admin = AdminClient({"bootstrap.servers": running.bootstrap})
        (created,) = admin.create_topics([NewTopic(TOPIC, 1, 1)]).values()
        created.result(TIMEOUT_S)
        yield running


def write(bootstrap: str, value: bytes) -> None:
    """Produce one record and wait until it is acknowledged."""
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all"})
    producer.produce(TOPIC, value)
    assert producer.flush(TIMEOUT_S) == 0


def read(bootstrap: str, count: int) -> list[bytes]:
    """Read that many records from the beginning, without a group's memory."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "reader", "enable.auto.commit": False})
    try:
        consumer.assign([TopicPartition(TOPIC, 0, 0)])
        records = consumer.consume(count, TIMEOUT_S)
        return [value for record in records if isinstance(value := record.value(), bytes)]
    finally:
        consumer.close()


def test_acknowledged_records_survive(broker: LocalBroker) -> None:
    """What was acknowledged is read after a `kill -9` and after an orderly restart, at the same address."""
    write(broker.bootstrap, b"one")
    broker.kill9()
    assert broker.pid is None
    broker.start()
    write(broker.bootstrap, b"two")
    broker.restart()
    assert read(broker.bootstrap, 2) == [b"one", b"two"]


def test_topics_are_not_created_by_naming_them(broker: LocalBroker) -> None:
    """A misspelt topic is an error and not a new topic."""
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    admin.list_topics("misspelt", timeout=TIMEOUT_S)
    assert "misspelt" not in admin.list_topics(timeout=TIMEOUT_S).topics


def ask(valkey: LocalValkey, *words: str) -> bytes:
    """Send one inline command."""
    with socket.create_connection((HOST, valkey.port), 5) as link:
        link.sendall(" ".join(words).encode() + b"\r\n")
        return link.recv(1_000)


def test_answered_writes_survive(tmp_path: Path) -> None:
    """A key that was set is there after a `kill -9` and after an orderly restart."""
    with LocalValkey(tmp_path / "with a space") as valkey:
        assert ask(valkey, "SET", "one", "1") == b"+OK\r\n"
        valkey.kill9()
        valkey.start()
        assert ask(valkey, "SET", "two", "2") == b"+OK\r\n"
        valkey.restart()
        assert ask(valkey, "MGET", "one", "two") == b"*2\r\n$1\r\n1\r\n$1\r\n2\r\n"


def test_the_session_fixtures_are_real(kafka: str, valkey_url: str) -> None:
    """The shared servers answer in their own protocols."""
    assert AdminClient({"bootstrap.servers": kafka}).list_topics(timeout=TIMEOUT_S).brokers
    assert valkey_url.startswith("redis://")
