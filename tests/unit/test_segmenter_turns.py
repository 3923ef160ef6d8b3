"""What is not live takes turns: partitions that sweep with questions, and both with the records that come meanwhile."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable
from statistics import median
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry

from schemas.instants import NEVER
from services.segmenter import inbox
from services.segmenter.core import PartitionCore
from services.segmenter.inbox import Inbox
from services.segmenter.lanes import Lane
from services.segmenter.metrics import Metrics
from services.segmenter.pump import Pump
from services.segmenter.settings import SegmenterSettings
from services.segmenter.steps import Step, Written
from services.segmenter.surroundings import Surroundings
from services.segmenter.turns import Chunk

_SLICE_S = 0.001


def _compute(seconds: float = _SLICE_S) -> float:
    """Compute for a millisecond, or longer where others have the processor; return how long."""
    since_s = time.perf_counter()
    while time.perf_counter() < since_s + seconds:
        pass
    return time.perf_counter() - since_s


class Sweeping:
    """The core of a partition whose sweep never ends, each slice of it a millisecond; how long it computed for each step is kept."""

    number, clock_ms, ranks_due, stale = 0, 0, 0, 0

    def __init__(self) -> None:
        self.slices, self.steps_s, self.swept_s = 0, [0.0], list[float]()
        self.offsets: dict[str, int] = {"checkouts": 0}
        self.outcomes: dict[str, dict[str, int]] = {}
        self.taken: Callable[[], None] = lambda: None

    def next_deadline_ms(self) -> int:
        """Return never."""
        return NEVER

    def drops_due(self, now_ms: int) -> bool:
        """Nothing is too old."""
        return False

    def keeps_due(self, now_ms: int) -> bool:
        """Nobody asks."""
        return False

    def waits_for(self, topic: str, records: Any) -> int:
        """Return nothing."""
        return 0

    def apply(self, topic: str, records: Any, now_ms: int) -> None:
        """Take records in."""
        self.offsets[topic] += len(records)

    def apply_ahead(self, topic: str, tenant: str, records: Any, now_ms: int) -> None:
        """Never happens: its records are of one tenant."""
        raise AssertionError(tenant)

    def pass_to(self, topic: str, end: int, sizes: Any) -> None:
        """Never happens."""
        raise AssertionError(topic)

    def ahead(self, topic: str) -> dict[str, int]:
        """Return nothing: nobody is ahead."""
        return {}

    undecided = 0

    def sweep(self, now_ms: int, limit: int) -> bool:
        """Compute for a millisecond."""
        self.steps_s[-1] += _compute()
        self.slices += 1
        self.swept_s.append(time.perf_counter())
        return True

    def take(self) -> Step:
        """Return a step, and begin the next."""
        self.taken()
        self.steps_s.append(0.0)
        return Step()


class Due(Sweeping):
    """The core of a partition with deadlines without end, each slice of them a millisecond."""

    def next_deadline_ms(self) -> int:
        """Return one that has passed."""
        return 0

    def tick(self, now_ms: int, limit: int) -> int:
        """Compute for a millisecond."""
        self.steps_s[-1] += _compute()
        self.slices += 1
        return 1


class Slow:
    """Writes a step in ten milliseconds."""

    async def write(self, step: Step) -> Written:
        """Wait."""
        await asyncio.sleep(0.01)
        return Written(0, {})


class Known:
    """Definitions of which there is one."""

    catalog = SimpleNamespace(offset=1)

    async def reached(self, offset: int, timeout_s: float = 10.0) -> None:
        """Return at once."""


def pump_of(core: Sweeping, lane: Lane, around: Surroundings) -> Pump:
    """Return what drives a partition."""
    pure = cast(PartitionCore, core)
    return Pump(pure, Inbox(pure, around), Slow(), lane, around)


def pumps(count: int, make: Callable[[], Sweeping] = Sweeping) -> tuple[list[Sweeping], list[Pump], Surroundings]:
    """So many partitions of one process."""
    around = Surroundings(SegmenterSettings(segmenter_background_slice_ms=1000 * _SLICE_S), Known(), Metrics(CollectorRegistry()), lambda: 1)
    cores = [make() for _ in range(count)]
    lane = SimpleNamespace(began=lambda: None, written=lambda _: None, taken=lambda: None, committed=lambda _: None)
    return cores, [pump_of(core, cast(Lane, lane), around) for core in cores], around


async def test_a_question_has_half_of_the_time_beside_any_number_of_sweeps() -> None:
    """Each of its slices waits for one of theirs, not for one of each."""
    cores, all_of_them, around = pumps(4)
    for pump in all_of_them:
        await pump.start()
    while not all(core.slices for core in cores):
        await asyncio.sleep(0)
    before = sum(core.slices for core in cores)
    for _ in range(50):
        async with around.background:
            _compute()
        await asyncio.sleep(0)
    meanwhile = sum(core.slices for core in cores) - before
    for pump in all_of_them:
        await pump.close()
    assert 10 <= meanwhile <= 60


async def test_partitions_that_rest_together_sweep_one_by_one() -> None:
    """However many wait for the same instant: the first slice is paid for before the next, and everybody else has the time in between."""
    cores, all_of_them, around = pumps(24)
    for tenant in ("one", "another"):
        around.shares.sent(tenant, time.perf_counter())
    for pump in all_of_them:
        await pump.start()
    while sum(core.slices for core in cores) < 150:
        await asyncio.sleep(0.001)
    for pump in all_of_them:
        await pump.close()
    swept_s = sorted(at_s for core in cores for at_s in core.swept_s)[30:]
    runs = 1 + sum(later - earlier >= 2 * _SLICE_S for earlier, later in itertools.pairwise(swept_s))
    assert len(swept_s) / runs <= 3.5


async def test_where_records_come_a_sweep_fills_no_large_transactions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who comes while one is written waits for 40 ms of rows and not for 200."""
    monkeypatch.setattr(inbox, "_QUIET_S", 3600.0)  # however slow the machine, the record has come just now
    (core,), (pump,), _ = pumps(1)
    pump.inbox.expect("checkouts", 0)
    await pump.start()
    pump.inbox.offer(Chunk("checkouts", 0, 1, [SimpleNamespace(offset=0, timestamp=0, key=None, value=None)], lambda: None))
    while core.slices < 600:
        await asyncio.sleep(0)
    await pump.close()
    assert 0.04 <= median(spent_s for spent_s in core.steps_s if spent_s) <= 0.1


