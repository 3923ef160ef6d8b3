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

    def __init__(self, topics: Collection[str], known_ms: int) -> None:
        """Begin to hear, where everything was applied up to `known_ms`."""
        self._topics, self._known_ms = topics, known_ms
        self._ends: dict[str, tuple[int, int]] = {}
        self._reached_ms: dict[str, int] = {}

    def told(self, topic: str, end: int, at_ms: int, applied: Mapping[str, int]) -> None:
        """Hear that a topic ended at this offset at an instant. An end that has not been reached is kept until it is."""
        known = self._ends.get(topic)
        if known is not None and applied.get(topic, 0) >= known[0]:
            self._reached_ms[topic] = known[1]
            known = None
        if known is None:
            self._ends[topic] = end, at_ms

    def up_to_ms(self, applied: Mapping[str, int], now_ms: int) -> int:
        """Return the instant: now for whoever is not behind."""
        reached_ms = min(self._reached(topic, applied.get(topic, 0)) for topic in self._topics)
        return now_ms if now_ms - reached_ms <= _LIVE_MS else reached_ms

    def _reached(self, topic: str, applied: int) -> int:
        end, at_ms = self._ends.get(topic, (0, self._known_ms))
        return at_ms if applied >= end else self._reached_ms.get(topic, self._known_ms)
