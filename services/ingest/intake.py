"""Intake: judges the documents of one request and turns the good ones into records of their partitions. No I/O, no clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from msgspec import Struct

from schemas.catalog import Tenant
from schemas.decoding import decode_event
from schemas.errors import Refusal
from schemas.events import Event, encode_event
from schemas.partitions import partition_of, record_key
from schemas.reading import Facts, check_admission
from schemas.topics import Topics
from services.ingest.producer import Lane, Record

_STATUS_OF_REASON: Final = {"malformed": 400, "too_large": 413}
"""Every other reason is 422: the JSON can be read, but says something that cannot be accepted."""


class Rejection(Struct):
    """What is said of one rejected event: its index in the batch, an HTTP status, the place in it, and why."""

    index: int
    status: int
    pointer: str
    detail: str


@dataclass(slots=True)
class Judged:
    """The outcome of a request's documents: the records of the good ones by lane, and the rejections in order."""

    parcels: dict[Lane, list[Record]] = field(default_factory=dict)
    size_bytes: int = 0
    accepted: int = 0
    rejected: list[Rejection] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)


class Intake:
    """Judges events for the tenants of one installation."""

    def __init__(self, topics: Topics, partitions: int) -> None:
        self._partitions = partitions
        # The configuration of a struct is built anew at each look, so the tag is looked up once for each type.
        self._topic_of = {member: topics.family(str(member.__struct_config__.tag)) for member in Event.__args__}
        self._facts: dict[str, Facts] = {}

    def judge(self, tenant: Tenant, documents: Iterable[tuple[int, bytes | memoryview]], now_ms: int, into: Judged) -> None:
        """Add the outcome of some documents to `into`."""
        facts = self._facts.get(tenant.currency)
        if facts is None:
            facts = self._facts[tenant.currency] = Facts(tenant.currency)
        tenant_id, partitions, topic_of = tenant.id, self._partitions, self._topic_of
        parcels, size_bytes, accepted = into.parcels, into.size_bytes, into.accepted
        for index, document in documents:
            try:
                event = decode_event(document)
                check_admission(event, facts.of(event).at_ms, now_ms)
                if event.tenant is None:
                    event.tenant = tenant_id
                elif event.tenant != tenant_id:
                    raise _foreign(event)
            except Refusal as refusal:
                into.rejected.append(Rejection(index, _STATUS_OF_REASON.get(refusal.reason, 422), refusal.pointer, refusal.detail))
                into.reasons[refusal.reason] += 1
                continue
            customer_id = event.customer_id
            if customer_id is None:
                # An anonymous receipt belongs to nobody; its id spreads it, and a repeated one meets the first.
                key, partition = None, partition_of(event.event_id.encode(), partitions)
            else:
                key = record_key(tenant_id, customer_id)
                partition = partition_of(key, partitions)
            value = encode_event(event)
            size_bytes += len(value)
            accepted += 1
            lane = (topic_of[type(event)], partition)
            records = parcels.get(lane)
            if records is None:
                parcels[lane] = [(key, value)]
            else:
                records.append((key, value))
        into.size_bytes, into.accepted = size_bytes, accepted


def _foreign(event: Event) -> Refusal:
    # Taking it silently would file one tenant's customers under another's the day a key is mixed up.
    return Refusal(f"the tenant comes from the API key, and it is not {event.tenant}; leave tenant out", pointer="/tenant", reason="foreign_tenant")
