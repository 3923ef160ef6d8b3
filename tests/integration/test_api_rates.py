"""Each key has a rate for reads, for writes and for questions; beyond it is 429, and nobody else notices."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.api import PARTITIONS, Api, fails, installed
from tests.support.projected import Projected

# So slow that nothing comes back while a test runs; a burst of four, and twice as much for all keys of a tenant.
SLOW: dict[str, Any] = dict.fromkeys(("api_reads_per_s", "api_writes_per_s", "api_questions_per_s"), 0.01) | {"api_burst_s": 400.0}
READ, QUESTION = "/v1/customers/718/segments", "/v1/customers/718"


@pytest.fixture
def api(kafka: str, valkey_url: str) -> Iterator[Api]:
    """An API with small rates and a customer of each tenant."""
    with installed(kafka, valkey_url, **SLOW, api_question_timeout_s=0.1) as found:
        projected = Projected(valkey_url, found.settings.redis_prefix, PARTITIONS)
        projected.mark()
        for tenant in ("demo", "other"):
            projected.row(tenant, "718", [])
        yield found


def exhaust(api: Api, key: str, calls: int) -> Any:
    """Read until it is refused; it is let in as often as the rate says, once more for what came back meanwhile."""
    answers = [api.get(READ, key=key) for _ in range(calls + 2)]
    assert [answer.status_code for answer in answers[:calls]] == [200] * calls
    refused(answers[-1], "reads")
    return answers[-1]


def refused(answer: Any, what: str) -> None:
    """Check that an answer says that too much was asked, and when to come again."""
    assert f" {what} a second" in fails(answer, 429)["detail"]
    assert int(answer.headers["retry-after"]) >= 1


def test_a_key_that_reads_too_much_is_429_and_nobody_else_pays(api: Api) -> None:
    """Four reads and no more, by the quick way and by the router; writes and the other tenant go on."""
    exhaust(api, "all", 4)
    refused(api.get("/v1/segments"), "reads")
    assert api.get(READ, key="theirs").status_code == 200
    api.segment("vip")


def test_more_keys_are_no_more_reads(api: Api) -> None:
    """All keys of a tenant together have twice what one has."""
    exhaust(api, "all", 4)
    exhaust(api, "only-customers:read", 3)
    third = api.call("POST", "/v1/keys", {"name": "third", "scopes": ["customers:read"]}).json()["key"]
    assert "the keys of this tenant" in exhaust(api, third, 0).json()["detail"]


def test_writes_are_paid_by_what_they_write(api: Api) -> None:
    """Many manual entries cost more than the call."""
    api.segment("vip")
    many = [f"c{number}" for number in range(2_500)]
    assert api.call("POST", "/v1/segments/vip/include", {"add": many}).status_code == 202
    refused(api.call("POST", "/v1/webhooks", {"url": "https://example.com/"}), "writes")
    assert api.get(READ).status_code == 200


def test_questions_about_everybody_cost_more(api: Api) -> None:
    """One preview is as much as five questions about one customer; reads and the other tenant are not touched."""
    rule = {"metric": {"measure": "count", "event": "checkout"}, "op": "gte", "value": 1}
    assert api.call("POST", "/v1/segments/preview", {"rule": rule}).status_code == 503  # no segmenter runs here
    refused(api.get(QUESTION), "questions")
    refused(api.get("/v1/customers?card_number=1"), "questions")
    assert api.get(READ).status_code == 200
    assert api.get(QUESTION, key="theirs").status_code == 503
