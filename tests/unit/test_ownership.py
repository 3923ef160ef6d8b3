"""Owning partitions: what must be waited for before one is ready."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from services.segmenter.ownership import Ownership

NOW_MS = 1_795_342_500_000


async def test_a_clock_that_was_set_back_is_waited_for() -> None:
    """A partition is not ready before the clock has caught up with the last decision; one in step is ready at once."""
    clock = SimpleNamespace(now=NOW_MS)
    ownership = Ownership(
        cast(Any, SimpleNamespace(settings=SimpleNamespace(segmenter_restores=1), now_ms=lambda: clock.now)), cast(Any, None), cast(Any, None)
    )
    await asyncio.wait_for(ownership._clock(NOW_MS, 0), 5)
    waiting = asyncio.create_task(ownership._clock(NOW_MS + 20, 0))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(waiting), 0.1)
    clock.now = NOW_MS + 20
    await asyncio.wait_for(waiting, 5)
