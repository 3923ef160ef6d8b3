"""The change feed as a cursor feed: every entry and exit of the tenant, from any point on."""

from __future__ import annotations

from typing import Any, Final

from fastapi import Response

from schemas.examples import TRANSITION
from schemas.positions import encode_position
from services.api.errors import absent
from services.api.rates import MANY_RECORDS
from services.api.routes.common import LIMIT
from services.api.shapes import ChangePage
from services.api.web import Answer, Call, Param, RouteSpec, answer

_USUAL, _MOST = 100, 1_000


async def changes(call: Call) -> Response:
    """Show the transitions after a cursor."""
    limit, segment_id = call.limit(_USUAL, _MOST), call.query.get("segment")
    # An archived segment still has its past.
    if segment_id is not None and call.catalog.segment(call.tenant, segment_id) is None:
        raise absent("segment")
    return answer(await call.desk.feed.page(call.tenant, segment_id, call.query.get("after"), limit))


_CURSOR: Final = encode_position({"": {0: 12, 1: 7}})
_EXAMPLE: Final[dict[str, Any]] = {"changes": [TRANSITION], "next": _CURSOR, "more": False}

ROUTES: Final = (
    RouteSpec(
        "GET", "/v1/changes", changes, "changes:read", "Entries and exits, from any point on",
        {200: Answer("What came after the cursor.", ChangePage, _EXAMPLE)},
        "changes",
        "Keep `next` and come back with it as `after`: nothing is missed and nothing comes twice. A page may be empty while `more` is true.",
        params=(
            Param("after", "The `next` of the page before; absent for the beginning, `now` for the end.", example=_CURSOR),
            Param("segment", "Only of this segment.", example="regulars"),
            LIMIT,
        ),
        errors=(404, 410, 422), cost=MANY_RECORDS,
    ),
)  # fmt: skip
