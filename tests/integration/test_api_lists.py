"""Manual lists over HTTP on a real Kafka: what becomes of the ids that somebody lists."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

from schemas.positions import decode_position
from tests.support.api import PARTITIONS, Api, fails, serving
from tests.support.entries import entries
from tests.support.projected import Projected


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
