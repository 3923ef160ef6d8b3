"""One partition of deliveries on a real Kafka, with the clock in the test's hands: what is tried when, and how each delivery ends."""

from __future__ import annotations

import asyncio
import ssl
from itertools import pairwise
from pathlib import Path

import pytest

from schemas.definitions import EndpointDisabled, EndpointPaused, EndpointResumed
from schemas.deliveries import decode_announced, delivery_of
from schemas.instants import iso
from services.api.dispatcher import memory
from services.api.dispatcher.replaying import Taken
from services.api.dispatcher.schedule import JITTER, SCHEDULE_S
from tests.support.dispatching import dispatching


async def test_what_is_pending_when_an_endpoint_is_paused_is_cancelled_and_says_why(kafka: str) -> None:
    """At once, not when its next attempt would be due, also behind a head that waits; another endpoint's is not; then new ones flow."""
    async with dispatching(kafka) as scene:
        scene.endpoint("e")
        scene.endpoint("f", segments=["s"])
        scene.answers = lambda _: 500
        scene.announce("a", "a", "b")
        await scene.until(lambda: len(scene.came) == 4 and scene.desk.pending == 6)
        await scene.recorded()
        scene.define(EndpointPaused(tenant="t", at_ms=scene.now_ms, endpoint_id="e", revision=1))
        scene.desk.cancel_off()
        await scene.until(lambda: scene.desk.pending == 3)
        ended = [one for one in await scene.states() if one.state != "pending"]
        assert [(one.endpoint_id, one.state, one.reason) for one in ended] == [("e", "cancelled", "endpoint_paused")] * 3
        assert sorted(len(one.attempts) for one in ended) == [0, 1, 1]
        scene.now_ms += 1_000
        scene.announce("a")
        await scene.until(lambda: scene.desk.pending == 4)
        scene.answers = lambda _: 204
        scene.pass_s(10)
        await scene.until(lambda: scene.desk.pending == 0)
        scene.define(EndpointResumed(tenant="t", at_ms=scene.now_ms, endpoint_id="e", revision=2))
        before = len(scene.came)
        scene.announce("a")
        await scene.until(lambda: len(scene.came) == before + 2)


async def test_what_was_pending_before_a_pause_is_cancelled_though_it_is_on_again(kafka: str) -> None:
    """Between two dispatchers, or before one hears of either: also what a replay had queued, and what waits behind that."""
    async with dispatching(kafka) as scene:
        scene.endpoint()
        begin_ms = scene.now_ms
        await scene.publish("c")
        await scene.until(lambda: len(scene.came) == 1)
        scene.pass_s(1)
        for revision, dies in ((1, True), (3, False)):
            scene.answers = lambda _: 500
            before = len(scene.came)
            await scene.replay(begin_ms, begin_ms + 1)
            await scene.until(lambda: len(scene.came) == before + 1)  # noqa: B023
            await scene.publish("c", "a", "a")
            await scene.until(lambda: len(scene.came) == before + 2)  # noqa: B023
            await scene.recorded()
            if dies:
                await scene.desk.close()
            scene.pass_s(1)
            scene.define(EndpointPaused(tenant="t", at_ms=scene.now_ms, endpoint_id="e", revision=revision))
            scene.define(EndpointResumed(tenant="t", at_ms=scene.now_ms, endpoint_id="e", revision=revision + 1))
            scene.answers = lambda _: 204
            if dies:
                await scene.open()
            else:
                scene.desk.cancel_off({("t", "e")})
            await scene.until(lambda: scene.desk.pending == 0)
            ended = (await scene.states())[-4:]
            assert sorted((one.customer_id, bool(one.replay), one.reason) for one in ended) == [
                ("a", False, "endpoint_was_off"), ("a", False, "endpoint_was_off"), ("c", False, "endpoint_was_off"), ("c", True, "endpoint_was_off"),
            ]  # fmt: skip
        before = len(scene.came)
        await scene.publish("d")
        await scene.until(lambda: len(scene.came) == before + 1)


