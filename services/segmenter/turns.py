"""Whose turn it is: the records that wait, by tenant, so that the flood of one leaves the time of the others alone.

A topic's records lie in the order in which they came, a tenant's flood in front of everybody else's. The records of one tenant are
applied in that order, and tenants in turns: next is whoever was given the least time (start-time fair queueing; Goyal, Vin and
Cheng, 1996). Who has nothing waiting saves up no time. How many records make a turn is learned for each tenant, for an event may cost
a thousand times what another's does. What is not of a tenant, or must come in order whoever it is about, is a tenant of its own, `OURS`.

Invariant: what `passed` gives are whole runs, in the order of their topic, with every record of theirs applied.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from schemas.partitions import tenant_of
from services.segmenter.pacing import Pace

OURS: Final = ""
"""Whose records those are that no tenant's name is read of: no tenant is called so."""


@dataclass(eq=False)
class Chunk:
    """A run of one topic's records: everything from `start` to `end` (exclusive), gaps included. `ack` is called once committed.

    `sizes`: how many of its records are whose; `size_bytes`: of their values. `left`: records that were not applied yet. `ordered`: it is
    applied as it lies, record by record, for all of it is of one tenant and nothing before it waits.
    """

    topic: str
    start: int
    end: int
    records: Sequence[Any]
    ack: Callable[[], object]
    sizes: dict[str, int] = field(default_factory=dict)
    left: int = 0
    ordered: bool = False
    size_bytes: int = 0


_KNOWN: Final = 1_000
"""Tenants whose pace and time are remembered although nothing of theirs waits."""


class Turn(NamedTuple):
    """Records to apply at once: some of a chunk's, all of one tenant, in their order."""

    tenant: str
    chunk: Chunk
    records: Sequence[Any]


@dataclass(eq=False)
class _Part:
    """What a chunk has of a tenant, of which `done` records were applied."""

    chunk: Chunk
    records: Sequence[Any]
    done: int = 0


class _Queue:
    """What waits of a tenant. `spent_s`: its time as everybody counts it; `pace`: how many records fit into a turn."""

    def __init__(self, pace: Pace) -> None:
        self.parts: deque[_Part] = deque()
        self.spent_s = 0.0
        self.pace = pace


class Turns:
    """The waiting records of a partition. `shared`: the topics in which tenants take turns, of `turn_ms` each.

    `ahead` tells how far each tenant has come in a topic beyond what everybody has: what lies before is not applied a second time.
    """

    def __init__(self, shared: Collection[str], turn_ms: float, ahead: Callable[[str], Mapping[str, int]]) -> None:
        self._shared, self._turn_ms, self._ahead = frozenset(shared), turn_ms, ahead
        self._order: dict[str, deque[Chunk]] = {}
        self._queues: OrderedDict[str, _Queue] = OrderedDict()
        self._waiting: dict[str, _Queue] = {}
        self._floor_s = 0.0
        self.pending = 0
        self.size_bytes = 0

    def __bool__(self) -> bool:
        """Whether anything waits, if only to be passed."""
        return any(self._order.values())

    @property
    def tenants(self) -> Collection[str]:
        """Who has records that wait."""
        return self._waiting.keys()

    def add(self, chunk: Chunk) -> None:
        """Let a chunk wait that follows the last one of its topic."""
        ahead = self._ahead(chunk.topic)
        for tenant, records in self._by_tenant(chunk).items():
            chunk.sizes[tenant] = len(records)
            new = records if (reached := ahead.get(tenant, 0)) <= chunk.start else [record for record in records if record.offset >= reached]
            if new:
                chunk.left += len(new)
                self._queue(tenant).parts.append(_Part(chunk, new))
        chunk.size_bytes = sum(len(record.value or b"") for record in chunk.records)
        self.size_bytes += chunk.size_bytes
        self.pending += chunk.left
        self._order.setdefault(chunk.topic, deque()).append(chunk)

    def _queue(self, tenant: str) -> _Queue:
        """Return a tenant's queue, which waits from now on."""
        queue = self._waiting.get(tenant)
        if queue is None:
            queue = self._queues.pop(tenant, None) or _Queue(Pace(self._turn_ms))
            self._queues[tenant] = self._waiting[tenant] = queue
            queue.spent_s = max(queue.spent_s, self._floor_s)
            if len(self._queues) > _KNOWN + len(self._waiting):
                self._queues.pop(next(name for name in self._queues if name not in self._waiting))
        return queue

    def next(self, rests: Callable[[str], bool] = lambda _: False) -> Turn | None:
        """Return what is to be applied next, None when nothing is, or nothing but of those who rest."""
        ready = [(tenant, queue) for tenant, queue in self._waiting.items() if not rests(tenant)]
        if not ready:
            return None
        tenant, queue = min(ready, key=lambda item: item[1].spent_s)
        self._floor_s = max(self._floor_s, queue.spent_s)
        part, chunk = queue.parts[0], queue.parts[0].chunk
        if not chunk.ordered and part.done == 0 and len(chunk.sizes) == 1:
            first = self._order[chunk.topic][0] is chunk
            chunk.ordered = first and self._ahead(chunk.topic).get(tenant, 0) <= chunk.start
        return Turn(tenant, chunk, part.records[part.done : part.done + queue.pace.limit])

    def waits(self, turn: Turn) -> bool:
        """Whether what was returned still waits: whoever waited for something else meanwhile asks before applying it."""
        queue = self._waiting.get(turn.tenant)
        return queue is not None and queue.parts[0].chunk is turn.chunk

    def took(self, turn: Turn, spent_s: float) -> None:
        """Note that what was returned is applied, and what that took."""
        queue, count = self._waiting[turn.tenant], len(turn.records)
        part = queue.parts[0]
        part.done += count
        turn.chunk.left -= count
        self.pending -= count
        queue.spent_s += spent_s
        queue.pace.observe(count, spent_s)
        if part.done == len(part.records):
            queue.parts.popleft()
        if not queue.parts:
            del self._waiting[turn.tenant]

    def passed(self) -> Iterator[Chunk]:
        """Give and forget the chunks before which nothing of their topic waits any more."""
        for chunks in self._order.values():
            while chunks and not chunks[0].left:
                chunk = chunks.popleft()
                self.size_bytes -= chunk.size_bytes
                yield chunk

    def clear(self) -> None:
        """Forget everything that waits."""
        self._order.clear()
        self._queues.clear()
        self._waiting.clear()
        self.pending = self.size_bytes = 0

    def _by_tenant(self, chunk: Chunk) -> dict[str, Sequence[Any]]:
        records = chunk.records
        if not records:
            return {}
        if chunk.topic not in self._shared:
            return {OURS: records}
        tenant = tenant_of(records[0].key)
        head = f"{tenant}:".encode()
        if all(record.key is not None and record.key.startswith(head) for record in records):
            return {tenant: records}
        of: dict[str, list[Any]] = {}
        for record in records:
            of.setdefault(tenant_of(record.key), []).append(record)
        return dict(of)
