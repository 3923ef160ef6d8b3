"""A million customers in a minute: what a segmenter would find in its changelog, had it lived through all their events.

Some thousand customers live through their events in the segmenter's own core, a few a step, so that rows and chunks of history
lie as live traffic lays them; each then stands many times in the changelog, under names of its own. No input topic has their events:
what is measured begins with the changelog. Nobody's past is less real for it, but there are only so many different ones.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Final, NamedTuple

from confluent_kafka import Producer

from schemas.catalog import Catalog
from schemas.definitions import Definition, SegmentPut, TenantPut, encode_definition
from schemas.instants import DAY_MS, iso
from schemas.partitions import partition_of, record_key
from schemas.topics import Topics
from services.segmenter.partition import Partition
from services.segmenter.plans import Limits, Plans
from services.segmenter.rows import FRESH, PROGRESS, Progress, chunk_key, encode, row_key, split_chunk_key
from services.segmenter.steps import Step
from tests.bench.load import events
from tests.support.services import TENANT

EVENTS: Final = 20
_TOGETHER: Final = 500


class Came(NamedTuple):
    """A record of an input topic, as the core reads one."""

    offset: int
    key: bytes | None
    value: bytes | None


class Past(NamedTuple):
    """What the changelog has of one customer: the row, and the chunks of the history by number."""

    row: bytes
    chunks: dict[int, bytes]


def definitions(segments: Iterable[dict[str, Any]], at_ms: int) -> list[Definition]:
    """Return the records of a tenant and its segments."""
    records: list[Definition] = [TenantPut(tenant=TENANT, at_ms=at_ms, timezone="America/New_York", currency="USD", country="US")]
    records += [
        SegmentPut(tenant=TENANT, at_ms=at_ms, segment_id=segment["id"], replaces=0, name=segment["id"], rule=segment["rule"]) for segment in segments
    ]
    return records


def catalog_of(records: Iterable[Definition]) -> Catalog:
    """Fold definitions."""
    catalog = Catalog()
    for record in records:
        outcome = catalog.apply(catalog.offset, encode_definition(record))
        if not outcome.accepted:
            raise ValueError(f"{record}: {outcome}")
    return catalog


def started(catalog: Catalog) -> Partition:
    """Return a partition that holds everybody, empty."""
    return Partition(0, Plans(catalog), Topics(), Limits(1))


def events_of(names: list[str], now_ms: int) -> Iterator[list[tuple[str, Came]]]:
    """Yield rounds of one event for each customer, of the load's kinds, over ninety days; with the family that each belongs to."""
    draw = random.Random(names[0])
    source = events(len(names) * EVENTS, seed=draw.randrange(1 << 30), end_ms=now_ms)
    slot_ms = 90 * DAY_MS // EVENTS
    for turn in range(EVENTS):
        came = []
        for name, event in zip(names, islice(source, len(names)), strict=True):
            at = iso(now_ms - (EVENTS - turn) * slot_ms + draw.randrange(slot_ms))
            whole = event | {"customer_id": name, "occurred_at": at}
            came.append((event["type"], Came(0, record_key(TENANT, name), json.dumps(whole).encode())))
        yield came


def fed(partition: Partition, rounds: Iterable[list[tuple[str, Came]]], now_ms: int) -> Iterator[Step]:
    """Apply each round and yield its step."""
    topics = Topics()
    for came in rounds:
        by_type: dict[str, list[Came]] = {}
        for kind, record in came:
            by_type.setdefault(kind, []).append(record)
        for kind, records in by_type.items():
            topic = topics.family(kind)
            start = partition.offsets.get(topic, 0)
            partition.apply(topic, [record._replace(offset=start + place) for place, record in enumerate(records)], now_ms)
        step = partition.take()
        if step is not None:
            yield step


def pasts(catalog: Catalog, count: int, now_ms: int) -> list[Past]:
    """Let customers live through their events; return what is left of each in the changelog."""
    partition = started(catalog)
    partition.ready(now_ms)
    changelog: dict[bytes, bytes] = {}
    for start in range(0, count, _TOGETHER):
        names = [f"{number:07d}" for number in range(start, min(count, start + _TOGETHER))]
        for step in fed(partition, events_of(names, now_ms), now_ms):
            _keep(changelog, step)
        while partition.stale:
            partition.refresh(now_ms, _TOGETHER)
        if (last := partition.take()) is not None:
            _keep(changelog, last)
    found = {record_key(TENANT, f"{number:07d}"): Past(b"", {}) for number in range(count)}
    for key, value in changelog.items():
        if key[:1] == b"r":
            found[key[1:]] = found[key[1:]]._replace(row=value)
        elif key[:1] == b"h":
            whose, number = split_chunk_key(key)
            found[whose].chunks[number] = value
    return list(found.values())


def _keep(changelog: dict[bytes, bytes], step: Step) -> None:
    """Leave of a step's records what compaction leaves."""
    for key, value in step.rows.items():
        if value is None:
            changelog.pop(key, None)
        else:
            changelog[key] = value


def changelog(known: list[Past], count: int) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Yield record key, changelog key and value for `count` customers."""
    for number in range(count):
        key, past = record_key(TENANT, f"c{number:08d}"), known[number % len(known)]
        for chunk, value in past.chunks.items():
            yield key, chunk_key(key, chunk), value
        yield key, row_key(key), past.row


def write(bootstrap: str, topics: Topics, partitions: int, known: list[Past], count: int, catalog: Catalog, now_ms: int) -> None:
    """Write the changelog of `count` customers to Kafka, with the progress of an owner who decided all of them."""
    producer = Producer(
        {"bootstrap.servers": bootstrap, "compression.type": "zstd", "linger.ms": 50, "batch.size": 900_000, "queue.buffering.max.messages": 500_000}
    )

    def put(partition: int, key: bytes, value: bytes) -> None:
        while True:
            try:
                producer.produce(topics.rows, value, key=key, partition=partition)
            except BufferError:
                producer.poll(0.05)
            else:
                return

    last, home = b"", 0
    for whose, key, value in changelog(known, count):
        if whose != last:
            last, home = whose, partition_of(whose, partitions)
        put(home, key, value)
    progress = encode(Progress(epoch=1, clock_ms=now_ms, definitions=catalog.offset, swept=catalog.offset, dropped_ms=now_ms))
    for number in range(partitions):
        put(number, PROGRESS, progress)
        put(number, FRESH, b"")
    if producer.flush(120):
        raise RuntimeError("the changelog did not reach Kafka within two minutes")