async def test_a_replay_waits_behind_what_is_about_to_be_cancelled(kafka: str) -> None:
    """That is pending for a moment yet, and brings nothing: a replay that passed it over would never come."""
    async with dispatching(kafka) as scene:
        scene.endpoint()
        scene.answers = lambda _: 500
        (document,) = await scene.publish("a")
        await scene.until(lambda: len(scene.came) == 1)
        await scene.recorded()
        scene.answers = lambda _: 204

        def asked_for() -> Taken:
            on_since_ms = scene.found().on_since_ms
            return scene.desk._take(
                delivery_of(decode_announced(document), document, "e", 0, scene.now_ms, on_since_ms=on_since_ms, replay=f"rpl_{on_since_ms}")
            )

        assert asked_for() is Taken.NEEDLESS
        scene.pass_s(1)
        scene.define(EndpointPaused(tenant="t", at_ms=scene.now_ms, endpoint_id="e", revision=1))
        scene.define(EndpointResumed(tenant="t", at_ms=scene.now_ms, endpoint_id="e", revision=2))
        assert asked_for() is Taken.QUEUED
        scene.desk.cancel_off({("t", "e")})
        await scene.until(lambda: scene.desk.pending == 0)
        assert {(one.state, bool(one.replay)) for one in await scene.states()} == {("cancelled", False), ("delivered", True)}


async def test_what_was_decided_since_it_is_on_again_is_pushed_though_it_was_queued_before_that_was_heard_of(kafka: str) -> None:
    """It is not of the time before the pause, whatever the dispatcher took it for."""
    async with dispatching(kafka) as scene:
        scene.endpoint()
        scene.answers = lambda _: 500
        await scene.publish("a", decided_at=iso(scene.now_ms + 2_000))
        await scene.publish("b")
        await scene.until(lambda: len(scene.came) == 2)
        await scene.recorded()
        scene.answers = lambda _: 204
        scene.now_ms += 2_000
        scene.define(EndpointPaused(tenant="t", at_ms=scene.now_ms - 500, endpoint_id="e", revision=1))
        scene.define(EndpointResumed(tenant="t", at_ms=scene.now_ms, endpoint_id="e", revision=2))
        scene.desk.cancel_off({("t", "e")})
        await scene.until(lambda: scene.desk.pending == 1)
        scene.pass_s(10)
        await scene.until(lambda: scene.desk.pending == 0)
        assert {(one.customer_id, one.state) for one in await scene.states()} == {("a", "delivered"), ("b", "cancelled")}


async def test_an_attempt_under_way_when_an_endpoint_is_disabled_is_the_last(kafka: str) -> None:
    """Whether it failed before or after the dispatcher heard of it, no other is planned."""
    async with dispatching(kafka) as scene:
        scene.endpoint()

        def disable(_: str) -> int:
            if scene.found().on:
                scene.define(EndpointDisabled(tenant="t", at_ms=scene.now_ms, endpoint_id="e", revision=1, reason="failing"))
            return 503

        scene.answers = disable
        scene.announce("a", "b")
        await scene.until(lambda: scene.desk.pending == 0)
        assert {(one.state, one.reason) for one in await scene.states()} == {("cancelled", "endpoint_disabled")}


