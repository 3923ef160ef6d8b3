"""Asks the core of a simulation a question, in slices as small as may be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from schemas.definitions import Around, Tier
from schemas.instants import parse_instant
from schemas.questions import Asked, Question, encode
from services.segmenter.partition import Partition
from tests.support.simulation import Simulation


def ask(simulation: Simulation, question: Question, type_: Any, *, limit: int = 1) -> Any:
    """Return the answer of the simulation's partition now, as it comes over the wire."""
    return ask_of(simulation.partition, Asked(simulation.tenant, {0: 1}, question), simulation.now_ms, type_, limit)


def ask_of(partition: Partition, asked: Asked, now_ms: int, type_: Any, limit: int = 1) -> Any:
    """Return the answer of a partition at an instant."""
    inquiry = partition.inquiry(asked, now_ms)
    while inquiry.work(limit):
        pass
    return msgspec.json.decode(encode(inquiry.answer()), type=type_)


def around_of(segment: Mapping[str, Any]) -> Around:
    """What stands around a segment's rule; what is absent is taken away."""
    tier, starts, ends = segment.get("tier"), segment.get("starts_at"), segment.get("ends_at")
    return Around(
        tier=None if tier is None else Tier(**tier),
        min_stay=segment.get("min_stay"),
        starts_at_ms=None if starts is None else parse_instant(starts),
        ends_at_ms=None if ends is None else parse_instant(ends),
    )
