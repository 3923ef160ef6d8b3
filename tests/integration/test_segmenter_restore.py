"""Reading a changelog: what was committed since a step."""

from __future__ import annotations

import asyncio
import time

import pytest

from services.kit.kafka import ensure_topics
from services.segmenter.restore import changed
from services.segmenter.settings import SegmenterSettings
from services.segmenter.steps import Step
from services.segmenter.transactions import StepWriter


class Torn(Exception):
    """Ends a step in the middle."""


async def test_what_was_written_since_a_step_is_what_later_steps_wrote(kafka: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From where one step ended at least to where another did; a removal is found too, a step that was given up is not."""
    settings = SegmenterSettings.model_validate({"kafka": kafka, "topic_prefix": f"since{time.time_ns()}-", "partitions": 2})
    await ensure_topics(settings)
    writer = StepWriter(settings, 1)
    await writer.start()
    first = (await writer.write(Step(rows={b"r1": b"a", b"r2": b"a", b"p": b"1"}))).changelog

    def tear(place: str) -> None:
        if place == "segmenter.in_transaction":
            raise Torn

    with monkeypatch.context() as patched:
        patched.setattr("services.kit.failpoints.hit", tear)
        with pytest.raises(Torn):
            await writer.write(Step(rows={b"r3": b"never", b"p": b"2"}))
    second = (await writer.write(Step(rows={b"r2": None, b"r4": b"b", b"p": b"2"}, changes=[(b"2", b"{}")]))).changelog
    third = (await writer.write(Step(rows={b"r5": b"c", b"p": b"3"}))).changelog
    await writer.stop()
    steps = [{b"r1", b"r2"}, {b"r2", b"r4"}, {b"r5"}]
    found = [await changed(settings, 1, start, end) for start, end in ((0, first), (first, second), (second, third), (0, third))]
    assert [keys is not None and keys >= step for keys, step in zip(found, steps, strict=False)] == [True] * 3
    assert found[1:] == [{b"r2", b"r4", b"r5", b"p"}, {b"r5", b"p"}, {b"r1", b"r2", b"r4", b"r5", b"p"}]
    assert await changed(settings, 1, third, third) == set()


async def test_a_changelog_that_cannot_be_read_says_nothing() -> None:
    """Without Kafka it is not known what was written, which is not the same as nothing."""
    settings = SegmenterSettings.model_validate({"kafka": "127.0.0.1:1"})
    assert await asyncio.wait_for(changed(settings, 0, 0, 5), 40) is None
