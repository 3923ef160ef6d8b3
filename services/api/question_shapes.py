"""The documents that answer questions about reasons and the past."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from schemas.definitions import Tier
from services.api.shapes import AsOf, Cursor, EndsAt, Instant, Membership, MinStay, OptionalInstant, RuleJson, StartsAt, Until

Value = Annotated[Any, Meta(description="In the units of the rule; amounts as decimal strings, null where nothing is known.")]
HistoryFrom = Annotated[str, Meta(description="Events from before this instant are not kept.", extra_json_schema={"format": "date-time"})]


class PreviewBody(Struct, forbid_unknown_fields=True, kw_only=True):
    """A rule that is not saved yet, as a segment of its own or in place of another's, with what stands around it.

    Of an edit, what is absent is as it was, and null takes it away. Lists are those in force.
    """

    rule: RuleJson
    replaces: Annotated[str | None, Meta(description="The segment whose next version it would be.")] = None
    tier: Tier | UnsetType | None = UNSET
    min_stay: MinStay | UnsetType = UNSET
    starts_at: StartsAt | UnsetType = UNSET
    ends_at: EndsAt | UnsetType = UNSET


class Preview(Struct, kw_only=True):
    """Who would be in: `count` `of` all customers, some of them, and for an edit how many would enter and leave."""

    count: int
    of: int
    sample: list[str]
    enters: int
    leaves: int
    as_of: AsOf


class CountedEvent(Struct):
    """An event that counts for a condition, and when it will count no more; null if that is never."""

    event_id: str
    occurred_at: Instant
    leaves_at: OptionalInstant


class ConditionView(Struct):
    """One condition of the rule: its place, what it asks in words, what it sees, and until when that stands if nothing new happens.

    `events` are the newest 20 of those that count, `events_total` how many there are. Of a profile's condition that is the event that
    said the attribute last. `history_from`: of a metric or sequence that no time ends, the instant from which on it counts.
    """

    path: str
    text: str
    value: Value
    op: str
    threshold: Value
    holds: bool
    until: Until
    events: list[CountedEvent]
    events_total: int
    history_from: OptionalInstant = None


class Explanation(Struct, kw_only=True):
    """Why a customer is in a segment, or not.

    `until` is the next instant at which it is otherwise if nothing new happens: when a member leaves, when somebody else enters.
    `held_until` is the end of the last entry's `min_stay`; `overridden_by` the higher level of the family that the customer is in.
    """

    member: bool
    since: OptionalInstant
    until: Until
    version: int
    conditions: list[ConditionView]
    included: bool
    excluded: bool
    held_until: OptionalInstant
    overridden_by: str | None
    sentence: str
    history_from: HistoryFrom
    as_of: AsOf
    merged_into: str | UnsetType = UNSET


class TimelinePoint(Struct):
    """The size of a segment at an instant, and how many entered and left after the step before and up to this one.

    Where the timeline is `net`: how many are in who were not at the step before, and the other way round.
    """

    at: Instant
    count: int
    entered: int
    exited: int


class TimelineView(Struct):
    """A segment's size over time. The first step's `entered` and `exited` are 0: there is none before it."""

    points: list[TimelinePoint]
    version: int
    history_from: HistoryFrom
    as_of: AsOf
    net: Annotated[
        bool,
        Meta(description="Who came and went again between two steps is not counted: so where there is too much history to follow a rank."),
    ] = False


class HistoryPage(Struct):
    """Transitions as they were decided, the newest first. A page may be short while `next` goes on, and empty where it takes long to find any."""

    changes: Annotated[list[Raw], Meta(extra_json_schema={"items": {"$ref": "#/components/schemas/Transition"}})]
    next: Cursor


class FigureView(Struct):
    """A metric of the customer, in words and as a rule would write it; null where there is nothing to measure."""

    text: str
    metric: Annotated[Raw, Meta(extra_json_schema={"type": "object"})]
    value: Value


class CustomerView(Struct, kw_only=True):
    """A customer. Events are the documents that were sent, the newest first; `event_counts` how many are kept of each type."""

    customer_id: str
    profile: Annotated[Raw, Meta(extra_json_schema={"type": "object"})]
    metrics: list[FigureView]
    events: Annotated[list[Raw], Meta(extra_json_schema={"items": {"type": "object"}})]
    event_counts: dict[str, int]
    first_event_at: OptionalInstant
    last_event_at: OptionalInstant
    segments: list[Membership]
    pending: list[str] | UnsetType = UNSET
    as_of: AsOf
    merged_into: str | UnsetType = UNSET


class CustomerPage(Struct):
    """Customers with a card number, by id; `more` where there are more than the ten that are shown."""

    customers: list[CustomerView]
    more: bool
    as_of: AsOf
