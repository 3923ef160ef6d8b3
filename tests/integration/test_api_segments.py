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

RULE = {"metric": {"measure": "sum", "event": "checkout", "field": "total", "window": {"last": "P3M"}}, "op": "gt", "value": "150.00"}


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
    assert list(made) == ["id", "name", "description", "rule", "version", "status", "progress", "count", "created_at", "updated_at"]
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
        ({"id": "x", "name": "x", "tier": {"family": "status", "level": 2}}, 422, "/tier"),
        ({"id": "x", "name": "x", "min_stay": "P7D"}, 422, "/min_stay"),
        ({"id": "x", "name": "x", "starts_at": "2026-01-01T00:00:00Z"}, 422, "/starts_at"),
        ({"id": "x", "name": "x", "ends_at": "2026-01-01T00:00:00Z"}, 422, "/ends_at"),
        ({"id": "x", "name": "x", "include": ["a", 7]}, 422, "/include/1"),
        ({"id": "x", "name": "x", "include": ["a", ""]}, 422, "/include/1"),
        ({"id": "x", "name": "x", "exclude": ["a\u0000"]}, 422, "/exclude/0"),
        ({"id": "x", "name": "x", "rule": {"all": [RULE, {"profile": "agee", "op": "gt", "value": 3}]}}, 422, "/rule/all/1/profile"),
        ({"id": "x", "name": "x", "rule": {"segment": "other"}}, 422, "/rule/segment"),
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
        ("DELETE", "/v1/segments/{}", None),
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
            status: [s["id"] for s in api.get(f"/v1/segments?status={status}").json()["segments"]] for status in ("live", "backfilling", "archived")
        }
        assert by_status == {"live": ["s03", "s04", "s05"], "backfilling": ["s00", "s01", "s02"], "archived": ["s06"]}
        for cursor in ("x", "!!!!", "a" * 5_000, encode_cursor(7), encode_cursor("UPPER"), encode_cursor(["s01"]), ""):
            fails(api.get(f"/v1/segments?cursor={cursor}"), 422, "/cursor")
        for limit in ("0", "1001", "-1", "x", "1e3", "٣", ""):
            fails(api.get(f"/v1/segments?limit={limit}"), 422, "/limit")
        fails(api.get("/v1/segments?status=paused"), 422, "/status")


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
