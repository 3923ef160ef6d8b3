"""One partition of deliveries on a real Kafka, with the clock in the test's hands: what is tried when, and how each delivery ends."""

from __future__ import annotations

from schemas.definitions import EndpointDisabled, EndpointPaused, EndpointResumed
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
