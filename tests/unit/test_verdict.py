"""The verdict algebra against brute force: small truth tables over time, read instant by instant."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from schemas.instants import NEVER
from services.segmenter.engine.verdict import Verdict, conjunction, disjunction, negated

HORIZON = 12
timelines = st.lists(st.lists(st.booleans(), min_size=HORIZON, max_size=HORIZON), min_size=1, max_size=5)


def verdict_at(timeline: list[bool], at: int) -> Verdict:
    """The tightest honest verdict of a timeline that goes on for ever as it ends."""
    until = next((later for later in range(at + 1, HORIZON) if timeline[later] != timeline[at]), NEVER)
    return Verdict(timeline[at], until)


@given(timelines, st.integers(0, HORIZON - 1))
def test_a_group_holds_as_its_members_do_and_its_bound_is_never_late(members: list[list[bool]], at: int) -> None:
    """`all` and `any` answer what the members answer, and stand at least until their bound."""
    verdicts = [verdict_at(member, at) for member in members]
    for combine, fold in ((conjunction, all), (disjunction, any)):
        found = combine(verdicts)
        truth = [fold(member[instant] for member in members) for instant in range(HORIZON)]
        assert found.holds is truth[at]
        assert all(truth[instant] is truth[at] for instant in range(at, min(found.until_ms, HORIZON)))


@given(timelines, st.integers(0, HORIZON - 1))
def test_the_two_groups_mirror_each_other(members: list[list[bool]], at: int) -> None:
    """`any` is `not all not`, bound included (De Morgan)."""
    verdicts = [verdict_at(member, at) for member in members]
    assert disjunction(verdicts) == negated(conjunction(map(negated, verdicts)))


def test_a_false_conjunction_stands_as_long_as_its_longest_false_member() -> None:
    """Two false members until 5 and 9 keep `all` false until 9, whatever the true ones do."""
    assert conjunction([Verdict(False, 5), Verdict(True, 2), Verdict(False, 9)]) == Verdict(False, 9)
    assert conjunction([Verdict(True, 5), Verdict(True, 2)]) == Verdict(True, 2)
