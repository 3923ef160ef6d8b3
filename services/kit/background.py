"""Work that goes on beside what a process is asked for, and does not fail in silence."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Final

from services.kit.logs import die

_AGAIN_S: Final = 5.0
"""How long a work that was cancelled may take to end before it is cancelled once more."""

Work = Callable[[], Coroutine[Any, Any, None]]


async def guarded(logger: logging.Logger, what: str, work: Work) -> None:
    """Do some work; a failure that it did not expect ends the process, for what it keeps up would be wrong from then on.

    The work is begun here, and not where the task is made: one that is cancelled before its first turn would leave it never awaited.
    """
    try:
        await work()
    except asyncio.CancelledError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is: nobody would see it
        die(logger, f"{what}: {error!r}")


async def ended(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel tasks and wait until all have ended, whatever came of them."""
    left = {task for task in tasks if not task.done()}
    while left:
        for task in left:
            # Once may not do: a library that waits with a limit of its own may lose a cancellation that comes as this wait ends.
            task.cancel()
        _, left = await asyncio.wait(left, timeout=_AGAIN_S)


class Background:
    """One task, from `start` to `stop`, guarded."""

    def __init__(self, logger: logging.Logger, what: str) -> None:
        self._logger, self._what = logger, what
        self._task: asyncio.Task[None] | None = None

    def start(self, work: Work) -> None:
        """Begin."""
        self._task = asyncio.create_task(guarded(self._logger, self._what, work), name=self._what)

    async def stop(self) -> None:
        """Cancel the work and wait until it has ended. One that was never begun has."""
        if self._task is not None:
            await ended([self._task])
