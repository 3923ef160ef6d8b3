"""Up to which instant a partition has heard everything: never later than is so, and now for whoever is not behind."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.segmenter.hearing import Hearing

TOPICS = ("checkouts", "visits")
LIVE_MS = 3_000


def test_whoever_hears_nothing_any_more_is_not_at_now() -> None:
    """A topic that was seen to end where everything is applied, and since then not at all."""
    hearing, applied = Hearing(TOPICS, 1_000), {"checkouts": 5, "visits": 7}
    hearing.told("checkouts", 5, 60_000, applied)
    hearing.told("visits", 7, 61_000, applied)
    assert hearing.up_to_ms(applied, 60_000 + LIVE_MS) == 60_000 + LIVE_MS
    assert hearing.up_to_ms(applied, 60_001 + LIVE_MS) == 60_000
    assert hearing.up_to_ms(applied, 999_999) == 60_000


def test_whoever_gained_a_partition_is_where_its_first_record_had_waited_since() -> None:
    """Until then nothing says that anything waits; and until everything is applied that was there when the topic was seen first."""
    hearing, applied = Hearing(TOPICS, 90_000), {"checkouts": 5}
    assert hearing.up_to_ms(applied, 90_500) == 90_500
    hearing.came("visits", 20_000)
    assert hearing.up_to_ms(applied, 90_600) == 20_000
    hearing.came("visits", 25_000)
    hearing.told("checkouts", 5, 90_600, applied)
    hearing.told("visits", 3, 90_700, applied)
    assert hearing.up_to_ms(applied, 99_000) == 20_000
    applied["visits"] = 3
    hearing.told("checkouts", 5, 98_900, applied)
    assert hearing.up_to_ms(applied, 99_000) == 90_700
    hearing.told("visits", 3, 98_950, applied)
    assert hearing.up_to_ms(applied, 99_000) == 99_000


def test_an_end_that_kafka_has_lost_is_not_waited_for() -> None:
    """The topic ends earlier than it was seen to, at what is applied."""
    hearing, applied = Hearing(("visits",), 1_000), {"visits": 3}
    hearing.told("visits", 9, 10_000, applied)
    hearing.told("visits", 3, 50_000, applied)
    assert hearing.up_to_ms(applied, 99_000) == 50_000


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.booleans()), max_size=60))
def test_what_came_by_that_instant_is_applied(steps: list[tuple[int, int, bool]]) -> None:
    """Records come, some are applied, now and then somebody looks: all that came by the instant is applied, and one who is level is at the last look."""
    hearing, now_ms, end, applied = Hearing(("t",), 0), 0, 0, {"t": 0}
    ends = {0: 0}
    """Where the topic ended at each instant."""
    for came, done, looked in steps:
        now_ms += 10 * LIVE_MS
        end += came
        ends[now_ms] = end
        if looked:
            hearing.told("t", end, now_ms, applied)
        applied["t"] = min(end, applied["t"] + done)
        reached_ms = hearing.up_to_ms(applied, now_ms + LIVE_MS + 1)
        assert applied["t"] >= ends[reached_ms]
        if looked and applied["t"] == end:
            hearing.told("t", end, now_ms, applied)
            assert hearing.up_to_ms(applied, now_ms + LIVE_MS + 1) == now_ms
