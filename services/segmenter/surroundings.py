"""What all partitions of a process share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from services.segmenter.metrics import Metrics
from services.segmenter.settings import SegmenterSettings
from services.segmenter.shares import Shares


class Definitions(Protocol):
    """What is needed of the follower of the definitions topic."""

    @property
    def catalog(self) -> Any:
        """The catalog, whose `offset` says how far the topic has been read."""

    async def reached(self, offset: int, timeout_s: float = 10.0) -> None:
        """Wait until every record before `offset` has been read; raise TimeoutError otherwise."""


@dataclass
class Surroundings:
    """What all pumps of a process share. `background` lets one slice of background work run at a time, be it of deadlines or of a question.

    `idle`: held by the partition whose idle work is next; so all of them together take turns with each question, however many there
    are. `behind`: the partitions whose live records wait; what can wait itself leaves the process to them. `shares`: who rests.
    """

    settings: SegmenterSettings
    definitions: Definitions
    metrics: Metrics
    now_ms: Callable[[], int]
    background: asyncio.Lock = field(default_factory=asyncio.Lock)
    idle: asyncio.Lock = field(default_factory=asyncio.Lock)
    behind: set[int] = field(default_factory=set)
    shares: Shares = field(init=False)

    def __post_init__(self) -> None:
        """Give everybody their shares."""
        settings = self.settings
        self.shares = Shares(settings.segmenter_events_share, settings.segmenter_questions_share, settings.segmenter_background_share)
