"""Questions find the owners of the partitions, whatever happens to those, and are answered rightly or not at all."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from schemas.projection import Keys, Marker, decode_marker, encode
from schemas.questions import PATH, Asked, Population, Tally, decode_answered
from schemas.questions import encode as encode_question
from services.api.asking import Asking
from services.api.errors import Refused
from services.api.metrics import Metrics
from services.api.reads import Reads
from services.api.settings import ApiSettings
from services.segmenter.door import MOST_BYTES, advertised
from services.segmenter.settings import SegmenterSettings
from tests.support.waiting import wait_until
from tests.support.workers import PARTITIONS, SESSION_S, Load, Workers, caught_up


@pytest.fixture
def workers(kafka: str, valkey_url: str, tmp_path: Path) -> Iterator[Workers]:
    """Give workers on topics of their own; none is started yet."""
    fleet = Workers(kafka, valkey_url, f"door{time.time_ns()}-", tmp_path)
    fleet.create_topics()
    yield fleet
    fleet.stop()


class Asker:
    """The API's side of the way, over the workers' installation."""

    def __init__(self, workers: Workers, **more: Any) -> None:
        usual = {"redis_url": workers.environ["ROLLCALL_REDIS_URL"], "redis_prefix": workers.prefix, "partitions": PARTITIONS}
        settings = ApiSettings.model_validate(usual | {"api_question_timeout_s": 2.0} | more)
        self.reads = Reads(settings, Metrics())
        self.asking = Asking(settings, self.reads, Metrics())

    async def total(self) -> int | None:
        """Return how many records the workers have counted together, None where that is 503."""
        try:
            parts, as_of_ms = await self.asking.all("demo", Population(), Tally)
        except Refused as refused:
            return None if refused.status == 503 else -1
        assert as_of_ms > 1_700_000_000_000
        return sum(part.count for part in parts)

    async def eventually(self, total: int, timeout_s: float = 60.0) -> None:
        """Ask until there is an answer; none may be another."""
        async with asyncio.timeout(timeout_s):
            while (found := await self.total()) is None:
                await asyncio.sleep(0.1)
        assert found == total

    async def markers(self) -> list[Marker]:
        """Return all markers."""
        return [known.marker for known in await self.reads.markers() if known is not None]


@pytest.fixture
async def asker(workers: Workers) -> AsyncIterator[Asker]:
    """Give the asking side."""
    found = Asker(workers)
    yield found
    await found.asking.close()
    await found.reads.close()


async def test_answers_are_right_or_none_while_owners_come_and_go(workers: Workers, asker: Asker) -> None:
    """Two workers, one of which is killed, stopped past its session and started again: the sum is what was sent, or 503."""
    assert await asker.total() is None, "nobody is there"
    first = workers.start()
    load = Load(workers, per_s=0, keys=500, seed=1)
    load.send(3_000)
    wait_until(lambda: caught_up(workers, 3_000), 60)
    await asker.eventually(3_000)
    second = workers.start()
    wait_until(lambda: bool(workers.get(second, "/readyz")[1].get("restored")) and workers.owned() == list(range(PARTITIONS)), 60)
    await asker.eventually(3_000)
    async with asyncio.timeout(20):  # a former owner's marker is readable until the new one's
        while len({marker.address for marker in await asker.markers()}) != 2:
            await asyncio.sleep(0.05)
    workers.signal(first, signal.SIGSTOP)
    assert await asker.total() is None, "slow is 503"
    wait_until(lambda: len(workers.get(second, "/readyz")[1].get("restored", [])) == PARTITIONS, SESSION_S + 40)
    load.send(500)
    wait_until(lambda: workers.get(second, "/outcomes")[1].get("total", {}).get("applied") == 3_500, 30)
    await asker.eventually(3_500)
    workers.signal(first, signal.SIGCONT)
    until = time.monotonic() + 2
    while time.monotonic() < until:
        assert await asker.total() in (3_500, None)
    workers.signal(second, signal.SIGKILL)
    workers.start()
    await asker.eventually(3_500)


async def test_a_worker_answers_only_for_what_it_owns_and_within_bounds(workers: Workers, asker: Asker) -> None:
    """Another epoch or a partition that there is not has moved; what is no question, too long or too much at once is refused."""
    name = workers.start()
    wait_until(lambda: workers.ready(name), 60)
    await asker.eventually(0)
    epoch = {number: marker.epoch for number, marker in enumerate(await asker.markers())}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{workers.ports[name]}") as http:
        asked = Asked("demo", {0: epoch[0], 1: epoch[1] + 1, 99: 1}, Population())
        answered = decode_answered((await http.post(PATH, content=encode_question(asked))).content)
        assert set(answered.parts) == {0}
        assert answered.moved == [1, 99]
        for body in (b"", b"{", b'{"tenant": "demo", "partitions": {}, "question": {"ask": "why"}}', b"[" * 100_000):
            response = await http.post(PATH, content=body)
            assert response.status_code == 400, body[:20]
            assert response.json()["detail"]
        assert (await http.post(PATH, content=b" " * (MOST_BYTES + 1))).status_code == 413
        assert (await http.get(PATH)).status_code == 405


async def test_a_marker_without_an_address_is_read_and_nobody_is_asked(asker: Asker, workers: Workers) -> None:
    """Markers that were written before there was a door still tell how far the partition has come."""
    old = encode((3, 5, {"t": 1}, 7, 2, None))
    assert decode_marker(old) == Marker(3, 5, {"t": 1}, 7, 2, None, "")
    keys = Keys(workers.prefix)
    for number in range(PARTITIONS):
        await asker.reads._redis.hset(keys.marker(number), mapping={"e": 3, "m": old})
    with pytest.raises(Refused) as refused:
        await asker.asking.all("demo", Population(), Tally)
    assert refused.value.status == 503
    assert "no owner who answers" in refused.value.detail


@pytest.mark.parametrize(
    ("settings", "address"),
    [
        ({"segmenter_host": "127.0.0.1"}, "127.0.0.1:1234"),
        ({"segmenter_host": "::1"}, "[::1]:1234"),
        ({"segmenter_advertised_host": "pod-7.segmenter", "segmenter_host": "0.0.0.0"}, "pod-7.segmenter:1234"),
        ({"segmenter_advertised_host": "10.1.2.3", "segmenter_advertised_port": 80}, "10.1.2.3:80"),
    ],
)
def test_what_is_advertised(settings: dict[str, Any], address: str) -> None:
    """The port that is really listened on, unless the settings know better."""
    assert advertised(SegmenterSettings.model_validate(settings), [("x", 1234)]) == address
