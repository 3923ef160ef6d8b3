"""What is known of replays is bounded: of each endpoint so many, and of one that is done no longer which transitions it named."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from schemas.affairs import MOST_OPEN, Affairs, ReplayAsked, ReplayStep, encode_affair

KEPT, PARTITIONS = 12, 2


def asked(number: int, endpoint_id: str = "e") -> bytes:
    """A replay of three transitions."""
    return encode_affair(ReplayAsked("t", endpoint_id, f"r{number}", 1, 0, 9, ["a", "b", "c"]))


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 60), st.integers(0, PARTITIONS - 1)), max_size=200))
def test_replays_that_are_done_are_forgotten_in_the_end(happened: list[tuple[bool, int, int]]) -> None:
    """Whatever comes: never more under way than may be, never more known than are kept, no ids of what is done, and how many there were."""
    affairs = Affairs(PARTITIONS, KEPT)
    for ask, number, partition in happened:
        done = ReplayStep("t", "e", f"r{number}", partition, 5, 1, done=True)
        affairs.apply(asked(number) if ask else encode_affair(done))
        known = affairs.replays("t", "e")
        assert len(known) <= KEPT
        assert affairs.open_of("t") == sum(not replay.done for replay in known) <= MOST_OPEN
        assert all(replay.named == 3 for replay in known)
        assert all(replay.asked.ids == ([] if replay.done else ["a", "b", "c"]) for replay in known)
    assert affairs.open_of("other") == 0


def test_what_is_kept_is_the_newest() -> None:
    """The one that was asked for first is forgotten first, once it is done."""
    affairs = Affairs(1, 3)
    for number in range(6):
        affairs.apply(asked(number))
        affairs.apply(encode_affair(ReplayStep("t", "e", f"r{number}", 0, 5, 1, done=True)))
    assert [replay.asked.replay_id for replay in affairs.replays("t", "e")] == ["r5", "r4", "r3"]
