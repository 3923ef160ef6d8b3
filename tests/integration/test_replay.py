"""Replays in one partition, on a real Kafka: what comes again, in which order, and that it comes whatever dies."""

from __future__ import annotations

import asyncio
import gc
import json
from typing import Any

import pytest

from schemas.definitions import EndpointPaused, EndpointResumed, SegmentPaused, SegmentPut
from schemas.deliveries import decode_announced, delivery_id, delivery_of
from schemas.erasures import Erased, encode_erased
from schemas.identity import hash_of
from schemas.instants import iso
from services.api.dispatcher.replaying import Taken
from services.kit import failpoints
from tests.support.dispatching import Dispatching, dispatching

HOUR_S = 3_600


def came(scene: Dispatching) -> list[tuple[str, bytes]]:
    """What came since, as id and the transition's bytes."""
    found = [(message_id, body.split(b'"data":', 1)[1][:-1]) for _, message_id, body in scene.came]
    scene.came.clear()
    return found


def ids(documents: list[bytes]) -> list[tuple[str, bytes]]:
    """The same of transitions as they were published."""
    return [(delivery_id(json.loads(document)["id"], "e"), document) for document in documents]


def by_customer(pairs: list[tuple[str, bytes]]) -> dict[str, list[tuple[str, bytes]]]:
    """The same by customer, in the order in which they came."""
    found: dict[str, list[Any]] = {}
    for pair in pairs:
        found.setdefault(json.loads(pair[1])["customer_id"], []).append(pair)
    return found


@pytest.mark.parametrize("ends", [False, True])
async def test_what_is_being_written_down_counts_as_what_it_is(kafka: str, monkeypatch: pytest.MonkeyPatch, ends: bool) -> None:  # noqa: FBT001
    """In the middle of the transaction that says so, what has just failed is on its way, and what has just been taken may come again."""
    async with dispatching(kafka, dispatcher_record_every_ms=200) as scene:
        scene.answers = lambda _: 503
        scene.endpoint()
        queued: list[bool] = []
        (document,) = await scene.publish("a") if ends else [scene.transition("a", 0)]
        if ends:
            await scene.until(lambda: len(scene.came) == 1)
            await scene.recorded()
            scene.answers = lambda _: 204

        def replayed(place: str) -> None:
            if place == "dispatcher.in_transaction" and not queued:
                delivery = delivery_of(decode_announced(document), document, "e", 0, scene.now_ms, on_since_ms=0, replay="rpl_1")
                queued.append(scene.desk._take(delivery) is Taken.QUEUED)

        monkeypatch.setattr(failpoints, "hit", replayed)
        if ends:
            scene.pass_s(6)
        else:
            await scene.publish("a")
        await scene.until(lambda: bool(queued))
        assert queued == [ends]
        await scene.until(lambda: len(scene.came) == (3 if ends else 1))


async def test_what_was_missed_in_a_pause_is_served_by_replay(kafka: str) -> None:
    """All of it and nothing else, with the ids and bytes that it would have had; also what came while its segment was paused."""
    async with dispatching(kafka) as scene:
        scene.endpoint(causes=["event", "clock"])
        scene.define(SegmentPut(tenant="t", at_ms=1, segment_id="s", replaces=0, name="s"))
        before = await scene.publish("a", "b")
        await scene.until(lambda: len(scene.came) == 2)
        assert sorted(came(scene)) == sorted(ids(before))
        scene.pass_s(HOUR_S)
        paused_ms = scene.now_ms
        scene.define(EndpointPaused(tenant="t", at_ms=scene.now_ms, endpoint_id="e", revision=1))
        missed = await scene.publish("a", "b", "a", "c", "a")
        await scene.publish("a", cause={"kind": "rank"})
        await scene.publish("a", cause={"kind": "event", "import": True})
        scene.pass_s(HOUR_S)
        scene.define(EndpointResumed(tenant="t", at_ms=scene.now_ms, endpoint_id="e", revision=2))
        scene.define(SegmentPaused(tenant="t", at_ms=scene.now_ms, segment_id="s", version=1))
        missed += await scene.publish("b")
        scene.pass_s(1)
        replay = await scene.replay(paused_ms, scene.now_ms)
        await scene.until(lambda: replay.done and len(scene.came) == 6)
        assert by_customer(came(scene)) == by_customer(ids(missed))
        assert (replay.queued, replay.share) == (6, 1.0)
        ended = [one for one in await scene.states() if one.replay]
        assert [(one.state, one.replay) for one in ended] == [("delivered", "rpl_1")] * 6


