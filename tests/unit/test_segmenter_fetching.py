"""Whatever a seek does while a fetch is under way, the consumer learns that its partition is not where it believes it is."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import ConsumerRecord
from aiokafka.consumer.fetcher import READ_COMMITTED, FetchResult, PartitionRecords
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from faust.types import TP

from services.segmenter.app import build_app
from services.segmenter.copies import spare_copies
from services.segmenter.settings import SegmenterSettings
from services.segmenter.transport import InputThread, Run

TP_0 = TP("checkouts", 0)


class Fetcher:
    """Stands for aiokafka's: while it is asked, a seek and a fetch move the position, and it returns the records of that fetch."""

    _closed = False

    def __init__(self, state: Any, moves: list[int], records: list[Any]) -> None:
        self._state, self._moves, self._found = state, moves, records
        self._records: dict[TP, Any] = {}
        self._subscriptions = SimpleNamespace(fetch_context=self._context)

    @contextmanager
    def _context(self) -> Iterator[None]:
        yield

    async def fetched_records(self, *_: Any, **__: Any) -> dict[TP, list[Any]]:
        """Move through all positions."""
        for position in self._moves:
            self._state._position = position
        return {TP_0: self._found} if self._found else {}


async def fetch(*, cursor: int, position: int, moves: list[int], records: list[Any]) -> dict[TP, Run]:
    """Fetch once from `position` while the consumer expects `cursor`."""
    state = SimpleNamespace(_position=position)
    assignment = SimpleNamespace(_tp_state={TP_0: state})
    thread = InputThread.__new__(InputThread)
    thread.consumer = SimpleNamespace(flow_active=True, cursor=lambda tp: cursor if tp == TP_0 else None)  # type: ignore[assignment]
    aiokafka = SimpleNamespace(
        _closed=False,
        _fetcher=Fetcher(state, moves, records),
        _subscription=SimpleNamespace(subscription=SimpleNamespace(assignment=assignment)),
    )
    runs: dict[TP, Run] = await thread._fetch_records(aiokafka, {TP_0}, 1.0)
    return runs


@pytest.mark.parametrize("records", [[], [object()]], ids=["markers only", "records"])
async def test_a_seek_that_ends_where_the_fetch_began_is_noticed(records: list[Any]) -> None:
    """Position 101, sought to 100 and fetched up to 101 again: what lies at 100 was consumed, and must be fetched once more."""
    runs = await fetch(cursor=100, position=101, moves=[100, 101], records=records)
    assert TP_0 in runs
    assert runs[TP_0].start != 100  # which is what makes the consumer seek again


async def test_markers_alone_move_the_cursor() -> None:
    """A fetch of markers only is a run without records that starts at the cursor, so nothing is fetched twice."""
    assert await fetch(cursor=100, position=100, moves=[101], records=[]) == {TP_0: Run(100, 101, [])}


async def test_what_another_look_has_taken_is_no_run_of_markers() -> None:
    """After a rebalance two looks may be under way, and nobody takes what the former finds: neither may be believed to have seen all."""
    state = SimpleNamespace(_position=100)
    taken, waiting = asyncio.Event(), asyncio.Event()

    class Both(Fetcher):
        async def fetched_records(self, *_: Any, **__: Any) -> dict[TP, list[Any]]:
            if not waiting.is_set():
                waiting.set()
                await taken.wait()
                return {}
            state._position = 103
            taken.set()
            return {TP_0: [object()] * 3}

    aiokafka = SimpleNamespace(
        _closed=False,
        _fetcher=Both(state, [], []),
        _subscription=SimpleNamespace(subscription=SimpleNamespace(assignment=SimpleNamespace(_tp_state={TP_0: state}))),
    )
    thread = InputThread.__new__(InputThread)
    thread.consumer = SimpleNamespace(flow_active=True, cursor=lambda _: 100)  # type: ignore[assignment]
    waits, takes = await asyncio.gather(*(thread._fetch_records(aiokafka, {TP_0}, 1.0) for _ in range(2)))
    assert (waits[TP_0].end, waits[TP_0].records) == (103, [])
    assert waits[TP_0].start != 100, "what the other has taken would be passed over"
    assert takes[TP_0].start != 100
    state._position = 100
    assert (await thread._fetch_records(aiokafka, {TP_0}, 1.0))[TP_0].start == 100


