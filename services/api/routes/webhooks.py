"""Webhook endpoints: create, read, list, replace, rotate, pause, resume, delete, and a signed test delivery. Secrets are shown once."""

from __future__ import annotations

import base64
import socket
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from fastapi import Response
from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from schemas import endpoints
from schemas.catalog import Endpoint
from schemas.definitions import EndpointDeleted, EndpointPaused, EndpointPut, EndpointRecord, EndpointResumed
from schemas.errors import shown
from schemas.events import has_control
from services.api.auth import new_id
from services.api.dispatcher.addresses import refused as refused_address
from services.api.dispatcher.client import send_test
from services.api.errors import Refused, absent, unavailable
from services.api.quotas import check_endpoints
from services.api.rates import OUTBOUND
from services.api.routes.common import AS_OF
from services.api.settings import ApiSettings
from services.api.shapes import EndpointBody, EndpointPage, EndpointView, TestResult
from services.api.views import endpoint_view
from services.api.web import Answer, Call, RouteSpec, answer

_SECRET_BYTES: Final = 32
_ATTEMPTS: Final = 3


async def create(call: Call) -> Response:
    """Save a new endpoint and show its secret, once."""
    body = await call.body(EndpointBody)
    check_endpoints(call)
    secret = _new_secret(call)
    put = _put(call, new_id("whk", call.desk.randomness), 0, secret, body)
    await call.desk.writer.define(put)
    headers = {"Location": f"/v1/webhooks/{put.endpoint_id}"}
    return answer(_view(call, endpoints.saved(put, None), secret=secret), 201, etag=1, headers=headers)


async def list_all(call: Call) -> Response:
    """Show all endpoints."""
    return answer(EndpointPage([_view(call, endpoint) for endpoint in call.catalog.endpoints_of(call.tenant)], None))


async def read(call: Call) -> Response:
    """Show one endpoint."""
    endpoint = existing(call)
    return answer(_view(call, endpoint), etag=endpoint.revision)


async def replace_all(call: Call) -> Response:
    """Save an endpoint as it shall be; its secret stays."""
    matching = call.if_match()
    body = await call.body(EndpointBody)
    made = await saved(call, matching, lambda found: _put(call, found.id, found.revision, found.secret, body))
    return answer(_view(call, made), etag=made.revision)


async def rotate(call: Call) -> Response:
    """Give an endpoint a new secret and show it, once; deliveries are signed with the former one as well for a day."""
    matching, secret = call.if_match(), _new_secret(call)
    made = await saved(call, matching, lambda found: replace(found.record(call.desk.now_ms()), secret=secret))
    return answer(_view(call, made, secret=secret), etag=made.revision)


async def pause(call: Call) -> Response:
    """Push nothing to an endpoint until it is resumed."""

    def record(found: Endpoint) -> EndpointPaused | None:
        if not found.enabled:
            raise Refused(409, f"the endpoint is disabled; POST /v1/webhooks/{found.id}/resume enables it")
        at_ms = call.desk.now_ms()
        return EndpointPaused(tenant=call.tenant, at_ms=at_ms, endpoint_id=found.id, revision=found.revision) if found.on else None

    made = await saved(call, call.if_match(), record)
    return answer(_view(call, made), etag=made.revision)


async def resume(call: Call) -> Response:
    """Push to an endpoint that was paused or disabled again."""

    def record(found: Endpoint) -> EndpointResumed | None:
        at_ms = call.desk.now_ms()
        return None if found.on else EndpointResumed(tenant=call.tenant, at_ms=at_ms, endpoint_id=found.id, revision=found.revision)

    made = await saved(call, call.if_match(), record)
    return answer(_view(call, made), etag=made.revision)


async def saved(call: Call, matching: list[str] | None, record_of: Callable[[Endpoint], EndpointRecord | None]) -> Endpoint:
    """Save what is made of the endpoint as it is, nothing where that is None; return what it is then."""
    for attempt in range(_ATTEMPTS):
        current = existing(call)
        if matching is not None and not {"*", str(current.revision)} & set(matching):
            raise Refused(412, f"the endpoint is at revision {current.revision}; read it again", {"ETag": f'"{current.revision}"'})
        record = record_of(current)
        if record is None:
            return current
        try:
            await call.desk.writer.define(record)
        except Refused as error:
            # Without If-Match the client means the endpoint as it is, so losing a race is ours to repeat.
            if matching is None and error.status == 412 and attempt < _ATTEMPTS - 1:
                continue
            raise
        return existing(call)
    raise unavailable("others keep changing this endpoint")


