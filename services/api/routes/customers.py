"""The app's question, asked on every screen: which segments is this customer in, and is it in this one?"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from fastapi import FastAPI, Request, Response
from msgspec import UNSET, UnsetType
from starlette.types import Receive, Scope, Send

from schemas.catalog import Catalog, Segment
from schemas.instants import NEVER, iso
from schemas.questions import Was, WasMember
from services.api.desk import Desk
from services.api.errors import absent, unavailable
from services.api.foremost import ranks_of
from services.api.freshness import applied, oldest, swept
from services.api.rates import EVERYBODY
from services.api.reads import Known, Person
from services.api.rivals import MOST_FACTS, told
from services.api.routes.common import AFTER, AS_OF, AT, past_instant, with_a_past
from services.api.shapes import CustomerSegments, Membership, MembershipAnswer
from services.api.views import existing, instant_or_none, is_customer_id, until, when
from services.api.web import Answer, Call, RouteSpec, answer, answered

_encode: Final = msgspec.json.Encoder().encode
_PATH: Final = "/v1/customers/{customer_id}/segments"
_SCOPE: Final = "customers:read"
_WAS: Any = Was | None


async def memberships(call: Call) -> Response:
    """Show the segments of a customer."""
    customer_id = call.path("customer_id")
    person, known = await person_of(call, customer_id)
    return Response(_encode(segments_of(call.catalog, call.tenant, customer_id, person, known)), 200, None, "application/json")


async def membership(call: Call) -> Response:
    """Say whether a customer is in a segment."""
    customer_id, segment_id = call.path("customer_id"), call.path("segment_id")
    segment = existing(call.catalog.segment(call.tenant, segment_id))
    if "at" in call.query:
        return await past_membership(call, customer_id, segment)
    person, known = await person_of(call, customer_id)
    # Again: the read may have waited, and a version saved meanwhile is the one that the answer must speak of.
    segment = existing(call.catalog.segment(call.tenant, segment_id))
    swept(segment, [known])
    row = person.memberships or {}
    since_ms, until_ms = row.get(segment_id, (-1, NEVER))
    member, into = segment_id in row, merged_into(customer_id, person.customer_id)
    return answer(MembershipAnswer(member, when(since_ms) if member else None, until(until_ms), segment.version, known.as_of, merged_into=into))


async def past_membership(call: Call, customer_id: str, segment: Segment) -> Response:
    """Say whether a customer was in a segment at an instant, from history with what is known today."""
    at_ms = past_instant(call, call.query["at"], "/at")
    ranks = ranks_of(call.catalog.segments[call.tenant], segment)
    # When a rank held of one is told by comparing with everybody.
    call.spend("questions", EVERYBODY if ranks else 1.0)
    if call.query.get("after"):
        await person_of(call, customer_id)
    elif not is_customer_id(customer_id):
        raise absent("customer")
    turns, only_ms = await told(call, customer_id, segment, ranks, at_ms)
    if only_ms is not None:
        with_a_past(call.catalog.segments[call.tenant], segment)
    found, as_of_ms, survivor = await call.desk.asking.person(
        call.tenant, customer_id, lambda whom: WasMember(whom, segment.id, at_ms, turns, only_ms), _WAS, definitions=segment.answers_from + 1
    )
    if found is None:
        raise absent("customer")
    since, ended = (None, None) if only_ms is not None else (instant_or_none(found.since_ms), instant_or_none(found.until_ms))
    history_from, into = iso(found.history_from_ms), merged_into(customer_id, survivor)
    return answer(
        MembershipAnswer(found.member, since, ended, found.version, iso(as_of_ms), iso(at_ms), history_from, into, only_ms is not None or UNSET)
    )


async def person_of(call: Call, customer_id: str) -> tuple[Person, Known]:
    """Return whom an id means, as fresh as the client asks, and the marker; raises `Refused` 404 or 503."""
    if not is_customer_id(customer_id):
        raise absent("customer")
    desk = call.desk
    if not (after := call.query.get("after")):
        person, _ = await desk.reads.person(call.tenant, customer_id)
    else:
        needs, until_s = desk.freshness.needs(after), desk.freshness.deadline_s()
        home = desk.reads.home(call.tenant, customer_id)
        mine = desk.freshness.of(needs, home)
        while True:
            await desk.freshness.settle(mine, until_s, call.tenant)
            person, own = await desk.reads.person(call.tenant, customer_id)
            # Facts about the person arrive where any of its ids lives, and nowhere else.
            homes = {home, desk.reads.home(call.tenant, person.customer_id), *person.homes} & needs.keys()
            if homes <= mine.keys() and applied(mine, home, own, call.tenant):
                break
            mine = mine | {number: needs[number] for number in homes}
    marker = oldest([person.known])
    if person.memberships is None:
        raise absent("customer")
    return person, marker


def merged_into(asked: str, survivor: str) -> str | UnsetType:
    """Return whom the id asked about was merged into, if it was."""
    return UNSET if survivor == asked else survivor


def segments_of(catalog: Catalog, tenant: str, customer_id: str, person: Person, known: Known) -> CustomerSegments:
    """Return the segments of a customer as they are shown; raises `Refused` (503) where one is not known here yet."""
    segments, row, into = catalog.segments.get(tenant, {}), person.memberships or {}, merged_into(customer_id, person.customer_id)
    found = []
    for segment_id in sorted(row):
        segment = segments.get(segment_id)
        if segment is None:
            # Saved elsewhere, and swept before this process heard of it: to leave it out would be a false no.
            raise unavailable(f"segment {segment_id} is not known here yet")
        if not segment.archived:
            since_ms, until_ms = row[segment_id]
            found.append(Membership(segment_id, segment.name, segment.version, when(since_ms), until(until_ms)))
    definitions = known.marker.definitions
    if catalog.revisions.get(tenant, 0) <= definitions:
        return CustomerSegments(customer_id, known.as_of, found, merged_into=into)
    pending = [s.id for s in catalog.live_segments(tenant) if s.answers_from >= definitions]
    return CustomerSegments(customer_id, known.as_of, found, pending or UNSET, into)


_SINCE, _UNTIL = "2026-11-20T08:00:00.000Z", "2026-12-01T08:30:00.000Z"

ROUTES: Final = (
    RouteSpec(
        "GET", _PATH, memberships, _SCOPE, "Which segments is this customer in?",
        {200: Answer("By id.", CustomerSegments, {
            "customer_id": "718", "as_of": AS_OF,
            "segments": [{"id": "regulars", "name": "Regulars", "version": 1, "since": _SINCE, "until": _UNTIL}],
        })},
        "customers", "An id that was merged answers as the one it was merged into, with `merged_into`.", params=(AFTER,), errors=(404, 422),
        quick=True,
    ),
    RouteSpec(
        "GET", _PATH + "/{segment_id}", membership, _SCOPE, "Is this customer in this segment?",
        {200: Answer("Yes or no.", MembershipAnswer, {
            "member": True, "since": _SINCE, "until": _UNTIL, "version": 1, "as_of": AS_OF,
        })},
        "customers",
        "503 while a backfill has not come to this customer: then it cannot be known. `until` is of a membership: of someone who is not in "
        "ask `explain` when he will enter. With `at` it is answered from history with what is "
        "known today, also for a segment that was saved later. Of one that depends on a rank `until` is told up to now by what others "
        f"did, and beyond as if ranks stood still. Beyond {MOST_FACTS:,} events of the tenant the instant alone is told (`instant_only`): "
        "`since` and `until` are null, and it is 422 where a rank starts a `min_stay`.",
        params=(AT, AFTER), errors=(404, 422), quick=True,
    ),
)  # fmt: skip

_HEAD, _TAIL = b"/v1/customers/", b"/segments"
_KNOWN: Final = frozenset(param.name for param in ROUTES[0].params)


class FastLane:
    """Answers `memberships` before the router, which has the same route for the documentation.

    The layers of routing cost this question as much as everything else together, and an app asks it on every screen. For all
    other requests it puts the path back as it was sent: an id may contain any character, an escaped slash as well.
    """

    def __init__(self, app: FastAPI, desk: Desk) -> None:
        self.app, self.desk = app, desk
        self._seconds = desk.metrics.seconds.labels("GET", _PATH)
        self._good = desk.metrics.requests.labels("GET", _PATH, "200")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        raw: bytes = scope.get("raw_path") or scope["path"].encode()
        scope["path"] = raw.decode("latin-1")
        if raw.endswith(_TAIL) and raw.startswith(_HEAD) and scope["method"] == "GET" and b"/" not in (part := raw[len(_HEAD) : -len(_TAIL)]):
            scope["path_params"] = {"customer_id": part.decode("latin-1")}
            with self._seconds.time():
                response = await answered(self.desk, Request(scope), ROUTES[0], _KNOWN)
            if response.status_code == 200:
                self._good.inc()
            else:
                self.desk.metrics.requests.labels("GET", _PATH, str(response.status_code)).inc()
            await response(scope, receive, send)
        else:
            await self.app(scope, receive, send)
