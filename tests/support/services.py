"""The services as processes, on a real Kafka and Valkey: what end-to-end tests and benchmarks run on."""

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
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer

from deploy.local.broker import LocalBroker
from deploy.local.ports import free_port
from deploy.local.valkey import LocalValkey
from schemas.definitions import SCOPES, Definition, EndpointPut, KeyPut, SegmentPut, TenantPut, encode_definition
from schemas.topics import Topics
from services.kit.kafka import ensure_topics
from services.kit.settings import CommonSettings

PARTITIONS = 4
SESSION_S = 6
"""The shortest session that a broker allows: after a `kill -9` the next worker waits until it has passed."""
TENANT = "bench"
KEY = "rk_bench_0123456789abcdef0123456789abcdef"
KEY_DIGEST = hashlib.sha256(KEY.encode()).hexdigest()
SECRET = "whsec_" + base64.b64encode(b"a secret of thirty-two bytes ...").decode()


def now_ms() -> int:
    """Return the wall clock."""
    return time.time_ns() // 1_000_000


class Stack:
    """Processes on a Kafka and a Valkey. `prefix` keeps one run's topics and keys apart from another's."""

    def __init__(self, folder: Path, bootstrap: str, redis_url: str) -> None:
        self.folder = folder
        self.bootstrap = bootstrap
        self.redis_url = redis_url
        self.prefix = ""
        self.ports: dict[str, int] = {}
        self.extra: dict[str, str] = {}
        self.own: dict[str, dict[str, str]] = {}
        """What the environment of one kind of service has besides."""
        self.root: Path | None = None
        """The folder with the sources that the services run from; None: this one."""
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def topics(self) -> Topics:
        """The topics of this run."""
        return Topics(self.prefix)

    def settings(self) -> CommonSettings:
        """The settings that every process shares."""
        return CommonSettings(kafka=self.bootstrap, redis_url=self.redis_url, topic_prefix=self.prefix, partitions=PARTITIONS)

    def fresh(self, prefix: str) -> None:
        """Begin a run with topics and keys of its own."""
        self.prefix = prefix
        asyncio.run(ensure_topics(self.settings()))

    def environment(self) -> dict[str, str]:
        """The environment of a process of this run."""
        return os.environ | {
            "ROLLCALL_KAFKA": self.bootstrap,
            "ROLLCALL_REDIS_URL": self.redis_url,
            "ROLLCALL_REDIS_PREFIX": self.prefix,
            "ROLLCALL_TOPIC_PREFIX": self.prefix,
            "ROLLCALL_PARTITIONS": str(PARTITIONS),
            "ROLLCALL_LOG_LEVEL": "WARNING",
            "ROLLCALL_WEBHOOK_ALLOW": "127.0.0.1/32",
            "ROLLCALL_SEGMENTER_SESSION_TIMEOUT_S": str(SESSION_S),
            "BENCH_RUN": self.prefix.strip("-") or "run",
            **({} if self.root is None else {"PYTHONPATH": str(self.root)}),
            **self.extra,
        }

    def start(self, name: str, *module: str, wait: bool = True) -> None:
        """Start `python -m module…` as a service, on the port it had before, and wait until it is ready unless told not to.

        A number after a service's name tells several of one kind apart.
        """
        service = name.rstrip("0123456789").upper()
        port = self.ports.setdefault(name, free_port(set(self.ports.values())))
        environment = self.environment() | {
            f"ROLLCALL_{service}_HOST": "127.0.0.1",
            f"ROLLCALL_{service}_PORT": str(port),
            "ROLLCALL_DATA_DIR": str(self.folder / f"data-{name}"),
            **self.own.get(service.lower(), {}),
        }
        with self.log(name).open("ab") as log:
            self._processes[name] = subprocess.Popen((sys.executable, "-m", *module), env=environment, stdout=log, stderr=log, cwd=self.root)
        if wait:
            wait_for(lambda: self.get(name, "/readyz") is not None, what=f"{name} to be ready")

    def start_all(self, services: Mapping[str, tuple[str, ...]]) -> None:
        """Start services side by side, most of which is reading modules, and wait until all are ready."""
        for name, module in services.items():
            self.start(name, *module, wait=False)
        for name in services:
            wait_for(lambda name=name: self.get(name, "/readyz") is not None, what=f"{name} to be ready")

    def get(self, name: str, path: str, *, whatever: bool = False) -> Any:
        """Return the JSON that a service answers with 200, or `whatever` the status is; None otherwise."""
        try:
            try:
                answer = urllib.request.urlopen(f"http://127.0.0.1:{self.ports[name]}{path}", timeout=5)
            except urllib.error.HTTPError as error:
                if not whatever:
                    return None
                answer = error
            with answer:
                return json.load(answer)
        except (OSError, ValueError):
            return None

    def end(self, name: str, *, gently: bool) -> None:
        """End one process, gently or with `kill -9`."""
        process = self._processes.pop(name)
        (process.terminate if gently else process.kill)()
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()
            raise

    def pid(self, name: str) -> int:
        """Return the process of a service."""
        return self._processes[name].pid

    def ended(self, name: str) -> str | None:
        """Say how a process has ended by itself, None while it runs."""
        code = self._processes[name].poll()
        return None if code is None else f"killed by signal {-code}" if code < 0 else f"exit code {code}"

    def log(self, name: str) -> Path:
        """Return where a service writes."""
        return self.folder / f"{self.prefix}{name}.log"

    def command(self, *module: str) -> str:
        """Run `python -m module…` to its end and return what it printed."""
        done = subprocess.run((sys.executable, "-m", *module), env=self.environment(), capture_output=True, text=True, timeout=60, check=True)
        return done.stdout.strip()

    def stop_services(self) -> None:
        """End the processes of this run."""
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
        self._processes.clear()
        self.ports.clear()

    def define(self, segments: Iterable[dict[str, Any]], *, webhook: str | None = None) -> None:
        """Write the tenant, a key, segments and perhaps an endpoint straight into the definitions."""
        at_ms = now_ms()
        records: list[Definition] = [
            TenantPut(tenant=TENANT, at_ms=at_ms, timezone="America/New_York", currency="USD", country="US"),
            KeyPut(tenant=TENANT, at_ms=at_ms, key_id="bench", name="bench", scopes=list(SCOPES), sha256=KEY_DIGEST),
            *(
                SegmentPut(tenant=TENANT, at_ms=at_ms, segment_id=segment["id"], replaces=0, name=segment["id"], rule=segment.get("rule"))
                for segment in segments
            ),
        ]
        if webhook is not None:
            records.append(EndpointPut(tenant=TENANT, at_ms=at_ms, endpoint_id="ep_bench", replaces=0, url=webhook, secret=SECRET))
        self.write(records)

    def write(self, records: Iterable[Definition]) -> None:
        """Write definitions past the API; they are in force once each process has read them."""
        asyncio.run(self._produce(encode_definition(record) for record in records))

    async def _produce(self, documents: Iterable[bytes]) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=self.bootstrap, acks="all", enable_idempotence=True)
        await producer.start()
        try:
            for document in documents:
                await producer.send_and_wait(self.topics.definitions, document, partition=0)
        finally:
            await producer.stop()


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Stack]:
    """A stack with servers of its own, and everything down afterwards."""
    with LocalBroker(folder / "kafka") as broker, LocalValkey(folder / "valkey") as valkey:
        stack = Stack(folder, broker.bootstrap, valkey.url)
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
