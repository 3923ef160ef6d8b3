"""Why is this customer in this segment, or why not?"""

from __future__ import annotations

from typing import Any, Final

from fastapi import Response

from schemas.catalog import Segment
from schemas.instants import Duration, iso
from schemas.questions import Explain, Explained, Seen
from schemas.rules import conditions
from schemas.telling import Teller
from services.api.errors import absent, unavailable
from services.api.question_shapes import ConditionView, CountedEvent, Explanation
from services.api.routes.common import AFTER, AS_OF
from services.api.routes.customers import merged_into, person_of
from services.api.sentences import Speaker, language_of
from services.api.views import instant_or_none, is_customer_id
from services.api.web import Answer, Call, Param, RouteSpec, answer
from services.segmenter.engine.calendar import Calendar

_FOUND: Any = Explained | None


async def explain(call: Call) -> Response:
    """Explain a membership."""
    customer_id, segment_id = call.path("customer_id"), call.path("segment_id")
    language = language_of(call.query.get("lang"), call.request.headers.get("accept-language", ""))
    segment = _segment(call, segment_id)
    if not is_customer_id(customer_id):
        raise absent("customer")
    if segment.archived or call.query.get("after"):
        person, known = await person_of(call, customer_id)
        if segment.archived:
            nobody, as_of_ms = _nobody(call, segment, known.marker.as_of_ms), known.marker.as_of_ms
            return answer(_shown(call, customer_id, person.customer_id, segment, nobody, as_of_ms, language))
    found, as_of_ms, survivor = await call.desk.asking.person(
        call.tenant, customer_id, lambda whom: Explain(whom, segment_id), _FOUND, definitions=segment.answers_from + 1
    )
    if found is None:
        raise absent("customer")
    segment = _segment(call, segment_id)
    if segment.version != found.version:
        raise unavailable(f"segment {segment_id} has been saved meanwhile")
    return answer(_shown(call, customer_id, survivor, segment, found, as_of_ms, language))


def _segment(call: Call, segment_id: str) -> Segment:
    """Return a segment, archived or not: why nobody is in it is an answer, too."""
    segment = call.catalog.segment(call.tenant, segment_id)
    if segment is None:
        raise absent("segment")
    return segment


def _nobody(call: Call, segment: Segment, now_ms: int) -> Explained:
    """Return what is to be said of an archived segment."""
    kept = Duration(call.desk.settings.segmenter_history_months, 0)
    history_from_ms = Calendar(call.catalog.tenants[call.tenant].timezone).ago(now_ms, kept)
    return Explained(
        version=segment.version, member=False, since_ms=None, until_ms=None, rule_holds=False, included=False, excluded=False,
        held_until_ms=None, overridden_by=None, conditions=[], history_from_ms=history_from_ms,
    )  # fmt: skip


def _shown(call: Call, customer_id: str, survivor: str, segment: Segment, found: Explained, as_of_ms: int, language: Any) -> Explanation:
    tenant = call.catalog.tenants[call.tenant]
    names = {other.id: other.name for other in call.catalog.segments[call.tenant].values()}
    teller = Teller(language, names, tenant.currency)
    texts = {} if segment.rule is None else {path: teller.condition(condition) for path, condition in conditions(segment.rule)}
    speaker = Speaker(teller, tenant.timezone, names, as_of_ms)
    return Explanation(
        member=found.member,
        since=instant_or_none(found.since_ms),
        until=instant_or_none(found.until_ms),
        version=found.version,
        conditions=[_condition(seen, texts[seen.path]) for seen in found.conditions],
        included=found.included,
        excluded=found.excluded,
        held_until=instant_or_none(found.held_until_ms),
        overridden_by=found.overridden_by,
        sentence=speaker.sentence(customer_id, segment, None if segment.archived else found),
        history_from=iso(found.history_from_ms),
        as_of=iso(as_of_ms),
        merged_into=merged_into(customer_id, survivor),
    )


def _condition(seen: Seen, text: str) -> ConditionView:
    events = [CountedEvent(one.event_id, iso(one.at_ms), instant_or_none(one.leaves_ms)) for one in seen.events]
    return ConditionView(
        seen.path, text, seen.value, seen.op, seen.threshold, seen.holds, instant_or_none(seen.until_ms), events, seen.total,
        instant_or_none(seen.history_from_ms),
    )  # fmt: skip


LANG: Final = Param(
    "lang", "The language of texts and sentence; else what Accept-Language says, else English.", {"type": "string", "enum": ["en", "fr"]}, "fr"
)
_UNTIL: Final = "2026-12-01T08:30:00.000Z"
_EXAMPLE: Final[dict[str, Any]] = {
    "member": True,
    "since": "2026-11-20T08:00:00.000Z",
    "until": _UNTIL,
    "version": 1,
    "conditions": [
        {
            "path": "/all/0", "text": "at least 4 checkouts in the last 3 months", "value": 4, "op": "gte", "threshold": 4, "holds": True,
            "until": _UNTIL,
            "events": [{"event_id": "evt-991", "occurred_at": "2026-11-20T08:00:00.000Z", "leaves_at": "2027-02-20T08:00:00.000Z"}],
            "events_total": 4, "history_from": None,
        },
    ],
    "included": False,
    "excluded": False,
    "held_until": None,
    "overridden_by": None,
    "sentence": "718 has been in Regulars since 20 November at 09:00, because this holds: at least 4 checkouts in the last 3 months (4 now). "
    "718 will leave by itself on 1 December at 09:30.",
    "history_from": "2024-10-22T09:15:00.262Z",
    "as_of": AS_OF,
}  # fmt: skip

ROUTES: Final = (
    RouteSpec(
        "GET", "/v1/customers/{customer_id}/segments/{segment_id}/explain", explain, "customers:read", "Why is this customer in it, or why not?",
        {200: Answer("Every condition, and one sentence.", Explanation, _EXAMPLE)},
        "customers",
        "What is due by now is decided for the answer, also where nobody has looked yet. 503 while a backfill has not come to this customer.",
        params=(LANG, AFTER), errors=(404, 422), rate="questions",
    ),
)  # fmt: skip
