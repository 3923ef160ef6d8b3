"""How many would be in it? Asked before a segment is saved."""

from __future__ import annotations

from typing import Any, Final

from fastapi import Response

from schemas.catalog import Segment
from schemas.definitions import Around
from schemas.instants import iso, parse_instant
from schemas.outcomes import Conflict
from schemas.questions import SAMPLE, Previewed
from schemas.questions import Preview as Question
from schemas.rule_values import duration
from schemas.rules import Rule, canonical
from schemas.segments import edited, unsaved
from services.api.drafts import checked_rule
from services.api.errors import absent, conflicting
from services.api.foremost import ends_of, ranks_in, ranks_of
from services.api.question_shapes import Preview, PreviewBody
from services.api.rates import EVERYBODY
from services.api.routes.common import AS_OF, GOLD_BODY, SEGMENT_BODY
from services.api.web import Answer, Call, RouteSpec, answer


async def preview(call: Call) -> Response:
    """Count who would be in."""
    body = await call.body(PreviewBody)
    rule = checked_rule(call, body.rule)
    around = _around(body)
    draft = _draft(call, body.replaces, rule, around)
    try:
        call.catalog.check(draft)
    except Conflict as conflict:
        raise conflicting(conflict.outcome) from None
    question = await _asked(call, body.replaces, draft, around)
    parts, as_of_ms = await call.desk.asking.all(call.tenant, question, Previewed, definitions=call.catalog.offset)
    sample = [customer_id for part in parts for customer_id in part.sample][:SAMPLE]
    sums = {name: sum(getattr(part, name) for part in parts) for name in ("count", "of", "enters", "leaves")}
    return answer(Preview(sample=sample, as_of=iso(as_of_ms if question.at_ms is None else question.at_ms), **sums))


async def _asked(call: Call, replaces: str | None, draft: Segment, around: Around) -> Question:
    """Return what to ask: where the draft depends on a rank that no live segment asks for, with where all of them end."""
    assert draft.rule is not None
    segments, rule = call.catalog.segments[call.tenant], canonical(draft.rule)
    ranks = ranks_of(segments, draft)
    if not ranks or ranks <= ranks_in(call.catalog.live_segments(call.tenant)):
        return Question(rule, replaces, around=around)
    now_ms = call.desk.now_ms()
    ends = await ends_of(call, Question(rule, replaces, now_ms, around=around), ranks, [now_ms], definitions=call.catalog.offset)
    return Question(rule, replaces, now_ms, ends.cuts(now_ms), around)


def _around(body: PreviewBody) -> Around:
    """Read what stands around the rule, as it is read where it is saved."""
    stay, starts, ends = body.min_stay, body.starts_at, body.ends_at
    return Around(
        tier=body.tier,
        min_stay=str(duration(stay, "/min_stay")) if isinstance(stay, str) else stay,
        starts_at_ms=parse_instant(starts, "/starts_at") if isinstance(starts, str) else starts,
        ends_at_ms=parse_instant(ends, "/ends_at") if isinstance(ends, str) else ends,
    )


def _draft(call: Call, replaces: str | None, rule: Rule, around: Around) -> Segment:
    if replaces is None:
        return unsaved(call.tenant, rule, around)
    current = call.catalog.segment(call.tenant, replaces)
    if current is None or current.archived:
        raise absent("segment")
    return edited(current, rule, around)


_TIER: Final = {name: GOLD_BODY[name] for name in ("rule", "tier", "min_stay", "starts_at")}
_BODY: Final[dict[str, Any]] = {"rule": SEGMENT_BODY["rule"]}
_EXAMPLE: Final[dict[str, Any]] = {"count": 812, "of": 2469, "sample": ["718", "1228"], "enters": 40, "leaves": 12, "as_of": AS_OF}

ROUTES: Final = (
    RouteSpec(
        "POST", "/v1/segments/preview", preview, "segments:read", "How many would be in it?",
        {200: Answer("Counted exactly; nothing is saved.", Preview, _EXAMPLE)},
        "segments", "Who would be in at this moment, were it saved: with its tier, below the higher levels of the family, and within its "
        "span of life. A new one has no lists yet, an edit has those in force. What is asked is looked at customer by customer, or in "
        "columns, on what is kept for the rules in force wherever that will do; where a rank ends that no live segment asks for is found "
        "first, as of one instant.",
        body=PreviewBody, examples={"a new segment": _BODY, "an edit": {**_BODY, "replaces": "regulars"}, "a tier": _TIER},
        errors=(400, 404, 408, 409, 413, 415, 422), rate="questions", cost=EVERYBODY,
    ),
)  # fmt: skip
