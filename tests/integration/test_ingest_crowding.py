"""A tenant with more than its share of the waiting events has to come again, and nobody else: ingest on a real Kafka and a real Valkey."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from schemas.projection import Keys, encode
from tests.support.ingest import VISIT, Ingest, running
from tests.support.waiting import wait_until

PREFIX = "crowding-"


@pytest.fixture
def ingest(kafka: str, valkey_url: str, tmp_path: Path) -> Iterator[Ingest]:
    """An ingest process that knows where segmenters say who is behind."""
    with running(kafka, tmp_path, REDIS_URL=valkey_url, REDIS_PREFIX=PREFIX, INGEST_CROWDING_EVERY_MS=20) as found:
        yield found


def test_who_crowds_a_partition_comes_again_and_others_are_served(ingest: Ingest, valkey_url: str) -> None:
    """Named for one partition, a tenant is told 429 for all; no longer named it is served; so is everybody else all the time."""
    redis = Redis.from_url(valkey_url)
    assert ingest.post(VISIT).status_code == 202
    redis.set(Keys(PREFIX).crowding(2), encode(["demo"]))
    wait_until(lambda: ingest.post(VISIT).status_code == 429, 20)
    refused = ingest.post(VISIT)
    assert refused.headers["retry-after"] == "1"
    assert "share" in refused.json()["detail"]
    assert ingest.post(VISIT, "yen").status_code == 202
    redis.delete(Keys(PREFIX).crowding(2))
    wait_until(lambda: ingest.post(VISIT).status_code == 202, 20)
