"""When an endpoint is given up: never while anybody has seen it take something within the limit, and always soon after."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from schemas.affairs import Affair, Affairs, Took, encode_affair
from schemas.instants import DAY_MS
from services.api.dispatcher.patience import Patience
from tests.unit.test_dispatcher import endpoint

HOUR_MS = DAY_MS // 24
LIMIT_MS = 5 * DAY_MS


LATENCY_MS = 4_000
_WAIT = st.one_of(st.integers(1, 12_000), st.integers(1, 40 * HOUR_MS))


class Town:
    """Three partitions that hear each other some seconds later."""

    def __init__(self) -> None:
        self.affairs = Affairs(3)
        self.said: list[Affair] = []
        self.now_ms = 0
        self._on_the_way: list[tuple[int, Affair]] = []
        self.partitions = [Patience(number, LIMIT_MS, self.affairs, self.say) for number in range(3)]
        self.endpoint = endpoint()

    def say(self, affair: Affair) -> None:
        """Tell everybody, in a moment."""
        self.said.append(affair)
        self._on_the_way.append((self.now_ms + LATENCY_MS, affair))

    def pass_to(self, now_ms: int) -> None:
        """Let time pass, in which everybody hears what was said, and may answer."""
        while self._on_the_way and self._on_the_way[0][0] <= now_ms:
            self.now_ms, affair = self._on_the_way.pop(0)
            self.affairs.apply(encode_affair(affair))
            for partition in self.partitions:
                partition.answer(self.endpoint)
        self.now_ms = now_ms

    def failed(self, number: int, now_ms: int) -> bool:
        """An attempt of a partition fails."""
        self.pass_to(now_ms)
        return self.partitions[number].failed(self.endpoint, now_ms)

    def took(self, number: int, now_ms: int) -> None:
        """An attempt of a partition is taken."""
        self.pass_to(now_ms)
        self.partitions[number].took(self.endpoint, now_ms)


@given(st.lists(st.tuples(_WAIT, st.integers(0, 2), st.integers(0, 9).map(lambda luck: luck == 0)), max_size=60))
def test_nobody_who_took_something_within_the_limit_is_given_up(attempts: list[tuple[int, int, bool]]) -> None:
    """Wherever it was taken. The endpoint costs a claim and an answer for each hundredth of the limit at most."""
    town, now_ms, last_ms, first_ms = Town(), 0, 0, None
    for wait_ms, number, taken in attempts:
        now_ms += wait_ms
        if taken:
            town.took(number, now_ms)
            last_ms, first_ms = now_ms, None
            continue
        first_ms = now_ms if first_ms is None else first_ms
        if town.failed(number, now_ms):
            assert now_ms - last_ms >= LIMIT_MS
            assert now_ms - first_ms >= LIMIT_MS
    assert len(town.said) <= 2 * 3 * (1 + now_ms / (LIMIT_MS / 100))


@given(st.lists(st.integers(1, 10 * HOUR_MS), min_size=1, max_size=120), st.integers(0, 2))
def test_who_takes_nothing_is_given_up_when_the_limit_is_over(waits: list[int], last: int) -> None:
    """At the first attempt that fails after it, also by a partition that has failed only now, but never with the first failure that is told."""
    town, now_ms, first_ms, said_ms = Town(), 0, None, None
    for wait_ms in waits:
        now_ms += wait_ms
        first_ms = now_ms if first_ms is None else first_ms
        due = now_ms - first_ms >= LIMIT_MS and said_ms is not None and now_ms - said_ms >= 10_000
        others = due and town.failed(last, now_ms)
        assert bool(others) is due
        assert town.failed(0, now_ms) is due
        if said_ms is None and town.said:
            said_ms = now_ms


def test_what_was_before_it_was_turned_on_again_does_not_count() -> None:
    """Neither what a partition remembers nor what was told; it has the whole limit anew."""
    town = Town()
    for day in range(5):
        assert not town.failed(0, day * DAY_MS)
    assert town.failed(0, 5 * DAY_MS)
    town.endpoint = replace(town.endpoint, last_off=(5 * DAY_MS, 6 * DAY_MS))
    for day in range(6, 11):
        assert not town.failed(0, day * DAY_MS)
    assert town.failed(0, 11 * DAY_MS)


def test_a_success_that_nobody_asked_about_is_told_when_somebody_does() -> None:
    """A customer whose deliveries alone fail does not cost the others their endpoint."""
    town = Town()
    town.failed(0, 0)
    town.took(1, 4 * DAY_MS)
    assert not town.said
    assert not town.failed(0, 6 * DAY_MS)
    assert not town.failed(0, 6 * DAY_MS + 5_000), "what was said has been heard, and the answer is on its way"
    town.pass_to(6 * DAY_MS + 10_000)
    assert town.said[-1] == Took("t", "e", 4 * DAY_MS)
    assert not town.failed(0, 7 * DAY_MS)
