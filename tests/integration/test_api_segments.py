"""Segments over HTTP on a real Kafka: what was saved is shown, what cannot be saved is refused, and who may see it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from services.api.cursors import encode_cursor
from tests.support.api import MAX_BODY, PARTITIONS, Api, fails, installed
from tests.support.projected import Projected

RULE: dict[str, Any] = {"metric": {"measure": "sum", "event": "checkout", "field": "total", "window": {"last": "P3M"}}, "op": "gt", "value": "150.00"}
SEQUENCE = {"sequence": {"first": {"event": "visit"}, "then": {"event": "checkout"}, "within": "P1D", "happens": True, "window": {"last": "P3M"}}}
RANK = {"rank": {"metric": {"measure": "count", "event": "checkout"}, "order": "desc", "percent": 20}}


def test_a_segment_is_what_was_saved(api: Api, projected: Projected) -> None:
    """A 201 shows the first version; a read shows the same, with the rule in its canonical form."""
    response = api.call("POST", "/v1/segments", {"id": "big-spenders", "name": "Big spenders", "description": "d", "rule": RULE, "min_stay": None})
    assert response.status_code == 201, response.text
    assert (response.headers["etag"], response.headers["location"]) == ('"1"', "/v1/segments/big-spenders")
    made = response.json()
    assert list(made) == [
        "id", "name", "description", "rule", "tier", "min_stay", "starts_at", "ends_at", "version", "status", "progress", "count",
        "created_at", "updated_at",
    ]  # fmt: skip
    assert made["rule"] == RULE
    read = api.get("/v1/segments/big-spenders")
    assert (read.status_code, read.headers["etag"]) == (200, '"1"')
    assert read.json() == made | {"status": "live", "progress": 1.0, "count": 0}
    assert api.segment("nobody-yet", include=None)["rule"] is None


def test_amounts_of_a_rule_never_pass_through_a_float(api: Api, projected: Projected) -> None:
    """The digits of a decimal in a rule come back as they were written."""
    body = b'{"id":"exact","name":"x","rule":{"metric":{"measure":"sum","event":"checkout","field":"total"},"op":"gt","value":123456789012345.07}}'
    assert api.call("POST", "/v1/segments", body).json()["rule"]["value"] == "123456789012345.07"


@pytest.mark.parametrize(
    ("body", "status", "pointer"),
    [
        (b"{", 400, None),
        (b"", 400, None),
        (b'{"id":"x","name":"x","rule":NaN}', 400, None),
        (b'{"id":"x","name":"x","rule":1e99999999999999999999}', 400, None),
        (b'{"id":"x","name":"x","rule":' + b"[" * 100_000, 400, None),
        (b'{"id":"x","name":"\\ud800"}', 400, None),
        (b"\xff\xfe", 400, None),
        (b"[]", 422, None),
        ({"name": "x"}, 422, "/id"),
        ({"id": "x"}, 422, "/name"),
        ({"id": "x", "name": " "}, 422, "/name"),
        ({"id": "x", "name": "a\nb"}, 422, "/name"),
        ({"id": "x", "name": 7}, 422, "/name"),
        ({"id": "Upper", "name": "x"}, 422, "/id"),
        ({"id": "line\n", "name": "x"}, 422, "/id"),
        ({"id": "x" * 65, "name": "x"}, 422, "/id"),
        ({"id": "x", "name": "x", "colour": "red"}, 422, "/colour"),
        ({"id": "x", "name": "x", "tier": {"family": "status"}}, 422, "/tier/level"),
        ({"id": "x", "name": "x", "tier": {"family": "status", "level": -1}}, 422, "/tier/level"),
        ({"id": "x", "name": "x", "tier": {"family": "Status", "level": 1}}, 422, "/tier/family"),
        ({"id": "x", "name": "x", "tier": {"family": "line\n", "level": 1}}, 422, "/tier/family"),
        ({"id": "x", "name": "x", "tier": {"family": "status", "level": 1, "colour": "red"}}, 422, "/tier/colour"),
        ({"id": "x", "name": "x", "min_stay": "a week"}, 422, "/min_stay"),
        ({"id": "x", "name": "x", "starts_at": "2026-01-01"}, 422, "/starts_at"),
        ({"id": "x", "name": "x", "ends_at": 1_700_000_000}, 422, "/ends_at"),
        ({"id": "x", "name": "x", "starts_at": "2026-01-01T00:00:00Z", "ends_at": "2026-01-01T01:00:00+01:00"}, 422, "/ends_at"),
        ({"id": "x", "name": "x", "include": ["a", 7]}, 422, "/include/1"),
        ({"id": "x", "name": "x", "include": ["a", ""]}, 422, "/include/1"),
        ({"id": "x", "name": "x", "exclude": ["a\u0000"]}, 422, "/exclude/0"),
        ({"id": "x", "name": "x", "rule": {"all": [RULE, {"profile": "agee", "op": "gt", "value": 3}]}}, 422, "/rule/all/1/profile"),
        ({"id": "x", "name": "x", "rule": {"all": [RULE, {"segment": "nowhere"}]}}, 422, "/rule/all/1/segment"),
        ({"id": "x", "name": "x", "rule": {"segment": "x"}}, 422, "/rule/segment"),
        ({"id": "x", "name": "x", "rule": {**RULE, "metric": {**RULE["metric"], "window": {"last": "P26M"}}}}, 422, "/rule/metric/window/last"),
        ({"id": "x", "name": "x", "rule": {"any": [RULE, {"rank": RANK["rank"] | {"top": 3}}]}}, 422, "/rule/any/1/rank"),
        ({"id": "x", "name": "x", "rule": {"any": [SEQUENCE] * 199}}, 422, "/rule/any/181"),
        ({"id": "x", "name": "x", "rule": {"profile": "hat_size", "op": "gt", "value": 3}}, 422, "/rule/profile"),
        (
            {"id": "x", "name": "x", "rule": {"metric": {"measure": "count", "event": "checkout", "where": [{"field": []}]}}},
            422,
            "/rule/metric/where/0/field",
        ),
        ({"id": "x", "name": "x", "rule": [RULE]}, 422, "/rule"),
        ({"id": "x", "name": "x", "rule": {}}, 422, "/rule"),
    ],
)
def test_what_cannot_be_saved_is_refused_with_the_place(api: Api, body: Any, status: int, pointer: str | None) -> None:
    """Every bad body is a 4xx problem that names the place, and nothing is saved."""
    fails(api.call("POST", "/v1/segments", body), status, pointer)
    assert api.desk.follower.catalog.segment("demo", "x") is None


def test_bodies_have_limits(api: Api) -> None:
    """Too large is 413, too slow 408, another type 415, and a rule that is larger than a record 422."""
    fails(api.call("POST", "/v1/segments", b" " * (MAX_BODY + 1)), 413)
    fails(api.call("POST", "/v1/segments", {}, Content_Type="text/plain"), 415)
    fails(api.call("POST", "/v1/segments", {}, Content_Encoding="gzip"), 415)
    leaf = {"profile": "city", "op": "in", "value": [f"{n:03}" + "x" * 250 for n in range(1_000)]}
    large = json.dumps({"id": "large", "name": "x", "rule": {"any": [leaf] * 4}}).encode()
    assert 900_000 < len(large) < MAX_BODY
    fails(api.call("POST", "/v1/segments", large), 422)

    def slowly() -> Iterator[bytes]:
        yield b"{"
        threading.Event().wait(1.5)
        yield b"}"

    headers = {"Authorization": "Bearer all", "Content-Type": "application/json"}
    fails(httpx.post(f"{api.url}/v1/segments", content=slowly(), headers=headers, timeout=10), 408)


def test_another_tenants_segment_is_as_absent_as_any(api: Api, projected: Projected) -> None:
    """Every route answers the other tenant's key exactly what it answers for an id that does not exist."""
    api.segment("private", RULE, include=["718"])
    for method, path, body in (
        ("GET", "/v1/segments/{}", None),
        ("PUT", "/v1/segments/{}", {"name": "mine"}),
        ("PATCH", "/v1/segments/{}", {"name": "mine"}),
        ("DELETE", "/v1/segments/{}", None),
        ("POST", "/v1/segments/{}/pause", None),
        ("POST", "/v1/segments/{}/resume", None),
        ("POST", "/v1/segments/{}/restore", None),
        ("GET", "/v1/segments/{}/versions", None),
        ("POST", "/v1/segments/{}/include", {"add": ["718"]}),
        ("POST", "/v1/segments/{}/exclude", {"add": ["718"]}),
        ("GET", "/v1/segments/{}/members", None),
        ("GET", "/v1/segments/{}/count", None),
        ("GET", "/v1/customers/718/segments/{}", None),
        ("GET", "/v1/changes?segment={}", None),
    ):
        theirs, absent = (api.call(method, path.format(name), body, key="theirs", If_Match='"1"') for name in ("private", "nowhere"))
        assert fails(theirs, 404) == fails(absent, 404)
    assert "private" not in api.get("/v1/segments?limit=1000", key="theirs").text


