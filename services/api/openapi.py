"""The published OpenAPI document, made from the table of routes: what is written there is what the guard enforces."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from schemas.examples import PROBLEM
from schemas.problems import MEDIA_TYPE, Problem, problem
from schemas.rule_schema import rule_schema
from schemas.transitions import Transition
from services.api.web import Answer, RouteSpec

_REF: Final = "#/components/schemas/{name}"
_PATH_PARAMETER: Final = re.compile(r"\{(\w+)\}")
_ETAG: Final = {"ETag": {"description": "The version, for If-Match.", "schema": {"type": "string"}, "example": '"1"'}}
_RETRY: Final = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}}
_CHALLENGE: Final = {"WWW-Authenticate": {"description": "The scheme, and the missing scope.", "schema": {"type": "string"}}}
_ERRORS: Final[dict[int, tuple[str, str]]] = {
    400: ("Broken JSON, or a header that cannot be read.", "broken JSON: JSON is malformed: invalid character (byte 12)"),
    401: ("No key, or a wrong one.", "send a valid API key as Authorization: Bearer …"),
    403: ("The key lacks the scope.", "this key does not have the scope segments:write"),
    404: ("It is not there, or not yours: the same answer.", "no such segment"),
    408: ("The body did not arrive in time.", "the body did not arrive within 30 s"),
    409: (
        "It does not go with what is in force: an id or level that is taken, a segment that others refer to, an archived one.",
        "segment regulars exists; ids are never used again",
    ),
    410: ("What was after the cursor has expired.", "the transitions after this cursor have expired; begin anew without after"),
    412: ("Someone else has written meanwhile.", "segment regulars is at version 4, not 3; read it again"),
    413: ("The body is too large.", "a body has at most 10485760 bytes"),
    415: ("Another media type.", "the media type is application/json, not text/plain"),
    422: ("It says something that cannot be accepted; `pointer` is the place.", "unknown measure 'cuont'; one of count, sum, avg, …"),
    428: ("If-Match is missing.", 'say with If-Match which version you have seen, like If-Match: "1"'),
    429: ("The key, or its tenant, does more than it may; `Retry-After` says when to come again.", "this key has used more than 500 reads a second"),
    503: (
        "It cannot be known or done at the moment; ask again.",
        "the projection of a partition is being built; nothing can be known of its customers yet",
    ),
}
_HEADERS: Final[dict[int, dict[str, Any]]] = {401: _CHALLENGE, 403: _CHALLENGE, 412: _ETAG, 429: _RETRY, 503: _RETRY}
_ALWAYS: Final = (401, 403, 429, 503)


def document(app: FastAPI, routes: Sequence[RouteSpec]) -> dict[str, Any]:
    """Return the OpenAPI document of the application."""
    found = get_openapi(
        title=app.title,
        version=app.version,
        description="Who is in which segment right now, and who just entered or left? Every answer says how fresh it is (`as_of`); "
        "what cannot be known is 503, never a false no.",
        routes=app.routes,
    )
    types: dict[Any, None] = {Problem: None, Transition: None}
    for spec in routes:
        types |= dict.fromkeys(answer.body for answer in spec.answers.values() if answer.body is not None)
        types |= dict.fromkeys([spec.body] if spec.body else [])
    shapes, components = msgspec.json.schema_components(list(types), ref_template=_REF)
    components["Problem"]["example"] = PROBLEM
    components |= _rule_components()
    refs = dict(zip(types, shapes, strict=True))
    for spec in routes:
        found["paths"].setdefault(spec.path, {})[spec.method.lower()] = _operation(spec, refs)
    found.setdefault("components", {})["schemas"] = components
    found["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer", "description": "An API key; it names the tenant."}}
    return found


def _operation(spec: RouteSpec, refs: dict[Any, Any]) -> dict[str, Any]:
    text = {"type": "string"}
    parameters: list[dict[str, Any]] = [{"name": name, "in": "path", "required": True, "schema": text} for name in _PATH_PARAMETER.findall(spec.path)]
    for param in spec.params:
        shown = {"name": param.name, "in": "query", "description": param.description, "schema": dict(param.schema)}
        parameters.append(shown if param.example is None else shown | {"example": param.example})
    if spec.if_match:
        parameters.append({"name": "If-Match", "in": "header", "description": spec.if_match, "schema": text, "example": '"1"'})
    responses = {str(status): _good(answer, refs) for status, answer in spec.answers.items()}
    responses |= {str(status): _error(status) for status in sorted({*spec.errors, *_ALWAYS})}
    operation: dict[str, Any] = {
        "tags": [spec.tag],
        "summary": spec.summary,
        "description": f"{spec.description}\n\nScope: `{spec.scope}`.".strip(),
        "operationId": f"{spec.method.lower()}{re.sub(r'[^a-z]+', '_', spec.path)}".rstrip("_"),
        "parameters": parameters,
        "responses": responses,
        "security": [{"key": []}],
    }
    if spec.body is not None:
        examples = {name: {"value": example} for name, example in spec.examples.items()}
        operation["requestBody"] = {"required": True, "content": {spec.media_type: {"schema": refs[spec.body], "examples": examples}}}
    return operation


def _good(answer: Answer, refs: dict[Any, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"description": answer.description}
    if answer.body is not None:
        found["content"] = {"application/json": {"schema": refs[answer.body], "example": answer.example}}
    if answer.etag:
        found["headers"] = _ETAG
    return found


def _error(status: int) -> dict[str, Any]:
    when, detail = _ERRORS[status]
    content = {"schema": refs_to("Problem"), "example": msgspec.to_builtins(problem(status, detail))}
    return {"description": when, "headers": _HEADERS.get(status, {}), "content": {MEDIA_TYPE: content}}


def refs_to(name: str) -> dict[str, str]:
    """Return a reference to a component."""
    return {"$ref": _REF.format(name=name)}


def _rule_components() -> dict[str, Any]:
    """Return the published schema of rules, its definitions as components with names of their own."""
    schema = rule_schema()
    definitions = schema.pop("$defs")
    schema.pop("$id", None)
    # The rule's own definitions begin with Rule_, so that they cannot meet a shape of the same name.
    text = json.dumps({"Rule": schema, **{f"Rule_{name}": definition for name, definition in definitions.items()}})
    found: dict[str, Any] = json.loads(text.replace('"#/$defs/', '"#/components/schemas/Rule_'))
    return found
