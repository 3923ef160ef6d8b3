"""What a partition owes to Redis is said of its last step, also where another word is still on its way."""

from __future__ import annotations

from types import SimpleNamespace

from schemas.projection import Keys, decode_marker
from services.segmenter.lanes import Lane
from services.segmenter.steps import Written
from tests.support.counting import CountingPartition


class Scene:
    """A lane that was claimed and has written everything, and its partition."""

    def __init__(self) -> None:
        self.core = CountingPartition(0)
        self.lane = Lane(self.core, Keys(""), lambda: 1_000, lambda: None)
        self.lane.committed([])
        self.lane.claim(None)
        self.lane.collect()
        self.pay()

    def step(self, *keys: bytes) -> int:
        """Commit a step with a record of each key; return the offset behind it."""
        self.lane.began()
        start = self.core.offsets.get("checkouts", 0)
        records = [SimpleNamespace(offset=start + number, key=key, value=b"x", timestamp=0) for number, key in enumerate(keys)]
        self.core.apply("checkouts", records, 1_000)
        step = self.core.take()
        self.lane.taken()
        self.lane.written(Written(0, {}))
        self.lane.committed(step.touched if step is not None else [])
        return self.core.offsets["checkouts"]

    def pay(self) -> int | None:
        """Write what is gathered, and the marker if it may be; return how far that says the partition is."""
        marker = self.lane.markable()
        self.lane.paid(len(self.lane.rows), marked=marker is not None, now_s=0.0)
        return None if marker is None else decode_marker(marker).offsets.get("checkouts", 0)


def test_what_was_committed_while_a_marker_was_on_its_way_is_told_next() -> None:
    """And not with the next step, or when the heart beats: reads with `?after=` wait for it."""
    scene = Scene()
    first = scene.step(b"demo:a")
    on_its_way = scene.lane.markable()
    scene.step(b"demo:b")
    second = scene.step(b"demo:c")
    assert on_its_way is not None
    assert decode_marker(on_its_way).offsets["checkouts"] == first
    scene.lane.paid(len(scene.lane.rows), marked=True, now_s=0.0)
    assert scene.pay() == second
    assert scene.pay() is None


def test_a_marker_is_told_though_steps_follow_each_other_without_end() -> None:
    """Each of them has a newer one: it is not waited for."""
    scene = Scene()
    reached: list[int] = []
    for number in range(20):
        scene.step(b"demo:%d" % number)
        if number % 3 == 2 and (told := scene.pay()) is not None:
            reached.append(told)
    assert reached == sorted(set(reached))
    assert len(reached) >= 6


def test_no_marker_vouches_for_what_the_partition_does_meanwhile() -> None:
    """One that is kept for later says how far the step was with which it was made, however far the partition is."""
    scene = Scene()
    scene.step(b"demo:a")
    second = scene.step(b"demo:b")
    scene.lane.began()
    scene.core.apply("checkouts", [SimpleNamespace(offset=second, key=b"demo:c", value=b"x", timestamp=0)], 1_000)
    scene.lane.heartbeat(1_000.0, 1.0)
    scene.pay()
    assert scene.pay() == second
    scene.lane.heartbeat(2_000.0, 1.0)
    assert scene.pay() is None
