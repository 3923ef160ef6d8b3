"""Which endpoints asked for a transition, and whether its segment is paused."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from schemas.catalog import Endpoint, Segment
from schemas.deliveries import Announced
from schemas.instants import iso

_NAMED_ONLY: Final = ("definition", "erase")


def matching(transition: Announced, endpoints: Iterable[Endpoint]) -> list[Endpoint]:
    """Return the enabled endpoints that want a transition, in their order."""
    return [endpoint for endpoint in endpoints if wants(endpoint, transition)]


def held_back(segment: Segment | None, transition: Announced) -> bool:
    """Whether a transition is pushed to nobody: its segment is paused, or was when it was decided.

    The second makes the answer the same however far behind the dispatcher is. What is held back is served by replay.
    """
    if segment is None:
        return False
    if segment.paused_ms is not None:
        return True
    pause = segment.last_pause
    return pause is not None and iso(pause[0]) <= transition.decided_at < iso(pause[1])


def wants(endpoint: Endpoint, transition: Announced) -> bool:
    """Whether an endpoint wants a transition.

    Causes None stand for every cause but `definition` and `erase`, which are pushed only where they are named: the one comes in
    masses, the other names who must be forgotten. Imports only where they were asked for; and nothing that was decided before
    the endpoint was made.
    """
    if not endpoint.enabled or endpoint.deleted or transition.change not in endpoint.changes:
        return False
    if endpoint.segments is not None and transition.segment_id not in endpoint.segments:
        return False
    kind = transition.cause.kind
    if kind in _NAMED_ONLY if endpoint.causes is None else kind not in endpoint.causes:
        return False
    if transition.cause.imported and not endpoint.imports:
        return False
    return transition.decided_at >= iso(endpoint.created_ms)
