"""What users saw: how often each kind of answer came to each kind of user, since the last fault began."""

from __future__ import annotations

import threading
from collections import Counter

Seen = dict[str, dict[str, int]]


class Sight:
    """Counts answers, from any thread."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()

    def saw(self, who: str, what: int | str) -> None:
        """Count one answer: a status, or `timeout` or `no connection`."""
        kind = f"{what // 100}xx" if isinstance(what, int) else what
        with self._lock:
            self._counts[who, kind] += 1

    def take(self) -> Seen:
        """Return what was seen since the last call: who → what → how often."""
        with self._lock:
            counts, self._counts = self._counts, Counter()
        seen: Seen = {}
        for (who, kind), count in sorted(counts.items()):
            seen.setdefault(who, {})[kind] = count
        return seen