async def delete(call: Call) -> Response:
    """Remove an endpoint; what is pending for it is cancelled."""
    endpoint = existing(call)
    await call.desk.writer.define(EndpointDeleted(tenant=call.tenant, at_ms=call.desk.now_ms(), endpoint_id=endpoint.id))
    return Response(status_code=204)


async def test(call: Call) -> Response:
    """Send a signed test delivery at once and show what came of it."""
    endpoint = existing(call)
    with call.desk.testing.lent(call.tenant):
        found = await send_test(endpoint, call.desk.settings, call.desk.now_ms())
    delivered = found.status is not None and 200 <= found.status < 300
    return answer(TestResult(delivered, found.status, found.duration_ms, found.error))


def _view(call: Call, endpoint: Endpoint, *, secret: str | UnsetType = UNSET) -> EndpointView:
    return endpoint_view(endpoint, call.desk.affairs.affairs.failing_since(endpoint), secret=secret)


def _new_secret(call: Call) -> str:
    return "whsec_" + base64.b64encode(call.desk.randomness(_SECRET_BYTES)).decode()


def existing(call: Call) -> Endpoint:
    """Return the endpoint that the path names; raises `Refused` (404) when there is none of the tenant's."""
    endpoint = call.catalog.endpoints.get(call.tenant, {}).get(call.path("id"))
    if endpoint is None or endpoint.deleted:
        raise absent("webhook")
    return endpoint


def _put(call: Call, endpoint_id: str, replaces: int, secret: str, body: EndpointBody) -> EndpointPut:
    check_url(body.url, call.desk.settings)
    for index, segment_id in enumerate(body.segments or ()):
        segment = call.catalog.segment(call.tenant, segment_id)
        if segment is None or segment.archived:
            raise Refused(422, f"there is no segment {shown(segment_id)}", pointer=f"/segments/{index}")
    return EndpointPut(
        tenant=call.tenant,
        at_ms=call.desk.now_ms(),
        endpoint_id=endpoint_id,
        replaces=replaces,
        url=body.url,
        secret=secret,
        segments=None if body.segments is None else list(dict.fromkeys(body.segments)),
        changes=list(dict.fromkeys(body.changes)),
        causes=None if body.causes is None else list(dict.fromkeys(body.causes)),
        imports=body.imports,
        enabled=body.enabled,
        description=body.description or "",
    )


def check_url(url: str, settings: ApiSettings) -> None:
    """Check where an endpoint wants its deliveries; raises `Refused` (422). A name's addresses are judged at each connection."""
    parts = _split(url)
    host = parts.hostname or ""
    if parts.scheme not in ("http", "https") or not host:
        raise Refused(422, f"{shown(url)} is not an address like https://example.com/hook", pointer="/url")
    if parts.username is not None or parts.password is not None:
        raise Refused(422, "credentials do not belong into the address; verify the signature instead", pointer="/url")
    if parts.fragment:
        raise Refused(422, "an address has no fragment", pointer="/url")
    reason = None if (literal := _literal(host)) is None else refused_address(literal, settings.webhook_allow)
    if reason is not None:
        raise Refused(422, f"webhooks do not go to {shown(host)}: {reason}", pointer="/url")


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises when it is no port
    except ValueError:
        raise Refused(422, f"{shown(url)} is not an address like https://example.com/hook", pointer="/url") from None
    if has_control(url) or not url.isascii() or "\\" in url or " " in url or "%" in (parts.hostname or ""):
        raise Refused(422, "an address is ASCII without spaces; write other characters percent-encoded, and hosts in punycode", pointer="/url")
    return parts


def _literal(host: str) -> str | None:
    """Return the address that a host is written as, None for a name. Also as 127.1, 0x7f000001 or 2130706433, as C reads them."""
    try:
        return str(ip_address(host))
    except ValueError:
        pass
    try:
        return socket.inet_ntoa(socket.inet_aton(host.rstrip(".")))
    except OSError:
        return None


