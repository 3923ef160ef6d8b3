"""The documents of deliveries: what is answered about each, and its attempts."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from services.api.shapes import Cursor, Instant, OptionalInstant


class AttemptView(Struct):
    """One HTTP try."""

    at: Instant
    status: Annotated[int | None, Meta(description="What the receiver answered; null where it did not.")]
    duration_ms: int
    error: Annotated[str | None, Meta(description="Why it counts as failed; null where the receiver took it.")]


class DeliveryView(Struct, kw_only=True):
    """One transition for one endpoint: what has become of it, and every attempt."""

    id: Annotated[str, Meta(description="The `webhook-id`, the same in each attempt and in a replay.")]
    transition_id: Annotated[str | None, Meta(description="Null for one from before this was kept.")]
    customer_id: Annotated[str | None, Meta(description="Null for somebody who was erased.")]
    segment_id: str | None
    change: str
    state: Annotated[str, Meta(extra_json_schema={"enum": ["pending", "delivered", "exhausted", "cancelled"]})]
    reason: Annotated[
        str | None,
        Meta(
            description="Why it was cancelled: `endpoint_paused`, `endpoint_disabled`, `endpoint_gone` (deleted), `endpoint_gone_410`, "
            "`endpoint_was_off` (and on again before that was noticed), `customer_erased`."
        ),
    ]
    created_at: Instant
    next_attempt_at: Annotated[OptionalInstant, Meta(description="When it is tried next, if those before it are through; null once it has ended.")]
    ended_at: OptionalInstant
    replay: Annotated[str | None, Meta(description="Which replay it is of; null for the first delivery.")]
    attempts: list[AttemptView]


class DeliveryPage(Struct):
    """A page of deliveries: what is pending, in the order in which it will be tried; then what has ended, the latest first.

    A page may be short, even empty, while `next` goes on.
    """

    deliveries: list[DeliveryView]
    next: Cursor


class ReplayBody(Struct, forbid_unknown_fields=True, kw_only=True):
    """What is to be pushed again: transitions by their ids, or what was decided in a span of time."""

    ids: Annotated[list[str], Meta(min_length=1, max_length=10_000, description="Ids of transitions, whatever the endpoint is for.")] | None = None
    from_: Annotated[str, Meta(description="RFC 3339 with an offset.", extra_json_schema={"format": "date-time"})] | None = msgspec.field(
        default=None, name="from"
    )
    to: Annotated[str, Meta(description="RFC 3339 with an offset, exclusive; absent for now.", extra_json_schema={"format": "date-time"})] | None = (
        None
    )


class ReplayView(Struct, kw_only=True):
    """A replay, and how far it is. It is done when all that there is has been queued; what became of it is among the deliveries."""

    id: str
    status: Annotated[str, Meta(extra_json_schema={"enum": ["running", "done"]})]
    asked_at: Instant
    from_: Instant = msgspec.field(name="from")
    to: Instant
    ids: Annotated[int | None, Meta(description="How many transitions were named; null for a span of time.")]
    queued: Annotated[int, Meta(description="Deliveries queued so far. What is on its way already is not queued again.")]
    progress: Annotated[float, Meta(ge=0, le=1)]
    reason: Annotated[
        str | None, Meta(description="Why it ended early: `endpoint_paused`, `endpoint_disabled`, `endpoint_gone`, `endpoint_was_off`.")
    ]


class ReplayPage(Struct):
    """An endpoint's last replays, the newest first."""

    replays: list[ReplayView]
    next: Cursor