async def test_what_was_delivered_comes_again_with_the_same_id_and_bytes(kafka: str) -> None:
    """By id, whatever the endpoint is for, and by the half-open span; the log keeps both deliveries. What is on its way comes once."""
    async with dispatching(kafka) as scene:
        scene.endpoint()
        first = await scene.publish("a", "b")
        scene.pass_s(1)
        begin_ms = scene.now_ms
        second = await scene.publish("a")
        scene.pass_s(1)
        third = await scene.publish("b")
        ranked = await scene.publish("c", cause={"kind": "erase"})
        await scene.until(lambda: len(scene.came) == 4)
        came(scene)
        span = await scene.replay(begin_ms, scene.now_ms)
        await scene.until(lambda: span.done and len(scene.came) == 1)
        assert came(scene) == ids(second)
        named = await scene.replay(0, scene.now_ms, ids=[json.loads(one)["id"] for one in (*first[1:], *ranked)] + ["trn_nobody's"])
        await scene.until(lambda: named.done and len(scene.came) == 2)
        assert sorted(came(scene)) == sorted(ids(first[1:] + ranked))
        assert len([one for one in await scene.states() if one.id == ids(second)[0][0]]) == 2
        scene.answers = lambda _: 500
        pending = await scene.publish("d")
        await scene.until(lambda: len(scene.came) == 1)
        scene.pass_s(1)
        again = await scene.replay(begin_ms, scene.now_ms, then_s=3)
        await scene.until(lambda: again.done)
        assert again.queued == len(second + third)
        scene.answers = lambda _: 204
        scene.pass_s(10)
        await scene.until(lambda: scene.desk.pending == 0)
        assert [one for one, _ in came(scene)].count(ids(pending)[0][0]) == 2, "an attempt that failed, and one that did not"


async def test_what_was_decided_before_and_is_committed_after_it_was_asked_for_comes_as_well(kafka: str) -> None:
    """While the endpoint was off nothing is queued of it: a replay until it was on again has it, wherever the topic ended when that was asked for."""
    async with dispatching(kafka) as scene:
        scene.endpoint()
        scene.define(EndpointPaused(tenant="t", at_ms=scene.now_ms, endpoint_id="e", revision=1))
        missed = await scene.publish("a")
        decided = iso(scene.now_ms + 900)
        scene.pass_s(1)
        scene.define(EndpointResumed(tenant="t", at_ms=scene.now_ms, endpoint_id="e", revision=2))
        replay = await scene.replay(0, scene.now_ms, then_s=0)
        await scene.until(lambda: len(scene.came) == 1)
        missed += await scene.publish("a", decided_at=decided)
        await scene.until(lambda: not scene.desk._replaying._wake.is_set())
        assert not replay.done
        scene.pass_s(4)
        await scene.until(lambda: replay.done and len(scene.came) == 2)
        assert came(scene) == ids(missed)
        assert replay.queued == 2


async def test_who_asked_may_know_more_than_the_dispatcher_does_yet(kafka: str) -> None:
    """Resumed, then asked for: the replay waits for the first and is not given up because the endpoint is taken to be paused."""
    async with dispatching(kafka) as scene:
        scene.endpoint()
        scene.define(EndpointPaused(tenant="t", at_ms=scene.now_ms, endpoint_id="e", revision=1))
        missed = await scene.publish("a")
        scene.pass_s(1)
        replay = await scene.replay(0, scene.now_ms, definitions=scene.catalog.offset + 1)
        await scene.until(lambda: "rpl_1" in scene.desk._replaying._ways)
        await scene.until(lambda: not scene.desk._replaying._wake.is_set())
        assert not replay.done
        scene.define(EndpointResumed(tenant="t", at_ms=scene.now_ms, endpoint_id="e", revision=2))
        await scene.until(lambda: replay.done and len(scene.came) == 1)
        assert came(scene) == ids(missed)


