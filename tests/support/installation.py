"""A whole installation for tests of questions: an API, and segmenters as processes, on topics and keys of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from schemas.partitions import partition_of, record_key
from schemas.positions import Offsets, encode_position
from tests.support.api import PARTITIONS, Api, fails, installed, patiently
from tests.support.sending import sender
from tests.support.waiting import wait_until

_ROOT = Path(__file__).parents[2]
_WAIT_S = 5.0


class Installation:
    """An API, and a segmenter that listens on whatever port is free."""

    def __init__(self, api: Api, folder: Path) -> None:
        self.api, self._folder = api, folder
        settings = api.settings
        self._environ = {
            **os.environ,
            "PYTHONPATH": str(_ROOT),
            "ROLLCALL_KAFKA": settings.kafka,
            "ROLLCALL_REDIS_URL": settings.redis_url,
            "ROLLCALL_REDIS_PREFIX": settings.redis_prefix,
            "ROLLCALL_TOPIC_PREFIX": settings.topic_prefix,
            "ROLLCALL_PARTITIONS": str(settings.partitions),
            "ROLLCALL_SEGMENTER_PORT": "0",
            "ROLLCALL_SEGMENTER_SESSION_TIMEOUT_S": "6",
            "ROLLCALL_DATA_DIR": str(folder / "data"),
        }
        self._producer = sender(settings.kafka)
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, **environ: str) -> subprocess.Popen[bytes]:
        """Start a segmenter, with more in its environment than all have."""
        with (self._folder / f"segmenter-{len(self._processes)}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "services.segmenter"], env=self._environ | environ, cwd=self._folder, stdout=log, stderr=log
            )
        self._processes.append(process)
        return process

    def stop(self) -> None:
        """End all segmenters."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def post(self, *events: Mapping[str, Any], tenant: str = "demo") -> str:
        """Write events where ingest would; return the position behind them."""
        position: Offsets = {}

        def written(error: Any, message: Any) -> None:
            assert error is None, error
            position.setdefault(message.topic(), {})[message.partition()] = message.offset() + 1

        for event in events:
            key = record_key(tenant, event["customer_id"])
            topic = self.api.settings.topics.family(event["type"])
            number = partition_of(key, PARTITIONS)
            self._producer.produce(topic, json.dumps({**event, "tenant": tenant}).encode(), key=key, partition=number, on_delivery=written)
        assert self._producer.flush(20) == 0
        return encode_position(position)

    def get(self, path: str, **more: Any) -> dict[str, Any]:
        """Get a good answer, asking again while it cannot be known yet."""
        found: dict[str, Any] = patiently(lambda: self.api.get(path, **more), timeout_s=30).json()
        return found

    def refused(self, path: str, status: int, pointer: str | None = None, **more: Any) -> dict[str, Any]:
        """Get an answer that is an error."""
        return fails(self.api.get(path, **more), status, pointer)

    def changes(self, after: str) -> list[dict[str, Any]]:
        """Return what was published behind a cursor."""
        found: list[dict[str, Any]] = []
        while page := (answer := self.get(f"/v1/changes?limit=1000&after={after}"))["changes"]:
            found += page
            after = answer["next"]
        return found

    def saved(self, segment_id: str, rule: Any = None, **more: Any) -> None:
        """Save a segment and wait until everybody has been decided under it."""
        self.api.segment(segment_id, rule, **more)
        wait_until(lambda: bool(self.api.get(f"/v1/segments/{segment_id}").json().get("status") == "live"), 30)


@contextmanager
def whole(kafka: str, valkey_url: str, folder: Path, **more: Any) -> Iterator[Installation]:
    """Run an API over two tenants, and one segmenter."""
    with installed(kafka, valkey_url, api_after_timeout_s=_WAIT_S, **more) as api:
        installation = Installation(api, folder)
        installation.start()
        try:
            wait_until(lambda: answers(api), 60)
            yield installation
        finally:
            installation.stop()


def answers(api: Api) -> bool:
    """Whether reads are answered: all partitions have an owner."""
    try:
        return api.get("/v1/segments").status_code == 200 and api.client.get(f"{api.url}/readyz").status_code == 200
    except httpx.HTTPError:
        return False