_BODY: Final[dict[str, Any]] = {
    "url": "https://example.com/rollcall",
    "segments": ["regulars"],
    "changes": ["entered", "exited"],
    "causes": None,
    "imports": False,
    "description": "campaign tool",
}
_ENDPOINT: Final[dict[str, Any]] = {
    "id": "whk_5f2a9c01d2e3b4a5f6c7",
    **_BODY,
    "enabled": True,
    "status": "enabled",
    "status_reason": None,
    "status_since": None,
    "failing_since": None,
    "created_at": AS_OF,
}
_PAUSED: Final = _ENDPOINT | {"status": "paused", "status_since": AS_OF}
_IF_MATCH: Final = "The revision that you have seen; without it whichever there is."

ROUTES: Final = (
    RouteSpec(
        "POST", "/v1/webhooks", create, "webhooks:write", "Create a webhook endpoint",
        {201: Answer("The secret is shown here and never again.", EndpointView, _ENDPOINT | {"secret": "whsec_…"}, etag=True)},
        "webhooks", "Deliveries are signed as Standard Webhooks say. Private, loopback and link-local addresses are refused.",
        body=EndpointBody, examples={"campaign": _BODY}, errors=(400, 408, 413, 415, 422),
    ),
    RouteSpec(
        "GET", "/v1/webhooks", list_all, "webhooks:read", "List webhook endpoints",
        {200: Answer("By id.", EndpointPage, {"webhooks": [_ENDPOINT], "next": None})}, "webhooks",
    ),
    RouteSpec(
        "GET", "/v1/webhooks/{id}", read, "webhooks:read", "Read a webhook endpoint",
        {200: Answer("Without its secret.", EndpointView, _ENDPOINT, etag=True)}, "webhooks", errors=(404,),
    ),
    RouteSpec(
        "PUT", "/v1/webhooks/{id}", replace_all, "webhooks:write", "Replace a webhook endpoint",
        {200: Answer("Saved; the secret stays.", EndpointView, _ENDPOINT, etag=True)}, "webhooks",
        body=EndpointBody, examples={"campaign": _BODY}, if_match=_IF_MATCH,
        errors=(400, 404, 408, 412, 413, 415, 422),
    ),
    RouteSpec(
        "DELETE", "/v1/webhooks/{id}", delete, "webhooks:write", "Delete a webhook endpoint",
        {204: Answer("Deleted; what was pending for it is cancelled.")}, "webhooks", errors=(404,),
    ),
    RouteSpec(
        "POST", "/v1/webhooks/{id}/rotate", rotate, "webhooks:write", "Give a webhook endpoint a new secret",
        {200: Answer("The new secret is shown here and never again.", EndpointView, _ENDPOINT | {"secret": "whsec_…"}, etag=True)},
        "webhooks", "For a day each delivery carries two signatures, of the new secret and of the former one, so that receivers "
        "change over without missing any. A secret that has leaked is out of use at once when the endpoint is rotated twice.",
        if_match=_IF_MATCH, errors=(400, 404, 412, 422),
    ),
    RouteSpec(
        "POST", "/v1/webhooks/{id}/pause", pause, "webhooks:write", "Pause a webhook endpoint",
        {200: Answer("Nothing is pushed to it; what was pending is cancelled.", EndpointView, _PAUSED, etag=True)},
        "webhooks", "What happens meanwhile is not queued. 409 for a disabled endpoint.",
        if_match=_IF_MATCH, errors=(400, 404, 409, 412),
    ),
    RouteSpec(
        "POST", "/v1/webhooks/{id}/resume", resume, "webhooks:write", "Push to a webhook endpoint again",
        {200: Answer("From here on.", EndpointView, _ENDPOINT, etag=True)},
        "webhooks", "Whether it was paused or disabled, by hand or by itself.", if_match=_IF_MATCH, errors=(400, 404, 412),
    ),
    RouteSpec(
        "POST", "/v1/webhooks/{id}/test", test, "webhooks:write", "Send a test delivery",
        {200: Answer("What came of it.", TestResult, {"delivered": True, "status": 204, "duration_ms": 12, "error": None})},
        "webhooks", "One signed delivery, at once, not repeated. Whether the receiver takes it is in the answer.", errors=(404,), cost=OUTBOUND,
    ),
)  # fmt: skip
