"""Segments: create, read, list, replace, archive. What is answered has been accepted by the fold; of two writers one is told."""

from __future__ import annotations

import re
from typing import Final

from fastapi import Response
from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from schemas.catalog import Segment
from schemas.definitions import SegmentArchived, SegmentPut
from schemas.errors import Refusal, shown
from schemas.positions import encode_position
from schemas.rule_parser import parse_rule
from schemas.rules import MAX_COST, Rule, canonical
from services.api.cursors import bad_cursor, decode_cursor, encode_cursor
from services.api.errors import Refused, absent, refused, unavailable
from services.api.freshness import oldest
from services.api.reads import progress
from services.api.routes.common import CURSOR, LIMIT, SEGMENT, SEGMENT_BODY
from services.api.shapes import SegmentCreate, SegmentPage, SegmentReplace, SegmentView
from services.api.views import has_control, is_customer_id, segment_views, written_view
from services.api.web import Answer, Call, Param, RouteSpec, answer
from services.api.writer import Edit, ListName

_ID: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}", re.ASCII)
_STATUSES: Final = ("backfilling", "live", "archived")
_ATTEMPTS: Final = 3
_USUAL, _MOST = 100, 1_000
_LISTS: Final[tuple[ListName, ListName]] = ("include", "exclude")


async def create(call: Call) -> Response:
    """Save the first version of a segment."""
    body = await call.body(SegmentCreate)
    # The pattern of the schema lets a last line end through.
    if not _ID.fullmatch(body.id):
        raise Refused(422, f"{shown(body.id)} is no segment id; use a-z, 0-9, - and _, at most 64", pointer="/id")
    edits = _edits(body)
    rule = _rule(call, body)
    put = _put(call, body.id, 0, body, rule)
    offset = await call.desk.writer.define(put)
    segment = Segment(
        tenant=call.tenant, id=body.id, version=1, name=body.name, description=put.description, rule=rule,
        offset=offset, include_since=offset, exclude_since=offset, created_ms=put.at_ms, updated_ms=put.at_ms,
    )  # fmt: skip
    return await _saved(call, segment, edits, 201)


async def replace_all(call: Call) -> Response:
    """Save the next version of a segment."""
    matching = call.if_match()
    current = call.catalog.segment(call.tenant, call.path("id"))
    if current is None:
        raise absent("segment")
    if matching is None:
        raise Refused(428, f'say with If-Match which version you have seen, like If-Match: "{current.version}"')
    _check(matching, current)
    if current.archived:
        raise Refused(409, "an archived segment is not changed any more; its id is never used again")
    body = await call.body(SegmentReplace)
    if body.id not in (None, current.id):
        raise Refused(422, f"the id of a segment stays {current.id!r}", pointer="/id")
    edits = _edits(body)
    rule = _rule(call, body)
    put = _put(call, current.id, current.version, body, rule)
    offset = await call.desk.writer.define(put)
    segment = replace(
        current, version=current.version + 1, name=body.name, description=put.description, rule=rule, offset=offset, updated_ms=put.at_ms,
        include_since=offset if "include" in put.resets else current.include_since,
        exclude_since=offset if "exclude" in put.resets else current.exclude_since,
    )  # fmt: skip
    return await _saved(call, segment, edits, 200)


async def archive(call: Call) -> Response:
    """End a segment. Again is the same answer, so that a client that got none can ask again."""
    matching, segment_id = call.if_match(), call.path("id")
    for attempt in range(_ATTEMPTS):
        current = call.catalog.segment(call.tenant, segment_id)
        if current is None:
            raise absent("segment")
        _check(matching, current)
        if not current.archived:
            now_ms = call.desk.now_ms()
            try:
                record = SegmentArchived(tenant=call.tenant, at_ms=now_ms, segment_id=segment_id, replaces=current.version)
                offset = await call.desk.writer.define(record)
            except Refused as error:
                # Without If-Match the client means the segment as it is, so losing a race is ours to repeat.
                if matching is None and error.status in (404, 412) and attempt < _ATTEMPTS - 1:
                    continue
                raise
            current = replace(current, version=current.version + 1, archived=True, offset=offset, updated_ms=now_ms)
        return answer(await written_view(call.desk, current), etag=current.version)
    raise unavailable("others keep changing this segment")


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
    if found and status in ("backfilling", "live"):
        markers = await call.desk.reads.markers()
        oldest(markers)
        found = [s for s in found if progress(s, markers).live == (status == "live")]
    page = await segment_views(call.desk, found[:limit])
    return answer(SegmentPage(page, encode_cursor(page[-1].id) if len(found) > limit else None))


