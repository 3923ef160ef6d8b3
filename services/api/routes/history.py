"""Entries and exits as they were decided: of a customer, of a customer and a segment, of a segment. Read from the change feed's topic."""

from __future__ import annotations

from typing import Any, Final

from fastapi import Response

from schemas.examples import TRANSITION
from services.api.backwards import Wanted
from services.api.errors import absent
from services.api.question_shapes import HistoryPage
from services.api.rates import MANY_RECORDS
from services.api.routes.common import AFTER, CURSOR, LIMIT
from services.api.routes.customers import person_of
from services.api.web import Answer, Call, RouteSpec, answer

_USUAL, _MOST = 100, 1_000


async def of_customer(call: Call) -> Response:
    """Show a customer's transitions."""
    return await _page(call, call.path("customer_id"), None)


async def of_membership(call: Call) -> Response:
    """Show a customer's transitions of one segment."""
    return await _page(call, call.path("customer_id"), call.path("segment_id"))


async def of_segment(call: Call) -> Response:
    """Show a segment's transitions."""
    return await _page(call, None, call.path("id"))


async def _page(call: Call, customer_id: str | None, segment_id: str | None) -> Response:
    limit = call.limit(_USUAL, _MOST)
    # An archived segment still has its past.
    if segment_id is not None and call.catalog.segment(call.tenant, segment_id) is None:
        raise absent("segment")
    if customer_id is not None:
        await person_of(call, customer_id)
    return answer(await call.desk.backwards.page(Wanted(call.tenant, customer_id, segment_id), call.query.get("cursor"), limit))


_ANSWER: Final = Answer("A page, the newest first.", HistoryPage, {"changes": [TRANSITION], "next": None})
_SAYS: Final = (
    "As they were decided, and as webhooks and the change feed tell them: late facts are not put where they belong, which is what "
    "`at` and the timeline do. Kept for 400 days."
)


def _spec(path: str, handler: Any, scope: str, summary: str, tag: str, params: Any) -> RouteSpec:
    return RouteSpec("GET", path, handler, scope, summary, {200: _ANSWER}, tag, _SAYS, params=params, errors=(404, 422), cost=MANY_RECORDS)


ROUTES: Final = (
    _spec(
        "/v1/customers/{customer_id}/history", of_customer, "customers:read", "What became of this customer?", "customers", (LIMIT, CURSOR, AFTER)
    ),
    _spec(
        "/v1/customers/{customer_id}/segments/{segment_id}/history", of_membership, "customers:read",
        "When did this customer come and go?", "customers", (LIMIT, CURSOR, AFTER),
    ),
    _spec("/v1/segments/{id}/history", of_segment, "segments:read", "Who came and went?", "segments", (LIMIT, CURSOR)),
)  # fmt: skip
