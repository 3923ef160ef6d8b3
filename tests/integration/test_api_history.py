"""Histories on a real Kafka: complete, the newest first, page by page within bounds, and only the tenant's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from services.api.cursors import encode_cursor
from tests.integration.test_api_changes import SEGMENTS, Decisions
from tests.support.api import PARTITIONS, Api, fails, installed
from tests.support.projected import Projected

SCAN = 24


@pytest.fixture(scope="module")
def api(kafka: str, valkey_url: str) -> Iterator[Api]:
    """An API that looks at few records at a time, with two tenants' customers."""
    with installed(kafka, valkey_url, api_feed_scan=SCAN, api_feed_consumers=2) as found:
        for name in SEGMENTS:
            found.segment(name)
            found.segment(name, key="theirs")
        projected = Projected(valkey_url, found.settings.redis_prefix, PARTITIONS)
        projected.mark()
        for customer in [f"c{n}" for n in range(8)] + ["quiet"]:
            projected.row("demo", customer, [])
        projected.row("other", "elsewhere", [])
        yield found


@pytest.fixture(scope="module")
def decisions(api: Api) -> Decisions:
    """Transitions of two tenants, some of them aborted, many times what a page looks at."""
    found = Decisions(api)
    for n in range(25):
        found.step("demo", [f"c{m}" for m in range(n % 5, 8)])
        found.step("other", ["c1", "c2", "elsewhere"])
        found.step("demo", ["c1", "ghost"], abort=True)
    return found


def pages(api: Api, path: str, limit: int, key: str = "all") -> list[dict[str, Any]]:
    """Read a history to its beginning; no page is longer than asked for, none that leads on is empty, and there is an end."""
    found: list[dict[str, Any]] = []
    cursor = ""
    for _ in range(500):
        response = api.get(f"{path}?limit={limit}{cursor}", key=key)
        assert response.status_code == 200, response.text
        page = response.json()
        assert len(page["changes"]) <= limit
        assert page["changes"] or page["next"] is None
        found += page["changes"]
        if page["next"] is None:
            return found
        cursor = f"&cursor={page['next']}"
    raise AssertionError("no end")


@pytest.mark.parametrize("limit", [1, 7, 1_000])
def test_a_segments_history_is_all_of_it_the_newest_first(api: Api, decisions: Decisions, limit: int) -> None:
    """Every committed transition of the segment once, over all partitions, in the order in which they were decided."""
    for segment in SEGMENTS:
        wanted = [
            t.id for t in sorted(decisions.published, key=lambda t: t.decided_at, reverse=True) if t.tenant == "demo" and t.segment_id == segment
        ]
        assert [change["id"] for change in pages(api, f"/v1/segments/{segment}/history", limit)] == wanted


@pytest.mark.parametrize("limit", [1, 5, 1_000])
def test_a_customers_history_is_all_of_it_the_newest_first(api: Api, decisions: Decisions, limit: int) -> None:
    """By falling `seq`, of all segments or of one; of somebody without any, nothing."""
    for customer in ("c1", "c7"):
        wanted = [t for t in reversed(decisions.published) if (t.tenant, t.customer_id) == ("demo", customer)]
        assert [change["seq"] for change in pages(api, f"/v1/customers/{customer}/history", limit)] == [t.seq for t in wanted]
        for segment in SEGMENTS:
            found = pages(api, f"/v1/customers/{customer}/segments/{segment}/history", limit)
            assert [change["id"] for change in found] == [t.id for t in wanted if t.segment_id == segment]
    assert pages(api, "/v1/customers/quiet/history", limit) == []


def test_a_history_is_for_its_tenant_and_known_customers(api: Api, decisions: Decisions) -> None:
    """Unknown and another tenant's are told alike; a cursor must be one of this question."""
    assert len(pages(api, "/v1/customers/elsewhere/history", 100, key="theirs")) == 25
    unknown = fails(api.get("/v1/customers/nobody/history"), 404)
    assert fails(api.get("/v1/customers/elsewhere/history"), 404) == unknown
    assert fails(api.get("/v1/customers/c1/segments/none/history"), 404) == fails(api.get("/v1/segments/none/history"), 404)
    for cursor in (
        "x",
        encode_cursor({0: 1 << 40}),
        encode_cursor({99: 0}),
        encode_cursor((1, 2)),
        encode_cursor(dict.fromkeys(range(PARTITIONS), -1)),
    ):
        fails(api.get(f"/v1/segments/gold/history?cursor={cursor}"), 422, "/cursor")
    fails(api.get("/v1/customers/c1/history?limit=0"), 422, "/limit")
