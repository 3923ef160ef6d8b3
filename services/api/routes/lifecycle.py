"""What becomes of a segment: paused, resumed, archived, restored; and what it was, version by version.

Each of these asked for again gives the same answer, so that a client that got none can ask again.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from fastapi import Response

from schemas import segments
from schemas.catalog import Segment
from schemas.definitions import SegmentArchived, SegmentPaused, SegmentRecord, SegmentRestored, SegmentResumed
from services.api.cursors import bad_cursor, decode_cursor, encode_cursor
from services.api.drafts import check_match
from services.api.errors import Refused, absent, unavailable
from services.api.quotas import check_segment
from services.api.routes.common import CURSOR, SEGMENT, VERSION
from services.api.shapes import SegmentView, VersionPage
from services.api.views import version_view, written_view
from services.api.web import Answer, Call, Param, RouteSpec, answer

_ATTEMPTS: Final = 3
_USUAL, _MOST = 20, 100

Change = Callable[[Call, Segment], tuple[SegmentRecord, Callable[[int], Segment]] | None]
"""From a segment to the record that changes it and what it is after that record's offset; None when it is so already."""


async def change(call: Call, towards: Change) -> Response:
    """Change a segment's state and show it."""
    matching, segment_id = call.if_match(), call.path("id")
    for attempt in range(_ATTEMPTS):
        current = call.catalog.segment(call.tenant, segment_id)
        if current is None:
            raise absent("segment")
        check_match(matching, current)
        wanted = towards(call, current)
        if wanted is not None:
            record, after = wanted
            try:
                current = after(await call.desk.writer.define(record))
            except Refused as error:
                # Without If-Match the client means the segment as it is, so losing a race is ours to repeat.
                if matching is None and error.status in (404, 412) and attempt < _ATTEMPTS - 1:
                    continue
                raise
        return answer(await written_view(call.desk, current), etag=current.version)
    raise unavailable("others keep changing this segment")


def archive(call: Call, current: Segment) -> tuple[SegmentRecord, Callable[[int], Segment]] | None:
    """End a segment."""
    if current.archived:
        return None
    at_ms = call.desk.now_ms()
    record = SegmentArchived(tenant=call.tenant, at_ms=at_ms, segment_id=current.id, replaces=current.version)
    return record, lambda offset: segments.archived(offset, at_ms, current)


def restore(call: Call, current: Segment) -> tuple[SegmentRecord, Callable[[int], Segment]] | None:
    """Bring an archived segment back."""
    if not current.archived:
        return None
    check_segment(call, current.id, current.rule)
    at_ms = call.desk.now_ms()
    record = SegmentRestored(tenant=call.tenant, at_ms=at_ms, segment_id=current.id, replaces=current.version)
    return record, lambda offset: segments.restored(offset, at_ms, current)


def pause(call: Call, current: Segment) -> tuple[SegmentRecord, Callable[[int], Segment]] | None:
    """Hold webhooks back."""
    if _live(current).paused_ms is not None:
        return None
    at_ms = call.desk.now_ms()
    record = SegmentPaused(tenant=call.tenant, at_ms=at_ms, segment_id=current.id, version=current.version)
    return record, lambda _: segments.paused(at_ms, current)


def resume(call: Call, current: Segment) -> tuple[SegmentRecord, Callable[[int], Segment]] | None:
    """Push webhooks again."""
    if _live(current).paused_ms is None:
        return None
    at_ms = call.desk.now_ms()
    record = SegmentResumed(tenant=call.tenant, at_ms=at_ms, segment_id=current.id, version=current.version)
    return record, lambda _: segments.resumed(at_ms, current)


def _live(current: Segment) -> Segment:
    if current.archived:
        raise Refused(409, f"segment {current.id} is archived; POST /v1/segments/{current.id}/restore brings it back")
    return current


async def versions(call: Call) -> Response:
    """Show the versions of a segment, archived or not, the newest first."""
    limit, segment_id = call.limit(_USUAL, _MOST), call.path("id")
    if call.catalog.segment(call.tenant, segment_id) is None:
        raise absent("segment")
    found = list(reversed(call.catalog.versions(call.tenant, segment_id)))
    if "cursor" in call.query:
        before = decode_cursor(call.query["cursor"], int)
        if before < 1:
            raise bad_cursor()
        found = [version for version in found if version.version < before]
    page = [version_view(version) for version in found[:limit]]
    return answer(VersionPage(page, encode_cursor(page[-1].version) if len(found) > limit else None))


_ARCHIVED: Final = SEGMENT | {"version": 2, "status": "archived"}
_RESTORED: Final = SEGMENT | {"version": 3, "status": "backfilling", "progress": 0.0, "count": 0}
_LIMIT: Final = Param("limit", "How many at most.", {"type": "integer", "minimum": 1, "maximum": _MOST, "default": _USUAL})
_IF_MATCH: Final = "The version that you have seen; without it whichever there is."

ROUTES: Final = (
    RouteSpec(
        "DELETE", "/v1/segments/{id}", partial(change, towards=archive), "segments:write", "Archive a segment",
        {200: Answer("Archived; its members leave. Its id is never used again.", SegmentView, _ARCHIVED, etag=True)},
        "segments", "409 while other segments refer to it; the answer names them.", if_match=_IF_MATCH, errors=(400, 404, 409, 412),
    ),
    RouteSpec(
        "POST", "/v1/segments/{id}/restore", partial(change, towards=restore), "segments:write", "Restore an archived segment",
        {200: Answer("A new version, evaluated anew; its manual lists begin empty.", SegmentView, _RESTORED, etag=True)},
        "segments", "409 while a segment that it refers to is archived, or its level has been taken.",
        if_match=_IF_MATCH, errors=(400, 404, 409, 412, 422),
    ),
    RouteSpec(
        "POST", "/v1/segments/{id}/pause", partial(change, towards=pause), "segments:write", "Hold a segment's webhooks back",
        {200: Answer("Members come and go as before, and no webhook is pushed.", SegmentView, SEGMENT | {"status": "paused"}, etag=True)},
        "segments", "No new version. What happens meanwhile is in the change feed and is not pushed later.",
        if_match=_IF_MATCH, errors=(400, 404, 409, 412),
    ),
    RouteSpec(
        "POST", "/v1/segments/{id}/resume", partial(change, towards=resume), "segments:write", "Push a segment's webhooks again",
        {200: Answer("From here on.", SegmentView, SEGMENT, etag=True)},
        "segments", if_match=_IF_MATCH, errors=(400, 404, 409, 412),
    ),
    RouteSpec(
        "GET", "/v1/segments/{id}/versions", versions, "segments:read", "Read a segment's versions",
        {200: Answer("The newest first, as far back as they are kept.", VersionPage, {"versions": [VERSION], "next": None})},
        "segments", params=(_LIMIT, CURSOR), errors=(404, 422),
    ),
)  # fmt: skip
