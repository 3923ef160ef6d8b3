"""Reads that wait for facts: how often the markers are looked at for them, and what is looked at once."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from schemas.projection import Marker
from schemas.topics import Topics
from services.api import freshness as module
from services.api.errors import Refused
from services.api.freshness import Freshness, Needs
from services.api.metrics import Metrics
from services.api.reads import Known, Reads
from services.api.settings import ApiSettings

TOPICS = Topics()


class Markers:
    """Reads of one partition's marker, counted; `reached` is how far it says that everything is applied."""

    def __init__(self) -> None:
        self.looks = self.reached = 0
        self.sent: dict[int, int] = {}

    async def markers(self) -> list[Known | None]:
        """Answer as Redis does, later."""
        self.looks += 1
        await asyncio.sleep(0)
        return [Known(Marker(1, 0, {"checkouts": self.reached, TOPICS.moves: self.reached}, 0, 0, sent=self.sent), "")]


def _freshness(markers: Markers, timeout_s: float) -> Freshness:
    settings = ApiSettings(partitions=1, api_after_timeout_s=timeout_s, tenant_share=1.0)
    return Freshness(settings, cast("Reads", markers), Metrics())


def _needs(offset: int) -> Needs:
    return {0: {"checkouts": offset}}


def test_whoever_waits_for_long_is_looked_after_less_often() -> None:
    """A read that waits in vain for a second asks Redis some fifty times, and not every three milliseconds."""
    markers = Markers()

    async def run() -> None:
        freshness = _freshness(markers, 1.0)
        with pytest.raises(Refused):
            await freshness.settle(_needs(1), freshness.deadline_s(), "t")
        await freshness.close()

    asyncio.run(run())
    assert 10 < markers.looks < 100


def test_a_read_that_comes_later_is_noticed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Although the one before it is looked after half a minute later only."""
    monkeypatch.setattr(module, "_LATER", 10_000.0)
    markers = Markers()

    async def run() -> None:
        freshness = _freshness(markers, 30.0)
        until_s = freshness.deadline_s()
        first = asyncio.create_task(freshness.settle(_needs(2), until_s, "t"))
        while markers.looks < 2:
            await asyncio.sleep(0.01)
        second = asyncio.create_task(freshness.settle(_needs(1), until_s, "t"))
        while len(freshness._waiting) < 2:
            await asyncio.sleep(0)
        markers.reached = 1
        await asyncio.wait_for(second, 2.0)
        assert not first.done()
        first.cancel()
        await freshness.close()

    asyncio.run(run())


def test_what_one_look_has_told_is_not_asked_again() -> None:
    """Not where everything is applied, nor for what that has led to in a partition of which the same look tells."""
    markers = Markers()
    markers.reached, markers.sent = 5, {0: 5}

    async def run() -> None:
        freshness = _freshness(markers, 1.0)
        await freshness.settle(_needs(5), freshness.deadline_s(), "t")

    asyncio.run(run())
    assert markers.looks == 1