async def test_a_replay_does_not_overtake_what_comes_for_the_first_time(kafka: str) -> None:
    """An endpoint that is behind: what it missed comes in its customer's order, and what was asked for again after its first time; it takes room."""
    async with dispatching(kafka, dispatcher_pending=8, tenant_share=0.5, dispatcher_schedule_s=(0.0, *[5.0] * 200)) as scene:
        scene.answers = lambda _: 503
        scene.endpoint()
        written = await scene.publish(*["a"] * 12)
        await scene.until(lambda: scene.desk.behind == 1)
        replay = await scene.replay(0, scene.now_ms, ids=[f"trn_{number:04d}" for number in (1, 3, 5, 7, 9, 11)])
        await scene.until(lambda: "rpl_1" in scene.desk._replaying._ways)
        scene.answers = lambda _: 204
        scene.came.clear()
        async with asyncio.timeout(30):
            while not replay.done or scene.desk.pending:
                assert scene.desk._around.room.held <= 4
                scene.pass_s(6)
                await asyncio.sleep(0.01)
        found = [message_id for message_id, _ in came(scene)]
        first = [message_id for message_id, _ in ids(written)]
        assert list(dict.fromkeys(found)) == first, "each for the first time in its order"
        assert {found.count(message_id) for message_id in first} <= {1, 2}
        assert replay.queued == len(found) - len(first)


async def test_a_replay_does_not_run_ahead_of_reading(kafka: str) -> None:
    """After hours without a dispatcher, what a replay asks for may not have been read for the first time yet."""
    async with dispatching(kafka) as scene:
        scene.endpoint()
        document = scene.transition("a", 0)
        offset = await scene.write(document, "a")
        replay = await scene.replay(0, scene.now_ms, ids=["trn_0000"])
        await scene.until(lambda: "rpl_1" in scene.desk._replaying._ways)
        await scene.until(lambda: not scene.desk._replaying._wake.is_set())
        assert not scene.came
        scene.desk.read(offset, document)
        await scene.until(lambda: replay.done and len(scene.came) == 1 + replay.queued)


async def test_a_replay_ends_where_markers_of_transactions_lie(kafka: str) -> None:
    """The topic ends behind a marker, which is no record, and goes on while the replay does."""
    async with dispatching(kafka, dispatcher_replay_pending=1) as scene:
        scene.endpoint()
        told = await scene.decide("a", "b")
        told += await scene.decide("c")
        await scene.until(lambda: len(scene.came) == 3)
        came(scene)
        scene.answers = lambda _: 503
        scene.pass_s(1)
        replay = await scene.replay(0, scene.now_ms)
        await scene.until(lambda: scene.desk.pending == 1)
        scene.answers = lambda _: 204
        later = await scene.decide("d", "e")
        async with asyncio.timeout(30):
            while not replay.done:
                scene.pass_s(6)
                await asyncio.sleep(0.01)
        assert replay.queued == len(told)
        assert {one for one, _ in came(scene)} == {one for one, _ in ids(told + later)}


async def test_what_was_tried_stays_in_front_of_a_replay_behind_it(kafka: str) -> None:
    """Also where the replay is of something earlier, and another owner reads both."""
    async with dispatching(kafka) as scene:
        scene.endpoint()
        earlier = await scene.publish("a")
        await scene.until(lambda: len(scene.came) == 1)
        scene.answers = lambda _: 503
        later = await scene.publish("a")
        await scene.until(lambda: len(scene.came) == 2)
        await scene.replay(0, scene.now_ms, ids=["trn_0000"], then_s=0)
        await scene.until(lambda: scene.desk.pending == 2)
        await scene.recorded()
        await scene.desk.close()
        await scene.open()
        came(scene)
        scene.answers = lambda _: 204
        scene.pass_s(6)
        await scene.until(lambda: len(scene.came) == 2)
        assert came(scene) == ids(later + earlier)


