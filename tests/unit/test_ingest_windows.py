"""Windows: what waits of a tenant is bounded by what is applied of it, while others send; and nothing is counted wrongly."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from schemas.projection import Marker
from services.ingest.windows import Windows

T = "checkouts"


def markers(*offsets: int, **ahead: int) -> list[Marker]:
    """Return markers of as many partitions, of one topic; `ahead` holds for each of them."""
    return [Marker(1, 1, {T: offset}, 0, 0, ahead={T: ahead} if ahead else {}) for offset in offsets]


def send(windows: Windows, tenant: str, now_s: float, *places: tuple[int, int]) -> None:
    """Send records: for each partition how many, and where they end."""
    with windows.flying(tenant, sum(count for count, _ in places), now_s):
        sizes = {(T, number): count for number, (count, _) in enumerate(places)}
        windows.sent(tenant, sizes, {T: {number: end for number, (_, end) in enumerate(places)}})


def beside(least: int = 10) -> Windows:
    """Return windows that know how far all are, and a tenant `b` who has just sent something."""
    windows = Windows(least)
    windows.look(markers(0, 0), 0.0)
    send(windows, "b", 0.0, (1, 1), (0, 0))
    return windows


def test_a_tenant_may_have_so_much_that_waits() -> None:
    """Ten may wait; an empty window takes whatever comes; what is on its way counts; what is applied does not, whoever else is behind."""
    windows = beside()
    assert not windows.full("a", 1_000, 0.0)
    send(windows, "a", 0.0, (4, 5), (4, 4))
    assert not windows.full("a", 2, 0.0)
    assert windows.full("a", 3, 0.0)
    with windows.flying("a", 2, 0.0):
        assert windows.full("a", 1, 0.0)
    windows.look(markers(5, 3), 0.2)
    assert windows.full("a", 1_000, 0.2), "of the second partition nothing is applied to the end"
    windows.look(markers(0, 0, a=5), 0.4)
    assert not windows.full("a", 1_000, 0.4)


def test_nobody_is_held_back_who_sends_alone_or_while_nothing_is_known() -> None:
    """Ten seconds after the other's last event, or once a marker is absent, anything goes, and what waited is forgotten."""
    windows = beside()
    send(windows, "a", 0.0, (50, 51), (50, 50))
    assert windows.full("a", 1, 9.9)
    assert not windows.full("a", 1, 10.0)
    assert windows.full("a", 1, 5.0)
    windows.look(None, 5.0)
    assert not windows.full("a", 1, 5.0)
    windows.look(markers(0, 0), 5.2)
    assert not windows.full("a", 1_000, 5.2)


def test_a_window_is_what_is_applied_in_two_seconds() -> None:
    """A thousand a second are applied: after some looks two thousand may wait; nothing is: ten again. Having nothing to apply says nothing."""
    windows, at_s, end = beside(), 0.0, 0
    for _ in range(20):
        send(windows, "a", at_s, (200, end + 200), (0, 0))
        end, at_s = end + 200, at_s + 0.2
        windows.look(markers(end, 0), at_s)
    for _ in range(20):
        at_s += 0.2
        windows.look(markers(end, 0), at_s)
    send(windows, "b", at_s, (1, 1), (0, 0))
    send(windows, "a", at_s, (1, end + 1), (0, 0))
    assert not windows.full("a", 1_990, at_s)
    assert windows.full("a", 2_010, at_s)
    for _ in range(20):
        at_s += 0.2
        windows.look(markers(end, 0), at_s)
    assert windows.full("a", 10, at_s)


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 3)), min_size=1, max_size=60), st.integers(0, 60))
def test_what_waits_is_what_was_sent_beyond_the_marker(sent: list[tuple[int, int]], reached: int) -> None:
    """However it was sent, and whatever others have in between: a batch waits until its end is applied."""
    windows, end, ends = beside(least=1), 0, []
    for count, others in sent:
        end += count + others
        ends.append((end, count))
        send(windows, "a", 0.0, (count, end), (0, 0))
    at = min(reached, len(ends))
    mark: Any = ends[at - 1][0] if at else 0
    windows.look(markers(mark, 0), 1.0)
    left = sum(count for _, count in ends[at:])
    assert windows.full("a", 1_000_000, 1.0) is (left > 0)
    assert windows._tenants["a"].waiting == left


def test_who_has_gone_is_forgotten_and_what_is_remembered_is_bounded() -> None:
    """Two tenants, ten thousand batches that nobody applies: some thousand ends are kept, all records are counted; then nobody is known."""
    windows = beside()
    for number in range(10_000):
        send(windows, "a", 0.0, (3, 3 * number + 3), (0, 0))
    assert windows._tenants["a"].waiting == 30_000
    assert len(windows._tenants["a"].sent[T, 0]) <= 1_000
    windows.look(markers(30_000, 0), 20.0)
    assert len(windows) == 0
