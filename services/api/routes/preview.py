"""How many would be in it? Asked before a segment is saved."""

from __future__ import annotations

from typing import Any, Final

from fastapi import Response

from schemas.catalog import Segment
from schemas.instants import iso
from schemas.outcomes import Conflict
from schemas.questions import SAMPLE, Previewed
from schemas.questions import Preview as Question
from schemas.rules import Rank, Rule, canonical, conditions
from schemas.segments import edited, unsaved
from services.api.drafts import checked_rule
from services.api.errors import Refused, absent, conflicting
from services.api.question_shapes import Preview, PreviewBody
from services.api.routes.common import AS_OF, SEGMENT_BODY
from services.api.web import Answer, Call, RouteSpec, answer


async def preview(call: Call) -> Response:
    """Count who would be in."""
    body = await call.body(PreviewBody)
    rule = checked_rule(call, body.rule)
    _check_ranks(call, rule)
    try:
        call.catalog.check(_draft(call, body.replaces, rule))
    except Conflict as conflict:
        raise conflicting(conflict.outcome) from None
    question = Question(canonical(rule), body.replaces)
    parts, as_of_ms = await call.desk.asking.all(call.tenant, question, Previewed, definitions=call.catalog.offset)
    sample = [customer_id for part in parts for customer_id in part.sample][:SAMPLE]
    sums = {name: sum(getattr(part, name) for part in parts) for name in ("count", "of", "enters", "leaves")}
    return answer(Preview(sample=sample, as_of=iso(as_of_ms), **sums))


def _check_ranks(call: Call, rule: Rule) -> None:
    """Refuse a rank that no live segment asks for: where it ends is found when one is saved."""
    asked = [(pointer, one) for pointer, one in conditions(rule) if isinstance(one, Rank)]
    if not asked:
        return
    known = {one for segment in call.catalog.live_segments(call.tenant) if segment.rule is not None for _, one in conditions(segment.rule)}
    for pointer, one in asked:
        if one not in known:
            said = "no live segment asks for this rank, so it is not known yet who is foremost; it is found when a segment with it is saved"
            raise Refused(422, said, pointer=f"/rule{pointer}/rank")


def _draft(call: Call, replaces: str | None, rule: Rule) -> Segment:
    if replaces is None:
        return unsaved(call.tenant, rule)
    current = call.catalog.segment(call.tenant, replaces)
    if current is None or current.archived:
        raise absent("segment")
    return edited(current, rule)


_BODY: Final[dict[str, Any]] = {"rule": SEGMENT_BODY["rule"]}
_EXAMPLE: Final[dict[str, Any]] = {"count": 812, "of": 2469, "sample": ["718", "1228"], "enters": 40, "leaves": 12, "as_of": AS_OF}

ROUTES: Final = (
    RouteSpec(
        "POST", "/v1/segments/preview", preview, "segments:read", "How many would be in it?",
        {200: Answer("Counted exactly; nothing is saved.", Preview, _EXAMPLE)},
        "segments", "A draft is looked at customer by customer, on what is kept for the rules in force wherever that will do.",
        body=PreviewBody, examples={"a new segment": _BODY, "an edit": {**_BODY, "replaces": "regulars"}},
        errors=(400, 404, 408, 409, 413, 415, 422),
    ),
)  # fmt: skip
