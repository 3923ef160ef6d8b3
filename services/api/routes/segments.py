"""Segments: create, read, list, replace, patch. What is answered has been accepted by the fold; of two writers one is told."""

from __future__ import annotations

import re
from typing import Final

from fastapi import Response
from msgspec import UNSET, UnsetType

from schemas.catalog import Segment
from schemas.errors import shown
from schemas.positions import encode_position
from services.api.cursors import bad_cursor, decode_cursor, encode_cursor
from services.api.drafts import Draft, check_match, patched
from services.api.errors import Refused, absent
from services.api.freshness import oldest
from services.api.rates import ENTRY
from services.api.reads import progress
from services.api.routes.common import CURSOR, GOLD_BODY, LIMIT, SEGMENT, SEGMENT_BODY
from services.api.shapes import SegmentCreate, SegmentPage, SegmentPatch, SegmentReplace, SegmentView
from services.api.views import segment_views, written_view
from services.api.web import MERGE_PATCH, Answer, Call, Param, RouteSpec, answer

_ID: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}", re.ASCII)
_STATUSES: Final = ("backfilling", "live", "paused", "archived")
_USUAL, _MOST = 100, 1_000


async def create(call: Call) -> Response:
    """Save the first version of a segment."""
    body = await call.body(SegmentCreate)
    # The pattern of the schema lets a last line end through.
    if not _ID.fullmatch(body.id):
        raise Refused(422, f"{shown(body.id)} is no segment id; use a-z, 0-9, - and _, at most 64", pointer="/id")
    return await _save(call, Draft(call, body.id, None, body), 201)


async def replace_all(call: Call) -> Response:
    """Save the next version of a segment."""
    current = _seen(call)
    body = await call.body(SegmentReplace)
    _same_id(body.id, current)
    return await _save(call, Draft(call, current.id, current, body), 200)


async def patch(call: Call) -> Response:
    """Save the next version of a segment, with some of it different; a patch that changes nothing makes no version."""
    current = _seen(call)
    changes = await call.body(SegmentPatch, MERGE_PATCH)
    _same_id(changes.id if isinstance(changes.id, str) else None, current)
    body = patched(current, changes)
    if body is None:
        return answer(await written_view(call.desk, current), etag=current.version)
    return await _save(call, Draft(call, current.id, current, body), 200)


async def read(call: Call) -> Response:
    """Show one segment, archived or not."""
    segment = call.catalog.segment(call.tenant, call.path("id"))
    if segment is None:
        raise absent("segment")
    return answer((await segment_views(call.desk, [segment]))[0], etag=segment.version)


async def list_all(call: Call) -> Response:
    """Show segments by id, page by page."""
    limit, status = call.limit(_USUAL, _MOST), call.query.get("status")
    if status not in (None, *_STATUSES):
        raise Refused(422, f"status is one of {', '.join(_STATUSES)}, not {shown(status)}", pointer="/status")
    after = decode_cursor(call.query["cursor"], str) if "cursor" in call.query else ""
    if "cursor" in call.query and not _ID.fullmatch(after):
        raise bad_cursor()
    known = call.catalog.segments.get(call.tenant, {})
    found = [s for _, s in sorted(known.items()) if s.id > after and s.archived == (status == "archived")]
    if status in ("backfilling", "live", "paused"):
        found = [s for s in found if (s.paused_ms is not None) == (status == "paused")]
    if found and status in ("backfilling", "live"):
        markers = await call.desk.reads.markers()
        oldest(markers)
        found = [s for s in found if progress(s, markers).live == (status == "live")]
    page = await segment_views(call.desk, found[:limit])
    return answer(SegmentPage(page, encode_cursor(page[-1].id) if len(found) > limit else None))


def _seen(call: Call) -> Segment:
    """Return the segment that a write is about, when the client has seen it as it is."""
    matching = call.if_match()
    current = call.catalog.segment(call.tenant, call.path("id"))
    if current is None:
        raise absent("segment")
    if matching is None:
        raise Refused(428, f'say with If-Match which version you have seen, like If-Match: "{current.version}"')
    check_match(matching, current)
    if current.archived:
        raise Refused(409, f"segment {current.id} is archived; POST /v1/segments/{current.id}/restore brings it back")
    return current


