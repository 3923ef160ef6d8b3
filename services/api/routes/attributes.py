"""Attributes: what rules can ask of a profile and of custom events. A tenant declares its own, with a kind that stays."""

from __future__ import annotations

from typing import Final

from fastapi import Response

from schemas.catalog import Attribute
from schemas.definitions import AttributePut
from schemas.errors import shown
from schemas.vocabulary import ATTRIBUTES, DERIVED_ATTRIBUTES, Kind
from services.api.errors import Refused, absent
from services.api.shapes import AttributeBody, AttributePage, AttributeView
from services.api.views import attribute_view
from services.api.web import Answer, Call, RouteSpec, answer

_KINDS: Final = tuple(str(kind) for kind in Kind)
_EVERYONES: Final = {
    **{name: AttributeView(name=name, kind=kind, origin="known", created_at=None) for name, kind in ATTRIBUTES.items()},
    **{name: AttributeView(name=name, kind=kind, origin="derived", created_at=None) for name, kind in DERIVED_ATTRIBUTES.items()},
}


async def list_all(call: Call) -> Response:
    """Show every attribute that the tenant's rules can name."""
    declared = {attribute.name: attribute_view(attribute) for attribute in call.catalog.attributes(call.tenant)}
    return answer(AttributePage([view for _, view in sorted((_EVERYONES | declared).items())], None))


async def read(call: Call) -> Response:
    """Show one attribute."""
    name = call.path("name")
    found = _EVERYONES.get(name) or next((attribute_view(a) for a in call.catalog.attributes(call.tenant) if a.name == name), None)
    if found is None:
        raise absent("attribute")
    return answer(found)


async def declare(call: Call) -> Response:
    """Declare an attribute. Again is the same answer; another kind is refused."""
    name = call.path("name")
    body = await call.body(AttributeBody)
    if body.kind not in _KINDS:
        raise Refused(422, f"unknown kind {shown(body.kind)}; one of {', '.join(_KINDS)}", pointer="/kind")
    kind = Kind(body.kind)
    for known in call.catalog.attributes(call.tenant):
        if known.name == name and known.kind is kind:
            return answer(attribute_view(known))
    at_ms = call.desk.now_ms()
    await call.desk.writer.define(AttributePut(tenant=call.tenant, at_ms=at_ms, name=name, kind=kind))
    return answer(attribute_view(Attribute(name, kind, at_ms)), 201)


_DECLARED: Final = {"name": "shoe_size", "kind": "integer", "origin": "declared", "created_at": "2026-11-20T08:00:00.000Z"}
_KNOWN: Final = {"name": "age", "kind": "integer", "origin": "derived", "created_at": None}

ROUTES: Final = (
    RouteSpec(
        "GET", "/v1/attributes", list_all, "segments:read", "List attributes",
        {200: Answer("Every tenant's and the tenant's own, by name.", AttributePage, {"attributes": [_KNOWN, _DECLARED], "next": None})},
        "attributes",
    ),
    RouteSpec(
        "GET", "/v1/attributes/{name}", read, "segments:read", "Read an attribute",
        {200: Answer("Its kind, and whose it is.", AttributeView, _DECLARED)}, "attributes", errors=(404,),
    ),
    RouteSpec(
        "PUT", "/v1/attributes/{name}", declare, "segments:write", "Declare an attribute",
        {
            200: Answer("It was declared so already.", AttributeView, _DECLARED),
            201: Answer("Declared. Rules can name it, and values that were stored before have this kind as well.", AttributeView, _DECLARED),
        },
        "attributes",
        "`properties.` before the name declares a property of custom events. A kind never changes; values that do not fit it count as absent.",
        body=AttributeBody, examples={"a number": {"kind": "integer"}}, errors=(400, 408, 409, 413, 415, 422),
    ),
)  # fmt: skip
