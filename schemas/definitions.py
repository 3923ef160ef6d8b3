"""Definitions: the records of the one-partition topic that says which tenants, keys, attributes, segments and endpoints there are.

Nothing here is true because it was written; it is true because the fold accepted it (`schemas.catalog`). Each writer sends
what it replaces, so that of two at once one wins and the other learns it.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from schemas.errors import Refusal
from schemas.events import Tenant
from schemas.rules import SEGMENT_ID_PATTERN
from schemas.transitions import CauseKind, Change
from schemas.vocabulary import Kind

MAX_LEVEL: Final = 1_000
SegmentId = Annotated[str, Meta(pattern=SEGMENT_ID_PATTERN, description="Chosen by the writer, never used again.")]
Scope = Literal["events:write", "segments:read", "segments:write", "customers:read", "changes:read", "webhooks:read", "webhooks:write", "keys:write"]
DisabledReason = Literal["asked", "gone", "failing"]
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
    """Create a tenant. Zone, currency and country stay: amounts and windows already counted depend on them.

    `salt` is a secret that ids of erased customers are hashed with; see `schemas.identity`.
    """

    tenant: Tenant
    at_ms: int
    timezone: str
    currency: str
    country: str
    salt: str = ""


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


class Tier(Struct, frozen=True, forbid_unknown_fields=True):
    """A place in a family of segments, of which a customer is in the highest only. Levels are unique in their family."""

    family: Annotated[str, Meta(pattern=SEGMENT_ID_PATTERN, description="What the segments that exclude each other are called together.")]
    level: Annotated[int, Meta(ge=0, le=MAX_LEVEL, description="The greater, the higher.")]


class Around(Struct, frozen=True):
    """What stands around the rule of a segment that is not saved yet. What is unset is as it was; None takes it away."""

    tier: Tier | UnsetType | None = UNSET
    min_stay: str | UnsetType | None = UNSET
    starts_at_ms: int | UnsetType | None = UNSET
    ends_at_ms: int | UnsetType | None = UNSET


class SegmentPut(Struct, tag_field="record", tag="segment", kw_only=True):
    """Save a segment: `replaces` is the version that the writer saw, 0 to create.

    `rule` is the canonical JSON of the rule, None for a manual segment. `resets` names the manual lists that start anew, and
    `announces` how many of their entries will follow into each partition.
    `min_stay` is an ISO 8601 duration; the segment has members from `starts_at_ms` on and before `ends_at_ms`, None for always.
    """

    tenant: Tenant
    at_ms: int
    segment_id: SegmentId
    replaces: int
    name: str
    description: str = ""
    rule: Any = None
    resets: list[Literal["include", "exclude"]] = msgspec.field(default_factory=list)
    tier: Tier | None = None
    min_stay: str | None = None
    starts_at_ms: int | None = None
    ends_at_ms: int | None = None
    announces: dict[Literal["include", "exclude"], dict[int, int]] = msgspec.field(default_factory=dict)


class SegmentArchived(Struct, tag_field="record", tag="segment-archived", kw_only=True):
    """End a segment: its members leave. Its id is never used again."""

    tenant: Tenant
    at_ms: int
    segment_id: SegmentId
    replaces: int


class SegmentRestored(Struct, tag_field="record", tag="segment-restored", kw_only=True):
    """Bring an archived segment back as a new version, evaluated anew. Its manual lists begin empty, and it is not paused."""

    tenant: Tenant
    at_ms: int
    segment_id: SegmentId
    replaces: int


class SegmentPaused(Struct, tag_field="record", tag="segment-paused", kw_only=True):
    """Push no webhook for a segment until it is resumed. No new version: members come and go as before.

    `version` is the one that the writer saw.
    """

    tenant: Tenant
    at_ms: int
    segment_id: SegmentId
    version: int


class SegmentResumed(Struct, tag_field="record", tag="segment-resumed", kw_only=True):
    """Push webhooks for a paused segment again, from here on. `version` is the one that the writer saw."""

    tenant: Tenant
    at_ms: int
    segment_id: SegmentId
    version: int


class AttributePut(Struct, tag_field="record", tag="attribute", kw_only=True):
    """Declare an attribute, or with `properties.` before its name a property of custom events. Its kind never changes."""

    tenant: Tenant
    at_ms: int
    name: str
    kind: Kind


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


class EndpointPaused(Struct, tag_field="record", tag="endpoint-paused", kw_only=True):
    """Push nothing to an endpoint until it is resumed. `revision` is the one that the writer saw."""

    tenant: Tenant
    at_ms: int
    endpoint_id: str
    revision: int


class EndpointResumed(Struct, tag_field="record", tag="endpoint-resumed", kw_only=True):
    """Push to an endpoint again, from here on, whether it was paused or disabled. `revision` is the one that the writer saw."""

    tenant: Tenant
    at_ms: int
    endpoint_id: str
    revision: int


class EndpointDisabled(Struct, tag_field="record", tag="endpoint-disabled", kw_only=True):
    """Turn an endpoint off: it was asked for, its receiver is gone (410), or has taken nothing for too long.

    `revision` is the one that the writer saw, so that nobody's edit is overruled.
    """

    tenant: Tenant
    at_ms: int
    endpoint_id: str
    revision: int
    reason: DisabledReason


class EndpointDeleted(Struct, tag_field="record", tag="endpoint-deleted", kw_only=True):
    """Remove an endpoint; what was pending for it is cancelled."""

    tenant: Tenant
    at_ms: int
    endpoint_id: str


SegmentRecord = SegmentPut | SegmentArchived | SegmentRestored | SegmentPaused | SegmentResumed
EndpointRecord = EndpointPut | EndpointPaused | EndpointResumed | EndpointDisabled | EndpointDeleted
Definition = TenantPut | KeyPut | KeyRevoked | SegmentRecord | AttributePut | EndpointRecord

_decoder: Final = msgspec.json.Decoder(Definition, float_hook=Decimal)
encode_definition: Final = msgspec.json.Encoder(decimal_format="number").encode


def decode_definition(document: bytes) -> Definition:
    """Read a definition; raise `Refusal` on anything else."""
    try:
        return _decoder.decode(document)  # type: ignore[no-any-return]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal(str(error)[:300], reason="malformed") from None
