"""Segments over HTTP on a real Kafka: versions, conflicts, lists, and what is refused."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from confluent_kafka import Consumer, TopicPartition

from schemas.manual import ManualEntry, decode_manual
from schemas.partitions import partition_of, record_key
from schemas.positions import decode_position
from schemas.projection import Sweep
from services.api.cursors import encode_cursor
from tests.support.api import MAX_BODY, PARTITIONS, Api, fails, installed, serving
from tests.support.projected import Projected

RULE: dict[str, Any] = {"metric": {"measure": "sum", "event": "checkout", "field": "total", "window": {"last": "P3M"}}, "op": "gt", "value": "150.00"}
SEQUENCE = {"sequence": {"first": {"event": "visit"}, "then": {"event": "checkout"}, "within": "P1D", "happens": True, "window": {"last": "P3M"}}}
RANK = {"rank": {"metric": {"measure": "count", "event": "checkout"}, "order": "desc", "percent": 20}}


@pytest.fixture(scope="module")
def api(kafka: str, valkey_url: str) -> Iterator[Api]:
    """An API on the servers that the tests share."""
    with installed(kafka, valkey_url) as found:
        yield found


@pytest.fixture(scope="module")
def projected(api: Api, valkey_url: str) -> Projected:
    """The projection of that API, complete and empty."""
    found = Projected(valkey_url, api.settings.redis_prefix, PARTITIONS)
    found.mark()
    return found


def entries(api: Api) -> list[tuple[int, ManualEntry]]:
    """Return all manual entries with the partition where each lies; a record's key is its customer's."""
    topic = api.settings.topics.manual_entries
    consumer = Consumer({"bootstrap.servers": api.settings.kafka, "group.id": "none", "enable.auto.commit": False})
    ends = {p: consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=20)[1] for p in range(PARTITIONS)}
    consumer.assign([TopicPartition(topic, p, 0) for p in ends])
    found: list[tuple[int, ManualEntry]] = []
    while len(found) < sum(ends.values()):
        message: Any = consumer.poll(20)
        assert message is not None
        assert message.error() is None
        entry = decode_manual(message.value())
        assert message.key() == record_key(entry.tenant, entry.customer_id)
        assert message.partition() == partition_of(message.key(), PARTITIONS)
        found.append((message.partition(), entry))
    consumer.close()
    return found


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


def test_an_id_is_used_once(api: Api, projected: Projected) -> None:
    """A second creation is 409, also after the segment was archived; another tenant may use the id."""
    api.segment("once")
    fails(api.call("POST", "/v1/segments", {"id": "once", "name": "again"}), 409, "/id")
    api.segment("once", key="theirs")
    archived = api.call("DELETE", "/v1/segments/once")
    assert (archived.status_code, archived.json()["status"], archived.headers["etag"]) == (200, "archived", '"2"')
    assert api.call("DELETE", "/v1/segments/once").json()["version"] == 2, "again is the same answer"
    assert api.get("/v1/segments/once").json()["status"] == "archived"
    assert api.get("/v1/segments/once", key="theirs").json()["status"] == "live"
    fails(api.call("POST", "/v1/segments", {"id": "once", "name": "again"}), 409, "/id")
    fails(api.call("PUT", "/v1/segments/once", {"name": "again"}, If_Match='"2"'), 409)
    for path in ("/v1/segments/once/members", "/v1/segments/once/count"):
        fails(api.get(path), 404)
    fails(api.call("POST", "/v1/segments/once/include", {"add": ["718"]}), 404)


def test_a_version_is_replaced_only_by_who_has_seen_it(api: Api, projected: Projected) -> None:
    """PUT without If-Match is 428, with another version 412; a good one makes the next version."""
    api.segment("edited", RULE)
    path, body = "/v1/segments/edited", {"name": "Edited"}
    fails(api.call("PUT", path, body), 428)
    for etag in ('"2"', 'W/"1"', '"1x"', "2"):
        assert fails(api.call("PUT", path, body, If_Match=etag), 412)
    fails(api.call("PUT", path, body, If_Match="nonsense, here"), 400)
    fails(api.call("PUT", path, body | {"id": "another"}, If_Match='"1"'), 422, "/id")
    fails(api.call("PUT", path, body | {"rule": {"near": 3}}, If_Match='"1"'), 422, "/rule/near")
    second = api.call("PUT", path, body | {"id": "edited"}, If_Match='"7", "1"')
    assert (second.status_code, second.headers["etag"], second.json()["version"], second.json()["rule"]) == (200, '"2"', 2, None)
    assert second.json()["created_at"] <= second.json()["updated_at"]
    assert api.call("PUT", path, body, If_Match="*").json()["version"] == 3
    fails(api.call("DELETE", path, If_Match='"2"'), 412)
    assert api.call("DELETE", path, If_Match='"3"').json()["version"] == 4
    fails(api.call("PUT", "/v1/segments/absent", body, If_Match='"1"'), 404)
    fails(api.call("DELETE", "/v1/segments/absent"), 404)


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


def test_progress_is_the_share_of_customers_that_were_looked_at(api: Api, projected: Projected) -> None:
    """A segment is live when every partition has been swept past it, and never 1.0 before."""
    made = api.segment("swept", RULE)
    at = api.offset("swept")
    projected.mark(definitions=at, customers=100)
    projected.mark(0, definitions=at + 1, customers=100)
    projected.mark(1, definitions=at, customers=100, sweep=Sweep(at + 1, 50, 100))
    projected.mark(2, definitions=at, customers=100, sweep=Sweep(at, 90, 100))
    shown = api.get("/v1/segments/swept").json()
    assert (shown["status"], shown["progress"]) == ("backfilling", 0.375)
    assert made["count"] == 0
    projected.mark(definitions=at + 1, customers=100)
    projected.mark(3, definitions=at, customers=0)
    assert api.get("/v1/segments/swept").json()["progress"] < 1
    projected.mark()
    assert api.get("/v1/segments/swept").json()["status"] == "live"


def test_lists_become_entries_of_their_customers(api: Api, projected: Projected) -> None:
    """Each entry lies in its customer's partition and names the list that it belongs to; the position is behind all of them."""
    many = [f"c{n}" for n in range(40)]
    made = api.segment("listed", include=[*many, "718", "718"], exclude=["x:y/ü"])
    first = api.offset("listed")
    mine = [(p, e) for p, e in entries(api) if e.segment_id == "listed"]
    assert {(e.customer_id, e.entries, e.present, e.since, e.tenant) for _, e in mine} == {
        *((c, "include", True, first, "demo") for c in (*many, "718")),
        ("x:y/ü", "exclude", True, first, "demo"),
    }
    assert len(mine) == 42
    assert len({e.event_id for _, e in mine}) == 42
    position = decode_position(made["position"], partitions=PARTITIONS)[api.settings.topics.manual_entries]
    lying = [p for p, _ in entries(api)]
    assert position == {p: lying.count(p) for p in {p for p, _ in mine}}

    path = "/v1/segments/listed"
    kept = api.call("PUT", path, {"name": "n", "exclude": []}, If_Match='"1"')
    assert "position" not in kept.json()
    second = api.offset("listed")
    segment = api.desk.follower.catalog.segment("demo", "listed")
    assert segment is not None
    assert (segment.include_since, segment.exclude_since) == (first, second), "a list that is absent stays, one that is given starts anew"
    edited = api.call("POST", path + "/exclude", {"add": ["1", "2", "2"], "remove": ["2", "3"]})
    assert (edited.status_code, edited.json()["added"], edited.json()["removed"]) == (202, 1, 2)
    again = api.call("POST", path + "/exclude", {"add": ["1"]})
    assert again.status_code == 202
    last = [e for _, e in entries(api) if e.segment_id == "listed" and e.since == second]
    assert sorted((e.customer_id, e.present) for e in last) == [("1", True), ("1", True), ("2", False), ("3", False)]
    assert len({e.event_id for e in last}) == 4, "the same edit asked for twice is two events"
    assert segment.version == 2, "entries make no new version"
    assert api.call("POST", path + "/include", {}).json() == {"added": 0, "removed": 0, "position": "gA"}
    fails(api.call("POST", path + "/include", {"add": ["a"] * 10_001}), 422, "/add")
    fails(api.call("POST", path + "/include", {"add": ["a", "\x7f"]}), 422, "/add/1")
    fails(api.call("POST", path + "/include", {"put": []}), 422, "/put")


