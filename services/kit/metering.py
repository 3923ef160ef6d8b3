"""How long a piece of work computes, and not how long it waits: its steps on the event loop, added up."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Metered(Generic[T]):
    """Awaits a coroutine and tells after each of its steps how many seconds that took. What it has others do in tasks of their own is not told."""

    __slots__ = ("_clock_s", "_told", "_work")

    def __init__(self, work: Coroutine[Any, Any, T], told: Callable[[float], None], clock_s: Callable[[], float]) -> None:
        self._work, self._told, self._clock_s = work, told, clock_s

    def __await__(self) -> Generator[Any, Any, T]:
        """Pass on what the work waits for, and what it is told."""
        thrown: BaseException | None = None
        while True:
            since_s = self._clock_s()
            try:
                waited = self._work.send(None) if thrown is None else self._work.throw(thrown)
            except StopIteration as done:
                found: T = done.value
                return found
            finally:
                self._told(self._clock_s() - since_s)
            thrown = None
            try:
                yield waited
            except BaseException as error:  # noqa: BLE001 - a cancellation is for the work to hear
                thrown = error
