"""The size of a segment over time, with who came and went, from history: also from before it was saved."""

from __future__ import annotations

from itertools import count
from typing import Any, Final

from fastapi import Response

from schemas.catalog import Segment
from schemas.instants import DAY_MS, Duration, iso
from schemas.questions import MOST_INSTANTS, Course, Timeline
from schemas.rule_values import duration
from services.api.errors import Refused, unavailable
from services.api.foremost import ends_of, ranks_of
from services.api.question_shapes import TimelinePoint, TimelineView
from services.api.race import raced
from services.api.rates import EVERYBODY
from services.api.rivals import MOST_FACTS
from services.api.routes.common import AS_OF, past_instant, stay_by_rank, with_a_past
from services.api.views import existing
from services.api.web import Answer, Call, Param, RouteSpec, answer
from services.segmenter.engine.calendar import Calendar

_USUAL_MS: Final = 30 * DAY_MS
_USUAL_STEP: Final = Duration(0, DAY_MS)


async def timeline(call: Call) -> Response:
    """Show the size of a segment at each step, and the entries and exits since the step before."""
    segment = existing(call.catalog.segment(call.tenant, call.path("id")))
    instants = _instants(call, Calendar(call.catalog.tenants[call.tenant].timezone))
    asked = await _asked(call, segment, instants)
    parts, as_of_ms = await call.desk.asking.all(call.tenant, asked, Course, definitions=segment.answers_from + 1)
    segment = existing(call.catalog.segment(call.tenant, segment.id))
    if any(part.version != segment.version for part in parts):
        raise unavailable(f"segment {segment.id} has been saved meanwhile")
    return answer(_added(segment, instants, parts, as_of_ms, net=bool(asked.cuts)))


async def _asked(call: Call, segment: Segment, instants: list[int]) -> Timeline:
    """Return what to ask: where the segment depends on ranks, with when these held of everybody, or at least where they ended at each instant."""
    segments = call.catalog.segments[call.tenant]
    ranks = ranks_of(segments, segment)
    if not ranks:
        return Timeline(segment.id, instants)
    from_ms = 0 if stay_by_rank(segments, segment) else instants[0]
    turns = await raced(call, segment, ranks, from_ms, instants[-1])
    if turns is not None:
        return Timeline(segment.id, instants, turns=turns, from_ms=from_ms)
    with_a_past(segments, segment)
    ends = await ends_of(call, segment.id, ranks, instants, definitions=segment.answers_from + 1)
    return Timeline(segment.id, instants, [ends.cuts(at_ms) for at_ms in instants])


def _added(segment: Segment, instants: list[int], parts: list[Course], as_of_ms: int, *, net: bool) -> TimelineView:
    size, points = sum(part.first for part in parts), []
    for place, at_ms in enumerate(instants):
        entered, exited = sum(part.entered[place] for part in parts), sum(part.exited[place] for part in parts)
        size += entered - exited
        points.append(TimelinePoint(iso(at_ms), size, entered, exited))
    return TimelineView(points, segment.version, iso(max(part.history_from_ms for part in parts)), iso(as_of_ms), net)


def _instants(call: Call, calendar: Calendar) -> list[int]:
    """Read from, to and step; raises `Refused` (422) for what is to come, the wrong way round, or too much."""
    query = call.query
    to_ms = past_instant(call, query["to"], "/to") if "to" in query else call.desk.now_ms()
    from_ms = past_instant(call, query["from"], "/from") if "from" in query else max(0, to_ms - _USUAL_MS)
    step = duration(query["step"], "/step") if "step" in query else _USUAL_STEP
    if from_ms > to_ms:
        raise Refused(422, f"from comes before to: {iso(from_ms)} is later than {iso(to_ms)}", pointer="/from")
    found: list[int] = []
    for number in count():
        at_ms = calendar.plus(from_ms, Duration(number * step.months, number * step.exact_ms))
        if at_ms > to_ms:
            return found
        if len(found) == MOST_INSTANTS:
            raise Refused(422, f"at most {MOST_INSTANTS} steps; make them longer, or the time shorter", pointer="/step")
        found.append(at_ms)
    raise AssertionError("a step is longer than nothing")


_INSTANT: Final[dict[str, Any]] = {"type": "string", "format": "date-time"}

ROUTES: Final = (
    RouteSpec(
        "GET", "/v1/segments/{id}/timeline", timeline, "segments:read", "How large was this segment?",
        {200: Answer("Its size at each step, and who came and went since the step before.", TimelineView, {
            "points": [
                {"at": "2026-11-20T08:00:00.000Z", "count": 805, "entered": 0, "exited": 0},
                {"at": "2026-11-21T08:00:00.000Z", "count": 812, "entered": 9, "exited": 2},
            ],
            "version": 1, "history_from": "2024-10-22T09:15:00.262Z", "as_of": AS_OF, "net": False,
        })},
        "segments",
        "Answered from history with what is known today, exactly: as often as customers were in by `at` of the membership. Steps of "
        "months, and those after them, are counted from `from` in the tenant's zone. Where the segment depends on a rank, and there is too much "
        f"history to follow it (beyond {MOST_FACTS:,} events of the tenant, or some hundred thousand changes of scores), the sizes are exact, and "
        "`entered` and `exited` are `net`: who came and went again between two steps is not counted. 422 then where a rank starts a `min_stay`.",
        params=(
            Param("from", "RFC 3339 with an offset; 30 days before `to` when absent.", _INSTANT, "2026-11-20T08:00:00Z"),
            Param("to", "RFC 3339 with an offset; now when absent.", _INSTANT, "2026-11-22T08:00:00Z"),
            Param("step", f"ISO 8601, a day when absent; at most {MOST_INSTANTS} steps.", {"type": "string", "default": "P1D"}, "P1D"),
        ),
        errors=(404, 422), rate="questions", cost=EVERYBODY,
    ),
)  # fmt: skip
