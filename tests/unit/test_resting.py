"""Who waits under one name goes on one by one, and only when nothing is owed."""

from __future__ import annotations

import asyncio
import gc

from services.kit.resting import Rests


async def test_one_by_one_each_when_what_the_one_before_took_is_paid_for() -> None:
    """Two never go on together, whoever comes later; another name does not wait for them; what nobody waits for is not kept."""
    rests, owed, inside, went = Rests(), {"a": 2, "b": 0}, {"a": 0, "b": 0}, []

    def rest_s(name: str) -> float:
        owed[name] = max(0, owed[name] - 1)
        return 0.001 * owed[name]

    async def go(name: str, number: int) -> None:
        async with rests.over(name, lambda: rest_s(name)):
            assert not owed[name]
            inside[name] += 1
            assert inside[name] == 1
            await asyncio.sleep(0)
            inside[name] -= 1
            owed[name] = 3
            went.append((name, number))

    tasks = [asyncio.create_task(go("a", number)) for number in range(4)]
    await asyncio.sleep(0)
    await go("b", 0)
    assert went == [("b", 0)]
    await asyncio.gather(*tasks)
    assert went[1:] == [("a", number) for number in range(4)]
    del tasks
    gc.collect()
    assert not rests._queues
