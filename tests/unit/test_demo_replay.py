"""The replay sends each batch until it is acknowledged, never twice what was, and stops at the first thing that is wrong."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from rich.console import Console

from demo import accounting, journey
from demo.accounting import Line
from demo.client import Client
from demo.progress import EventsBar
from demo.replay import replay
from demo.settings import DemoError, Settings
from demo.state import State, load_state

NOW_MS = 1_790_000_000_000
BATCH = 100


@pytest.fixture(scope="module")
def lines() -> list[bytes]:
    """Give the events of a handful of households."""
    return list(journey.lines(NOW_MS, {1, 2, 3, 1029}))


class Ingest:
    """A stand-in for ingest that keeps what it acknowledged; `answers` are statuses to give before it behaves."""

    def __init__(self, *answers: int) -> None:
        self.answers = list(answers)
        self.taken: list[bytes] = []
        self.stop_after: int | None = None

    async def take(self, request: web.Request) -> web.Response:
        """Answer one batch."""
        body = await request.read()
        if self.stop_after is not None and len(self.taken) >= self.stop_after:
            return web.json_response({"results": [{"index": 1, "pointer": "/total", "detail": "no more"}]}, status=422)
        if self.answers:
            return web.json_response({"detail": "busy"}, status=self.answers.pop(0), headers={"Retry-After": "0.05"})
        self.taken += body.splitlines()
        return web.json_response({"accepted": BATCH, "rejected": 0, "position": f"p{len(self.taken)}"}, status=202)


def play(directory: Path, ingest: Ingest, state: State, lines: list[bytes]) -> EventsBar:
    """Run the replay against the stand-in and give the bar that it moved."""

    async def main() -> EventsBar:
        app = web.Application(client_max_size=10_000_000)
        app.router.add_post("/v1/events", ingest.take)
        async with TestServer(app, port=0) as server:
            settings = Settings(ingest_host="127.0.0.1", ingest_port=server.port or 0, data_dir=directory)
            bar = EventsBar(Console(file=io.StringIO()), "Sent", 10_000)
            async with Client(settings) as client:
                await replay(client, settings, state, lines, bar)
            return bar

    return asyncio.run(main())


def test_everything_is_sent_once_through_refusals(tmp_path: Path, lines: list[bytes]) -> None:
    """503, 429 and a key not yet known only delay; in the end ingest has each line once and the state knows it."""
    ingest, state = Ingest(503, 429, 401, 503), State(now_ms=NOW_MS, batch_events=BATCH)
    bar = play(tmp_path, ingest, state, lines)
    assert sorted(ingest.taken) == sorted(lines)
    assert bar.done == len(lines) == sum(state.sent.values())
    assert load_state(tmp_path / "demo.json") == state
    assert state.replayed


def test_a_resumed_replay_sends_only_what_was_not_acknowledged(tmp_path: Path, lines: list[bytes]) -> None:
    """After a stop in the middle the second run completes the first, and no line is sent that was acknowledged."""
    ingest = Ingest()
    ingest.stop_after = 3 * BATCH
    with pytest.raises(DemoError):
        play(tmp_path, ingest, State(now_ms=NOW_MS, batch_events=BATCH), lines)
    remembered = load_state(tmp_path / "demo.json")
    assert not remembered.replayed
    assert 3 <= len(remembered.positions) < len(lines) / BATCH
    ingest.stop_after = None
    play(tmp_path, ingest, remembered, lines)
    assert sorted(ingest.taken) == sorted(lines)


def test_a_rejected_event_stops_the_replay_with_its_reason(tmp_path: Path, lines: list[bytes]) -> None:
    """The one line of failure names the place, the reason and the event."""
    ingest = Ingest()
    ingest.stop_after = 0
    with pytest.raises(DemoError, match=r"/total no more in \{\"type\":"):
        play(tmp_path, ingest, State(now_ms=NOW_MS, batch_events=BATCH), lines)


def told(partitions: list[int], accepted: int) -> dict[str, Any]:
    """What a segmenter says of its outcomes."""
    return {"topics": {"checkouts": {"accepted": accepted, "applied": accepted}}, "total": {}, "partitions": partitions}


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        (told([0, 2, 4], 5), told([1, 3, 5], 6), None),
        (told([0, 1, 2, 3, 4, 5], 11), None, None),
        (told([0, 1, 2, 3], 5), told([3, 4, 5], 6), "the partitions"),
        (told([0, 1, 2], 5), told([4, 5], 6), "the partitions"),
        (told([0, 1, 2], 5), None, "outcomes"),
    ],
)
def test_outcomes_are_of_every_partition_once(first: dict[str, Any], second: dict[str, Any] | None, reason: str | None) -> None:
    """Counters of two segmenters are added up; one may be away while the other has everything, and not while it has not."""

    async def main() -> dict[str, Any]:
        apps = []
        for said in (first, second):
            app = web.Application()
            if said is not None:
                app.router.add_get("/outcomes", _saying(said))
            apps.append(app)
        async with TestServer(apps[0], port=0) as one, TestServer(apps[1], port=0) as two:
            settings = Settings(segmenter_port=one.port or 0, segmenter_2_port=two.port or 0)
            async with Client(settings) as client:
                return await accounting.outcomes(client, settings, pause_s=0.0)

    if reason is None:
        assert asyncio.run(main()) == {"checkouts": {"accepted": 11, "applied": 11}}
    else:
        with pytest.raises(DemoError, match=reason):
            asyncio.run(main())


def _saying(said: dict[str, Any]) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response(said)

    return answer


def test_numbers_that_do_not_add_up_are_a_failure() -> None:
    """A record without an outcome, one that never arrived and one that was dead-lettered are each found."""
    state, settings = State(sent={"checkouts": 10}, accepted_before={"checkouts": 5}), Settings()
    good = {"checkouts": {"accepted": 16, "applied": 14, "duplicate": 2, "dead_lettered": 0, "forwarded": 0}, "visits": {"accepted": 0, "applied": 0}}
    found = accounting.account(good, state)
    assert found == [Line("checkouts", 16, {"applied": 14, "duplicate": 2, "dead_lettered": 0}, 10)]
    accounting.check(found, state, settings)
    for wrong, reason in (
        ({"accepted": 16, "applied": 13, "duplicate": 2}, "does not add up"),
        ({"accepted": 14, "applied": 14}, "has seen 9"),
        ({"accepted": 16, "applied": 9, "dead_lettered": 7}, "7 dead_lettered"),
    ):
        with pytest.raises(DemoError, match=reason):
            accounting.check(accounting.account({"checkouts": wrong}, state), state, settings)
    with pytest.raises(DemoError, match="has seen 0"):
        accounting.check([], state, settings)


def test_a_state_file_is_private_and_whole(tmp_path: Path) -> None:
    """Its mode lets nobody else read it, and what is read back is what was saved."""
    state: Any = State(now_ms=NOW_MS, positions={0: "a", 7: "b"})
    state.save(tmp_path / "demo.json")
    assert (tmp_path / "demo.json").stat().st_mode & 0o777 == 0o600
    assert load_state(tmp_path / "demo.json") == state
    (tmp_path / "demo.json").write_text("{")
    with pytest.raises(msgspec.DecodeError):
        load_state(tmp_path / "demo.json")