def _check(matching: list[str] | None, current: Segment) -> None:
    if matching is not None and not {"*", str(current.version)} & set(matching):
        raise Refused(412, f"segment {current.id} is at version {current.version}; read it again", {"ETag": f'"{current.version}"'})


def _rule(call: Call, body: SegmentReplace) -> Rule | None:
    if not body.name.strip() or has_control(body.name):
        raise Refused(422, "a name has visible characters and no control characters", pointer="/name")
    if body.rule is None:
        return None
    try:
        context = call.catalog.rule_context(call.tenant, history_months=call.desk.settings.segmenter_history_months, max_cost=MAX_COST)
        return parse_rule(body.rule, context)
    except Refusal as refusal:
        raise refused(refusal, "/rule") from None


def _edits(body: SegmentReplace) -> list[Edit]:
    edits: list[Edit] = []
    for name in _LISTS:
        for index, customer_id in enumerate(getattr(body, name) or ()):
            if not is_customer_id(customer_id):
                raise Refused(422, "a customer id has no control characters", pointer=f"/{name}/{index}")
            edits.append((name, customer_id, True))
    return list(dict.fromkeys(edits))


def _put(call: Call, segment_id: str, replaces: int, body: SegmentReplace, rule: Rule | None) -> SegmentPut:
    return SegmentPut(
        tenant=call.tenant,
        at_ms=call.desk.now_ms(),
        segment_id=segment_id,
        replaces=replaces,
        name=body.name,
        description=body.description or "",
        rule=None if rule is None else canonical(rule),
        resets=[name for name in _LISTS if getattr(body, name) is not None],
    )


async def _saved(call: Call, segment: Segment, edits: list[Edit], status: int) -> Response:
    position: str | UnsetType = UNSET
    if edits:
        try:
            position = encode_position(await call.desk.writer.entries(segment, edits, call.desk.randomness(16)))
        except Refused as error:
            detail = f'version {segment.version} was saved, its lists were not: send them again with PUT and If-Match: "{segment.version}"'
            raise Refused(503, f"{detail} ({error.detail})", {**error.headers, "ETag": f'"{segment.version}"'}) from None
    view = await written_view(call.desk, segment, position=position)
    headers = {"Location": f"/v1/segments/{segment.id}"} if status == 201 else None
    return answer(view, status, etag=segment.version, headers=headers)


_NEW: Final = SEGMENT | {"status": "backfilling", "progress": 0.0, "count": 0}
_ARCHIVED: Final = SEGMENT | {"version": 2, "status": "archived"}
_REPLACEMENT: Final = {name: value for name, value in SEGMENT_BODY.items() if name not in ("id", "include", "exclude")}
_STATUS: Final = Param("status", "Only these; without it all that are not archived.", {"type": "string", "enum": list(_STATUSES)}, "live")

ROUTES: Final = (
    RouteSpec(
        "POST", "/v1/segments", create, "segments:write", "Create a segment",
        {201: Answer("Saved. It is backfilled from kept history at once.", SegmentView, _NEW, etag=True)},
        "segments", "A rule, manual lists, or both; with neither it is a manual segment that is empty.",
        body=SegmentCreate,
        examples={
            "regulars": SEGMENT_BODY,
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
        body=SegmentReplace, examples={"edit": _REPLACEMENT}, if_match="The version that you have seen; without it 428.",
        errors=(400, 404, 408, 409, 412, 413, 415, 422, 428),
    ),
    RouteSpec(
        "DELETE", "/v1/segments/{id}", archive, "segments:write", "Archive a segment",
        {200: Answer("Archived; its members leave. Its id is never used again.", SegmentView, _ARCHIVED, etag=True)},
        "segments", if_match="The version that you have seen; without it whichever there is.", errors=(400, 404, 412),
    ),
)  # fmt: skip
