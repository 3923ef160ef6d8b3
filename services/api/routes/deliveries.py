"""What has become of what was pushed to an endpoint."""

from __future__ import annotations

from typing import Any, Final, get_args

from fastapi import Response

from schemas.deliveries import State
from schemas.errors import listed, shown
from services.api.delivery_shapes import DeliveryPage
from services.api.errors import Refused
from services.api.rates import MANY_RECORDS
from services.api.routes.common import AS_OF, CURSOR, LIMIT
from services.api.routes.webhooks import existing
from services.api.web import Answer, Call, Param, RouteSpec, answer

_USUAL, _MOST = 100, 1_000
STATES: Final = get_args(State)


async def log(call: Call) -> Response:
    """Show an endpoint's deliveries with their attempts."""
    limit, state = call.limit(_USUAL, _MOST), call.query.get("state")
    endpoint = existing(call)
    if state not in (None, *STATES):
        raise Refused(422, f"unknown state {shown(state)}; one of {listed(STATES, 10)}", pointer="/state")
    return answer(await call.desk.deliveries.page(call.tenant, endpoint.id, state, call.query.get("cursor"), limit))


DELIVERY: Final[dict[str, Any]] = {
    "id": "msg_0c8f6d2f0be5fd3c7a2f0e1d4b9a88",
    "transition_id": "trn_01c3a5f09b7d2e4f6a8b0c1d2e3f40",
    "customer_id": "718",
    "segment_id": "regulars",
    "change": "entered",
    "state": "pending",
    "reason": None,
    "created_at": "2026-11-22T10:15:00.262Z",
    "next_attempt_at": "2026-11-22T10:20:05.500Z",
    "ended_at": None,
    "replay": None,
    "attempts": [
        {"at": AS_OF, "status": 503, "duration_ms": 41, "error": "answered 503"},
        {"at": "2026-11-22T10:15:05.310Z", "status": None, "duration_ms": 15_000, "error": "no answer within 15 s"},
    ],
}

ROUTES: Final = (
    RouteSpec(
        "GET", "/v1/webhooks/{id}/deliveries", log, "webhooks:read", "Read an endpoint's deliveries",
        {200: Answer("What is pending; then what has ended, the latest first.", DeliveryPage, {"deliveries": [DELIVERY], "next": None})},
        "webhooks", "Each delivery with its attempts, kept for 30 days after its end. A page may be short, even empty, while `next` goes on.",
        params=(Param("state", "Only those in this state.", {"type": "string", "enum": list(STATES)}, "exhausted"), LIMIT, CURSOR),
        errors=(404, 422), cost=MANY_RECORDS,
    ),
)  # fmt: skip