def test_a_list_that_replaces_another_is_announced(api: Api, projected: Projected) -> None:
    """The definition says how many entries follow into each partition; a first list, an empty one and edits by hand are not announced."""
    many = [f"c{n}" for n in range(30)]
    api.segment("announced", include=many)
    known = api.desk.follower.catalog.segment
    first = known("demo", "announced")
    assert first is not None
    assert first.announced == {}
    path = "/v1/segments/announced"
    api.call("PUT", path, {"name": "n", "include": [*many, *many, "718"], "exclude": []}, If_Match='"1"')
    api.call("POST", path + "/include", {"add": ["by-hand"]})
    second = known("demo", "announced")
    assert second is not None
    mine = [(p, e) for p, e in entries(api) if e.segment_id == "announced" and e.since == second.include_since]
    lying = [p for p, e in mine if e.announced]
    assert second.announced == {"include": {p: lying.count(p) for p in set(lying)}}
    assert [e.customer_id for _, e in mine if not e.announced] == ["by-hand"]
    api.call("PATCH", path, {"name": "other"}, If_Match='"2"')
    api.call("PATCH", path, {"include": []}, If_Match='"3"')
    last = known("demo", "announced")
    assert last is not None
    assert (last.version, last.announced) == (4, {})


def test_of_two_writers_one_wins(api: Api, projected: Projected) -> None:
    """Two processes replace the same version at once: exactly one is 200, the other learns it; nobody is told wrong."""
    api.segment("contested")
    with serving(api.settings) as second, ThreadPoolExecutor(8) as pool:
        for version in range(1, 9):
            calls = [(where, f"writer {n}") for n, where in enumerate([api, second] * 3)]
            answers = list(pool.map(lambda c, v=version: c[0].call("PUT", "/v1/segments/contested", {"name": c[1]}, If_Match=f'"{v}"'), calls))
            won = [(answer, name) for answer, (_, name) in zip(answers, calls, strict=True) if answer.status_code == 200]
            assert len(won) == 1, [answer.text for answer in answers]
            assert all(answer.status_code == 412 for answer in answers if answer is not won[0][0])
            assert won[0][0].json()["version"] == version + 1
            shown = api.get("/v1/segments/contested").json()
            assert (shown["version"], shown["name"]) == (version + 1, won[0][1])
        created = list(pool.map(lambda where: where.call("POST", "/v1/segments", {"id": "raced", "name": "x"}), [api, second] * 3))
        assert sorted(answer.status_code for answer in created) == [201, 409, 409, 409, 409, 409]
        archived = list(pool.map(lambda where: where.call("DELETE", "/v1/segments/raced"), [api, second] * 3))
        assert {(answer.status_code, answer.json()["version"]) for answer in archived} == {(200, 2)}


