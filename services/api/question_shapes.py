"""The documents that answer questions about reasons and the past."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from services.api.shapes import AsOf, Instant, OptionalInstant, RuleJson, Until

Value = Annotated[Any, Meta(description="In the units of the rule; amounts as decimal strings, null where nothing is known.")]
HistoryFrom = Annotated[str, Meta(description="Events from before this instant are not kept.", extra_json_schema={"format": "date-time"})]


class PreviewBody(Struct, forbid_unknown_fields=True, kw_only=True):
    """A rule that is not saved yet, as a segment of its own or in place of another's."""

    rule: RuleJson
    replaces: Annotated[str | None, Meta(description="The segment whose next version it would be: its lists, tier and dates stay.")] = None


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
    said the attribute last.
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
