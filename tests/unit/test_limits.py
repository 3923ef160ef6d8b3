"""Limits hold whatever the pattern: what one key may do, what a tenant may do with many, and how much is remembered of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from schemas.catalog import Key
from services.kit.limits import Budget, Full, KeyRates, RateLimits

KEYS = [Key(f"key-{tenant}-{number}", tenant, "", frozenset(), 1) for tenant in ("quiet", "loud") for number in range(4)]
ASKED = st.lists(st.tuples(st.floats(0, 1), st.sampled_from(KEYS), st.floats(1, 50)), max_size=60)


@given(st.lists(st.tuples(st.floats(0, 10), st.integers(1, 50)), max_size=40))
def test_a_key_cannot_send_more_than_its_rate(requests: list[tuple[float, int]]) -> None:
    """Whatever the pattern: what was let in is at most burst + rate by time, plus the one batch that overdraws it."""
    limits, now_s, sent, largest = RateLimits(10.0, 20), 0.0, 0, 0
    for gap_s, events in requests:
        now_s += gap_s
        wait_s = limits.wait_s("k", now_s)
        if wait_s == 0:
            limits.charge("k", events, now_s)
            sent += events
            largest = max(largest, events)
            assert sent <= 20 + 10 * now_s + largest
        else:
            assert limits.wait_s("k", now_s + wait_s + 0.001) == 0
        assert limits.wait_s("someone else", now_s) == 0


def took(budget: Budget, size: int, tenant: str = "quiet") -> int:
    """Take from a budget; return 0, or the status of the refusal."""
    try:
        budget.take(size, tenant)
    except Full as full:
        return full.status
    return 0


def test_a_budget_is_kept() -> None:
    """What is taken beyond the limit is refused until something is given back; one that is empty takes anything once."""
    budget = Budget(10, 1, "bytes")
    assert [took(budget, 6), took(budget, 5), took(budget, 4)] == [0, 503, 0]
    budget.give_back(10, "quiet")
    assert took(budget, 1_000) == 0
    assert took(budget, 1) == 503


@given(st.integers(1, 20), st.sampled_from([0.2, 0.5, 0.8]))
def test_however_many_are_greedy_something_is_left(greedy: int, share: float) -> None:
    """Each takes what it is let: one alone has its share, several equally much, and who comes then has as much as half of theirs at once."""
    budget, limit = Budget(10_000, share, "questions"), 10_000
    names, held = [f"greedy{number}" for number in range(greedy)], dict.fromkeys(range(greedy), 0)
    refused: set[int] = set()
    while len(refused) < greedy:
        for number, name in enumerate(names):
            if status := took(budget, 1, name):
                assert status == 429
                refused.add(number)
            else:
                held[number] += 1
    assert max(held.values()) <= share * limit
    assert max(held.values()) - min(held.values()) <= 1 / (1 - share)
    assert limit - budget.held >= min(held.values()) * (1 - share) / share
    came = 0
    while not took(budget, 1):
        came += 1
    assert came >= min(held.values()) * (1 - share) - 1
    for number, name in enumerate(names):
        budget.give_back(held[number], name)
    budget.give_back(came, "quiet")
    assert budget.held == 0
    assert took(budget, 1, names[0]) == 0


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 9)), max_size=60))
def test_who_holds_nothing_is_never_refused_for_its_share(asked: list[tuple[str, int]]) -> None:
    """The first thing of a tenant fits wherever there is room at all, and a block that was refused holds nothing."""
    budget, holding = Budget(20, 0.5, "turns"), set[str]()
    for tenant, size in asked:
        before = budget.held
        status = took(budget, size, tenant)
        assert status != 429 or tenant in holding
        assert status == 0 or budget.held == before
        assert budget.held <= 20
        if status == 0:
            holding.add(tenant)


@given(ASKED)
def test_many_keys_are_no_more_than_one_tenant(asked: list[tuple[float, Key, float]]) -> None:
    """A key has its rate and a tenant twice as much, however many keys it makes; the wait that is told is long enough."""
    rates, now_s = KeyRates(10.0, 20, together=2.0, kept=100), 0.0
    used: dict[str, float] = {}
    for gap_s, key, cost in asked:
        now_s += gap_s
        refusal = rates.refusal(key, "reads", now_s)
        if refusal is not None:
            assert rates.refusal(key, "reads", now_s + refusal[0] + 0.001) is None
            continue
        rates.charge(key, cost, now_s)
        for name, times in ((key.id, 1), (key.tenant, 2)):
            used[name] = used.get(name, 0.0) + cost
            assert used[name] <= times * (20 + 10 * now_s) + 50


@given(ASKED)
def test_a_tenant_does_not_feel_another(asked: list[tuple[float, Key, float]]) -> None:
    """What a tenant is let do is the same whether or not others are there."""
    among, alone, now_s = KeyRates(10.0, 20, together=2.0, kept=100), KeyRates(10.0, 20, together=2.0, kept=100), 0.0
    for gap_s, key, cost in asked:
        now_s += gap_s
        said = among.refusal(key, "reads", now_s)
        if said is None:
            among.charge(key, cost, now_s)
        if key.tenant == "quiet":
            assert said == alone.refusal(key, "reads", now_s)
            if said is None:
                alone.charge(key, cost, now_s)


@given(st.lists(st.sampled_from("abcdefgh"), max_size=60))
def test_only_so_many_buckets_are_held(names: list[str]) -> None:
    """However many names come, three are remembered: those used last, with what they used."""
    limits = RateLimits(1.0, 5, kept=3)
    for place, name in enumerate(names, 1):
        limits.charge(name, 100, 0.0)
        assert len(limits) <= 3
        lately = list(dict.fromkeys(reversed(names[:place])))[:3]
        assert all((limits.wait_s(known, 0.0) > 0) == (known in lately) for known in "abcdefgh")
