"""As fast as it can, and killed on the way: what a segmenter decides of a backlog is what it would have decided at leisure, and is told once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from redis import Redis

from demo.segments import SEGMENTS
from schemas.partitions import partition_of, record_key
from schemas.projection import Keys, decode_marker, decode_shown
from tests.bench.load import events, fill
from tests.bench.throughput import applied
from tests.chaos.ledger import Ledger, Violations
from tests.oracle.model import History, is_member
from tests.support.services import PARTITIONS, TENANT, Stack, running, wait_for
from tests.support.workers import read_all

COUNT = 120_000
DEATHS_AT = (0.15, 0.4, 0.65)
ASKED = 9
"""One of so many customers is asked the judge about, who looks at each of them by brute force."""
ZONE = {"id": TENANT, "timezone": "America/New_York", "currency": "USD", "country": "US"}


def test_a_backlog_at_full_speed_is_decided_exactly_though_its_worker_dies(tmp_path: Path) -> None:
    """All segments of the demo: every transition once and in order, and everybody is where the judge says, as of the last instant."""
    segments: list[dict[str, Any]] = [{"id": segment.id, "rule": segment.rule} for segment in SEGMENTS]
    with running(tmp_path) as stack:
        stack.fresh("speed-")
        stack.define(segments)
        load = list(events(COUNT))
        fill(stack.bootstrap, stack.topics, PARTITIONS, load)
        for part in DEATHS_AT:
            stack.start("segmenter", "services.segmenter", wait=False)
            wait_for(lambda part=part: applied(stack) >= part * COUNT, what="a part of the backlog", every_s=0.01)
            stack.end("segmenter", gently=False)
        stack.start("segmenter", "services.segmenter")
        wait_for(lambda: applied(stack) >= COUNT, what="all of the backlog", timeout_s=120)
        total = stack.get("segmenter", "/outcomes")["total"]
        stack.end("segmenter", gently=True)
        violations = Violations()
        ledger = Ledger(PARTITIONS, violations)
        for partition, key, value, _ in read_all(stack.bootstrap, stack.topics.changes, partitions=PARTITIONS):
            ledger.take(partition, key, value or b"")
        shown, as_of_ms = _shown(stack)
    assert violations.sentences == []
    assert total["accepted"] == total["applied"] == COUNT
    assert {customer: names for (_, customer), names in ledger.members.items() if names} == {name: row for name, row in shown.items() if row}
    history = History(ZONE)
    names = sorted(shown)[::ASKED]
    mine = set(names)
    for document in load:
        if document["customer_id"] in mine:
            history.add(document)
    for name in names:
        at_ms = as_of_ms[partition_of(record_key(TENANT, name), PARTITIONS)]
        assert (name, shown[name]) == (name, {segment["id"] for segment in segments if is_member(segment, history, name, at_ms)})


def _shown(stack: Stack) -> tuple[dict[str, set[str]], list[int]]:
    """Return the segments of every customer in Redis, and the instant that each partition's marker is as of."""
    redis: Any = Redis.from_url(stack.redis_url)
    keys = Keys(stack.prefix)
    as_of_ms = [decode_marker(redis.hget(keys.marker(number), "m")).as_of_ms for number in range(PARTITIONS)]
    head = keys.customer(TENANT, "")
    found: dict[str, set[str]] = {}
    for key in redis.scan_iter(match=head + "*", count=5_000):
        row = decode_shown(redis.hget(key, "m"))
        assert isinstance(row, dict)
        found[key.decode()[len(head) :]] = set(row)
    redis.close()
    return found, as_of_ms
