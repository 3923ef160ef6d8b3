"""Which endpoints asked for a transition, and whether its segment is paused."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from schemas.catalog import Endpoint, Segment
from schemas.deliveries import Announced
from schemas.instants import iso

_NAMED_ONLY: Final = ("definition", "erase")


def matching(transition: Announced, endpoints: Iterable[Endpoint]) -> list[Endpoint]:
    """Return the endpoints that a transition is pushed to, in their order: those that want it and were on when it was decided."""
    return [endpoint for endpoint in endpoints if wants(endpoint, transition) and _on_at(endpoint, transition.decided_at)]


def held_back(segment: Segment | None, transition: Announced) -> bool:
    """Whether a transition is pushed to nobody: its segment is paused, or was when it was decided.

    The second makes the answer the same however far behind the dispatcher is. What is held back is served by replay.
    """
    if segment is None:
        return False
    if segment.paused_ms is not None:
        return True
    return _within(segment.last_pause, transition.decided_at)


def wants(endpoint: Endpoint, transition: Announced) -> bool:
    """Whether a transition is one of those that an endpoint is for, whenever it was decided.

    Causes None stand for every cause but `definition` and `erase`, which are pushed only where they are named: the one comes in
    masses, the other names who must be forgotten. Imports only where they were asked for.
    """
    if transition.change not in endpoint.changes:
        return False
    if endpoint.segments is not None and transition.segment_id not in endpoint.segments:
        return False
    kind = transition.cause.kind
    if kind in _NAMED_ONLY if endpoint.causes is None else kind not in endpoint.causes:
        return False
    return endpoint.imports or not transition.cause.imported


def _on_at(endpoint: Endpoint, decided_at: str) -> bool:
    """Whether an endpoint is on, and was when something was decided: nothing from before it was made, or while it was off."""
    return endpoint.on and decided_at >= iso(endpoint.created_ms) and not _within(endpoint.last_off, decided_at)


def _within(span: tuple[int, int] | None, instant: str) -> bool:
    return span is not None and iso(span[0]) <= instant < iso(span[1])
