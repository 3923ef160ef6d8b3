"""An endpoint that takes nothing fills its share and no more: others go on, and what it missed comes later, whole and in order."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from schemas.deliveries import decode_announced
from tests.support.dispatching import dispatching

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