async def test_a_successor_finds_what_is_pending_however_much_has_ended_since(kafka: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From where the progress says, which is not where the partition begins; with its attempts, in order, and nothing of what has ended."""
    monkeypatch.setattr(memory, "_SLACK", 30)
    async with dispatching(kafka) as scene:
        scene.endpoint()
        scene.answers = lambda _: 500
        scene.announce("late", "late")
        await scene.until(lambda: len(scene.came) == 1)
        await scene.recorded()
        scene.answers = lambda _: 204
        for number in range(60):
            scene.announce(f"c{number}")
            await scene.until(lambda: scene.desk.pending == 2)
            await scene.recorded()
        await scene.desk.close()
        progress, remembered, pending = await memory.restored(scene.settings, 0)
        assert progress is not None
        assert (progress.offset, progress.since > 30, len(remembered)) == (62, True, 2)
        assert [(one.customer_id, len(one.attempts)) for one in pending] == [("late", 1), ("late", 0)]
        await scene.open()
        assert scene.desk.read_to == 62
        scene.pass_s(6)
        await scene.until(lambda: scene.desk.pending == 0)
        ended = await scene.states()
        assert [(one.transition_id, one.state, len(one.attempts)) for one in ended[-2:]] == [
            ("trn_0000", "delivered", 2),
            ("trn_0001", "delivered", 1),
        ]
        assert len(ended) == 62


async def test_progress_is_written_anew_each_day(kafka: str) -> None:
    """Records expire after thirty days: a partition that was quiet so long must not begin with its oldest transitions again."""
    async with dispatching(kafka) as scene:
        scene.announce("nobody")
        await scene.recorded()
        before = scene.desk._written_ms
        scene.pass_s(24 * 3600)
        await scene.until(lambda: scene.desk._written_ms > before)
        assert scene.desk._written_ms == scene.now_ms


async def test_an_endpoint_that_has_taken_nothing_for_five_days_is_disabled(kafka: str) -> None:
    """Not before; since when survives the dispatcher; one that is exhausted says so. Somebody must turn it on again, and then it has five days."""
    async with dispatching(kafka) as scene:
        scene.endpoint()
        scene.answers = lambda _: 500
        begun_ms = scene.now_ms
        scene.announce("a")
        await scene.until(lambda: len(scene.came) == 1)
        for minutes in (40, 40, *[1_440] * 4, 1_360):
            assert not scene.disabled
            await scene.recorded()
            await scene.desk.close()
            await scene.open()
            scene.came.clear()
            scene.pass_s(60 * minutes)
            scene.announce(f"at-{scene.now_ms}")
            await scene.until(lambda: bool(scene.came))
        await scene.until(lambda: bool(scene.disabled))
        assert scene.now_ms - begun_ms == 5 * 86_400_000
        assert {(endpoint.id, reason) for endpoint, reason in scene.disabled} == {("e", "failing")}
        assert scene.affairs.failing_since(scene.found()) == begun_ms
        scene.define(EndpointDisabled(tenant="t", at_ms=scene.now_ms, endpoint_id="e", revision=1, reason="failing"))
        scene.desk.cancel_off()
        await scene.until(lambda: scene.desk.pending == 0)
        assert {(one.state, one.reason) for one in await scene.states()} <= {("cancelled", "endpoint_disabled"), ("exhausted", "")}
        scene.disabled.clear()
        scene.pass_s(60)
        scene.define(EndpointResumed(tenant="t", at_ms=scene.now_ms, endpoint_id="e", revision=2))
        before = len(scene.came)
        scene.announce("b")
        await scene.until(lambda: len(scene.came) > before)
        await scene.recorded()
        assert not scene.disabled
        assert scene.affairs.failing_since(scene.found()) is None


@pytest.mark.parametrize("draw", [0.0, 0.5, 1.0])
async def test_attempts_are_made_when_the_schedule_says_and_not_before(kafka: str, draw: float) -> None:
    """All of them, over more than a day: each within a tenth of its delay, never a moment early, and then the delivery is exhausted, visibly."""
    async with dispatching(kafka, draw=draw) as scene:
        scene.endpoint()
        scene.answers = lambda _: 503
        scene.announce("a")
        for number, delay_s in enumerate(SCHEDULE_S):
            wait_ms = int(delay_s * (1 + JITTER * (2 * draw - 1)) * 1_000)
            if number:
                await scene.recorded()
                scene.pass_s(wait_ms / 1_000 - 0.001)
                await scene.settle()
                assert len(scene.came) == number, "a millisecond before its time"
                scene.pass_s(0.001)
            await scene.until(lambda number=number: len(scene.came) == number + 1)  # type: ignore[misc]
        await scene.until(lambda: scene.desk.pending == 0)
        measured_s = [(after - before) / 1_000 for (before, *_), (after, *_) in pairwise(scene.came)]
        assert all(abs(found_s - planned_s) <= JITTER * planned_s + 0.001 for found_s, planned_s in zip(measured_s, SCHEDULE_S[1:], strict=True))
        assert len({(message_id, body) for _, message_id, body in scene.came}) == 1
        (ended,) = await scene.states()
        assert (ended.state, [attempt.status for attempt in ended.attempts]) == ("exhausted", [503] * len(SCHEDULE_S))
        assert [attempt.at_ms for attempt in ended.attempts] == [at_ms for at_ms, *_ in scene.came]


async def test_what_a_bad_certificate_ends_in(kafka: str) -> None:
    """An attempt like any other, that is tried again, and in whose record the reason stands."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(Path(__file__).parents[1] / "support" / "self-signed.pem")
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    async with server, dispatching(kafka) as scene:
        scene.endpoint(url=f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
        scene.announce("a")
        await scene.recorded()
        (pending,) = await scene.states()
        assert (pending.state, pending.next_ms) == ("pending", scene.now_ms + 5_000)
        assert [(one.status, one.error) for one in pending.attempts] == [(None, "its certificate is not trusted: self-signed certificate")]