def test_lists_are_paged_by_id(kafka: str, valkey_url: str) -> None:
    """Pages together hold every segment once, in order; cursors that were not given are refused."""
    with installed(kafka, valkey_url) as api:
        projected = Projected(valkey_url, api.settings.redis_prefix, PARTITIONS)
        ids = [f"s{n:02}" for n in range(7)]
        for name in reversed(ids):
            api.segment(name)
        fails(api.get("/v1/segments"), 503)
        projected.mark(definitions=api.offset("s03") + 1)
        api.call("DELETE", "/v1/segments/s06")
        for paused in ("s02", "s04"):
            assert api.call("POST", f"/v1/segments/{paused}/pause").json()["status"] == "paused"
        seen: list[str] = []
        path = "/v1/segments?limit=2"
        while True:
            page = api.get(path).json()
            assert len(page["segments"]) <= 2
            seen += [segment["id"] for segment in page["segments"]]
            if page["next"] is None:
                break
            path = f"/v1/segments?limit=2&cursor={page['next']}"
        assert seen == ids[:6]
        by_status = {
            status: [s["id"] for s in api.get(f"/v1/segments?status={status}").json()["segments"]]
            for status in ("live", "backfilling", "paused", "archived")
        }
        assert by_status == {"live": ["s03", "s05"], "backfilling": ["s00", "s01"], "paused": ["s02", "s04"], "archived": ["s06"]}
        for cursor in ("x", "!!!!", "a" * 5_000, encode_cursor(7), encode_cursor("UPPER"), encode_cursor(["s01"]), ""):
            fails(api.get(f"/v1/segments?cursor={cursor}"), 422, "/cursor")
        for limit in ("0", "1001", "-1", "x", "1e3", "٣", ""):
            fails(api.get(f"/v1/segments?limit={limit}"), 422, "/limit")
        fails(api.get("/v1/segments?status=asleep"), 422, "/status")


