"""What goes on beside a process's own work ends with it, or ends it."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys

import pytest

from services.kit import background
from services.kit.background import Background

_FAILS = """
import asyncio, logging
from services.kit.background import Background

async def work():
    raise ValueError("the fold does not know this")

async def main():
    Background(logging.getLogger("x"), "definitions").start(work)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def test_a_failure_that_nobody_expected_ends_the_process_and_says_why() -> None:
    """Whoever supervises starts it anew; what it kept up would have been wrong from then on."""
    ended = subprocess.run([sys.executable, "-c", _FAILS], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 70
    assert "definitions: ValueError('the fold does not know this')" in ended.stderr


def test_whoever_stops_it_waits_for_its_end() -> None:
    """Work that has begun puts away what it holds before the process goes on ending."""
    said: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            said.append("put away")

    async def main(*, begun: bool) -> None:
        stopped = Background(logging.getLogger(__name__), "work")
        stopped.start(work)
        if begun:
            await asyncio.sleep(0)
        await stopped.stop()

    asyncio.run(main(begun=True))
    assert said == ["put away"]
    asyncio.run(main(begun=False))
    assert said == ["put away"], "what had not begun has nothing to put away"


def test_one_that_was_never_started_has_ended() -> None:
    """A process that ends before it had started stops all the same."""
    asyncio.run(Background(logging.getLogger(__name__), "work").stop())


async def test_a_cancellation_that_is_lost_is_said_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else whoever stops it waits for ever."""
    monkeypatch.setattr(background, "_AGAIN_S", 0.02)
    lost = 0

    async def loses() -> None:
        nonlocal lost
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                lost += 1
                if lost == 3:
                    raise

    work = Background(logging.getLogger(__name__), "loses")
    work.start(loses)
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await work.stop()
    assert lost == 3
