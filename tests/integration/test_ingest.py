"""Ingest on a real Kafka: every answer that a client can meet, and that 202 means what it says."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from confluent_kafka import Producer

from deploy.local.broker import LocalBroker
from deploy.local.ports import free_port
from schemas.examples import EVENTS
from schemas.instants import iso
from schemas.partitions import partition_of, record_key
from schemas.positions import decode_position
from schemas.problems import MEDIA_TYPE
from tests.support.ingest import ACK_TIMEOUT_S, BURST, MAX_BODY, MAX_EVENTS, PARTITIONS, VISIT, Ingest, ready, running
from tests.support.waiting import wait_until

LINES = {"Content-Type": "application/x-ndjson"}


@pytest.fixture(scope="module")
def ingest(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ingest]:
    """An ingest process on the Kafka that the tests share."""
    with running(kafka, tmp_path_factory.mktemp("ingest")) as found:
        yield found


def fails(response: httpx.Response, status: int, pointer: str | None = None) -> dict[str, Any]:
    """Check that a response is problem details of a status; return them."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == MEDIA_TYPE
    problem: dict[str, Any] = response.json()
    assert problem["status"] == status
    assert problem["detail"]
    assert problem.get("pointer") == pointer
    return problem


def test_a_position_is_the_place_after_the_events(ingest: Ingest) -> None:
    """Each accepted event lies before the position of its 202, in its customer's partition, under the key's tenant."""
    events = [{**EVENTS[tag], "customer_id": f"c{n}", "event_id": f"pos-{tag}-{n}"} for tag in ("checkout", "profile") for n in range(30)]
    for body, headers in (
        (json.dumps(events).encode(), {}),
        (b"\n".join(json.dumps(event).encode() for event in events), LINES),
        (gzip.compress(json.dumps(events).encode()), {"Content-Encoding": "gzip"}),
    ):
        before = {topic: {p: len(found) for p, found in ingest.records(ingest.topics.family(topic)).items()} for topic in ("checkout", "profile")}
        answer = ingest.post(body, **headers)
        assert answer.status_code == 202, answer.text
        assert (answer.json()["accepted"], answer.json()["rejected"], answer.json()["results"]) == (60, 0, [])
        position = decode_position(answer.json()["position"], partitions=PARTITIONS)
        for tag in ("checkout", "profile"):
            topic = ingest.topics.family(tag)
            lanes: dict[int, list[str]] = {}
            for event in events:
                if event["type"] == tag:
                    lanes.setdefault(partition_of(record_key("demo", event["customer_id"]), PARTITIONS), []).append(event["event_id"])
            assert position[topic].keys() == lanes.keys()
            for partition, records in ingest.records(topic).items():
                mine = records[before[tag][partition] : position[topic].get(partition, 0)]
                assert [document["event_id"] for _, document in mine] == lanes.get(partition, [])
                assert all(its == record_key("demo", document["customer_id"]) and document["tenant"] == "demo" for its, document in mine)


def test_a_foreign_client_with_kafkas_partitioner_meets_us_in_one_partition(ingest: Ingest) -> None:
    """Librdkafka's murmur2 puts the same key into the same partition as we do."""
    placed: dict[bytes, int] = {}

    def delivered(_: object, message: Any) -> None:
        placed[message.key()] = message.partition()

    producer = Producer({"bootstrap.servers": ingest.bootstrap, "partitioner": "murmur2_random"})
    for number in range(200):
        producer.produce(ingest.topics.family("points"), b"{}", record_key("demo", f"é{number}"), on_delivery=delivered)
    assert producer.flush(20) == 0
    assert len(placed) == 200
    assert all(partition_of(its, PARTITIONS) == partition for its, partition in placed.items())


def test_the_good_ones_of_a_batch_are_kept(ingest: Ingest) -> None:
    """Each bad line is named with its number, place and status; the others are in Kafka."""
    mark = uuid.uuid4().hex
    good = [{**VISIT, "event_id": f"{mark}-{n}"} for n in range(2)]
    large = {**VISIT, "event_id": mark, "unknown": "x" * 262_144}
    lines = [
        json.dumps(good[0]),
        "",
        "{broken",
        json.dumps({**VISIT, "store_id": 7}),
        json.dumps(large),
        json.dumps({**VISIT, "tenant": "tokyo"}),
        json.dumps(good[1]),
    ]
    answer = ingest.post("\n".join(lines).encode(), **LINES)
    assert answer.status_code == 202
    assert answer.json()["accepted"] == 2
    assert [(r["index"], r["status"], r["pointer"]) for r in answer.json()["results"]] == [
        (2, 400, ""),
        (3, 422, "/store_id"),
        (4, 413, ""),
        (5, 422, "/tenant"),
    ]
    kept = [document for records in ingest.records(ingest.topics.family("visit")).values() for _, document in records]
    assert sorted(document["event_id"] for document in kept if mark in document["event_id"]) == [event["event_id"] for event in good]