async def test_a_replay_goes_on_where_it_was_whoever_dies(kafka: str) -> None:
    """A few at a time, each customer's in order; nothing is queued twice, nothing is left out, however often the partition changes hands."""
    async with dispatching(kafka, dispatcher_replay_pending=4) as scene:
        scene.endpoint()
        scene.define(EndpointPaused(tenant="t", at_ms=scene.now_ms, endpoint_id="e", revision=1))
        missed = await scene.publish(*(f"c{number % 3}" for number in range(30)))
        scene.pass_s(1)
        scene.define(EndpointResumed(tenant="t", at_ms=scene.now_ms, endpoint_id="e", revision=2))
        scene.answers = lambda _: 500
        replay = await scene.replay(0, scene.now_ms)
        await scene.until(lambda: scene.desk.pending == 4)
        taken: list[tuple[str, bytes]] = []
        while not replay.done or scene.desk.pending:
            await scene.recorded()
            await scene.desk.close()
            came(scene)
            await scene.open()
            assert scene.desk.pending <= 4
            scene.answers = lambda _: 204
            before = scene.desk.pending
            scene.pass_s(6)
            await scene.until(lambda before=before: len(scene.came) >= before and scene.desk.pending <= 4)  # type: ignore[misc]
            # Each owner does something, however long it takes to begin: else this could go on for ever.
            await scene.until(lambda before=before: replay.done or scene.desk.pending > 0 or len(scene.came) > before)  # type: ignore[misc]
            await scene.recorded()
            taken += came(scene)
        assert (replay.queued, len(taken)) == (30, 30)
        assert by_customer(taken) == by_customer(ids(missed))


@pytest.mark.parametrize("again", [False, True])
async def test_an_endpoint_that_is_turned_off_ends_its_replays(kafka: str, again: bool) -> None:  # noqa: FBT001
    """It says why, and what was queued is cancelled, also where it is on again by then; another's replay goes on."""
    async with dispatching(kafka, dispatcher_replay_pending=4) as scene:
        scene.endpoint("e")
        scene.endpoint("f")
        await scene.publish(*"abcdefgh")
        await scene.until(lambda: scene.desk.pending == 0)
        scene.answers = lambda _: 500
        scene.pass_s(1)
        ending, other = await scene.replay(0, scene.now_ms), await scene.replay(0, scene.now_ms, endpoint_id="f")
        await scene.until(lambda: scene.desk.pending >= 4)
        scene.define(EndpointPaused(tenant="t", at_ms=scene.now_ms, endpoint_id="e", revision=1))
        if again:
            scene.define(EndpointResumed(tenant="t", at_ms=scene.now_ms, endpoint_id="e", revision=2))
        scene.desk.cancel_off({("t", "e")} if again else ())
        await scene.until(lambda: ending.done)
        assert [step.reason for step in ending.steps.values()] == ["endpoint_was_off" if again else "endpoint_paused"]
        scene.answers = lambda _: 204
        scene.pass_s(10)
        await scene.until(lambda: other.done and not scene.desk.pending)
        assert other.queued == 8


async def test_whoever_was_erased_is_not_replayed(kafka: str) -> None:
    """Neither by id nor by span."""
    async with dispatching(kafka) as scene:
        scene.endpoint()
        (gone, kept) = await scene.publish("rosa", "ben")
        await scene.until(lambda: scene.desk.pending == 0)
        came(scene)
        scene.erasures.apply(encode_erased(Erased("t", hash_of("s", "t", "rosa"), 5)))
        scene.pass_s(1)
        for named in (None, [json.loads(one)["id"] for one in (gone, kept)]):
            replay = await scene.replay(0, scene.now_ms, ids=named)
            await scene.until(lambda replay=replay: replay.done and len(scene.came) == 1)  # type: ignore[misc]
            assert (came(scene), replay.queued) == (ids([kept]), 1)


async def test_a_desk_that_is_closed_at_once_has_begun_nothing(kafka: str, recwarn: pytest.WarningsRecorder) -> None:
    """A partition that is lost in the moment in which it came leaves no work behind that nobody will ever do."""
    async with dispatching(kafka) as scene:
        await scene.desk.close()
        await scene.open()
        await scene.desk.close()
        gc.collect()
        assert [str(warning.message) for warning in recwarn if "never awaited" in str(warning.message)] == []
        await scene.open()