def test_a_segment_carries_a_tier_a_stay_and_a_span_of_life(api: Api, projected: Projected) -> None:
    """What was saved is shown in one way of writing it, and an edit that leaves it out takes it away."""
    made = api.segment(
        "tier-gold", RULE, tier={"family": "tiers", "level": 2}, min_stay="P1W",
        starts_at="2026-01-01T00:00:00+01:00", ends_at="2027-01-01T00:00:00Z",
    )  # fmt: skip
    carried = {
        "tier": {"family": "tiers", "level": 2}, "min_stay": "P7D",
        "starts_at": "2025-12-31T23:00:00.000Z", "ends_at": "2027-01-01T00:00:00.000Z",
    }  # fmt: skip
    assert {name: made[name] for name in carried} == carried
    taken = {"id": "tier-other", "name": "x", "tier": {"family": "tiers", "level": 2}}
    assert "tier-gold" in fails(api.call("POST", "/v1/segments", taken), 409, "/tier/level")["detail"]
    drafts: dict[str, tuple[int, dict[str, Any]]] = {
        "/tier/level": (409, {"tier": {"family": "tiers", "level": 2}}),
        "/tier/family": (422, {"tier": {"family": "line\n", "level": 1}}),
        "/min_stay": (422, {"min_stay": "a week"}),
        "/starts_at": (422, {"starts_at": "2026-01-01"}),
        "/ends_at": (422, {"replaces": "tier-gold", "ends_at": "2020-01-01T00:00:00Z"}),
        "/include": (422, {"include": []}),
    }
    for pointer, (status, around) in drafts.items():
        fails(api.call("POST", "/v1/segments/preview", {"rule": RULE} | around), status, pointer)
    replaced = api.call("PUT", "/v1/segments/tier-gold", {"name": "x", "rule": RULE}, If_Match='"1"').json()
    assert {name: replaced[name] for name in carried} == dict.fromkeys(carried)
    assert api.call("POST", "/v1/segments", taken).status_code == 201


