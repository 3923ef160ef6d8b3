"""The documents of the API: what is read and what is answered. Field names and their order are the published ones."""

from __future__ import annotations

from typing import Annotated, Any, Final, get_args

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from schemas.definitions import Scope, Tier
from schemas.events import CustomerId
from schemas.template_parts import Group
from schemas.transitions import CauseKind, Change
from schemas.versions import VersionChange
from schemas.vocabulary import Kind

MAX_LIST: Final = 100_000
"""Customers on a list sent with a segment; longer lists are built with the calls for the lists themselves."""
MAX_EDITS: Final = 10_000

Name = Annotated[str, Meta(min_length=1, max_length=200, description="For people.", examples=["Regulars"])]
Description = Annotated[str, Meta(max_length=2_000)]
RuleJson = Annotated[Any, Meta(description="Who is in it; null for a manual segment.", extra_json_schema={"$ref": "#/components/schemas/Rule"})]
Instant = Annotated[str, Meta(description="RFC 3339 in UTC.", extra_json_schema={"format": "date-time"})]
OptionalInstant = Annotated[str | None, Meta(extra_json_schema={"format": "date-time"})]
MinStay = Annotated[
    str | None,
    Meta(
        description="ISO 8601: who entered stays at least so long, so that nobody flaps; voids, merges, erasure and edits end it.", examples=["P7D"]
    ),
]
StartsAt = Annotated[
    str | None, Meta(description="RFC 3339 with an offset: nobody is in it before; null for always.", extra_json_schema={"format": "date-time"})
]
EndsAt = Annotated[
    str | None, Meta(description="RFC 3339 with an offset: nobody is in it from then on; null for never.", extra_json_schema={"format": "date-time"})
]
Until = Annotated[str | None, Meta(description="When it ends if nothing new happens; null where no end is known.")]
AsOf = Annotated[
    str, Meta(description="Every fact applied and every deadline up to this instant is in the answer.", extra_json_schema={"format": "date-time"})
]
Position = Annotated[str, Meta(description="A membership read with ?after=position waits until these entries are in the answer.")]
Ids = Annotated[list[CustomerId], Meta(max_length=MAX_LIST)]
Edits = Annotated[list[CustomerId], Meta(max_length=MAX_EDITS)]
Cursor = Annotated[str | None, Meta(description="Pass it as `cursor` to go on; null at the end.")]


class SegmentReplace(Struct, forbid_unknown_fields=True, kw_only=True):
    """A segment as it shall be. A list that is given replaces the whole list; one that is absent stays as it is."""

    name: Name
    description: Description | None = None
    rule: RuleJson = None
    include: Ids | None = None
    exclude: Ids | None = None
    id: str | None = None
    tier: Tier | None = None
    min_stay: MinStay = None
    starts_at: StartsAt = None
    ends_at: EndsAt = None


class SegmentCreate(SegmentReplace, forbid_unknown_fields=True, kw_only=True):
    """A new segment: a rule, or lists, or both."""

    id: Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9_-]{0,63}$", description="Chosen by you, never used again.")]


class SegmentPatch(Struct, forbid_unknown_fields=True, kw_only=True):
    """What shall be different (JSON merge patch, RFC 7396): objects are merged, null takes something away, the rest stays."""

    name: Name | UnsetType = UNSET
    description: Description | UnsetType | None = UNSET
    rule: RuleJson | UnsetType = UNSET
    include: Annotated[Ids, Meta(description="Replaces the whole list.")] | UnsetType = UNSET
    exclude: Annotated[Ids, Meta(description="Replaces the whole list.")] | UnsetType = UNSET
    id: str | UnsetType = UNSET
    tier: Annotated[Any, Meta(description="Merged with the tier that there is.", extra_json_schema={"type": ["object", "null"]})] | UnsetType = UNSET
    min_stay: MinStay | UnsetType = UNSET
    starts_at: StartsAt | UnsetType = UNSET
    ends_at: EndsAt | UnsetType = UNSET


