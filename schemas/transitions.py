"""Transitions: one `entered` or `exited`, as published on `membership-changes` and pushed to webhooks."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

CauseKind = Literal["event", "clock", "definition", "profile", "manual", "correction", "rank", "merge", "erase"]
Change = Literal["entered", "exited"]
CAUSES: Final = ("event", "clock", "definition", "profile", "manual", "correction", "rank", "merge", "erase")


class Cause(Struct, omit_defaults=True):
    """Why it was decided: the kind, the event where there is one, and whether that event was an import."""

    kind: CauseKind
    event_id: str | None = None
    imported: bool = msgspec.field(default=False, name="import")


class ConditionValue(Struct):
    """What one condition saw: the JSON Pointer of its place in the rule, its value, and the threshold it was held against."""

    path: str
    value: Any
    op: str
    threshold: Any
    holds: bool


class Transition(Struct):
    """One entry or exit. Instants are RFC 3339 in UTC with milliseconds; `seq` counts a customer's transitions from 1."""

    id: str
    tenant: str
    customer_id: str
    segment_id: str
    segment_version: int
    change: Change
    at: str
    decided_at: str
    seq: int
    cause: Cause
    until: str | None
    values: list[ConditionValue]


_encoder: Final = msgspec.json.Encoder(decimal_format="number")


def transition_id(tenant: str, customer_id: str, segment_id: str, seq: int) -> str:
    """Return the id of a transition: the same for the same decision, however often it is replayed.

    NUL separates the parts: no id may contain control characters, so no two decisions share their bytes.
    """
    return "trn_" + blake2b(f"{tenant}\0{customer_id}\0{segment_id}\0{seq}".encode(), digest_size=15).hexdigest()


def encode_transition(transition: Transition) -> bytes:
    """Write a transition as JSON."""
    return _encoder.encode(transition)
