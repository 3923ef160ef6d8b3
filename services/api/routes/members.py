"""Who is in a segment, page by page, and how many. Archived segments have no members, and one in backfill cannot tell yet."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from fastapi import Response

from schemas.catalog import Segment
from services.api.cursors import bad_cursor, decode_cursor, encode_cursor
from services.api.freshness import all_applied, oldest, swept
from services.api.reads import Known
from services.api.routes.common import AFTER, AS_OF, CURSOR, LIMIT
from services.api.shapes import Count, MemberPage, MemberView
from services.api.views import existing, is_customer_id, until, when
from services.api.web import Answer, Call, RouteSpec, answer

T = TypeVar("T")
_USUAL, _MOST = 100, 1_000
_SCOPE: Final = "segments:read"


async def members(call: Call) -> Response:
    """Show a page of members."""
    limit = call.limit(_USUAL, _MOST)
    partition, after = decode_cursor(call.query["cursor"], tuple[int, str]) if "cursor" in call.query else (0, None)
    if not 0 <= partition < call.desk.reads.partitions or (after is not None and not is_customer_id(after)):
        raise bad_cursor()
    # One more than asked for tells whether there is another page.
    as_of, found = await _fresh(call, lambda segment: call.desk.reads.members(segment, partition, after, limit + 1))
    page = found[:limit]
    following = encode_cursor((page[-1].partition, page[-1].customer_id)) if len(found) > limit else None
    return answer(MemberPage([MemberView(m.customer_id, when(m.since_ms), until(m.until_ms)) for m in page], following, as_of))


async def count(call: Call) -> Response:
    """Say how many members there are."""
    as_of, found = await _fresh(call, lambda segment: call.desk.reads.counts([segment]))
    return answer(Count(found[0], as_of))


async def _fresh(call: Call, read: Callable[[Segment], Awaitable[tuple[Sequence[Known | None], T]]]) -> tuple[str, T]:
    """Read something of the segment, as fresh as the client asks; raises `Refused` when it cannot be known."""
    desk, segment_id = call.desk, call.path("id")
    segment = existing(call.catalog.segment(call.tenant, segment_id))
    needs, until_s = desk.freshness.needs(call.query.get("after") or None), desk.freshness.deadline_s()
    while True:
        await desk.freshness.settle(needs, until_s, call.tenant)
        markers, found = await read(segment)
        if all_applied(needs, markers, call.tenant):
            break
    marker = oldest(markers)
    # Again: the read may have waited, and a version saved meanwhile is the one that the answer must speak of.
    swept(existing(call.catalog.segment(call.tenant, segment_id)), markers)
    return marker.as_of, found


ROUTES: Final = (
    RouteSpec(
        "GET", "/v1/segments/{id}/members", members, _SCOPE, "Who is in this segment?",
        {200: Answer("A page, in an order that stays the same.", MemberPage, {
            "members": [{"customer_id": "718", "since": "2026-11-20T08:00:00.000Z", "until": None}], "next": None, "as_of": AS_OF,
        })},
        "segments",
        "Members who come or go between two pages may or may not be seen; everyone who stays is seen exactly once. 503 during a backfill.",
        params=(LIMIT, CURSOR, AFTER), errors=(404, 422),
    ),
    RouteSpec(
        "GET", "/v1/segments/{id}/count", count, _SCOPE, "How many are in this segment?",
        {200: Answer("The number of members.", Count, {"count": 812, "as_of": AS_OF})},
        "segments", "503 during a backfill; the segment itself shows how many have been found so far.", params=(AFTER,), errors=(404, 422),
    ),
)  # fmt: skip
