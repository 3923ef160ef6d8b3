"""Waiting until a name may go on: those who wait under one name go on one by one, each once what the one before took is paid for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary


class Rests:
    """A queue for each name, for as long as somebody is in it."""

    def __init__(self) -> None:
        self._queues: WeakValueDictionary[Hashable, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def over(self, name: Hashable, rest_s: Callable[[], float]) -> AsyncIterator[None]:
        """Wait for those who came before, then until `rest_s` (seconds, asked again after each) is nothing; the next one waits for the body."""
        queue = self._queues.get(name)
        if queue is None:
            queue = self._queues[name] = asyncio.Lock()
        async with queue:
            left_s = rest_s()
            while left_s:
                await asyncio.sleep(left_s)
                left_s = rest_s()
            yield