def test_attributes_are_declared_once_and_for_all(api: Api, projected: Projected) -> None:
    """A declaration makes rules possible, also for properties of custom events; its kind stays; others do not see it."""
    fails(api.call("PUT", "/v1/attributes/shoe_size", {"kind": "shoe"}), 422, "/kind")
    fails(api.call("PUT", "/v1/attributes/shoe_size", {"kind": "integer", "unit": "EU"}), 422, "/unit")
    fails(api.call("PUT", "/v1/attributes/city", {"kind": "text"}), 409, "/name")
    fails(api.call("PUT", "/v1/attributes/%20", {"kind": "text"}), 422, "/name")
    fails(api.get("/v1/attributes/shoe_size"), 404)
    rule = {"profile": "shoe_size", "op": "gte", "value": 45}
    told = fails(api.call("POST", "/v1/segments", {"id": "big-feet", "name": "x", "rule": rule}), 422, "/rule/profile")
    assert "PUT /v1/attributes/shoe_size" in told["detail"]
    made = api.call("PUT", "/v1/attributes/shoe_size", {"kind": "integer"})
    assert (made.status_code, made.json()["origin"], made.json()["kind"]) == (201, "declared", "integer")
    again = api.call("PUT", "/v1/attributes/shoe_size", {"kind": "integer"})
    assert (again.status_code, again.json()) == (200, made.json())
    fails(api.call("PUT", "/v1/attributes/shoe_size", {"kind": "number"}), 409, "/kind")
    assert api.segment("big-feet", rule)["rule"] == rule
    assert api.call("PUT", "/v1/attributes/properties.pr%C3%A9f%2F%C3%A9r%C3%A9", {"kind": "text"}).json()["name"] == "properties.préf/éré"
    where = [{"field": "properties.préf/éré", "op": "eq", "value": "yes"}]
    counted = {"metric": {"measure": "count", "event": "custom", "name": "quiz", "where": where}, "op": "gte", "value": 1}
    assert api.segment("quizzed", counted)["rule"] == counted
    assert api.get("/v1/attributes/shoe_size").json() == made.json()
    assert api.get("/v1/attributes/age").json() == {"name": "age", "kind": "integer", "origin": "derived", "created_at": None}
    listed = {a["name"]: a["origin"] for a in api.get("/v1/attributes").json()["attributes"]}
    assert (listed["shoe_size"], listed["properties.préf/éré"], listed["city"], listed["age"]) == ("declared", "declared", "known", "derived")
    fails(api.get("/v1/attributes/shoe_size", key="theirs"), 404)
    assert "shoe_size" not in api.get("/v1/attributes", key="theirs").text
    fails(api.call("POST", "/v1/segments", {"id": "big-feet", "name": "x", "rule": rule}, key="theirs"), 422, "/rule/profile")


def test_new_routes_have_scopes(api: Api, projected: Projected) -> None:
    """Who may only read cannot pause or declare; who may only push events sees nothing."""
    for method, path, body in (
        ("PATCH", "/v1/segments/x", {"name": "n"}),
        ("POST", "/v1/segments/x/pause", None),
        ("POST", "/v1/segments/x/resume", None),
        ("POST", "/v1/segments/x/restore", None),
        ("PUT", "/v1/attributes/x", {"kind": "text"}),
    ):
        fails(api.call(method, path, body, key="only-segments:read"), 403)
    for path in ("/v1/segments/x/versions", "/v1/attributes", "/v1/attributes/x"):
        fails(api.get(path, key="only-events:write"), 403)


def test_every_template_can_be_saved_as_it_is(api: Api, projected: Projected) -> None:
    """What is listed is posted, one after the other, and answered with the version that was saved."""
    found = api.get("/v1/segment-templates", key="theirs").json()
    assert found["next"] is None
    assert len(found["templates"]) > 30
    for template in found["templates"]:
        made = api.call("POST", "/v1/segments", template["segment"], key="theirs")
        assert made.status_code == 201, (template["id"], made.text)
        assert {name: made.json()[name] for name in template["segment"]} == template["segment"]
    fails(api.get("/v1/segment-templates", key="only-events:write"), 403)