def test_an_entry_names_the_list_that_another_process_has_just_reset(api: Api, projected: Projected) -> None:
    """What was answered is in force everywhere: a process that has not read the reset yet reads it before it writes an entry."""
    api.segment("handed-over", include=["old"])
    with serving(api.settings) as second, ThreadPoolExecutor(1) as pool:
        consumer = second.desk.follower._consumer
        assert consumer is not None
        loop: asyncio.AbstractEventLoop = consumer._loop
        loop.call_soon_threadsafe(consumer.pause, *consumer.assignment())
        time.sleep(0.7)  # what it had asked for before it paused has come
        assert api.call("PUT", "/v1/segments/handed-over", {"name": "n", "include": []}, If_Match='"1"').status_code == 200
        assert second.offset("handed-over") < api.offset("handed-over")
        edited = pool.submit(second.call, "POST", "/v1/segments/handed-over/include", {"add": ["new"]})
        time.sleep(0.3)
        loop.call_soon_threadsafe(consumer.resume, *consumer.assignment())
        assert edited.result().status_code == 202
    assert [e.since for _, e in entries(api) if e.customer_id == "new"] == [api.offset("handed-over")]


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
    replaced = api.call("PUT", "/v1/segments/tier-gold", {"name": "x", "rule": RULE}, If_Match='"1"').json()
    assert {name: replaced[name] for name in carried} == dict.fromkeys(carried)
    assert api.call("POST", "/v1/segments", taken).status_code == 201