class SegmentView(Struct, kw_only=True):
    """A segment. While it is backfilling, `progress` is the share of customers looked at and `count` those found so far.

    A paused one keeps its members and publishes its transitions, but no webhook is pushed for it.
    """

    id: str
    name: str
    description: str
    rule: RuleJson
    tier: Tier | None
    min_stay: MinStay
    starts_at: OptionalInstant
    ends_at: OptionalInstant
    version: int
    status: Annotated[str, Meta(extra_json_schema={"enum": ["backfilling", "live", "paused", "archived"]})]
    progress: Annotated[float, Meta(ge=0, le=1)]
    count: Annotated[int | None, Meta(description="Null only in the answer to a write, when it cannot be known at that moment.")]
    created_at: Instant
    updated_at: Instant
    position: Position | UnsetType = UNSET


class SegmentPage(Struct):
    """A page of segments, by id."""

    segments: list[SegmentView]
    next: Cursor


class VersionView(Struct, kw_only=True):
    """One version of a segment as it was saved. A version that archived or restored says what was in force before or after."""

    version: int
    change: VersionChange
    at: Instant
    name: str
    description: str
    rule: RuleJson
    tier: Tier | None
    min_stay: MinStay
    starts_at: OptionalInstant
    ends_at: OptionalInstant


class VersionPage(Struct):
    """A page of versions, the newest first, as far back as they are kept."""

    versions: list[VersionView]
    next: Cursor


class TemplateView(Struct, kw_only=True):
    """A predefined segment: what it is about, its name in French, and the body that saves it as it is."""

    id: str
    group: Annotated[str, Meta(extra_json_schema={"enum": list(get_args(Group))})]
    name_fr: str
    segment: Annotated[dict[str, Any], Meta(extra_json_schema={"$ref": "#/components/schemas/SegmentCreate"})]


class TemplatePage(Struct):
    """All predefined segments, in the order in which to show them."""

    templates: list[TemplateView]
    next: Cursor


class AttributeBody(Struct, forbid_unknown_fields=True):
    """What an attribute or property is declared as. It never changes."""

    kind: Annotated[str, Meta(extra_json_schema={"enum": [str(kind) for kind in Kind]})]


class AttributeView(Struct, kw_only=True):
    """An attribute that rules can name: every tenant's (`known`, or `derived` from one), or the tenant's own (`declared`).

    A name that begins with `properties.` is a property of custom events.
    """

    name: str
    kind: Kind
    origin: Annotated[str, Meta(extra_json_schema={"enum": ["known", "derived", "declared"]})]
    created_at: OptionalInstant


class AttributePage(Struct):
    """All attributes, by name."""

    attributes: list[AttributeView]
    next: Cursor


class ListEdit(Struct, forbid_unknown_fields=True):
    """Customers to put on a list and to take off it. One who is in both is taken off."""

    add: Edits = []
    remove: Edits = []


class ListEdited(Struct):
    """How many entries Kafka has acknowledged."""

    added: int
    removed: int
    position: Position


class Membership(Struct):
    """A segment that the customer is in."""

    id: str
    name: str
    version: int
    since: Instant
    until: Until


class CustomerSegments(Struct):
    """The segments of a customer.

    `pending` is there only during a backfill: segments whose last version has not been decided for this customer. A pending
    segment is listed as it was decided last, so nobody drops out of GOLD for the seconds that an edit takes. `merged_into` is
    there only when the id was merged: these are the segments of that customer.
    """

    customer_id: str
    as_of: AsOf
    segments: list[Membership]
    pending: list[str] | UnsetType = UNSET
    merged_into: str | UnsetType = UNSET


class MembershipAnswer(Struct):
    """Whether a customer is in a segment; when the id was merged, whether `merged_into` is."""

    member: bool
    since: Annotated[str | None, Meta(description="Since when; null for someone who is not in.")]
    until: Annotated[
        str | None,
        Meta(
            description="When the membership ends if nothing new happens; null where no end is known, and for someone who is not in: when "
            "he will enter by himself is told by `explain`. At a past instant (`at`) also when someone who was not in entered."
        ),
    ]
    version: int
    as_of: AsOf
    at: Annotated[str, Meta(description="The instant asked about; only there for a past one.")] | UnsetType = UNSET
    history_from: Annotated[str, Meta(description="Events from before this instant are not kept; only there for a past one.")] | UnsetType = UNSET
    merged_into: str | UnsetType = UNSET
    instant_only: (
        Annotated[bool, Meta(description="True where a rank would have to be followed through too much history: `since` and `until` are not told.")]
        | UnsetType
    ) = UNSET


