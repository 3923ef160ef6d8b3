"""An ingest process for tests: with small limits, topics of its own, and keys written straight to the definitions topic."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from deploy.local.ports import free_port
from schemas.definitions import Definition, KeyPut, KeyRevoked, Scope, TenantPut, encode_definition
from schemas.examples import EVENTS
from schemas.topics import Topics
from tests.support.sending import sender
from tests.support.waiting import wait_until

PARTITIONS = 4
MAX_BODY = 1 << 20
MAX_EVENTS = 200
BURST = 2_000
ACK_TIMEOUT_S = 2.0
VISIT = EVENTS["visit"]


@dataclass
class Ingest:
    """A running ingest process, its installation's topics, and the keys written for it."""

    url: str
    topics: Topics
    bootstrap: str
    process: subprocess.Popen[bytes]
    log: Path

    def post(self, content: bytes | str | list[Any] | dict[str, Any], key: str = "writer", **headers: str) -> httpx.Response:
        """Post a body under a key; what is not bytes is sent as JSON."""
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        sent = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"} | {name.replace("_", "-"): v for name, v in headers.items()}
        return httpx.post(f"{self.url}/v1/events", content=body, headers=sent, timeout=30)

    def get(self, path: str) -> httpx.Response:
        """Get a page."""
        return httpx.get(self.url + path, timeout=30)

    def define(self, *records: Definition) -> None:
        """Write definitions as the API does: to the topic."""
        producer = sender(self.bootstrap)
        for record in records:
            producer.produce(self.topics.definitions, encode_definition(record), partition=0)
        assert producer.flush(20) == 0

    def records(self, topic: str) -> dict[int, list[tuple[bytes | None, dict[str, Any]]]]:
        """Return all records of a topic by partition: key and document, the index being the offset."""
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": "none", "enable.auto.commit": False})
        found: dict[int, list[tuple[bytes | None, dict[str, Any]]]] = {p: [] for p in range(PARTITIONS)}
        ends: dict[int, int] = {}

        def led() -> bool:
            """A broker that has just come back takes records of some partitions before it leads the others."""
            try:
                ends.update({p: consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=20)[1] for p in found})
            except KafkaException as error:
                if error.args[0].code() != KafkaError.NOT_LEADER_FOR_PARTITION:
                    raise
            return len(ends) == len(found)

        wait_until(led, 20)
        consumer.assign([TopicPartition(topic, p, 0) for p in found])
        while any(len(found[p]) < end for p, end in ends.items()):
            message: Any = consumer.poll(20)
            assert message is not None, "a record that Kafka counts cannot be read"
            assert message.error() is None
            assert message.offset() == len(found[message.partition()])
            found[message.partition()].append((message.key(), json.loads(message.value())))
        consumer.close()
        return found


def tenant(name: str, currency: str = "EUR") -> TenantPut:
    """Return the record of a tenant."""
    return TenantPut(tenant=name, at_ms=1, timezone="Europe/Paris", currency=currency, country="FR")


def key(secret: str, *scopes: Scope, of: str = "demo") -> KeyPut:
    """Return the record of an API key."""
    return KeyPut(tenant=of, at_ms=1, key_id=f"id-{secret}", name=secret, scopes=list(scopes), sha256=hashlib.sha256(secret.encode()).hexdigest())


def ready(ingest: Ingest) -> bool:
    """Whether the process answers that it can take events."""
    assert ingest.process.poll() is None, ingest.log.read_text()
    try:
        return ingest.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


@contextmanager
def running(bootstrap: str, folder: Path, **more: object) -> Iterator[Ingest]:
    """Run an ingest process with small limits and topics of its own. `more`: settings besides, by the ends of their names."""
    prefix, port, log = f"t{uuid.uuid4().hex[:8]}-", free_port(), folder / "ingest.log"
    settings = {
        "KAFKA": bootstrap,
        "TOPIC_PREFIX": prefix,
        "PARTITIONS": PARTITIONS,
        "INGEST_PORT": port,
        "INGEST_MAX_BODY_BYTES": MAX_BODY,
        "INGEST_MAX_EVENTS": MAX_EVENTS,
        "INGEST_ACK_TIMEOUT_S": ACK_TIMEOUT_S,
        "INGEST_BODY_TIMEOUT_S": 1,
        "INGEST_EVENTS_PER_S": 50,
        "INGEST_BURST_EVENTS": BURST,
        **more,
    }
    environment = os.environ | {f"ROLLCALL_{name}": str(value) for name, value in settings.items()}
    with log.open("wb") as output:
        process = subprocess.Popen([sys.executable, "-m", "services.ingest"], env=environment, stdout=output, stderr=output)
    ingest = Ingest(f"http://127.0.0.1:{port}", Topics(prefix), bootstrap, process, log)
    try:
        wait_until(lambda: ready(ingest), 60)
        ingest.define(
            tenant("demo"),
            tenant("tokyo", "JPY"),
            key("writer", "events:write"),
            key("reader", "segments:read"),
            key("revoked", "events:write"),
            KeyRevoked(tenant="demo", at_ms=2, key_id="id-revoked"),
            key("flood", "events:write"),
            key("yen", "events:write", of="tokyo"),
        )
        wait_until(lambda: ingest.post(VISIT, "yen").status_code == 202, 60)
        yield ingest
    finally:
        process.terminate()
        try:
            assert process.wait(20) == 0, log.read_text()
        finally:
            process.kill()
