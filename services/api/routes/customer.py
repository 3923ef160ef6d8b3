"""A customer's page: the profile, a few figures, what happened last, and the segments; also by card number."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from fastapi import Response

from schemas.instants import iso
from schemas.questions import MOST_EVENTS, MOST_HOLDERS, Figure, Portrait, Portray, WithCard
from schemas.rule_parser import parse_rule
from schemas.rules import MetricCondition
from schemas.telling import Teller
from services.api.errors import Refused, absent
from services.api.question_shapes import CustomerPage, CustomerView, FigureView
from services.api.rates import EVERYBODY
from services.api.routes.common import AFTER, AS_OF
from services.api.routes.customers import merged_into, person_of, segments_of
from services.api.routes.explain import LANG
from services.api.sentences import language_of
from services.api.views import instant_or_none, is_customer_id
from services.api.web import Answer, Call, Param, RouteSpec, answer

_USUAL_EVENTS: Final = 20
_MOST_CHARACTERS: Final = 256
_FOUND: Any = Portrait | None


async def customer(call: Call) -> Response:
    """Show one customer."""
    customer_id = call.path("customer_id")
    if not is_customer_id(customer_id):
        raise absent("customer")
    return answer(await _view(call, customer_id))


async def by_card(call: Call) -> Response:
    """Show the customers whose profile has a card number."""
    card = call.query.get("card_number", "")
    if not 1 <= len(card) <= _MOST_CHARACTERS:
        raise Refused(422, f"card_number has 1 to {_MOST_CHARACTERS} characters; customers are found by it", pointer="/card_number")
    parts, as_of_ms = await call.desk.asking.all(call.tenant, WithCard(card), list[str])
    holders = sorted(customer_id for part in parts for customer_id in part)
    found = [await _view(call, customer_id) for customer_id in holders[:MOST_HOLDERS]]
    return answer(CustomerPage(found, len(holders) > MOST_HOLDERS, iso(as_of_ms)))


async def _view(call: Call, customer_id: str) -> CustomerView:
    language = language_of(call.query.get("lang"), call.request.headers.get("accept-language", ""))
    person, known = await person_of(call, customer_id)
    asked = Portray(person.customer_id, call.limit(_USUAL_EVENTS, MOST_EVENTS))
    found, as_of_ms = await call.desk.asking.of(call.tenant, person.customer_id, asked, _FOUND)
    if found is None:
        raise absent("customer")
    members = segments_of(call.catalog, call.tenant, customer_id, person, known)
    teller = Teller(language, {}, call.catalog.tenants[call.tenant].currency)
    return CustomerView(
        customer_id=customer_id,
        profile=found.profile,
        metrics=[_figure(call, figure, teller) for figure in found.metrics],
        events=found.events,
        event_counts=found.event_counts,
        first_event_at=instant_or_none(found.first_event_ms),
        last_event_at=instant_or_none(found.last_event_ms),
        segments=members.segments,
        pending=members.pending,
        as_of=iso(min(as_of_ms, known.marker.as_of_ms)),
        merged_into=merged_into(customer_id, person.customer_id),
    )


def _figure(call: Call, figure: Figure, teller: Teller) -> FigureView:
    rule = {"metric": msgspec.json.decode(figure.metric), "op": "exists", "value": True}
    condition = parse_rule(rule, call.catalog.rule_context(call.tenant))
    assert isinstance(condition, MetricCondition)
    return FigureView(teller.metric(condition.metric), figure.metric, figure.value)


_EXAMPLE: Final[dict[str, Any]] = {
    "customer_id": "718",
    "profile": {"birth_date": "1990-05-01", "city": "Toulouse", "location": {"lat": 43.6, "lon": 1.44}},
    "metrics": [
        {
            "text": "the number of checkouts in the last 3 months",
            "metric": {"measure": "count", "event": "checkout", "window": {"last": "P3M"}},
            "value": 4,
        },
    ],
    "events": [{"event_id": "evt-991", "type": "checkout", "occurred_at": "2026-11-22T10:15:00.000Z", "total": "42.00", "store_id": "7"}],
    "event_counts": {"checkout": 41, "profile": 1},
    "first_event_at": "2025-11-20T08:00:00.000Z",
    "last_event_at": "2026-11-22T10:15:00.000Z",
    "segments": [{"id": "regulars", "name": "Regulars", "version": 1, "since": "2026-11-20T08:00:00.000Z", "until": None}],
    "as_of": AS_OF,
}  # fmt: skip
_EVENTS: Final = Param(
    "limit", "How many of the newest events at most.", {"type": "integer", "minimum": 1, "maximum": MOST_EVENTS, "default": _USUAL_EVENTS}
)

ROUTES: Final = (
    RouteSpec(
        "GET", "/v1/customers", by_card, "customers:read", "Whose card is this?",
        {200: Answer("Those with the card number; none is no error.", CustomerPage, {"customers": [_EXAMPLE], "more": False, "as_of": AS_OF})},
        "customers",
        "Looks through everybody's history: for a desk with a card in the hand, not for every screen.",
        params=(Param("card_number", "The attribute `card_number` of the profile, exactly.", example="9250 1234"), _EVENTS, LANG), errors=(422,),
        rate="questions", cost=EVERYBODY,
    ),
    RouteSpec(
        "GET", "/v1/customers/{customer_id}", customer, "customers:read", "Who is this customer?",
        {200: Answer("The profile, figures, the newest events, and the segments.", CustomerView, _EXAMPLE)},
        "customers", params=(_EVENTS, LANG, AFTER), errors=(404, 422), rate="questions",
    ),
)  # fmt: skip
