"""Progress that a person can follow: a bar in a terminal, a line every five seconds in a log."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

_LINE_EVERY_S = 5.0


class EventsBar:
    """Counts events towards a total. Use it as a context manager; its rate leaves out what was done before it began."""

    def __init__(self, console: Console, title: str, total: int) -> None:
        self._console, self._title, self._total = console, title, total
        self.done = 0
        self._found_done = 0
        self._started = self._said = time.monotonic()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f} events  {task.percentage:3.0f} %  {task.fields[rate]}"),
            TextColumn("left"),
            TimeRemainingColumn(compact=True),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task(title, total=total, rate="")

    def __enter__(self) -> Self:
        """Start showing."""
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop showing; in a log, say how far it came."""
        self._progress.stop()
        if not self._console.is_terminal:
            self._say()

    def skip(self, events: int) -> None:
        """Count so many that were done before."""
        self._found_done += events
        self.set(self.done + events)

    def advance(self, events: int) -> None:
        """Count so many more."""
        self.set(self.done + events)

    def set(self, done: int) -> None:
        """Say how many it is by now."""
        self.done = min(done, self._total)
        self._progress.update(self._task, completed=self.done, rate=self._rate()[1])
        if not self._console.is_terminal and time.monotonic() - self._said >= _LINE_EVERY_S:
            self._say()

    def _rate(self) -> tuple[float, str]:
        """Give the events per second since the beginning, and the words for it."""
        rate = max(self.done - self._found_done, 0) / max(time.monotonic() - self._started, 1e-3)
        return rate, f"{rate:,.0f} events/s" if rate else ""

    def _say(self) -> None:
        self._said = time.monotonic()
        rate, words = self._rate()
        left = f"{(self._total - self.done) / rate:.0f} s left" if rate and self.done < self._total else ""
        percent = f"{100 * self.done / max(self._total, 1):.0f} %"
        parts = [f"{self._title}: {self.done:,}/{self._total:,} events", percent, words, left]
        self._console.print(", ".join(part for part in parts if part), highlight=False, soft_wrap=True)
