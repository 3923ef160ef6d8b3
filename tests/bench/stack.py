"""What a benchmark runs on: a real Kafka and Valkey in a folder of its own, and the services as processes."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer

from deploy.local.broker import LocalBroker
from deploy.local.ports import free_port
from deploy.local.valkey import LocalValkey
from schemas.definitions import SCOPES, EndpointPut, KeyPut, SegmentPut, TenantPut, encode_definition
from schemas.topics import Topics
from services.kit.kafka import ensure_topics
from services.kit.settings import CommonSettings
from tests.bench.load import TENANT, now_ms

PARTITIONS = 6
KEY = "rk_bench_0123456789abcdef0123456789abcdef"
SECRET = "whsec_" + base64.b64encode(b"a secret of thirty-two bytes ...").decode()


class Stack:
    """A broker, a Valkey, and the processes started on them. `prefix` keeps one run's topics apart from another's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.broker = LocalBroker(folder / "kafka")
        self.valkey = LocalValkey(folder / "valkey")
        self.prefix = ""
        self.ports: dict[str, int] = {}
        self._processes: list[subprocess.Popen[bytes]] = []

    @property
    def topics(self) -> Topics:
        """The topics of this run."""
        return Topics(self.prefix)

    def settings(self) -> CommonSettings:
        """The settings that every process shares."""
        return CommonSettings(kafka=self.broker.bootstrap, redis_url=self.valkey.url, topic_prefix=self.prefix, partitions=PARTITIONS)

    def fresh(self, prefix: str) -> None:
        """Begin a run with topics and keys of its own."""
        self.prefix = prefix
        asyncio.run(ensure_topics(self.settings()))

    def environment(self) -> dict[str, str]:
        """The environment of a process of this run."""
        return os.environ | {
            "ROLLCALL_KAFKA": self.broker.bootstrap,
            "ROLLCALL_REDIS_URL": self.valkey.url,
            "ROLLCALL_REDIS_PREFIX": self.prefix,
            "ROLLCALL_TOPIC_PREFIX": self.prefix,
            "ROLLCALL_PARTITIONS": str(PARTITIONS),
            "ROLLCALL_DATA_DIR": str(self.folder / "data"),
            "ROLLCALL_LOG_LEVEL": "WARNING",
            "ROLLCALL_WEBHOOK_ALLOW": "127.0.0.1/32",
            "BENCH_RUN": self.prefix.strip("-") or "run",
        }

    def start(self, name: str, *module: str) -> None:
        """Start `python -m module…` as a service and wait until it is ready."""
        port = self.ports[name] = free_port(set(self.ports.values()))
        environment = self.environment() | {f"ROLLCALL_{name.upper()}_HOST": "127.0.0.1", f"ROLLCALL_{name.upper()}_PORT": str(port)}
        with (self.folder / f"{self.prefix}{name}.log").open("ab") as log:
            self._processes.append(subprocess.Popen((sys.executable, "-m", *module), env=environment, stdout=log, stderr=log))
        wait_for(lambda: self.get(name, "/readyz") is not None, what=f"{name} to be ready")

    def get(self, name: str, path: str) -> Any:
        """Return the JSON that a service answers with 200, None otherwise."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[name]}{path}", timeout=5) as answer:
                return json.load(answer)
        except (OSError, ValueError):
            return None

    def stop_services(self) -> None:
        """End the processes of this run."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
        self._processes.clear()
        self.ports.clear()

    def define(self, segments: Iterable[dict[str, Any]], *, webhook: str | None = None) -> None:
        """Write the tenant, a key, segments and perhaps an endpoint straight into the definitions."""
        at_ms = now_ms()
        digest = hashlib.sha256(KEY.encode()).hexdigest()
        records: list[Any] = [
            TenantPut(tenant=TENANT, at_ms=at_ms, timezone="America/New_York", currency="USD", country="US"),
            KeyPut(tenant=TENANT, at_ms=at_ms, key_id="bench", name="bench", scopes=list(SCOPES), sha256=digest),
            *(
                SegmentPut(tenant=TENANT, at_ms=at_ms, segment_id=segment["id"], replaces=0, name=segment["id"], rule=segment.get("rule"))
                for segment in segments
            ),
        ]
        if webhook is not None:
            records.append(EndpointPut(tenant=TENANT, at_ms=at_ms, endpoint_id="ep_bench", replaces=0, url=webhook, secret=SECRET))
        asyncio.run(self._produce(encode_definition(record) for record in records))

    async def _produce(self, documents: Iterable[bytes]) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=self.broker.bootstrap, acks="all", enable_idempotence=True)
        await producer.start()
        try:
            for document in documents:
                await producer.send_and_wait(self.topics.definitions, document, partition=0)
        finally:
            await producer.stop()


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Stack]:
    """A stack with its servers up, and everything down afterwards."""
    stack = Stack(folder)
    with stack.broker, stack.valkey:
        try:
            yield stack
        finally:
            stack.stop_services()


def wait_for(condition: Any, *, what: str, timeout_s: float = 120.0, every_s: float = 0.05) -> None:
    """Wait until a condition holds, or raise with what was waited for."""
    give_up_s = time.perf_counter() + timeout_s
    while not condition():
        if time.perf_counter() > give_up_s:
            raise TimeoutError(f"waited {timeout_s:.0f} s for {what}")
        time.sleep(every_s)