async def test_what_a_seek_has_passed_over_is_no_run_of_markers() -> None:
    """Sought forward in the middle of a look that finds nothing, by whom another seek may follow: what lies between was never read."""
    state, position = SimpleNamespace(_position=100), TP_0

    class Sought(Fetcher):
        async def fetched_records(self, *_: Any, **__: Any) -> dict[TP, list[Any]]:
            await thread._seek_wait(aiokafka, {position: 103})
            return {}

    async def there(tp: TP) -> int:
        return int(state._position)

    aiokafka: Any = SimpleNamespace(
        _closed=False,
        _fetcher=Sought(state, [], []),
        _subscription=SimpleNamespace(subscription=SimpleNamespace(assignment=SimpleNamespace(_tp_state={TP_0: state}))),
        seek=lambda _, offset: setattr(state, "_position", offset),
        position=there,
    )
    thread = InputThread.__new__(InputThread)
    thread.app = SimpleNamespace(conf=SimpleNamespace(broker_request_timeout=1.0))  # type: ignore[assignment]
    thread.log = SimpleNamespace(dev=lambda *_: None)  # type: ignore[assignment]
    thread.consumer = SimpleNamespace(flow_active=True, cursor=lambda _: 100, _read_offset={})  # type: ignore[assignment]
    found = (await thread._fetch_records(aiokafka, {TP_0}, 1.0))[TP_0]
    assert (found.end, found.records) == (103, [])
    assert found.start != 100


async def test_nothing_new_is_no_run() -> None:
    """A fetch that brings nothing, from where it should be, says nothing: otherwise an idle worker would seek for ever."""
    assert await fetch(cursor=100, position=100, moves=[], records=[]) == {}


async def test_a_run_that_was_delivered_stays_delivered_when_the_flow_goes_on() -> None:
    """Faust lets the flow go on before it seeks and again after; what came in between is not of the past. A revocation empties."""
    app = build_app(SegmenterSettings.model_validate({"kafka": "127.0.0.1:9"})).app
    queue = app.topic("checkouts").queue
    app.flow_control.resume()
    queue.put_nowait("delivered")
    app.flow_control.resume()
    assert queue.qsize() == 1
    app.flow_control.clear()
    assert queue.qsize() == 0


def fetched() -> FetchResult:
    """Return what aiokafka keeps of a fetch from offset 1 of a batch of five records."""
    batch = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1 << 16)
    for offset in range(5):
        batch.append(offset, 1_000 + offset, b"key-%d" % offset, None if offset == 3 else b"value-%d" % offset, [("h", b"1")])
    records = PartitionRecords(TP_0, MemoryRecords(bytes(batch.build())), [], 1, None, None, True, READ_COMMITTED)
    state: Any = SimpleNamespace(paused=False, position=1, consumed_to=lambda offset: setattr(state, "position", offset))
    assignment = SimpleNamespace(active=True, state_value=lambda _: state)
    return FetchResult(TP_0, assignment=assignment, partition_records=records, backoff=0)


def test_records_that_are_not_copied_say_the_same() -> None:
    """A record as it was parsed has the offset, key, value and timestamp of its copy, and none is left out or added."""
    copied, spared = fetched(), fetched()
    spare_copies(SimpleNamespace(_fetcher=SimpleNamespace(_records={TP_0: spared})))
    first, rest = spared.getall(2), spared.getall()
    assert not any(isinstance(record, ConsumerRecord) for record in first + rest)
    said = [(record.offset, record.key, record.value, record.timestamp) for record in first + rest]
    assert said == [(record.offset, record.key, record.value, record.timestamp) for record in copied.getall()]
    assert [offset for offset, *_ in said] == [1, 2, 3, 4]
