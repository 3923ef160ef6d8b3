"""API keys: made, listed and revoked within the tenant of the asking key, and never stronger than it."""

from __future__ import annotations

from typing import Final

from fastapi import Response

from schemas.catalog import Key
from schemas.definitions import SCOPES, KeyPut, KeyRevoked
from services.api.auth import hash_of, new_id, new_key
from services.api.errors import Refused, absent
from services.api.quotas import check_keys
from services.api.shapes import KeyBody, KeyPage, KeyView
from services.api.views import key_view
from services.api.web import Answer, Call, RouteSpec, answer

_SCOPE: Final = "keys:write"


async def create(call: Call) -> Response:
    """Make a key and show it, once."""
    body = await call.body(KeyBody)
    stronger = sorted(set(body.scopes) - call.key.scopes)
    if stronger:
        raise Refused(403, f"this key cannot give scopes that it does not have: {', '.join(stronger)}", pointer="/scopes")
    check_keys(call)
    secret, key_id, at_ms = new_key(call.desk.randomness), new_id("key", call.desk.randomness), call.desk.now_ms()
    scopes = [scope for scope in SCOPES if scope in body.scopes]
    put = KeyPut(tenant=call.tenant, at_ms=at_ms, key_id=key_id, name=body.name, scopes=scopes, sha256=hash_of(secret))
    await call.desk.writer.define(put)
    made = Key(key_id, call.tenant, body.name, frozenset(scopes), at_ms)
    return answer(key_view(made, secret=secret), 201, headers={"Location": f"/v1/keys/{key_id}"})


async def list_all(call: Call) -> Response:
    """Show the keys in force."""
    return answer(KeyPage([key_view(key) for key in keys_of(call)], None))


async def read(call: Call) -> Response:
    """Show one key."""
    return answer(key_view(_existing(call)))


async def revoke(call: Call) -> Response:
    """Revoke a key."""
    await call.desk.writer.define(KeyRevoked(tenant=call.tenant, at_ms=call.desk.now_ms(), key_id=_existing(call).id))
    return Response(status_code=204)


def keys_of(call: Call) -> list[Key]:
    """Return the tenant's keys by id."""
    return sorted((key for key in call.catalog.keys.values() if key.tenant == call.tenant), key=lambda key: key.id)


def _existing(call: Call) -> Key:
    wanted = call.path("id")
    for key in keys_of(call):
        if key.id == wanted:
            return key
    raise absent("key")


_KEY: Final = {"id": "key_5f2a9c01d2e3b4a5f6c7", "name": "till", "scopes": ["events:write"], "created_at": "2026-11-20T08:00:00.000Z"}

ROUTES: Final = (
    RouteSpec(
        "POST", "/v1/keys", create, _SCOPE, "Make an API key",
        {201: Answer("The key is shown here and never again.", KeyView, _KEY | {"key": "rollcall_…"})},
        "keys", "Only with scopes that the asking key has itself.", body=KeyBody,
        examples={"till": {"name": "till", "scopes": ["events:write"]}}, errors=(400, 408, 413, 415, 422),
    ),
    RouteSpec(
        "GET", "/v1/keys", list_all, _SCOPE, "List API keys",
        {200: Answer("Those in force.", KeyPage, {"keys": [_KEY], "next": None})}, "keys",
    ),
    RouteSpec(
        "GET", "/v1/keys/{id}", read, _SCOPE, "Read an API key",
        {200: Answer("Without the key itself.", KeyView, _KEY)}, "keys", errors=(404,),
    ),
    RouteSpec("DELETE", "/v1/keys/{id}", revoke, _SCOPE, "Revoke an API key", {204: Answer("Revoked.")}, "keys", errors=(404,)),
)  # fmt: skip
