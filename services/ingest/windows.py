"""How much of each tenant may be accepted and not applied yet: a window, as wide as what is applied of it in two seconds.

What is accepted lies in Kafka in the order in which it came. Where one tenant sends faster than the segmenter decides, everybody's next
event lies behind all of that. Within a partition tenants take turns, but only of what is read ahead; so what lies in front of the
others must be bounded where it is let in, in time and not in number, for an event may cost a thousand times what another's does.

Nobody is held back who sends alone, nor while it is not known how far the segmenters are. No clock: instants are passed in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from schemas.positions import Offsets
from schemas.projection import Marker

Place = tuple[str, int]
"""A topic and one of its partitions."""

_ALONE_S: Final = 10.0
"""Who has sent nothing for so long is nobody whom others are in the way of."""
_SPAN_S: Final = 2.0
"""A window is what is applied in this time: twice what `Retry-After` says, so that there is always something to apply."""
_ENDS_KEPT: Final = 1_000
"""Of one tenant and place; what is sent while so many wait is taken together with the last."""
_NEWEST: Final = 0.5
"""How much the newest measurement says about what is applied in a second."""


class _Tenant:
    """What of a tenant is on its way to Kafka (`flying`), and waits there: for each place the ends of what was sent, and how many records."""

    def __init__(self, window: int, now_s: float) -> None:
        self.flying = self.waiting = 0
        self.sent: dict[Place, deque[tuple[int, int]]] = {}
        self.per_s = 0.0
        self.window = window
        self.seen_s = now_s
        self.looked_s = now_s

    def applied(self, tenant: str, markers: Sequence[Marker]) -> int:
        """Forget what the markers say is applied; return how many records."""
        count = 0
        for (topic, partition), sent in self.sent.items():
            reached = markers[partition].reached(topic, tenant)
            while sent and sent[0][0] <= reached:
                count += sent.popleft()[1]
        self.waiting -= count
        return count


class Windows:
    """The windows of one process, of `least` records each to begin with."""

    def __init__(self, least: int) -> None:
        self._least = least
        self._tenants: dict[str, _Tenant] = {}
        self._informed = False

    def __len__(self) -> int:
        """Return how many tenants are known."""
        return len(self._tenants)

    def full(self, tenant: str, records: int, now_s: float) -> bool:
        """Whether so many records of a tenant more are too many. A window in which there is nothing takes whatever comes."""
        mine = self._tenants.get(tenant)
        held = 0 if mine is None else mine.flying + mine.waiting
        if mine is None or not held or not self._informed or held + records <= mine.window:
            return False
        return any(other is not mine and now_s - other.seen_s < _ALONE_S for other in self._tenants.values())

    @contextmanager
    def flying(self, tenant: str, records: int, now_s: float) -> Iterator[None]:
        """Count records for as long as they are on their way to Kafka."""
        mine = self._tenants.get(tenant)
        if mine is None:
            mine = self._tenants[tenant] = _Tenant(self._least, now_s)
        mine.seen_s = now_s
        mine.flying += records
        try:
            yield
        finally:
            mine.flying -= records

    def sent(self, tenant: str, sizes: Mapping[Place, int], offsets: Offsets) -> None:
        """Count what Kafka has: so many records at each place, which end before these offsets. Nothing while nobody says what is applied."""
        if not self._informed:
            return
        mine = self._tenants[tenant]
        for (topic, partition), count in sizes.items():
            sent, end = mine.sent.setdefault((topic, partition), deque()), offsets[topic][partition]
            if len(sent) >= _ENDS_KEPT:
                last, before = sent.pop()
                sent.append((max(last, end), before + count))
            else:
                sent.append((end, count))
            mine.waiting += count

    def look(self, markers: Sequence[Marker] | None, now_s: float) -> None:
        """Learn from the markers of all partitions how far the segmenters are; None where that is not known."""
        self._informed = markers is not None
        for name, mine in list(self._tenants.items()):
            if markers is None:
                mine.sent.clear()
                mine.waiting = 0
            elif mine.waiting:
                count = mine.applied(name, markers)
                mine.per_s += _NEWEST * (count / max(now_s - mine.looked_s, 0.001) - mine.per_s)
                mine.window = max(self._least, int(mine.per_s * _SPAN_S))
            mine.looked_s = now_s
            if not (mine.waiting or mine.flying) and now_s - mine.seen_s >= _ALONE_S:
                del self._tenants[name]
