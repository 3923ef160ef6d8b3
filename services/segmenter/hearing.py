"""Up to which instant everything is applied that Kafka had of a partition's inputs. Pure.

Without it a partition that hears nothing, because Kafka is away or far ahead of it, would take itself for one in which nothing happens,
and its answers for those of now.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

_LIVE_MS: Final = 3_000
"""Whoever has heard everything within this time is at now: what is on its way is always some milliseconds behind."""


class Hearing:
    """Where each topic was seen to end, and when. Instants are milliseconds of the process's clock, `applied` are next offsets by topic."""

    def __init__(self, topics: Collection[str], begin_ms: int) -> None:
        """Begin to hear, with everything applied as long as nothing else is heard."""
        self._topics, self._begin_ms = topics, begin_ms
        self._waiting_ms: dict[str, int] = {}
        """When the first record came to Kafka that waited for us in each topic."""
        self._ends: dict[str, tuple[int, int]] = {}
        self._reached_ms: dict[str, int] = {}

    def came(self, topic: str, at_ms: int) -> None:
        """Hear of a record that came to Kafka at an instant. The first of a topic says how long others may have waited."""
        self._waiting_ms.setdefault(topic, at_ms)

    def told(self, topic: str, end: int, at_ms: int, applied: Mapping[str, int]) -> None:
        """Hear that a topic ended at this offset at an instant. An end that has not been reached is kept until it is."""
        known = self._ends.get(topic)
        if known is not None and applied.get(topic, 0) >= known[0]:
            self._reached_ms[topic] = known[1]
            known = None
        if known is None or end < known[0]:  # earlier: Kafka has lost what lay between
            self._ends[topic] = end, at_ms

    def up_to_ms(self, applied: Mapping[str, int], now_ms: int) -> int:
        """Return the instant: now for whoever is not behind."""
        reached_ms = min(self._reached(topic, applied.get(topic, 0)) for topic in self._topics)
        return now_ms if now_ms - reached_ms <= _LIVE_MS else reached_ms

    def _reached(self, topic: str, applied: int) -> int:
        end, at_ms = self._ends.get(topic, (1 << 62, 0))
        if applied >= end:
            return at_ms
        begin_ms = min(self._begin_ms, self._waiting_ms.get(topic, self._begin_ms))
        return self._reached_ms.get(topic, begin_ms)
