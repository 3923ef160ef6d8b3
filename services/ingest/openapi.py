"""The published OpenAPI document: real examples for each media type, and every error that a client can meet."""

from __future__ import annotations

import json
from functools import reduce
from operator import or_
from typing import Any, Final

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from schemas import events
from schemas.examples import EVENTS, PROBLEM
from schemas.generate import published_struct
from schemas.positions import encode_position
from schemas.problems import MEDIA_TYPE, Problem, problem
from services.ingest.bodies import JSON_TYPES, LINES_TYPES

_REF: Final = "#/components/schemas/{name}"
_EVENT: Final[dict[str, Any]] = {"$ref": _REF.format(name="Event")}
_PROBLEM: Final[dict[str, Any]] = {"$ref": _REF.format(name="Problem")}
_SHOP: Final = [EVENTS["checkout"], EVENTS["coupon-redemption"], EVENTS["email-open"]]
_REJECTED: Final = {"index": 2, "status": 422, "pointer": "/total", "detail": "total is missing"}
_RETRY: Final = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}}
_CHALLENGE: Final = {"WWW-Authenticate": {"description": "The scheme, and the missing scope.", "schema": {"type": "string"}}}

ACCEPTED: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["accepted", "rejected", "results", "position"],
    "properties": {
        "accepted": {"type": "integer", "description": "Events that Kafka has acknowledged on all replicas."},
        "rejected": {"type": "integer"},
        "results": {"type": "array", "items": {"$ref": _REF.format(name="Rejection")}, "description": "The rejected ones only."},
        "position": {"type": "string", "description": "Opaque; a read with ?after=position waits until these events are in the answer."},
    },
    "example": {"accepted": 2, "rejected": 1, "results": [_REJECTED], "position": encode_position({"checkouts": {3: 42}})},
}
REJECTION: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["index", "status", "pointer", "detail"],
    "properties": {
        "index": {"type": "integer", "description": "Place in the array, or the line's number from 0."},
        "status": {"type": "integer", "enum": [400, 413, 422]},
        "pointer": {"type": "string", "description": "JSON Pointer into the event; empty for the whole of it."},
        "detail": {"type": "string"},
    },
    "example": _REJECTED,
}


def _error(status: int, when: str, detail: str, headers: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    example = msgspec.to_builtins(problem(status, detail, **more))
    return {"description": when, "headers": headers or {}, "content": {MEDIA_TYPE: {"schema": _PROBLEM, "example": example}}}


_RESPONSES: Final[dict[str, Any]] = {
    "202": {
        "description": "Kafka has acknowledged every accepted event; the rejected ones are named.",
        "content": {"application/json": {"schema": {"$ref": _REF.format(name="Accepted")}}},
    },
    "400": _error(400, "Broken JSON or gzip, as a whole.", "broken JSON: JSON is malformed: invalid character (byte 12)"),
    "401": _error(401, "No key, or a wrong one.", "send a valid API key as Authorization: Bearer …", _CHALLENGE),
    "403": _error(403, "The key lacks the scope.", "this key does not have the scope events:write", _CHALLENGE),
    "408": _error(408, "The body did not arrive in time.", "the body did not arrive within 30 s"),
    "413": _error(413, "Too many bytes, before or after gzip, or too many events.", "a body has at most 5242880 bytes"),
    "415": _error(415, "Another media type or encoding.", "the content encoding is gzip or none, not br"),
    "422": _error(
        422,
        "No event can be accepted; for a single one, `pointer` is the place.",
        "total is missing",
        pointer="/total",
        errors=[_REJECTED],
    ),
    "429": _error(429, "The key sends too much.", "this key has used more than 100000 events a second", _RETRY),
    "503": _error(
        503,
        "Kafka is gone or too slow; nothing was acknowledged.",
        "nothing was acknowledged, send it again: Kafka does not acknowledge",
        _RETRY,
    ),
}

_LINES: Final = "".join(json.dumps(event) + "\n" for event in _SHOP)
_BODY: Final[dict[str, Any]] = {
    "required": True,
    "description": "One event, an array of them, or one to a line. May be sent with `Content-Encoding: gzip`.",
    "content": {
        JSON_TYPES[0]: {
            "schema": {"oneOf": [_EVENT, {"type": "array", "items": _EVENT}]},
            "examples": {
                **{name: {"summary": f"One event: {name}", "value": event} for name, event in EVENTS.items()},
                "array": {"summary": "An array of events", "value": _SHOP},
            },
        },
        LINES_TYPES[0]: {
            "schema": {"type": "string", "description": "One event to a line."},
            "examples": {"lines": {"summary": "Events, one to a line", "value": _LINES}},
        },
    },
}

POST_EVENTS: Final[dict[str, Any]] = {
    "summary": "Send events",
    "description": "Answers 202 once Kafka has acknowledged. The same `event_id` sent again counts once, so a client that got no answer, "
    "a 429 or a 503 sends the same body again. The tenant comes from the API key. A batch keeps its good events and names the others.",
    "tags": ["events"],
    "status_code": 202,
    "openapi_extra": {"requestBody": _BODY, "responses": _RESPONSES, "security": [{"key": []}]},
}


def document(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document of the application."""
    found = get_openapi(title=app.title, version=app.version, description="Takes events into Rollcall.", routes=app.routes)
    post = found["paths"]["/v1/events"]["post"]
    post["responses"] = _RESPONSES
    union = reduce(or_, (published_struct(member) for member in events.Event.__args__))
    (event, _), components = msgspec.json.schema_components([union, Problem], ref_template=_REF)
    components["Problem"]["example"] = PROBLEM
    schemas = found.setdefault("components", {}).setdefault("schemas", {})
    schemas.update(components, Event=event, Accepted=ACCEPTED, Rejection=REJECTION)
    found["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer", "description": "An API key with events:write."}}
    return found