def test_a_tenant_comes_from_the_key(ingest: Ingest) -> None:
    """Under another tenant's key the same customer is another customer, and amounts obey that tenant's currency."""
    mark = uuid.uuid4().hex
    assert ingest.post({**VISIT, "event_id": mark, "tenant": "tokyo"}, "yen").status_code == 202
    keys = [its for records in ingest.records(ingest.topics.family("visit")).values() for its, document in records if document["event_id"] == mark]
    assert keys == [record_key("tokyo", VISIT["customer_id"])]
    fails(ingest.post({**EVENTS["checkout"], "currency": None, "total": "1.50"}, "yen"), 422, "/total")
    fails(ingest.post(EVENTS["checkout"], "yen"), 422, "/currency")


def test_a_receipt_without_a_customer_is_accepted(ingest: Ingest) -> None:
    """An anonymous receipt is taken, without a key; any other event needs its customer."""
    assert ingest.post({**EVENTS["checkout"], "customer_id": None, "event_id": "nobody"}).status_code == 202
    found = [
        its for records in ingest.records(ingest.topics.family("checkout")).values() for its, document in records if document["event_id"] == "nobody"
    ]
    assert found == [None]
    fails(ingest.post({**VISIT, "customer_id": None}), 422, "/customer_id")


def test_sending_again_is_accepted_again(ingest: Ingest) -> None:
    """A retry of an accepted event is accepted: counting it once is the segmenter's part."""
    assert [ingest.post({**VISIT, "event_id": "again"}).status_code for _ in range(2)] == [202, 202]


@pytest.mark.parametrize("secret", ["-", "wrong", "revoked", "x" * 10_000, "writer2"])
def test_no_key_and_a_wrong_key_get_the_same_answer(ingest: Ingest, secret: str) -> None:
    """401 is one answer: nothing tells a key that never was from one that was revoked, or from none."""
    answers = [ingest.post(VISIT, secret), ingest.post(VISIT, Authorization=""), ingest.post(b"{broken", Authorization="Basic d3JpdGVy")]
    assert len({json.dumps(fails(answer, 401)) for answer in answers}) == 1
    assert {answer.headers["www-authenticate"] for answer in answers} == {'Bearer realm="rollcall"'}


def test_a_key_without_the_scope_may_not(ingest: Ingest) -> None:
    """403 names the scope that is missing."""
    answer = ingest.post(VISIT, "reader")
    fails(answer, 403)
    assert 'scope="events:write"' in answer.headers["www-authenticate"]


