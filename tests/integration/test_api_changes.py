"""The change feed on a real Kafka: complete, in order, resumable from any point, and only the tenant's own."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from schemas.instants import iso
from schemas.partitions import partition_of, record_key
from schemas.positions import encode_position
from schemas.transitions import Cause, Transition, encode_transition, transition_id
from services.api.changes import LOOK_RECORDS
from tests.support.api import PARTITIONS, Api, fails, installed
from tests.support.sending import sender
from tests.support.waiting import wait_until

SEGMENTS = ("gold", "regulars")


class Decisions:
    """Publishes transitions in transactions, as the segmenter does: some of them are aborted."""

    def __init__(self, api: Api) -> None:
        self.api, self.random = api, random.Random(7)
        self.seq: dict[tuple[str, str], int] = {}
        self.published: list[Transition] = []
        self.producer = sender(api.settings.kafka, transactional_id=api.settings.topic_prefix + "decisions")
        self.producer.init_transactions(20)

    def step(self, tenant: str, customers: list[str], *, abort: bool = False) -> None:
        """Publish one transition for each customer in one transaction."""
        self.producer.begin_transaction()
        for customer in customers:
            seq = self.seq.get((tenant, customer), 0) + 1
            segment = self.random.choice(SEGMENTS)
            found = Transition(
                id=transition_id(tenant, customer, segment, seq), tenant=tenant, customer_id=customer, segment_id=segment, segment_version=1,
                change="entered", at=iso(1_700_000_000_000), decided_at=iso(1_700_000_000_000 + len(self.published)), seq=seq,
                cause=Cause("event", "evt-1"), until=None, values=[],
            )  # fmt: skip
            key = record_key(tenant, customer)
            self.producer.produce(self.api.settings.topics.changes, encode_transition(found), key=key, partition=partition_of(key, PARTITIONS))
            if not abort:
                self.seq[tenant, customer] = seq
                self.published.append(found)
        if abort:
            self.producer.flush(20)
            self.producer.abort_transaction(20)
        else:
            self.producer.commit_transaction(20)


@pytest.fixture(scope="module")
def api(kafka: str, valkey_url: str) -> Iterator[Api]:
    """An API that looks at few records at a time, with two tenants' transitions, some of them aborted."""
    with installed(kafka, valkey_url, api_feed_scan=40, api_feed_consumers=2) as found:
        for name in SEGMENTS:
            found.segment(name)
        yield found


@pytest.fixture(scope="module")
def decisions(api: Api) -> Decisions:
    """Two hundred transitions of two tenants."""
    found = Decisions(api)
    for n in range(20):
        found.step("demo", [f"c{m}" for m in range(n % 5, 8)])
        found.step("other", ["c1", "c2", "elsewhere"])
        found.step("demo", ["c1", "ghost"], abort=True)
    return found


def everything(api: Api, path: str, after: str | None = None, key: str = "all") -> tuple[list[dict[str, Any]], list[str]]:
    """Read the feed to its end; return the transitions and the cursor after each page."""
    found: list[dict[str, Any]] = []
    cursors: list[str] = []
    while True:
        sep = "&" if "?" in path else "?"
        response = api.get(path if after is None else f"{path}{sep}after={after}", key=key)
        assert response.status_code == 200, response.text
        page = response.json()
        found += page["changes"]
        after = page["next"]
        cursors.append(page["next"])
        if not page["more"]:
            return found, cursors


@pytest.mark.parametrize("limit", [1, 7, 1_000])
def test_the_feed_is_every_transition_once_in_order(api: Api, decisions: Decisions, limit: int) -> None:
    """All pages together are all committed transitions of the tenant, byte for byte the same, a customer's in order of `seq`."""
    found, _ = everything(api, f"/v1/changes?limit={limit}")
    wanted = {t.id: t for t in decisions.published if t.tenant == "demo"}
    assert len(found) == len(wanted)
    assert {change["id"]: change["decided_at"] for change in found} == {t.id: t.decided_at for t in wanted.values()}
    order: dict[str, list[int]] = {}
    for change in found:
        order.setdefault(change["customer_id"], []).append(change["seq"])
    assert all(seqs == list(range(1, len(seqs) + 1)) for seqs in order.values())


def test_it_resumes_from_any_point(api: Api, decisions: Decisions) -> None:
    """What is read from a cursor on is exactly what was not read up to it."""
    whole, _ = everything(api, "/v1/changes?limit=1000")
    read, cursors = everything(api, "/v1/changes?limit=9")
    assert {c["id"] for c in read} == {c["id"] for c in whole}
    before = 0
    for cursor in cursors:
        rest, _ = everything(api, "/v1/changes?limit=1000", cursor)
        page = len(read) - before - len(rest)
        assert 0 <= page <= 9
        before += page
        assert {c["id"] for c in read[before:]} == {c["id"] for c in rest}
    assert before == len(read)