@pytest.mark.parametrize("make", [Sweeping, Due])
async def test_beside_records_that_come_all_the_time_a_sweep_has_some_of_each_transaction(make: Callable[[], Sweeping]) -> None:
    """However little each of them takes: ten milliseconds, after which they have their turn. The same with deadlines, which are first."""
    (core,), (pump,), _ = pumps(1, make)
    pump.inbox.expect("checkouts", 0)

    def another() -> None:
        start = core.offsets["checkouts"]
        pump.inbox.offer(Chunk("checkouts", start, start + 1, [SimpleNamespace(offset=start, timestamp=0, key=None, value=None)], lambda: None))

    core.taken = another
    await pump.start()
    while core.offsets["checkouts"] < 12:
        await asyncio.sleep(0)
    await pump.close()
    assert 0.01 <= median(core.steps_s[3:-1]) <= 0.035


class Late:
    """Definitions that are behind: `reached` waits in vain."""

    def __init__(self) -> None:
        self.catalog, self.asked = SimpleNamespace(offset=1), 0

    async def reached(self, offset: int, timeout_s: float = 10.0) -> None:
        """Say that it took too long."""
        self.asked += 1
        raise TimeoutError


class Naming(Sweeping):
    """The core of a partition whose records name a definition that is further than any."""

    needed = 5

    def waits_for(self, topic: str, records: Any) -> int:
        """Return it."""
        return self.needed


async def test_a_definition_that_was_late_once_is_waited_for_again() -> None:
    """Of one that will never be nobody waits twice; where it came after all, what is behind it may come as well."""
    core, late = Naming(), Late()
    around = Surroundings(SegmenterSettings(), cast(Known, late), Metrics(CollectorRegistry()), lambda: 1)
    pump = pump_of(core, cast(Lane, SimpleNamespace()), around)
    for _ in range(3):
        await pump._prerequisites("checkouts", [None])
    assert late.asked == 1
    late.catalog.offset, core.needed = 6, 9
    await pump._prerequisites("checkouts", [None])
    assert late.asked == 2


class Heavy(Sweeping):
    """The core of a partition of whose customers the first hundred thousand take nothing, and each of those that follow two milliseconds."""

    def sweep(self, now_ms: int, limit: int) -> bool:
        """Look at as many customers as one may."""
        for _ in range(limit):
            self.slices += 1
            if self.slices > 100_000:
                _compute(0.002)
        return self.slices < 100_100


async def test_a_slice_ends_in_time_though_customers_become_a_thousand_times_dearer() -> None:
    """What was learned of those before says nothing of the next: so many follow before the clock is looked at, and no more."""
    (core,), (pump,), _ = pumps(1, Heavy)
    most, before = 0, 0
    while core.slices < 100_100:
        before = core.slices
        pump._idle.work(1)
        if core.slices > 100_000:
            most = max(most, core.slices - max(before, 100_000))
    assert before >= 100_000
    assert most <= 8


async def test_a_slice_does_something_however_short_it_may_be() -> None:
    """Else a process would look for something to do for ever."""
    (core,), (pump,), around = pumps(1)
    around.settings.segmenter_background_slice_ms = 0.001
    for _ in range(100):
        before = core.slices
        pump._idle.work(1)
        assert core.slices > before
