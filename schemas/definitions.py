"""Definitions: the records of the one-partition topic that says which tenants, keys, segments and endpoints there are.

Nothing here is true because it was written; it is true because the fold accepted it (`schemas.catalog`). Each writer sends
what it replaces, so that of two at once one wins and the other learns it.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct

from schemas.errors import Refusal
from schemas.events import Tenant
from schemas.transitions import CauseKind, Change

SegmentId = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$", description="Chosen by the writer, never used again.")]
Scope = Literal["events:write", "segments:read", "segments:write", "customers:read", "changes:read", "webhooks:read", "webhooks:write", "keys:write"]
SCOPES: Final[tuple[Scope, ...]] = (
    "events:write",
    "segments:read",
    "segments:write",
    "customers:read",
    "changes:read",
    "webhooks:read",
    "webhooks:write",
    "keys:write",
)


class TenantPut(Struct, tag_field="record", tag="tenant", kw_only=True):
    """Create a tenant. Zone, currency and country stay: amounts and windows already counted depend on them."""

    tenant: Tenant
    at_ms: int
    timezone: str
    currency: str
    country: str


class KeyPut(Struct, tag_field="record", tag="key", kw_only=True):
    """Create an API key; only its hash is kept (`sha256` in hex of the whole key)."""

    tenant: Tenant
    at_ms: int
    key_id: str
    name: str
    scopes: list[Scope]
    sha256: str


class KeyRevoked(Struct, tag_field="record", tag="key-revoked", kw_only=True):
    """Revoke an API key."""

    tenant: Tenant
    at_ms: int
    key_id: str


class SegmentPut(Struct, tag_field="record", tag="segment", kw_only=True):
    """Save a segment: `replaces` is the version that the writer saw, 0 to create.

    `rule` is the canonical JSON of the rule, None for a manual segment. `resets` names the manual lists that start anew.
    """

    tenant: Tenant
    at_ms: int
    segment_id: SegmentId
    replaces: int
    name: str
    description: str = ""
    rule: Any = None
    resets: list[Literal["include", "exclude"]] = msgspec.field(default_factory=list)


class SegmentArchived(Struct, tag_field="record", tag="segment-archived", kw_only=True):
    """End a segment: its members leave. Its id is never used again."""

    tenant: Tenant
    at_ms: int
    segment_id: SegmentId
    replaces: int


class EndpointPut(Struct, tag_field="record", tag="endpoint", kw_only=True):
    """Save a webhook endpoint: `replaces` is the revision that the writer saw, 0 to create.

    `segments` and `causes` None mean all, but `definition` is pushed only where it is named, and imports only with `imports`.
    """

    tenant: Tenant
    at_ms: int
    endpoint_id: str
    replaces: int
    url: str
    secret: str
    segments: list[SegmentId] | None = None
    changes: list[Change] = msgspec.field(default_factory=lambda: ["entered", "exited"])
    causes: list[CauseKind] | None = None
    imports: bool = False
    enabled: bool = True
    description: str = ""


class EndpointDeleted(Struct, tag_field="record", tag="endpoint-deleted", kw_only=True):
    """Remove an endpoint; what was pending for it is cancelled."""

    tenant: Tenant
    at_ms: int
    endpoint_id: str


Definition = TenantPut | KeyPut | KeyRevoked | SegmentPut | SegmentArchived | EndpointPut | EndpointDeleted

_decoder: Final = msgspec.json.Decoder(Definition, float_hook=Decimal)
encode_definition: Final = msgspec.json.Encoder(decimal_format="number").encode


def decode_definition(document: bytes) -> Definition:
    """Read a definition; raise `Refusal` on anything else."""
    try:
        return _decoder.decode(document)  # type: ignore[no-any-return]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal(str(error)[:300], reason="malformed") from None