def test_the_end_is_a_place_as_well(api: Api, decisions: Decisions) -> None:
    """`now` gives a cursor from which exactly what comes later is read; a page at the end is empty and quick."""
    now = api.get("/v1/changes?after=now").json()
    assert (now["changes"], now["more"]) == ([], False)
    decisions.step("demo", ["late"], abort=True)
    decisions.step("demo", ["c1", "late"])
    # A commit is acknowledged before its markers are in every partition; readers of committed records see it a moment later.
    wait_until(lambda: len(everything(api, "/v1/changes", now["next"])[0]) >= 2)
    found, cursors = everything(api, "/v1/changes", now["next"])
    assert {c["id"] for c in found} == {t.id for t in decisions.published[-2:]}
    since = time.monotonic()
    assert everything(api, "/v1/changes", cursors[-1])[0] == []
    assert time.monotonic() - since < 1


def test_it_can_be_of_one_segment(api: Api, decisions: Decisions) -> None:
    """Only that segment's transitions come, also of an archived one; an unknown one is 404."""
    found, _ = everything(api, "/v1/changes?segment=gold&limit=5")
    assert {c["id"] for c in found} == {t.id for t in decisions.published if t.tenant == "demo" and t.segment_id == "gold"}
    fails(api.get("/v1/changes?segment=absent"), 404)


def test_nobody_sees_another_tenants_transitions(api: Api, decisions: Decisions) -> None:
    """Each tenant's key reads its own feed, also with the other's cursor."""
    _, theirs = everything(api, "/v1/changes?limit=3", key="theirs")
    for cursor in (None, theirs[0], theirs[-1]):
        found, _ = everything(api, "/v1/changes", cursor)
        assert {c["tenant"] for c in found} <= {"demo"}
    found, _ = everything(api, "/v1/changes", key="theirs")
    assert {c["id"] for c in found} == {t.id for t in decisions.published if t.tenant == "other"}


@pytest.mark.parametrize(
    "cursor",
    [
        "x", "", "%FF", "NOW", encode_position({}), encode_position({"": {0: 1}}), encode_position({"checkouts": dict.fromkeys(range(PARTITIONS), 0)}),
        encode_position({"": dict.fromkeys(range(PARTITIONS), 1 << 40)}), encode_position({"": dict.fromkeys(range(PARTITIONS + 1), 0)}),
    ],
)  # fmt: skip
def test_a_tampered_cursor_is_refused(api: Api, decisions: Decisions, cursor: str) -> None:
    """What this API did not give is 422."""
    pointer = "/after" if cursor != "%FF" else None
    fails(api.get(f"/v1/changes?after={cursor}"), 422, pointer)


def test_many_readers_take_turns(api: Api, decisions: Decisions) -> None:
    """More readers than consumers are all answered, each with the whole feed."""
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: everything(api, "/v1/changes?limit=1000")[0], range(8)))
    assert len({tuple(sorted(c["id"] for c in one)) for one in found}) == 1


def test_a_page_looks_at_little_more_than_it_tells(kafka: str, valkey_url: str) -> None:
    """However much lies there: a page that took it all apart would keep everybody else waiting for as long."""
    with installed(kafka, valkey_url) as api:
        Decisions(api).step("demo", [f"c{n}" for n in range(20 * LOOK_RECORDS)])
        wait_until(lambda: len(api.get("/v1/changes?limit=10").json()["changes"]) == 10)
        before = _looked_at(api)
        assert api.get("/v1/changes?limit=10").json()["more"]
        assert 10 <= _looked_at(api) - before <= PARTITIONS * LOOK_RECORDS


def _looked_at(api: Api) -> float:
    line = next(line for line in api.get("/metrics").text.splitlines() if line.startswith("rollcall_api_feed_records_total "))
    return float(line.split()[1])


def test_what_has_expired_is_said(kafka: str, valkey_url: str) -> None:
    """A cursor whose records Kafka has dropped is 410, not a gap that nobody sees; without `after` the feed begins anew."""
    with installed(kafka, valkey_url) as api:
        decisions = Decisions(api)
        # A topic that was just made may have no leader yet, and then the feed is unavailable.
        wait_until(lambda: api.get("/v1/changes?after=now").status_code == 200)
        cursor = api.get("/v1/changes?after=now").json()["next"]
        decisions.step("demo", [f"c{n}" for n in range(20)])
        admin = AdminClient({"bootstrap.servers": kafka})
        places = [TopicPartition(api.settings.topics.changes, number, 2) for number in range(PARTITIONS)]
        for future in admin.delete_records(places).values():
            future.result(20)
        fails(api.get(f"/v1/changes?after={cursor}"), 410, "/after")
        assert len(everything(api, "/v1/changes")[0]) == 20 - 2 * PARTITIONS