class MemberView(Struct):
    """A member of a segment."""

    customer_id: str
    since: Instant
    until: Until


class MemberPage(Struct):
    """A page of members, in an order that stays the same."""

    members: list[MemberView]
    next: Cursor
    as_of: AsOf


class Count(Struct):
    """How many members a segment has."""

    count: int
    as_of: AsOf


class ChangePage(Struct):
    """A page of the change feed. `more` says that there is more to look at: ask again at once with `next`."""

    changes: Annotated[list[Raw], Meta(extra_json_schema={"items": {"$ref": "#/components/schemas/Transition"}})]
    next: Annotated[str, Meta(description="Where to go on; always there.")]
    more: bool


class EndpointBody(Struct, forbid_unknown_fields=True, kw_only=True):
    """A webhook endpoint as it shall be. `segments` and `causes` null mean all, but `definition` is pushed only where it is named."""

    url: Annotated[str, Meta(min_length=1, max_length=2_000, description="http or https, without credentials.")]
    segments: Annotated[list[str], Meta(max_length=1_000)] | None = None
    changes: Annotated[list[Change], Meta(min_length=1, max_length=2)] = msgspec.field(default_factory=lambda: ["entered", "exited"])
    causes: Annotated[list[CauseKind], Meta(min_length=1, max_length=20)] | None = None
    imports: Annotated[bool, Meta(description="Whether changes caused by imported events are pushed as well.")] = False
    enabled: Annotated[bool, Meta(description="A disabled endpoint gets nothing and queues nothing.")] = True
    description: Description | None = None


class EndpointView(Struct, kw_only=True):
    """A webhook endpoint. A secret is shown once, in the answer that creates it."""

    id: str
    url: str
    description: str
    segments: list[str] | None
    changes: list[str]
    causes: list[str] | None
    imports: bool
    enabled: Annotated[bool, Meta(description="Whether it is not disabled; a paused one is enabled.")]
    status: Annotated[str, Meta(extra_json_schema={"enum": ["enabled", "paused", "disabled"]})]
    status_reason: Annotated[
        str | None,
        Meta(
            description="Why it is disabled: `asked`, `gone` (it answered 410), `failing` (it has taken nothing for days).",
            extra_json_schema={"enum": ["asked", "gone", "failing", None]},
        ),
    ]
    status_since: Annotated[str | None, Meta(description="Since when nothing is pushed to it; null while it is enabled.")]
    failing_since: Annotated[
        str | None, Meta(description="Since when it has taken nothing that was sent; null while it does, and in the first hour or so.")
    ]
    created_at: Instant
    secret: Annotated[str, Meta(description="Verifies signatures (Standard Webhooks).")] | UnsetType = UNSET


class EndpointPage(Struct):
    """All endpoints, by id."""

    webhooks: list[EndpointView]
    next: Cursor


class TestResult(Struct):
    """What came of one signed test delivery: the receiver's status, or the error that kept it from answering."""

    delivered: bool
    status: int | None
    duration_ms: int
    error: str | None


class KeyBody(Struct, forbid_unknown_fields=True):
    """A new API key, with scopes that the asking key has itself."""

    name: Name
    scopes: Annotated[list[Scope], Meta(min_length=1, max_length=20)]


class KeyView(Struct, kw_only=True):
    """An API key. The key itself is shown once, in the answer that creates it."""

    id: str
    name: str
    scopes: list[str]
    created_at: Instant
    key: str | UnsetType = UNSET


class KeyPage(Struct):
    """All keys in force, by id."""

    keys: list[KeyView]
    next: Cursor
