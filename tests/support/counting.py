"""A partition that merely counts, and a worker that runs it: what everything around the core is tested with.

Each record adds one to the count of its key and puts out one numbered change. The row holds the count, so after any number of
crashes the sum over all rows is the number of records, and the changes of a key are 1, 2, 3, … for a reader of whole steps.
A record whose value begins with `due:` sets a deadline (milliseconds since the epoch) at which its key puts out `due`.
"""

from __future__ import annotations

import heapq
import itertools
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec
import uvloop

from schemas import projection
from schemas.instants import NEVER
from schemas.questions import Asked, Tally
from services.kit.follower import Follower
from services.kit.logs import configure
from services.kit.settings import load
from services.segmenter.__main__ import run
from services.segmenter.app import build_app
from services.segmenter.core import MakePartition
from services.segmenter.ranks.messages import Message, Summary
from services.segmenter.settings import SegmenterSettings
from services.segmenter.steps import Record, Step

PROGRESS = b"p"
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list).decode


class CountingPartition:
    """Counts the records of each key. `project_every` thins out which counts show in the projection."""

    def __init__(self, number: int, project_every: int = 1) -> None:
        self.number = number
        self.epoch = 0
        self.clock_ms = 0
        self.stale = 0
        self.ranks_due = 0
        self.offsets: dict[str, int] = {}
        self.outcomes: dict[str, dict[str, int]] = {}
        self.undecided = 0
        self._ahead: dict[str, dict[str, int]] = {}
        self.counts: dict[bytes, int] = {}
        self.shown: dict[bytes, int] = {}
        self.deadlines: list[tuple[int, bytes]] = []
        self._every = project_every
        self._versions = itertools.count(1)
        self._step = Step()
        self._dirty: set[bytes] = set()
        self._moved = False
        self._due: dict[bytes, int] = {}

    @property
    def customers(self) -> int:
        """How many keys are known."""
        return len(self.counts)

    def restore(self, key: bytes, value: bytes | None) -> None:
        """Take one changelog record."""
        if key == PROGRESS and value is not None:
            self.epoch, self.clock_ms, self.offsets, self.outcomes, self._ahead = _decode(value)
        elif value is not None:
            self.counts[key[1:]], self._due[key[1:]] = _decode(value)

    def ready(self, now_ms: int) -> None:
        """Begin a new epoch."""
        self.epoch += 1
        self.deadlines = sorted((due_ms, key) for key, due_ms in self._due.items() if due_ms)
        self.shown = dict(self.counts)
        self._moved = True

    def definitions_needed(self) -> int:
        """Return 0: it knows no definitions."""
        return 0

    def waits_for(self, topic: str, records: Sequence[Record]) -> int:
        """Return 0: it knows no definitions."""
        return 0

    def apply(self, topic: str, records: Sequence[Record], now_ms: int) -> None:
        """Count each record once; a record that was applied before would be a fault of the runtime."""
        for record in records:
            assert record.offset >= self.offsets.get(topic, 0), f"{topic}/{self.number}: {record.offset} came again"
            self.offsets[topic] = record.offset + 1
        self._count(topic, records, now_ms)

    def apply_ahead(self, topic: str, tenant: str, records: Sequence[Record], now_ms: int) -> None:
        """Count records of one tenant, each once, while others wait."""
        ahead = self._ahead.setdefault(topic, {})
        for record in records:
            reached = max(ahead.get(tenant, 0), self.offsets.get(topic, 0))
            assert record.offset >= reached, f"{topic}/{self.number}: {record.offset} of {tenant} came again, after {reached}"
            assert (record.key or b"").startswith(f"{tenant}:".encode()), f"{record.key!r} is not of {tenant}"
            ahead[tenant] = record.offset + 1
        self._count(topic, records, now_ms)

    def pass_to(self, topic: str, end: int, sizes: Mapping[str, int]) -> None:
        """Take everything before `end` for applied."""
        assert end >= self.offsets.get(topic, 0), f"{topic}/{self.number}: back to {end}"
        self.offsets[topic] = end
        self._ahead[topic] = {tenant: reached for tenant, reached in self._ahead.get(topic, {}).items() if reached > end}

    def ahead(self, topic: str) -> Mapping[str, int]:
        """Return how far tenants are ahead."""
        return self._ahead.get(topic, {})

    def close(self) -> None:
        """Let go of all counts."""
        self.counts.clear()

    def settle(self, now_ms: int) -> None:
        """Do nothing: it decides as it counts."""

    def _count(self, topic: str, records: Sequence[Record], now_ms: int) -> None:
        self.clock_ms = max(self.clock_ms, now_ms)
        outcomes = self.outcomes.setdefault(topic, {"applied": 0})
        for record in records:
            key = record.key or b""
            self.counts[key] = count = self.counts.get(key, 0) + 1
            self._step.changes.append((key, b"%d" % count))
            if count % self._every == 0:
                self._dirty.add(key)
            if record.value is not None and record.value.startswith(b"due:"):
                heapq.heappush(self.deadlines, (int(record.value[4:]), key))
            self._step.rows[b"r" + key] = b""
            outcomes["applied"] += 1
        self._moved = True

    def next_deadline_ms(self) -> int:
        """Return the next deadline."""
        return self.deadlines[0][0] if self.deadlines else NEVER

    def tick(self, now_ms: int, limit: int) -> int:
        """Put out `due` for each key whose deadline has come."""
        self.clock_ms = max(self.clock_ms, now_ms)
        done = 0
        while done < limit and self.next_deadline_ms() <= now_ms:
            due_ms, key = heapq.heappop(self.deadlines)
            self._step.changes.append((key, b"due:%d" % due_ms))
            self._step.rows[b"r" + key] = b""
            done += 1
        self._moved = self._moved or done > 0
        return done

    def sweep(self, now_ms: int, limit: int) -> bool:
        """Return False: it knows no definitions."""
        return False

    def refresh(self, now_ms: int, limit: int) -> list[bytes]:
        """Return nothing: its projection changes by records only."""
        return []

    def drops_due(self, now_ms: int) -> bool:
        """Return False: it keeps counts, and no history."""
        return False

    def drop(self, now_ms: int, limit: int) -> bool:
        """Return False."""
        return False

    def keeps_due(self, now_ms: int) -> bool:
        """Return False: nobody asks about everybody."""
        return False

    def keep(self, now_ms: int, limit: int) -> bool:
        """Return False."""
        return False

    def rank(self, now_ms: int, limit: int) -> None:
        """Do nothing: it compares nobody."""

    def hear(self, message: Message) -> bool:
        """Return False: it compares nobody."""
        return False

    def speak(self, now_ms: int, limit: int) -> list[Summary]:
        """Return nothing: it compares nobody."""
        return []

    def take(self) -> Step | None:
        """Return everything since the last step."""
        if not self._moved:
            return None
        step, self._step = self._step, Step()
        due = {key: due_ms for due_ms, key in self.deadlines}
        for key in step.rows:
            step.rows[key] = _encode([self.counts[key[1:]], due.get(key[1:], 0)])
        step.rows[PROGRESS] = _encode([self.epoch, self.clock_ms, self.offsets, self.outcomes, self._ahead])
        step.touched = list(self._dirty)
        for key in self._dirty:
            self.shown[key] = self.counts[key]
        self._dirty.clear()
        self._moved = False
        return step

    def projected(self, key: bytes) -> tuple[str, str, int, bytes]:
        """Show a key as a member of `even` or `odd` since its count, as of the last step."""
        count = self.shown.get(key, 0)
        members = {"even" if count % 2 == 0 else "odd": (count, NEVER)}
        return "demo", key.decode(), next(self._versions), projection.encode(members)

    def removed(self, key: bytes) -> None:
        """Never happens: every key is shown for ever."""

    def keys(self) -> Iterable[bytes]:
        """Return all keys."""
        return list(self.counts)

    def marker(self, now_ms: int) -> projection.Marker:
        """Vouch for everything applied."""
        return projection.Marker(self.epoch, min(now_ms, self.next_deadline_ms() - 1), dict(self.offsets), 0, len(self.counts), ahead=self._ahead)

    def inquiry(self, asked: Asked, now_ms: int) -> Counting:
        """Return the only question that it knows."""
        return Counting(self)


class Counting:
    """How many records were counted? Looks at a key a unit."""

    def __init__(self, partition: CountingPartition) -> None:
        self._counts, self._keys, self._total = partition.counts, list(partition.counts), 0

    def work(self, limit: int) -> int:
        """Add the counts of up to `limit` keys."""
        some, self._keys = self._keys[:limit], self._keys[limit:]
        self._total += sum(self._counts[key] for key in some)
        return len(some)

    def answer(self) -> Tally:
        """Return the sum."""
        return Tally(self._total)


def counting(project_every: int = 1) -> Callable[[Follower], MakePartition]:
    """Return what `build_app` takes in place of the real core."""
    return lambda _: lambda number: CountingPartition(number, project_every)


def main() -> None:
    """Run a worker that counts, with the settings of the environment; the argument thins the projection."""
    settings = load(SegmenterSettings, process="segmenter")
    configure("segmenter", settings.log_level)
    uvloop.install()
    run(build_app(settings, counting(int(sys.argv[1]) if len(sys.argv) > 1 else 1)))


if __name__ == "__main__":
    main()
