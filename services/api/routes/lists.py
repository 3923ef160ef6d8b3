"""Manual lists: putting customers on a segment's include or exclude list, and taking them off. It makes no new version."""

from __future__ import annotations

from functools import partial
from typing import Final

from fastapi import Response

from schemas.positions import encode_position
from services.api.errors import Refused
from services.api.rates import ENTRY
from services.api.routes.common import POSITION
from services.api.shapes import ListEdit, ListEdited
from services.api.views import existing, is_customer_id
from services.api.web import Answer, Call, RouteSpec, answer
from services.api.writer import Edit, ListName


async def edit(call: Call, name: ListName) -> Response:
    """Publish the entries and answer once Kafka has them."""
    segment_id = call.path("id")
    existing(call.catalog.segment(call.tenant, segment_id))
    body = await call.body(ListEdit)
    for place, ids in (("add", body.add), ("remove", body.remove)):
        for index, customer_id in enumerate(ids):
            if not is_customer_id(customer_id):
                raise Refused(422, "a customer id has no control characters", pointer=f"/{place}/{index}")
    removed = dict.fromkeys(body.remove)
    added = [customer_id for customer_id in dict.fromkeys(body.add) if customer_id not in removed]
    call.spend("writes", ENTRY * (len(added) + len(removed)))
    await call.desk.writer.settled()
    segment = existing(call.catalog.segment(call.tenant, segment_id))
    edits: list[Edit] = [*((name, customer_id, True) for customer_id in added), *((name, customer_id, False) for customer_id in removed)]
    offsets = await call.desk.writer.entries(segment, edits, call.desk.randomness(16)) if edits else {}
    return answer(ListEdited(len(added), len(removed), encode_position(offsets)), 202)


def _route(name: ListName, summary: str) -> RouteSpec:
    return RouteSpec(
        "POST", f"/v1/segments/{{id}}/{name}", partial(edit, name=name), "segments:write", summary,
        {202: Answer("Kafka has every entry.", ListEdited, {"added": 2, "removed": 1, "position": POSITION})},
        "segments", "At most 10,000 customers a call; they need not have sent an event.",
        body=ListEdit, examples={"edit": {"add": ["718", "1228"], "remove": ["9"]}}, errors=(400, 404, 408, 413, 415, 422),
    )  # fmt: skip


ROUTES: Final = (
    _route("include", "Put customers into a segment by hand"),
    _route("exclude", "Keep customers out of a segment by hand"),
)