@pytest.mark.parametrize(
    ("body", "status", "pointer"),
    [
        (b"", 400, None),
        (b"{broken", 400, None),
        (b"[{}, {broken", 400, None),
        (b'{"type":"visit","x":NaN}', 400, None),
        (b"\xff\xfe", 400, None),
        (b'{"type":"visit","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400, None),
        (b"[" * 100_000, 400, None),
        (b'"text"', 422, None),
        (b"{}", 422, "/type"),
        (b"[]", 422, None),
        (b"[{}, 5]", 422, None),
        (json.dumps({**VISIT, "type": "teleport"}).encode(), 422, "/type"),
        (json.dumps({**VISIT, "store_id": 7}).encode(), 422, "/store_id"),
        (json.dumps({**VISIT, "occurred_at": "1999-12-31T23:59:59Z"}).encode(), 422, "/occurred_at"),
        (json.dumps({**VISIT, "unknown": "x" * 262_144}).encode(), 413, None),
        (b" " * 10_000_000, 413, None),
        (json.dumps([{}] * (MAX_EVENTS + 1)).encode(), 413, None),
        (json.dumps({**EVENTS["customer-merge"], "into": EVENTS["customer-merge"]["customer_id"]}).encode(), 422, "/into"),
        (json.dumps({**EVENTS["customer-merge"], "into": "a\u0000b"}).encode(), 422, "/into"),
    ],
    ids=lambda value: value[:20].decode(errors="replace") if isinstance(value, bytes) else None,
)
def test_a_bad_body_is_refused_with_its_place(ingest: Ingest, body: bytes, status: int, pointer: str | None) -> None:
    """What cannot be accepted is a 4xx with the place and the reason."""
    fails(ingest.post(body), status, pointer)


def test_a_batch_with_no_good_event_names_each(ingest: Ingest) -> None:
    """422 lists every event of the batch with its own place."""
    errors = fails(ingest.post(b"{}\n" + json.dumps({**VISIT, "event_id": 5}).encode(), **LINES), 422)["errors"]
    assert [(error["index"], error["status"], error["pointer"]) for error in errors] == [(0, 422, "/type"), (1, 422, "/event_id")]


def test_an_event_may_be_five_minutes_ahead(ingest: Ingest) -> None:
    """Four minutes ahead of the clock is accepted, six are not."""
    now_ms = time.time_ns() // 1_000_000
    assert ingest.post({**VISIT, "occurred_at": iso(now_ms + 4 * 60_000)}).status_code == 202
    fails(ingest.post({**VISIT, "occurred_at": iso(now_ms + 6 * 60_000)}), 422, "/occurred_at")


def test_a_bomb_and_an_endless_body_are_413(ingest: Ingest) -> None:
    """Neither what a body would inflate to nor a body that never says its length is held beyond the limit."""
    fails(ingest.post(gzip.compress(bytes(500_000_000), 9), Content_Encoding="gzip"), 413)

    def endless() -> Iterator[bytes]:
        for _ in range(3 * MAX_BODY // 65_536):
            yield bytes(65_536)

    headers = {"Authorization": "Bearer writer", "Content-Type": "application/json"}
    fails(httpx.post(f"{ingest.url}/v1/events", content=endless(), headers=headers, timeout=30), 413)
    assert "rollcall_ingest_reading_bytes 0.0" in ingest.get("/metrics").text


def test_gzip_that_is_none_is_400(ingest: Ingest) -> None:
    """A body that says gzip and is not, or is cut, is refused as broken."""
    for body in (json.dumps(VISIT).encode(), gzip.compress(json.dumps(VISIT).encode())[:-4]):
        fails(ingest.post(body, Content_Encoding="gzip"), 400)


def test_a_body_that_does_not_come_is_408(ingest: Ingest) -> None:
    """A client that opens a body and falls silent is not waited for."""

    def slow() -> Iterator[bytes]:
        yield b"{"
        time.sleep(1.5)
        yield b"}"

    headers = {"Authorization": "Bearer writer", "Content-Type": "application/json"}
    fails(httpx.post(f"{ingest.url}/v1/events", content=slow(), headers=headers, timeout=30), 408)


def test_other_media_types_and_encodings_are_415(ingest: Ingest) -> None:
    """415 says what would have been taken."""
    assert "application/x-ndjson" in ingest.post(VISIT, Content_Type="text/csv").headers["accept"]
    fails(ingest.post(VISIT, Content_Type="application/json; charset=latin-1"), 415)
    fails(ingest.post(VISIT, Content_Encoding="br"), 415)


def test_a_flood_is_429_and_nobody_else_pays(ingest: Ingest) -> None:
    """A key that is far over its rate is told when to come back; another key is served meanwhile."""
    batch = [{**VISIT, "event_id": f"flood-{n}"} for n in range(MAX_EVENTS)]
    answers = [ingest.post(batch, "flood") for _ in range(BURST // MAX_EVENTS + 2)]
    fails(answers[-1], 429)
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert [answer.status_code for answer in answers[:5]] == [202] * 5
    assert ingest.post(VISIT).status_code == 202


def test_unknown_paths_and_methods_are_problems_too(ingest: Ingest) -> None:
    """404 and 405 have the shape of every other error."""
    fails(ingest.get("/v1/nothing"), 404)
    fails(ingest.get("/v1/events"), 405)


def test_the_published_document_is_complete(ingest: Ingest) -> None:
    """OpenAPI shows every media type with examples that are accepted, and an example of every error."""
    document = ingest.get("/openapi.json").json()
    post = document["paths"]["/v1/events"]["post"]
    assert set(post["responses"]) == {"202", "400", "401", "403", "408", "413", "415", "422", "429", "503"}
    assert all(answer["content"][MEDIA_TYPE]["example"]["detail"] for status, answer in post["responses"].items() if status != "202")
    content = post["requestBody"]["content"]
    assert ingest.post(content["application/json"]["examples"]["array"]["value"]).status_code == 202
    assert ingest.post(content["application/x-ndjson"]["examples"]["lines"]["value"].encode(), **LINES).json()["accepted"] == 3
    assert ingest.get("/docs").status_code == 200


def test_the_process_tells_how_it_is(ingest: Ingest) -> None:
    """Health, readiness and metrics answer, and the metrics count what was accepted."""
    assert ingest.get("/healthz").json() == {"status": "alive"}
    assert ingest.get("/readyz").json()["ready"]
    topic = ingest.topics.family("email-open")

    def counted() -> float:
        lines = [line for line in ingest.get("/metrics").text.splitlines() if f'accepted_events_total{{topic="{topic}"}}' in line]
        return float(lines[0].split()[-1]) if lines else 0.0

    before = counted()
    assert ingest.post([EVENTS["email-open"]] * 3).status_code == 202
    assert counted() == before + 3


def test_a_bad_setting_ends_the_start_with_a_line() -> None:
    """A value that cannot be is named, and the process ends instead of guessing."""
    environment = os.environ | {"ROLLCALL_INGEST_PORT": "http"}
    ended = subprocess.run([sys.executable, "-m", "services.ingest"], env=environment, capture_output=True, timeout=30, check=False)
    assert ended.returncode == 2
    assert b"ROLLCALL_INGEST_PORT='http'" in ended.stderr


def test_another_number_of_partitions_ends_the_start_with_a_line(ingest: Ingest) -> None:
    """Topics that have another number of partitions are not written to: customers would be split in two."""
    environment = os.environ | {
        "ROLLCALL_KAFKA": ingest.bootstrap,
        "ROLLCALL_TOPIC_PREFIX": ingest.topics.prefix,
        "ROLLCALL_PARTITIONS": "5",
        "ROLLCALL_INGEST_PORT": str(free_port()),
    }
    ended = subprocess.run([sys.executable, "-m", "services.ingest"], env=environment, capture_output=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert b"the settings say 5" in ended.stderr


def test_without_kafka_nothing_is_acknowledged_and_it_comes_back_by_itself(tmp_path: Path) -> None:
    """Kafka killed: 503 within the time that the settings say, then at once; Kafka back: 202 without a person, nothing lost."""
    with LocalBroker(tmp_path) as broker, running(broker.bootstrap, tmp_path) as ingest:
        accepted = [f"before-{number}" for number in range(5)]
        assert ingest.post([{**VISIT, "event_id": event_id} for event_id in accepted]).status_code == 202
        broker.kill9()
        began = time.monotonic()
        answer = ingest.post({**VISIT, "event_id": "lost?"})
        fails(answer, 503)
        assert int(answer.headers["retry-after"]) >= 1
        assert time.monotonic() - began < ACK_TIMEOUT_S + 2
        wait_until(lambda: ingest.get("/readyz").status_code == 503, 40)
        began = time.monotonic()
        fails(ingest.post({**VISIT, "event_id": "lost?"}), 503)
        assert time.monotonic() - began < 1
        assert ingest.get("/healthz").status_code == 200
        broker.start()
        wait_until(lambda: ingest.post({**VISIT, "event_id": "after"}).status_code == 202, 40)
        wait_until(lambda: ready(ingest), 10)
        kept = {document["event_id"] for records in ingest.records(ingest.topics.family("visit")).values() for _, document in records}
        assert {*accepted, "after"} <= kept


def test_a_stopping_process_finishes_what_it_has_begun(kafka: str, tmp_path: Path) -> None:
    """Every event that was answered 202 while SIGTERM came is in Kafka, and the process ends by itself."""
    accepted = []
    with running(kafka, tmp_path) as ingest:
        with httpx.Client(headers={"Authorization": "Bearer writer"}, timeout=10) as client:
            for number in range(200):
                if number == 100:
                    ingest.process.send_signal(signal.SIGTERM)
                try:
                    if client.post(f"{ingest.url}/v1/events", json={**VISIT, "event_id": f"stop-{number}"}).status_code == 202:
                        accepted.append(f"stop-{number}")
                except httpx.TransportError:
                    break
        assert ingest.process.wait(20) == 0
        kept = {document["event_id"] for records in ingest.records(ingest.topics.family("visit")).values() for _, document in records}
        assert len(accepted) >= 100
        assert set(accepted) <= kept
