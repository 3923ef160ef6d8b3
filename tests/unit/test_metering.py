"""What a piece of work computes is told, what it waits is not; and how requests of a tenant that had more than its share wait."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from services.api.settings import ApiSettings
from services.api.times import Times
from services.kit.limits import Full
from services.kit.metering import Metered


class Clock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        """Return the instant."""
        return self.now_s


async def test_computing_is_told_and_waiting_is_not() -> None:
    """Each step between two waits, however the work ends; what it returns or raises comes out."""
    clock, told = Clock(), list[float]()

    async def work(*, fails: bool) -> str:
        clock.now_s += 1
        asyncio.get_running_loop().call_soon(setattr, clock, "now_s", 100.0)
        await asyncio.sleep(0.001)
        clock.now_s += 2
        if fails:
            raise ValueError("as it should")
        return "done"

    assert await Metered(work(fails=False), told.append, clock) == "done"
    assert told == [1, 2]
    clock.now_s = 0.0
    with pytest.raises(ValueError, match="as it should"):
        await Metered(work(fails=True), told.append, clock)
    assert told == [1, 2, 1, 2]


async def test_a_cancellation_reaches_the_work() -> None:
    """It may tidy up, and that takes time as well."""
    clock, told = Clock(), list[float]()

    async def work() -> None:
        try:
            for _ in range(100):
                await asyncio.sleep(0)
        finally:
            clock.now_s += 3

    async def metered() -> None:
        await Metered(work(), told.append, clock)

    task = asyncio.create_task(metered())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert told == [0, 3]  # it is told where it stands, and not a hundred turns later


async def _computing(clock: Clock, seconds: float) -> None:
    clock.now_s += seconds


def times(clock: Clock, **settings: Any) -> Times:
    """The time of an API, half of each second for a tenant, whatever it asks for."""
    return Times(ApiSettings(**({"api_time_share": 0.5, "api_pages_share": 0.5} | settings)), clock)


async def test_who_had_more_than_a_share_waits_while_others_ask_and_they_do_not() -> None:
    """For as long as it takes to be paid for; who is alone, or saved up enough, waits for nothing."""
    clock = Clock()
    given = times(clock)
    for _ in range(3):
        await given.turn("loud")
        await given.counted("loud", _computing(clock, 5))
    await given.turn("quiet")
    await given.counted("loud", _computing(clock, 1.2))
    waiting = asyncio.create_task(given.turn("loud"))
    async with asyncio.timeout(1):
        await given.turn("quiet")
    assert not waiting.done()
    clock.now_s += 0.5
    async with asyncio.timeout(5):
        await waiting


async def _waits(given: Times, tenant: str, *, quick: bool) -> bool:
    try:
        await asyncio.wait_for(given.turn(tenant, quick=quick), 0.02)
    except TimeoutError:
        return True
    return False


@pytest.mark.parametrize(("quick", "each_s", "waiting"), [(False, 0.6, (True, False)), (True, 0.6, (False, False)), (True, 1.2, (True, True))])
async def test_what_is_not_quick_has_a_part_of_what_a_tenant_has(quick: bool, each_s: float, waiting: tuple[bool, bool]) -> None:  # noqa: FBT001 - a case
    """Of 1.2 s within 1.8 pages have more than may be saved up and a tenth of the time, and all has less than that and half. Others never wait."""
    clock = Clock()
    given = times(clock, api_pages_share=0.1)
    await given.turn("quiet")
    await given.turn("loud", quick=quick)
    await given.counted("loud", _computing(clock, each_s), quick=quick)
    clock.now_s += 0.6
    await given.counted("loud", _computing(clock, each_s), quick=quick)
    await given.turn("quiet")
    assert (await _waits(given, "loud", quick=False), await _waits(given, "loud", quick=True)) == waiting
    assert not await _waits(given, "quiet", quick=False)


async def test_who_reads_pages_does_not_rest_for_whoever_does_so_too() -> None:
    """Two who want more than pages have share the process; once somebody comes who does not, they rest."""
    clock = Clock()
    given = times(clock, api_pages_share=0.1)
    for tenant in ("one", "two"):
        await given.turn(tenant)
    for _ in range(20):
        for tenant in ("one", "two"):
            await given.counted(tenant, _computing(clock, 0.1))
    assert not await _waits(given, "one", quick=False)
    assert not await _waits(given, "two", quick=False)
    await given.turn("app", quick=True)
    await given.counted("one", _computing(clock, 0.1))
    assert await _waits(given, "one", quick=False)
    assert not await _waits(given, "app", quick=True)


async def test_a_tenants_requests_come_one_after_the_other_and_not_all_at_once() -> None:
    """Those who waited together take it in turns, in the order in which they came."""
    given, order = times(Clock()), list[int]()
    given._monotonic_s = time.perf_counter

    async def request(number: int) -> None:
        await given.turn("loud")
        order.append(number)
        given._took("loud", False, 0.02)

    await given.turn("quiet")
    given._took("loud", False, 1.02)
    since_s = time.perf_counter()
    async with asyncio.timeout(10):
        await asyncio.gather(*(request(number) for number in range(5)))
    assert order == list(range(5))
    assert time.perf_counter() - since_s >= 5 * 0.04 - 0.01


async def test_more_than_may_wait_are_told_to_come_again() -> None:
    """A tenant's share of those who may wait at all."""
    clock = Clock()
    given = times(clock, api_max_waiting=4)
    await given.turn("quiet")
    await given.turn("loud")
    await given.counted("loud", _computing(clock, 5))
    waiting = [asyncio.create_task(given.turn("loud")) for _ in range(4)]
    done, _ = await asyncio.wait(waiting, timeout=0.05)
    refused = [error for task in done if (error := task.exception()) is not None]
    assert [type(error) for error in refused] == [Full] * len(refused)
    assert len(refused) >= 1
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
