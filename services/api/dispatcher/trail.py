"""Where reading was when: so that an endpoint of which the dispatcher hears late gets what was decided for it and had been read before. Pure."""

from __future__ import annotations

from collections import deque
from typing import Final

_STEPS: Final = 3_000
"""Tenths of a second in which something was decided that are remembered: of the last five minutes at least."""
_TENTHS: Final = len("2026-01-01T00:00:00.0")


class Trail:
    """The transitions that were read, by when they were decided: before the offset of a step everything was decided before its tenth."""

    def __init__(self) -> None:
        self._steps: deque[tuple[str, int]] = deque(maxlen=_STEPS)

    def read(self, decided_at: str, offset: int) -> None:
        """Take note of a transition; offsets come in their order, the instants (ISO 8601, UTC) nearly so."""
        tenth = decided_at[:_TENTHS]
        if not self._steps or tenth > self._steps[-1][0]:
            self._steps.append((tenth, offset))

    def since(self, instant: str) -> int | None:
        """Return an offset before which nothing was read that was decided at an instant or later; None where nothing such was read."""
        found = None
        for tenth, offset in reversed(self._steps):
            if tenth < instant[:_TENTHS]:
                break
            found = offset
        return found