def test_a_patch_changes_what_it_names(api: Api, projected: Projected) -> None:
    """A merge patch saves a version; one that changes nothing saves none; it wants If-Match, and a body of its own kind."""
    path = "/v1/segments/patched"
    made = api.segment("patched", RULE, tier={"family": "patches", "level": 1}, description="d")
    fails(api.call("PATCH", path, {"name": "n"}), 428)
    fails(api.call("PATCH", path, {"name": "n"}, If_Match='"7"'), 412)
    fails(api.call("PATCH", path, {"name": "n"}, If_Match='"1"', Content_Type="text/plain"), 415)
    fails(api.call("PUT", path, {"name": "n"}, If_Match='"1"', Content_Type="application/merge-patch+json"), 415)
    fails(api.call("PATCH", path, {"id": "another"}, If_Match='"1"'), 422, "/id")
    fails(api.call("PATCH", path, {"rule": {"value": "a lot"}}, If_Match='"1"'), 422, "/rule/value")
    fails(api.call("PATCH", path, {"rule": {"segment": "patched"}}, If_Match='"1"'), 422, "/rule")
    for depth, status in ((200, 422), (20_000, 400)):
        fails(api.call("PATCH", path, b'{"rule":' + b'{"a":' * depth + b"1" + b"}" * (depth + 1), If_Match='"1"'), status)
    same = api.call("PATCH", path, {"name": "Patched", "rule": {"op": "gt"}}, If_Match='"1"')
    assert (same.status_code, same.headers["etag"], same.json()["version"]) == (200, '"1"', 1)
    changed = api.call(
        "PATCH", path, b'{"rule":{"value":123456789012345.07},"tier":null}', If_Match='"1"', Content_Type="application/merge-patch+json"
    )
    assert (changed.status_code, changed.headers["etag"]) == (200, '"2"')
    assert changed.json()["rule"] == {**RULE, "value": "123456789012345.07"}
    assert {name: changed.json()[name] for name in ("name", "description", "tier")} == {"name": made["name"], "description": "d", "tier": None}
    listed = api.call("PATCH", path, {"include": ["718"]}, If_Match='"2"')
    assert (listed.status_code, listed.json()["version"], listed.json()["rule"]) == (200, 3, changed.json()["rule"])
    assert [(e.customer_id, e.since) for _, e in entries(api) if e.segment_id == "patched"] == [("718", api.offset("patched"))]
    api.call("DELETE", path)
    fails(api.call("PATCH", path, {"name": "n"}, If_Match='"4"'), 409)


