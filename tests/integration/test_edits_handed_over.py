"""An edit whose worker ends in the middle of it, on the real Kafka: the next owner goes on where the last whole step ended."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from redis import Redis

from deploy.local.ports import free_port
from schemas.instants import iso
from schemas.projection import Keys, Marker, decode_marker
from tests.support.api import PARTITIONS, installed
from tests.support.installation import Installation, answers
from tests.support.services import now_ms
from tests.support.waiting import wait_until

CUSTOMERS = 4_000
SLOWLY = {"ROLLCALL_SEGMENTER_GROUP_MS": "2", "ROLLCALL_SEGMENTER_BACKGROUND_SLICE_MS": "0.5"}
"""Many small steps, so that there is a middle."""
ROOMS: list[tuple[int, int]] = [(0, 59), (30, 99), (10, 79)]
"""Least and most of what members have bought for, version by version."""


def bought(number: int) -> int:
    """What a customer has bought for."""
    return number % 100


def rule(room: tuple[int, int]) -> dict[str, Any]:
    """Whoever has bought for that much."""
    metric = {"measure": "sum", "event": "checkout", "field": "total", "window": {"last": "P3M"}}
    return {"metric": metric, "op": "between", "value": [f"{amount}.00" for amount in room]}


def inside(room: tuple[int, int]) -> set[str]:
    """Who is in such a segment."""
    return {f"c{number}" for number in range(CUSTOMERS) if room[0] <= bought(number) <= room[1]}


class Town:
    """An installation with many customers, two workers, and a segment of some."""

    def __init__(self, shop: Installation, valkey_url: str) -> None:
        self.shop = shop
        self._redis: Any = Redis.from_url(valkey_url)
        self._keys = Keys(shop.api.settings.redis_prefix)
        self.workers: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """Start one more worker."""
        port = free_port()
        self.workers[f"127.0.0.1:{port}"] = self.shop.start(ROLLCALL_SEGMENTER_PORT=str(port), **SLOWLY)

    def markers(self) -> list[Marker]:
        """The partitions that have a marker."""
        blobs = [self._redis.hget(self._keys.marker(number), "m") for number in range(PARTITIONS)]
        return [decode_marker(blob) for blob in blobs if blob is not None]

    def shared(self) -> bool:
        """Whether each worker has its share of the partitions."""
        owners = [marker.address for marker in self.markers()]
        return len(owners) == PARTITIONS and set(owners) == self.workers.keys()

    def caught(self) -> str:
        """Wait until a worker has decided some customers of each of its partitions under the edit, and not all; return its address."""
        found: list[str] = []

        def middle() -> bool:
            amid: dict[str, bool] = {}
            for marker in self.markers():
                sweep = marker.sweep
                amid[marker.address] = amid.get(marker.address, True) and sweep is not None and 0.05 < sweep.done / sweep.total < 0.7
            found[:] = [address for address, all_of_them in amid.items() if all_of_them]
            return bool(found)

        wait_until(middle, 20)
        return found[0]


@pytest.fixture(scope="module")
def town(kafka: str, valkey_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """Everybody has bought something, and all are decided under the first version."""
    with installed(kafka, valkey_url, api_after_timeout_s=30.0) as api:
        shop = Installation(api, tmp_path_factory.mktemp("handed-over"))
        town = Town(shop, valkey_url)
        api.segment("roomy", rule(ROOMS[0]))
        at = iso(now_ms() - 60_000)
        events = [
            {"type": "checkout", "event_id": "e", "customer_id": f"c{number}", "occurred_at": at, "total": f"{bought(number)}.00"}
            for number in range(CUSTOMERS)
        ]
        position = shop.post(*events)
        town.start()
        town.start()
        try:
            wait_until(lambda: answers(api) and town.shared(), 60)
            assert shop.get(f"/v1/segments/roomy/count?after={position}")["count"] == len(inside(ROOMS[0]))
            yield town
        finally:
            shop.stop()


@pytest.mark.parametrize(("version", "how"), [(1, signal.SIGTERM), (2, signal.SIGKILL)])
def test_an_edit_is_published_once_whoever_ends_in_the_middle(town: Town, version: int, how: signal.Signals) -> None:
    """Who is in both versions publishes nothing; everybody else publishes one change; nobody is left out, and nobody told twice."""
    shop = town.shop
    wait_until(town.shared, 30)
    start = shop.get("/v1/changes?after=now")["next"]
    before, after = inside(ROOMS[version - 1]), inside(ROOMS[version])
    expected = sorted([*((who, "entered") for who in after - before), *((who, "exited") for who in before - after)])
    answer = shop.api.call("PUT", "/v1/segments/roomy", {"name": "Roomy", "rule": rule(ROOMS[version])}, If_Match=f'"{version}"')
    assert answer.status_code == 200, answer.text

    with town.workers.pop(town.caught()) as victim:
        victim.send_signal(how)
    town.start()  # as a supervisor would

    wait_until(lambda: bool(shop.api.get("/v1/segments/roomy").json().get("status") == "live"), 30)
    wait_until(lambda: len(shop.changes(start)) >= len(expected), 20)
    found = shop.changes(start)
    assert sorted((change["customer_id"], change["change"]) for change in found) == expected
    assert {(change["cause"]["kind"], change["segment_version"]) for change in found} == {("definition", version + 1)}
    assert shop.get("/v1/segments/roomy/count")["count"] == len(after)
