"""A tenant has its share of the process's time while others are there, and all of it while none is."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Mapping

from services.kit.shares import Price
from services.segmenter.shares import Shares
from services.segmenter.turns import OURS

EVENTS, QUESTIONS, BACKGROUND = 0.2, 0.05, 0.1


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
    assert beside.had_s["another"] >= 0.07


def test_who_asks_does_not_rest_for_whoever_asks_as_much() -> None:
    """Two who ask without end have all that is for questions, and more than their shares."""
    beside = Beside()
    beside.run(60, "one", "two", quiet="")
    beside.had_s.clear()
    beside.run(20, "one", "two", quiet="")
    assert 0.14 * 20 <= sum(beside.had_s.values()) <= 0.16 * 20
    beside.had_s.clear()
    beside.run(20, "one", "two")
    assert QUESTIONS * 2 * 19 <= sum(beside.had_s.values()) <= QUESTIONS * 2 * 21


def test_of_a_moment_they_have_a_seventh_each_however_much_was_saved() -> None:
    """Of whatever is saved up no more is used than that; whoever needs the process finds it free."""
    for count in (1, 4):
        beside = Beside()
        names = [f"asks{number}" for number in range(count)]
        beside.run(1, *names, background=True)
        assert 0.13 <= sum(beside.had_s[name] for name in names) <= 0.17
        assert 0.13 <= beside.had_s["background"] <= 0.17


class Steps:
    """Steps of those who need little, fifty a second, and what a second costs after each."""

    def __init__(self) -> None:
        self.price, self.now_s, self._draw = Price(0.015, 3.0), 0.0, random.Random(1)

    def after(self, count: int, took_s: Callable[[random.Random], float], every_s: float = 0.02) -> float:
        """Return the price after so many."""
        for _ in range(count):
            self.now_s += every_s
            self.price.observe(took_s(self._draw), self.now_s)
        return self.price.at(self.now_s)


def slow(share: float) -> Callable[[random.Random], float]:
    """Steps of three milliseconds, and some of sixty."""
    return lambda draw: 0.06 if draw.random() < share else 0.003


def varying(median_s: float) -> Callable[[random.Random], float]:
    """Steps that take half as long and twice as long, as they do where a network lies between."""
    return lambda draw: median_s * draw.lognormvariate(0, 0.4)


def test_a_second_becomes_dear_as_those_who_need_little_are_slow_and_cheap_again_afterwards() -> None:
    """More than one of twenty and it rises to the most there is; fewer, and it goes back to one."""
    steps = Steps()
    assert steps.after(1_000, slow(0.01)) < 1.3
    assert steps.after(1_000, slow(0.15)) > 2
    assert steps.after(1_000, slow(0.01)) < 1.3
    assert steps.after(100, slow(0)) < 1.1


def test_a_price_is_forgotten_though_nobody_says_anything() -> None:
    """Or hardly anything: whoever sends once a minute does not keep it high."""
    steps = Steps()
    assert steps.after(300, slow(0.5)) > 2.9
    assert steps.price.at(steps.now_s + 10) < 2.1
    assert steps.price.at(steps.now_s + 60) < 1.1
    assert steps.after(10, slow(0.5), every_s=60) < 1.5


def test_what_is_far_away_is_not_slow() -> None:
    """A broker that takes a tenth of a second does so however much time is left for it, also where that varies; one that begins to is got used to."""
    assert Steps().after(3_000, lambda _: 0.1) == 1.0
    for median_s in (0.003, 0.01, 0.1):
        assert Steps().after(5_000, varying(median_s)) < 1.5
    steps = Steps()
    steps.after(1_000, slow(0))
    assert steps.after(300, lambda _: 0.1) > 2.9
    assert steps.after(2_500, lambda _: 0.1) == 1.0


def _slow(shares: Shares, tenant: str, now_s: float) -> None:
    for _ in range(100):
        shares.written([tenant], 0.003, now_s)
        shares.written([tenant], 0.1, now_s)


def test_where_a_second_is_dear_whoever_wants_more_than_a_share_has_a_third_of_it_and_nobody_else_less() -> None:
    """One with half a share never rests; questions and what can wait have a third as well."""
    clock = Clock()
    for _ in range(100):
        clock.lone("quiet")
        assert not clock.shares.events_rest_s("half", clock.now_s)
        clock.shares.applied("half", EVENTS / 20, clock.now_s)
        _slow(clock.shares, "quiet", clock.now_s)
        clock.run(0.1, {"flood": 0.003})
    assert clock.shares.price(clock.now_s) > 2.9
    assert EVENTS / 3 * 0.8 <= clock.had_s["flood"] / clock.now_s <= EVENTS / 3 * 1.5
    beside = Beside()
    beside.run(60, "asks", background=True)
    beside.had_s.clear()
    for _ in range(200):
        _slow(beside.shares, "quiet", beside.now_s)
        beside.run(0.1, "asks", background=True)
    assert QUESTIONS / 3 * 18 <= beside.had_s["asks"] <= QUESTIONS / 3 * 22
    assert BACKGROUND / 3 * 18 <= beside.had_s["background"] <= BACKGROUND / 3 * 22


def test_who_needs_a_quarter_of_a_share_catches_up_however_dear_a_second_is() -> None:
    """After a restart everybody has a backlog, and nobody saved anything."""
    shares, now_s, backlog_s = Shares(EVENTS, QUESTIONS, BACKGROUND), 0.0, 0.5
    shares.applied("behind", 1.0, now_s)
    for _ in range(6_000):
        now_s += 0.01
        backlog_s += EVENTS / 4 * 0.01
        shares.applied("quiet", 0.0, now_s)
        _slow(shares, "quiet", now_s)
        if backlog_s > 0.002 and not shares.events_rest_s("behind", now_s):
            backlog_s -= 0.002
            shares.applied("behind", 0.002, now_s)
    assert backlog_s < 0.05


def test_it_is_not_dear_for_the_steps_of_those_who_are_alone_or_want_much() -> None:
    """Theirs are long for what is in them, a tenant that is alone has nobody to rest for, and nobody's may hold anything."""
    shares = Shares(EVENTS, QUESTIONS, BACKGROUND)
    shares.sent("alone", 0.0)
    _slow(shares, "alone", 0.0)
    shares.sent("another", 0.0)
    shares.applied("flood", 0.04, 0.0)
    _slow(shares, "flood", 0.0)
    _slow(shares, OURS, 0.0)
    assert shares.price(0.0) == 1.0
    _slow(shares, "another", 0.0)
    assert shares.price(0.0) > 2.9


def test_what_can_wait_has_its_share_beside_any_number_of_questions() -> None:
    """What all of them have of a moment leaves it what it has."""
    beside = Beside()
    names = tuple(f"asks{number}" for number in range(6))
    beside.run(60, *names, background=True)
    beside.had_s.clear()
    beside.run(20, *names, background=True)
    assert beside.had_s["background"] >= BACKGROUND * 18
    assert sum(beside.had_s.values()) <= 0.26 * 20
