"""An endpoint that takes nothing fills its share and no more: others go on, and what it missed comes later, whole and in order."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Any

import pytest

from schemas.definitions import EndpointPut
from schemas.deliveries import decode_announced
from schemas.erasures import Erased, encode_erased
from schemas.identity import hash_of
from services.kit import failpoints
from tests.support.dispatching import dispatching
from tests.support.services import SECRET

PENDING, SHARE = 40, 0.5
CUSTOMERS = [f"c{number % 23}" for number in range(120)]


async def test_others_go_on_and_nothing_is_missed(kafka: str) -> None:
    """Much more is decided than may be pending; also across owners nothing is lost, doubled or out of its customer's order."""
    refuse = True
    came: dict[str, list[tuple[str, int]]] = defaultdict(list)

    def answers(name: str) -> int:
        if name == "slow" and refuse:
            return 503
        body = scene.came[-1][2]
        transition = decode_announced(body[body.index(b'"data":') + 7 : -1])
        came[name].append((transition.customer_id, transition.seq))
        return 204

    everything = sorted((customer, number) for number, customer in enumerate(CUSTOMERS))
    settings: dict[str, Any] = {"dispatcher_pending": PENDING, "tenant_share": SHARE, "dispatcher_schedule_s": (0.0, *[5.0] * 200)}
    async with dispatching(kafka, **settings) as scene:
        scene.answers = answers
        scene.endpoint("slow")
        scene.endpoint("e")
        for number in range(0, len(CUSTOMERS), 8):
            await scene.publish(*CUSTOMERS[number : number + 8])
            await scene.until(lambda reached=number + 8: len(came["e"]) == reached)  # type: ignore[misc]
            await scene.recorded()
            assert scene.desk.pending <= PENDING * SHARE
        assert sorted(came["e"]) == everything
        assert scene.desk.behind == 1
        await scene.recorded()
        await scene.desk.close()
        await scene.open()
        assert scene.desk.behind == 1
        assert scene.desk.pending <= PENDING * SHARE
        refuse = False
        while len(came["slow"]) < len(CUSTOMERS):
            before = len(came["slow"])
            scene.pass_s(6)
            await scene.until(lambda reached=before: len(came["slow"]) > reached)  # type: ignore[misc]
            assert scene.desk.pending <= PENDING * SHARE
        await scene.until(lambda: not scene.desk.behind)
        await scene.recorded()
    assert sorted(came["slow"]) == sorted(came["e"]) == everything
    for name in ("slow", "e"):
        for customer in set(CUSTOMERS):
            mine = [number for whose, number in came[name] if whose == customer]
            assert mine == sorted(mine)


async def test_more_states_than_one_transaction_holds_go_into_several(kafka: str) -> None:
    """What the progress vouches for is written before it: a successor finds each of them, whichever transaction it was in."""
    async with dispatching(kafka, dispatcher_record_states=3, dispatcher_record_every_ms=200) as scene:
        scene.answers = lambda _: 503
        scene.endpoint("e")
        await scene.publish(*CUSTOMERS[:20])
        await scene.until(lambda: len(scene.came) == 20)
        await scene.recorded()
        await scene.desk.close()
        await scene.open()
        assert scene.desk.pending == 20


async def test_what_has_ended_is_held_until_it_is_written_down(kafka: str) -> None:
    """While nothing is written down no more is let in than may be pending, however fast it is taken; what there was no room for comes later."""
    settings: dict[str, Any] = {"dispatcher_pending": PENDING, "tenant_share": SHARE, "dispatcher_record_every_ms": 10_000}
    async with dispatching(kafka, **settings) as scene:
        scene.endpoint("e")
        await scene.publish(*CUSTOMERS)
        await scene.until(lambda: len(scene.came) > 0 and not scene.desk.pending)
        room = scene.desk._around.room
        assert room.held == len(scene.came) <= PENDING * SHARE
        assert scene.desk.behind == 1
        await scene.desk.close()
        assert room.held == 0
        settled = len(scene.came)
        await scene.open()
        await scene.until(lambda: len(scene.came) > settled)
        assert scene.desk._around.room.held <= PENDING * SHARE
    assert len({message_id for _, message_id, _ in scene.came}) == len(scene.came)


async def test_one_that_takes_nothing_does_not_hold_up_another_that_is_behind(kafka: str) -> None:
    """Far more lies between the two than is read at once: they take turns, and the second has all that it missed."""
    settings: dict[str, Any] = {
        "dispatcher_pending": 200, "tenant_share": 0.1, "dispatcher_read_records": 5, "dispatcher_schedule_s": (0.0, *[5.0] * 200)
    }  # fmt: skip
    refusing = {"slow", "e"}
    async with dispatching(kafka, **settings) as scene:
        scene.answers = lambda name: 503 if name in refusing else 204
        scene.endpoint("slow")
        await scene.publish(*CUSTOMERS[:60])
        scene.endpoint("e")
        written = await scene.publish(*CUSTOMERS[:60])
        await scene.until(lambda: scene.desk.behind == 2)
        refusing.remove("e")
        taken: set[bytes] = set()
        async with asyncio.timeout(30):
            while len(taken) < len(written):
                scene.pass_s(6)
                await asyncio.sleep(0.05)
                taken |= {body[body.index(b'"data":') + 7 : -1] for _, _, body in scene.came} & set(written)
                assert scene.desk.behind
        assert taken == set(written)


