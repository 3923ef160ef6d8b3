"""Parameters and examples that several routes share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from schemas.catalog import Segment
from schemas.dependencies import closure
from schemas.errors import shown
from schemas.examples import RULES
from schemas.instants import iso, parse_instant
from schemas.positions import encode_position
from services.api.errors import Refused
from services.api.foremost import ranks_of
from services.api.web import Call, Param

POSITION: Final = encode_position({"checkouts": {3: 42}})
LIMIT: Final = Param("limit", "How many at most.", {"type": "integer", "minimum": 1, "maximum": 1_000, "default": 100})
CURSOR: Final = Param("cursor", "The `next` of the page before.")
AFTER: Final = Param(
    "after",
    "A `position` that a write answered: waits, for at most 5 seconds, until those events are in the answer, else 503.",
    example=POSITION,
)
AT: Final = Param("at", "A past instant, RFC 3339 with an offset; absent for now.", {"type": "string", "format": "date-time"}, "2026-11-01T14:02:00Z")
AS_OF: Final = "2026-11-22T10:15:00.262Z"
SEGMENT_BODY: Final[dict[str, Any]] = {
    "id": "regulars",
    "name": "Regulars",
    "description": "At least 4 purchases in 3 months",
    "rule": next(iter(RULES.values())),
    "include": ["718"],
    "exclude": [],
}
GOLD_BODY: Final[dict[str, Any]] = {
    "id": "gold",
    "name": "GOLD",
    "description": "1,000 or more of turnover in a year",
    "rule": {
        "metric": {"measure": "sum", "event": "checkout", "field": "total", "window": {"last": "P1Y"}},
        "op": "gte",
        "value": "1000.00",
    },
    "tier": {"family": "status", "level": 2},
    "min_stay": "P30D",
    "starts_at": "2026-01-01T00:00:00+01:00",
}
SEGMENT: Final[dict[str, Any]] = {
    "id": "regulars",
    "name": "Regulars",
    "description": "At least 4 purchases in 3 months",
    "rule": next(iter(RULES.values())),
    "tier": None,
    "min_stay": None,
    "starts_at": None,
    "ends_at": None,
    "version": 1,
    "status": "live",
    "progress": 1.0,
    "count": 812,
    "created_at": "2026-11-20T08:00:00.000Z",
    "updated_at": "2026-11-20T08:00:00.000Z",
}
VERSION: Final[dict[str, Any]] = {
    "version": 1,
    "change": "saved",
    "at": "2026-11-20T08:00:00.000Z",
    **{name: SEGMENT[name] for name in ("name", "description", "rule", "tier", "min_stay", "starts_at", "ends_at")},
}


def past_instant(call: Call, text: str, pointer: str) -> int:
    """Read an instant that has come; raises `Refusal` or `Refused` (422) for one to come, and for what is none."""
    # A plus that was not escaped arrives as a space: an offset has no other place for one.
    at_ms, now_ms = parse_instant(text.replace(" ", "+"), pointer), call.desk.now_ms()
    if at_ms > now_ms:
        raise Refused(422, f"{shown(text)} is to come; it is {iso(now_ms)} now, and only what has been can be told", pointer=pointer)
    if at_ms < 0:
        raise Refused(422, f"{shown(text)} is before 1970", pointer=pointer)
    return at_ms


def stay_by_rank(segments: Mapping[str, Segment], segment: Segment) -> Segment | None:
    """Return a segment whose `min_stay` begins with what a rank says, if one depends on such a one or is it."""
    return next((one for one in closure(segments, segment) if one.min_stay is not None and ranks_of(segments, one)), None)


def with_a_past(segments: Mapping[str, Segment], segment: Segment) -> Segment:
    """Return a segment whose past single instants tell; raises `Refused` (422) where a rank starts a stay: it matters at each before."""
    if (needed := stay_by_rank(segments, segment)) is not None:
        said = f"the min_stay of segment {needed.id} begins with what a rank says"
        raise Refused(422, f"{said}, and there is too much history to follow it; only the present of {segment.id} can be told", pointer="/at")
    return segment
