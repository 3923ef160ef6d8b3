"""A tenant has its share of the process's time while others are there, and all of it while none is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from services.segmenter.shares import Shares
from services.segmenter.turns import OURS

EVENTS, QUESTIONS, BACKGROUND = 0.2, 0.1, 0.05


class Clock:
    """A process in which time passes as it is spent; who may, computes next, in turns."""

    def __init__(self) -> None:
        self.shares, self.now_s, self.had_s = Shares(EVENTS, QUESTIONS, BACKGROUND), 0.0, defaultdict[str, float](float)

    def run(self, seconds: float, costs_s: Mapping[str, float]) -> None:
        """Let those who send do so without end, each event at its cost; where all rest, time passes."""
        until_s = self.now_s + seconds
        while self.now_s < until_s:
            ready = [name for name in costs_s if not self.shares.events_rest_s(name, self.now_s)]
            for name in ready:
                self.now_s += costs_s[name]
                self.had_s[name] += costs_s[name]
                self.shares.applied(name, costs_s[name], self.now_s)
            if not ready:
                self.now_s += 0.001

    def lone(self, name: str) -> None:
        """One event of somebody who sends few, at next to no cost."""
        assert not self.shares.events_rest_s(name, self.now_s)
        self.shares.applied(name, 0.0002, self.now_s)


def test_beside_a_quiet_tenant_a_flood_has_its_share_whatever_its_events_cost() -> None:
    """Cheap or dear; and the quiet one never rests."""
    for cost_s in (0.0001, 0.003, 0.05):
        clock = Clock()
        clock.lone("quiet")
        for _ in range(100):
            clock.run(0.1, {"flood": cost_s})
            clock.lone("quiet")
        assert EVENTS * 0.8 <= clock.had_s["flood"] / clock.now_s <= EVENTS * 1.2 + cost_s / clock.now_s


def test_who_is_alone_never_rests() -> None:
    """Neither before others come nor ten seconds after they have sent last; nor for receipts of nobody, which may be the same tenant's."""
    clock = Clock()
    clock.run(5, {"flood": 0.003})
    clock.shares.applied(OURS, 0.5, clock.now_s)
    clock.run(5, {"flood": 0.003})
    assert clock.had_s["flood"] >= clock.now_s - 0.001
    clock.lone("quiet")
    assert clock.shares.events_rest_s("flood", clock.now_s)
    clock.now_s += 10.001
    clock.shares.applied("flood", 1, clock.now_s)
    assert not clock.shares.events_rest_s("flood", clock.now_s)
    assert not clock.shares.crowded(clock.now_s)


def test_nobodys_records_do_not_rest() -> None:
    """They may be anybody's, and what partitions send each other is among them."""
    clock = Clock()
    clock.lone("quiet")
    clock.shares.applied(OURS, 5, clock.now_s)
    assert not clock.shares.events_rest_s(OURS, clock.now_s)


def test_floods_do_not_rest_for_each_other() -> None:
    """Time is left for those who need little; where nobody does, none is left over."""
    clock = Clock()
    clock.run(10, {"one": 0.003, "other": 0.005})
    assert sum(clock.had_s.values()) >= 0.95 * clock.now_s


def test_many_who_need_less_than_a_share_use_all_of_the_time() -> None:
    """Twenty with a twentieth each."""
    clock = Clock()
    clock.run(10, {f"t{n}": 0.001 for n in range(20)})
    assert sum(clock.had_s.values()) >= 0.99 * clock.now_s


def test_what_was_taken_while_nobody_was_in_need_is_not_rested_for_long() -> None:
    """A second at most."""
    clock = Clock()
    clock.run(60, {"flood": 0.003})
    clock.lone("quiet")
    assert 0.5 <= clock.shares.events_rest_s("flood", clock.now_s) <= 1.0


def test_alone_questions_and_what_can_wait_have_no_bound() -> None:
    """Whatever they took; once another one sends they rest, and events have nothing to do with it."""
    shares = Shares(EVENTS, QUESTIONS, BACKGROUND)
    shares.answered("asks", 5.0, 0.0)
    shares.worked(5.0, 0.0)
    shares.applied("asks", 0.0002, 0.0)
    assert shares.questions_rest_s("asks", 0.0) == shares.background_rest_s(0.0) == 0
    shares.applied("quiet", 0.0002, 0.0)
    assert shares.questions_rest_s("asks", 0.0) > 0
    assert shares.background_rest_s(0.0) > 0
    assert shares.events_rest_s("asks", 0.0) == 0


class Beside:
    """Questions and what can wait, in slices of two milliseconds as soon as they may, of tenants who all send a little."""

    def __init__(self) -> None:
        self.shares, self.now_s, self.had_s = Shares(EVENTS, QUESTIONS, BACKGROUND), 0.0, defaultdict[str, float](float)

    def run(self, seconds: float, *tenants: str, quiet: str = "quiet", background: bool = False) -> None:
        """Let tenants ask without end, beside one who does not if one is named."""
        until_s, shares = self.now_s + seconds, self.shares
        while self.now_s < until_s:
            for tenant in filter(None, (*tenants, quiet)):
                shares.applied(tenant, 0.0, self.now_s)
            self.now_s += 0.0005
            for tenant in tenants:
                if not shares.questions_rest_s(tenant, self.now_s):
                    self.now_s += 0.002
                    self.had_s[tenant] += 0.002
                    shares.answered(tenant, 0.002, self.now_s)
            if background and not shares.background_rest_s(self.now_s):
                self.now_s += 0.002
                self.had_s["background"] += 0.002
                shares.worked(0.002, self.now_s)


def test_questions_and_what_can_wait_have_shares_of_their_own() -> None:
    """One after the other has its share, whatever others ask, and so has what can wait."""
    beside = Beside()
    beside.run(60, "asks", background=True)
    beside.had_s.clear()
    beside.run(20, "asks", background=True)
    assert QUESTIONS * 19 <= beside.had_s["asks"] <= QUESTIONS * 21
    assert BACKGROUND * 19 <= beside.had_s["background"] <= BACKGROUND * 21
    beside.run(1, "asks", "another")
    assert beside.had_s["another"] >= 0.08


def test_who_asks_does_not_rest_for_whoever_asks_as_much() -> None:
    """Two who ask without end have all that is for questions, until a third one comes."""
    beside = Beside()
    beside.run(60, "one", "two", quiet="")
    beside.had_s.clear()
    beside.run(20, "one", "two", quiet="")
    assert 0.23 * 20 <= sum(beside.had_s.values()) <= 0.26 * 20
    beside.had_s.clear()
    beside.run(20, "one", "two")
    assert QUESTIONS * 2 * 19 <= sum(beside.had_s.values()) <= QUESTIONS * 2 * 21


def test_of_a_moment_all_of_them_have_a_quarter_however_much_was_saved() -> None:
    """Of whatever is saved up no more is used than that; whoever needs the process finds it free."""
    for count in (1, 4):
        beside = Beside()
        beside.run(1, *(f"asks{number}" for number in range(count)), background=True)
        assert 0.2 <= sum(beside.had_s.values()) <= 0.3
