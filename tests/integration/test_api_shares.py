"""What all tenants share (questions, waits, turns) is never one tenant's alone: beyond its share it is 429, and others are served."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest

from schemas.positions import encode_position
from services.api.changes import Feed
from services.api.metrics import Metrics
from services.kit.follower import ErasuresFollower
from tests.support.api import PARTITIONS, Api, fails, installed, settings_for
from tests.support.projected import Projected
from tests.support.waiting import wait_until

QUESTION, READ = "/v1/customers/718", "/v1/customers/718/segments"


@pytest.fixture
def api(kafka: str, valkey_url: str) -> Iterator[Api]:
    """An API where four may wait, with a customer of each tenant, and a segmenter that never answers."""
    slow: dict[str, Any] = {"api_questions": 4, "api_max_waiting": 4, "api_question_timeout_s": 0.5}
    with installed(kafka, valkey_url, **slow) as found, socket.create_server(("127.0.0.1", 0)) as deaf:
        projected = Projected(valkey_url, found.settings.redis_prefix, PARTITIONS)
        projected.mark(address=f"127.0.0.1:{deaf.getsockname()[1]}")
        for tenant in ("demo", "other"):
            projected.row(tenant, "718", [])
        yield found


@pytest.mark.parametrize("path", [QUESTION, READ])
def test_a_tenant_waits_for_half_at_most_and_another_has_room(api: Api, path: str) -> None:
    """Of four places two are one tenant's; it is told when to come again, and the other tenant is not turned away."""
    never = encode_position({api.settings.topics.inputs[0]: dict.fromkeys(range(PARTITIONS), 1 << 40)})
    slow = path if path == QUESTION else f"{path}?after={never}"
    budget = api.desk.asking._waiting if path == QUESTION else api.desk.freshness._places
    with ThreadPoolExecutor(2) as pool:
        mine = [pool.submit(api.get, slow) for _ in range(2)]
        wait_until(lambda: budget.held == 2)
        told = [api.get(slow) for _ in range(3)]
        theirs = api.get(slow, key="theirs")
        assert all("for this tenant alone" in fails(answer, 429)["detail"] for answer in told)
        assert all(int(answer.headers["retry-after"]) >= 1 for answer in told)
        assert theirs.status_code == 503, "waited, in vain"
        assert [one.result().status_code for one in mine] == [503, 503]
    assert budget.held == 0


def test_tests_of_webhooks_are_bounded(kafka: str, valkey_url: str) -> None:
    """While as many are being sent as may be, a further one is turned away at once, by 503 or, the tenant's share, by 429."""
    with (
        installed(kafka, valkey_url, api_tests=2, webhook_allow="127.0.0.1/32", webhook_timeout_s=2.0) as api,
        socket.create_server(("127.0.0.1", 0)) as deaf,
    ):
        hook = {"url": f"http://127.0.0.1:{deaf.getsockname()[1]}/"}
        paths = {key: api.call("POST", "/v1/webhooks", hook, key=key).headers["location"] + "/test" for key in ("all", "theirs")}
        with ThreadPoolExecutor(2) as pool:
            under_way = [pool.submit(api.call, "POST", path, key=key) for key, path in paths.items()]
            wait_until(lambda: api.desk.testing.held == 2)
            for key, path in paths.items():
                fails(api.call("POST", path, key=key), 503)
            assert [one.result().json()["delivered"] for one in under_way] == [False, False]
        assert api.desk.testing.held == 0


async def test_turns_of_the_feed_are_left_for_others(kafka: str, valkey_url: str) -> None:
    """Of two consumers a tenant has one; its next read waits for its own, and another tenant's does not."""
    feed = Feed(settings_for(kafka, valkey_url, api_feed_consumers=2), cast(ErasuresFollower, None), Metrics())

    async def turn(tenant: str) -> Any:
        async with asyncio.timeout(2), feed.consumer(tenant):
            return True

    try:
        async with feed.consumer("loud"):
            waiting = asyncio.create_task(turn("loud"))
            assert await turn("quiet")
            await asyncio.sleep(0.1)
            assert not waiting.done()
        assert await waiting
    finally:
        await feed.close()
