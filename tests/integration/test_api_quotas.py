"""A tenant has so many segments, rules of so much cost, endpoints and keys, and no more; the refusal says how many. Others go on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.api import Api, fails, installed


@pytest.fixture
def api(kafka: str, valkey_url: str) -> Iterator[Api]:
    """An API where little may be had."""
    with installed(kafka, valkey_url, api_segments=3, api_rules_cost=2_000, api_endpoints=2, api_keys=20) as found:
        yield found


def costs(cost: int) -> dict[str, Any]:
    """A rule of a cost: of that many conditions on the profile, each asking for one value."""
    cheap = [{"profile": "age", "op": "gte", "value": number} for number in range(cost % 11)]
    sequence = {
        "sequence": {"first": {"event": "email-open"}, "then": {"event": "checkout"}, "within": "P7D", "happens": True, "window": {"last": "P30D"}}
    }
    return {"any": [*cheap, *[sequence] * (cost // 11)]}


def saved(api: Api, segment_id: str, rule: Any, version: int) -> Any:
    """Save a version of a segment."""
    return api.call("PUT", f"/v1/segments/{segment_id}", {"name": "x", "rule": rule}, If_Match=f'"{version}"')


def test_so_many_segments_and_no_more(api: Api) -> None:
    """Archived ones do not count, and come back only where there is room; another tenant has its own number."""
    for name in "abc":
        api.segment(name)
    assert "at most 3 segments" in fails(api.call("POST", "/v1/segments", {"id": "d", "name": "D"}), 422)["detail"]
    api.segment("d", key="theirs")
    assert saved(api, "a", costs(5), 1).status_code == 200
    assert api.call("DELETE", "/v1/segments/a").status_code == 200
    api.segment("d")
    assert "at most 3 segments" in fails(api.call("POST", "/v1/segments/a/restore"), 422)["detail"]


def test_rules_cost_so_much_together_and_no_more(api: Api) -> None:
    """Up to the limit exactly; an edit counts in place of what was there, and one that costs no more is never refused."""
    api.segment("a", costs(1_000))
    api.segment("b", costs(999))
    api.segment("c", costs(1))
    assert "cost at most 2000 together, and would cost 2001" in fails(saved(api, "c", costs(2), 1), 422, "/rule")["detail"]
    assert saved(api, "b", costs(998), 1).status_code == 200
    assert saved(api, "c", costs(2), 1).status_code == 200
    api.desk.settings.api_rules_cost = 10
    assert saved(api, "a", costs(900), 1).status_code == 200
    fails(saved(api, "a", costs(901), 2), 422, "/rule")
    assert api.call("DELETE", "/v1/segments/b").status_code == 200
    fails(api.call("POST", "/v1/segments/b/restore"), 422, "/rule")


def test_so_many_endpoints_and_keys_and_no_more(api: Api) -> None:
    """What was deleted or revoked makes room."""
    hook = {"url": "https://example.com/"}
    made = [api.call("POST", "/v1/webhooks", hook) for _ in range(3)]
    assert [answer.status_code for answer in made] == [201, 201, 422]
    assert "at most 2 webhook endpoints" in made[2].json()["detail"]
    assert api.call("DELETE", f"/v1/webhooks/{made[0].json()['id']}").status_code == 204
    assert api.call("POST", "/v1/webhooks", hook).status_code == 201
    assert api.call("POST", "/v1/webhooks", hook, key="theirs").status_code == 201
    wanted = {"name": "till", "scopes": ["customers:read"]}
    room = 20 - len(api.get("/v1/keys").json()["keys"])
    keys = [api.call("POST", "/v1/keys", wanted) for _ in range(room + 1)]
    assert [answer.status_code for answer in keys] == [201] * room + [422]
    assert "at most 20 keys" in keys[-1].json()["detail"]
    assert api.call("DELETE", f"/v1/keys/{keys[0].json()['id']}").status_code == 204
    assert api.call("POST", "/v1/keys", wanted).status_code == 201
