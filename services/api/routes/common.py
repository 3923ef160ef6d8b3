"""Parameters and examples that several routes share."""

from __future__ import annotations

from typing import Any, Final

from schemas.examples import RULES
from schemas.positions import encode_position
from services.api.web import Param

POSITION: Final = encode_position({"checkouts": {3: 42}})
LIMIT: Final = Param("limit", "How many at most.", {"type": "integer", "minimum": 1, "maximum": 1_000, "default": 100})
CURSOR: Final = Param("cursor", "The `next` of the page before.")
AFTER: Final = Param(
    "after",
    "A `position` that a write answered: waits, for at most 5 seconds, until those events are in the answer, else 503.",
    example=POSITION,
)
AS_OF: Final = "2026-11-22T10:15:00.262Z"
SEGMENT_BODY: Final[dict[str, Any]] = {
    "id": "regulars",
    "name": "Regulars",
    "description": "At least 4 purchases in 3 months",
    "rule": next(iter(RULES.values())),
    "include": ["718"],
    "exclude": [],
}
SEGMENT: Final[dict[str, Any]] = {
    "id": "regulars",
    "name": "Regulars",
    "description": "At least 4 purchases in 3 months",
    "rule": next(iter(RULES.values())),
    "version": 1,
    "status": "live",
    "progress": 1.0,
    "count": 812,
    "created_at": "2026-11-20T08:00:00.000Z",
    "updated_at": "2026-11-20T08:00:00.000Z",
}