def _same_id(segment_id: str | None, current: Segment) -> None:
    if segment_id not in (None, current.id):
        raise Refused(422, f"the id of a segment stays {shown(current.id)}", pointer="/id")


async def _save(call: Call, draft: Draft, status: int) -> Response:
    if draft.edits:
        call.spend("writes", ENTRY * len(draft.edits))
    segment = draft.saved(await call.desk.writer.define(draft.put))
    position: str | UnsetType = UNSET
    if draft.edits:
        try:
            position = encode_position(await call.desk.writer.entries(segment, draft.edits, call.desk.randomness(16), announced=True))
        except Refused as error:
            detail = f'version {segment.version} was saved, its lists were not: send them again with PUT and If-Match: "{segment.version}"'
            raise Refused(503, f"{detail} ({error.detail})", {**error.headers, "ETag": f'"{segment.version}"'}) from None
    view = await written_view(call.desk, segment, position=position)
    headers = {"Location": f"/v1/segments/{segment.id}"} if status == 201 else None
    return answer(view, status, etag=segment.version, headers=headers)


_NEW: Final = SEGMENT | {"status": "backfilling", "progress": 0.0, "count": 0}
_REPLACEMENT: Final = {name: value for name, value in SEGMENT_BODY.items() if name not in ("id", "include", "exclude")}
_STATUS: Final = Param("status", "Only these; without it all that are not archived.", {"type": "string", "enum": list(_STATUSES)}, "live")
_WRITES: Final = (400, 404, 408, 409, 412, 413, 415, 422, 428)

ROUTES: Final = (
    RouteSpec(
        "POST", "/v1/segments", create, "segments:write", "Create a segment",
        {201: Answer("Saved. It is backfilled from kept history at once.", SegmentView, _NEW, etag=True)},
        "segments", "A rule, manual lists, or both; with neither it is a manual segment that is empty.",
        body=SegmentCreate,
        examples={
            "regulars": SEGMENT_BODY,
            "a tier": GOLD_BODY,
            "manual": {"id": "press", "name": "Press", "include": ["718", "1228"]},
        },
        errors=(400, 408, 409, 413, 415, 422),
    ),
    RouteSpec(
        "GET", "/v1/segments", list_all, "segments:read", "List segments",
        {200: Answer("By id.", SegmentPage, {"segments": [SEGMENT], "next": None})},
        "segments", params=(LIMIT, CURSOR, _STATUS), errors=(422,),
    ),
    RouteSpec(
        "GET", "/v1/segments/{id}", read, "segments:read", "Read a segment",
        {200: Answer("The last version.", SegmentView, SEGMENT, etag=True)},
        "segments", errors=(404,),
    ),
    RouteSpec(
        "PUT", "/v1/segments/{id}", replace_all, "segments:write", "Replace a segment",
        {200: Answer("Saved as the next version, whose difference is published.", SegmentView, SEGMENT | {"version": 2}, etag=True)},
        "segments", "A list that is given replaces the whole list; one that is absent stays as it is.",
        body=SegmentReplace, examples={"edit": _REPLACEMENT}, if_match="The version that you have seen; without it 428.", errors=_WRITES,
    ),
    RouteSpec(
        "PATCH", "/v1/segments/{id}", patch, "segments:write", "Change some of a segment",
        {200: Answer("Saved as the next version; as it was when nothing is different.", SegmentView, SEGMENT | {"version": 2}, etag=True)},
        "segments", "JSON merge patch (RFC 7396): objects, the rule's as well, are merged; null takes away; lists are replaced.",
        body=SegmentPatch, media_type=MERGE_PATCH,
        examples={
            "another name": {"name": "Faithful"},
            "a higher threshold": {"rule": {"value": 5}},
            "no flapping": {"min_stay": "P7D", "ends_at": None},
        },
        if_match="The version that you have seen; without it 428.", errors=_WRITES,
    ),
)  # fmt: skip
