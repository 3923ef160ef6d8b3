"""A tenant whose events wait to be applied has to come again, and nobody else: ingest on a real Kafka and a real Valkey."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from schemas.projection import Keys, Marker, encode
from tests.support.ingest import PARTITIONS, VISIT, Ingest, running
from tests.support.waiting import wait_until

PREFIX = "windows-"


@pytest.fixture
def ingest(kafka: str, valkey_url: str, tmp_path: Path) -> Iterator[Ingest]:
    """An ingest process that looks how far the segmenters are, and lets five events of a tenant wait."""
    with running(kafka, tmp_path, REDIS_URL=valkey_url, REDIS_PREFIX=PREFIX, INGEST_LOOK_EVERY_MS=20, INGEST_WINDOW_EVENTS=5) as found:
        yield found


def mark(redis: Redis, ingest: Ingest, offset: int) -> bool:
    """Say now that all partitions are applied up to an offset, as of long ago; true, for those who wait for what follows."""
    for number in range(PARTITIONS):
        marker = Marker(1, 1_000, {ingest.topics.family("visit"): offset}, 0, 1, told_ms=time.time_ns() // 1_000_000)
        redis.hset(Keys(PREFIX).marker(number), mapping={"m": encode(marker)})
    return True


def test_whose_events_wait_comes_again_and_others_are_served(ingest: Ingest, valkey_url: str) -> None:
    """Nobody applies anything: a tenant may send so many; another is served; once they are applied it goes on, and also where nobody knows."""
    redis = Redis.from_url(valkey_url)
    mark(redis, ingest, 0)
    batch = [VISIT | {"event_id": str(number)} for number in range(4)]
    assert ingest.post(VISIT, "yen").status_code == 202
    wait_until(lambda: mark(redis, ingest, 0) and ingest.post(batch).status_code == 429, 30)
    refused = ingest.post(batch)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    assert "wait to be applied" in refused.json()["detail"]
    assert ingest.post(VISIT, "yen").status_code == 202
    mark(redis, ingest, 1_000)
    wait_until(lambda: ingest.post(batch).status_code == 202, 20)
    mark(redis, ingest, 0)
    wait_until(lambda: mark(redis, ingest, 0) and ingest.post(batch).status_code == 429, 20)
    redis.hset(Keys(PREFIX).marker(1), "m", b"of another version")
    wait_until(lambda: ingest.post(batch).status_code == 202, 20)
    mark(redis, ingest, 0)
    wait_until(lambda: mark(redis, ingest, 0) and ingest.post(batch).status_code == 429, 20)
    redis.delete(Keys(PREFIX).marker(1))
    wait_until(lambda: ingest.post(batch).status_code == 202, 20)