def test_a_paused_segment_says_so_and_keeps_its_version(api: Api, projected: Projected) -> None:
    """Pausing and resuming are no versions, and asked for again they are answered again."""
    api.segment("quiet", RULE)
    path = "/v1/segments/quiet"
    for act, status in (("pause", "paused"), ("pause", "paused"), ("resume", "live"), ("resume", "live"), ("pause", "paused")):
        before = api.desk.follower.catalog.offset
        changed = api.call("POST", f"{path}/{act}")
        assert (changed.status_code, changed.json()["status"], changed.headers["etag"]) == (200, status, '"1"')
        assert api.get(path).json() == changed.json()
        assert api.desk.follower.catalog.offset - before <= 1
    fails(api.call("POST", f"{path}/resume", If_Match='"2"'), 412)
    assert api.call("PUT", path, {"name": "Quiet", "rule": RULE}, If_Match='"1"').json()["status"] == "paused"
    assert api.call("POST", f"{path}/resume", If_Match='"2"').json()["status"] == "live"
    assert api.call("DELETE", path).json()["status"] == "archived"
    for act in ("pause", "resume"):
        fails(api.call("POST", f"{path}/{act}"), 409)


def test_a_segment_that_others_refer_to_stays(api: Api, projected: Projected) -> None:
    """DELETE is 409 and names them; a cycle is 422 and shows it; what was archived comes back once what it refers to has."""
    api.segment("base", RULE)
    api.segment("upper", {"all": [RULE, {"segment": "base"}]})
    assert "upper" in fails(api.call("DELETE", "/v1/segments/base"), 409)["detail"]
    cycle = api.call("PUT", "/v1/segments/base", {"name": "x", "rule": {"segment": "upper"}}, If_Match='"1"')
    assert "base → upper → base" in fails(cycle, 422, "/rule/segment")["detail"]
    for segment_id in ("upper", "base"):
        assert api.call("DELETE", f"/v1/segments/{segment_id}").json()["status"] == "archived"
    assert "base" in fails(api.call("POST", "/v1/segments/upper/restore"), 409)["detail"]
    restored = api.call("POST", "/v1/segments/base/restore", If_Match='"2"')
    assert (restored.status_code, restored.headers["etag"], restored.json()["status"]) == (200, '"3"', "live")
    again = api.call("POST", "/v1/segments/base/restore")
    assert (again.status_code, again.json()["version"]) == (200, 3)
    fails(api.call("POST", "/v1/segments/base/restore", If_Match='"2"'), 412)
    assert api.call("POST", "/v1/segments/upper/restore").json()["rule"]["all"][1] == {"segment": "base"}


def test_versions_are_listed_the_newest_first(api: Api, projected: Projected) -> None:
    """Each version with what it said, page by page; also of an archived segment."""
    api.segment("told", RULE)
    for version in range(1, 4):
        assert api.call("PATCH", "/v1/segments/told", {"name": f"name {version + 1}"}, If_Match=f'"{version}"').status_code == 200
    api.call("POST", "/v1/segments/told/pause")
    api.call("DELETE", "/v1/segments/told")
    seen: list[Any] = []
    path = "/v1/segments/told/versions?limit=2"
    while path:
        page = api.get(path).json()
        assert len(page["versions"]) <= 2
        seen += page["versions"]
        path = f"/v1/segments/told/versions?limit=2&cursor={page['next']}" if page["next"] else ""
    assert [(v["version"], v["change"], v["name"]) for v in seen] == [
        (5, "archived", "name 4"), (4, "saved", "name 4"), (3, "saved", "name 3"), (2, "saved", "name 2"), (1, "saved", "Told"),
    ]  # fmt: skip
    assert all(v["rule"] == RULE for v in seen)
    assert [v["at"] for v in seen] == sorted((v["at"] for v in seen), reverse=True)
    for cursor in (encode_cursor(0), encode_cursor("x"), "!"):
        fails(api.get(f"/v1/segments/told/versions?cursor={cursor}"), 422, "/cursor")
    fails(api.get("/v1/segments/told/versions?limit=101"), 422, "/limit")


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