async def test_a_turn_that_comes_early_is_no_attempt(kafka: str) -> None:
    """Whenever anybody is erased those are looked at who are pending and once were; who lives again is tried when it is due."""
    async with dispatching(kafka) as scene:
        scene.answers = lambda _: 503
        scene.endpoint(causes=["erase"])
        scene.erasures.apply(encode_erased(Erased("t", hash_of("s", "t", "a"), 5)))
        await scene.publish("a", cause={"kind": "erase"})
        await scene.until(lambda: len(scene.came) == 1)
        await scene.recorded()
        for _ in range(5):
            scene.desk.cancel_erased()
            await scene.settle()
        assert len(scene.came) == 1
        scene.pass_s(6)
        await scene.until(lambda: len(scene.came) == 2)


async def test_gone_is_said_of_the_address_that_was_tried(kafka: str) -> None:
    """While an attempt is under way its endpoint gets another address: what the former one answers ends nothing."""
    async with dispatching(kafka) as scene:

        def answers(name: str) -> int:
            if name != "former":
                return 204
            scene.define(EndpointPut(tenant="t", at_ms=scene.now_ms, endpoint_id="e", replaces=1, url=f"{scene.url}/now", secret=SECRET))
            return 410

        scene.answers = answers
        scene.endpoint(url=f"{scene.url}/former")
        await scene.publish("a")
        await scene.until(lambda: len(scene.came) == 1)
        await scene.recorded()
        scene.pass_s(6)
        await scene.until(lambda: len(scene.came) == 2 and not scene.desk.pending)
        assert [one.state for one in await scene.states()] == ["delivered"]


async def test_a_large_transition_is_written_down(kafka: str) -> None:
    """It is as large as a record of its topic may be, which is ten times what a client sends unless told otherwise."""
    async with dispatching(kafka) as scene:
        scene.answers = lambda _: 503
        scene.endpoint()
        scene.desk.read(0, scene.transition("a", 0, extra="x" * (2 << 20)))
        await scene.until(lambda: len(scene.came) == 1)
        assert [one.state for one in await scene.states()] == ["pending"]


async def test_what_ends_while_the_last_record_is_written_is_written_as_well(kafka: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A partition changes hands in the middle of a transaction: the next owner knows what came of the attempts that were over by then."""
    async with dispatching(kafka) as scene:
        scene.answers = lambda _: 503
        scene.endpoint()
        await scene.publish("a")
        await scene.until(lambda: len(scene.came) == 1)
        await scene.recorded()

        desk = scene.desk

        def ends(place: str) -> None:
            if place == "dispatcher.in_transaction" and scene.desk is desk:
                desk._closing.set()
                monkeypatch.undo()
                (lane,) = [lane for lane in desk._queues._lanes if lane[2] == "a"]
                del desk._queues._turns[lane]  # as while its attempt is under way
                desk._end(desk._queues._lanes[lane][0], "cancelled", "because")

        monkeypatch.setattr(failpoints, "hit", ends)
        await scene.publish("b")
        await scene.until(desk._closing.is_set)
        await scene.desk.close()
        await scene.open()
        assert {one.customer_id: one.state for one in await scene.states()} == {"a": "cancelled", "b": "pending"}


async def test_an_endpoint_that_is_heard_of_late_gets_what_was_decided_since_it_is_on(kafka: str) -> None:
    """Though it was read before that was known: once, each customer's in order, and nothing from before."""
    async with dispatching(kafka) as scene:
        await scene.publish("a", "before")
        scene.pass_s(10)
        made = EndpointPut(tenant="t", at_ms=scene.now_ms, endpoint_id="e", replaces=0, url=f"{scene.url}/e", secret=SECRET)
        written = await scene.publish("a", "b", "a")
        scene.pass_s(1)
        written += await scene.publish("b")
        scene.define(made)
        scene.desk.greet(scene.found())
        assert scene.desk.behind == 1
        written += await scene.publish("b", "c", "a")
        await scene.until(lambda: len(scene.came) >= len(written) and not scene.desk.behind)
        written += await scene.publish("b")
        await scene.until(lambda: len(scene.came) >= len(written))
        await scene.recorded()
    came = [body[body.index(b'"data":') + 7 : -1] for _, _, body in scene.came]
    assert sorted(came) == sorted(written)
    for customer in ("a", "b", "c"):
        mine = [found.seq for found in map(decode_announced, came) if found.customer_id == customer]
        assert mine == sorted(mine)


async def test_one_that_has_missed_nothing_goes_on_at_once(kafka: str) -> None:
    """Nothing is read again for an endpoint that was made just now, after all that was read had been decided."""
    async with dispatching(kafka) as scene:
        await scene.publish("before")
        scene.pass_s(1)
        scene.endpoint("e")
        scene.desk.greet(scene.found())
        assert not scene.desk.behind
        written = await scene.publish("a")
        await scene.until(lambda: len(scene.came) == 1)
        assert scene.came[0][2].endswith(written[0] + b"}")
