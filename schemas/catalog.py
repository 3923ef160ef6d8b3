"""The catalog: what is in force, folded from the definitions topic record by record.

A pure fold: every process that has read the same offset has the same catalog and the same opinion of every record. A writer
sends its record, waits until its own fold has read it back, and asks `outcome` whether it was accepted.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Final
from zoneinfo import available_timezones

from msgspec import Struct

from schemas.declarations import Attribute, Declarations
from schemas.definitions import AttributePut, Definition, EndpointRecord, KeyPut, KeyRevoked, TenantPut, decode_definition
from schemas.dependencies import ordered
from schemas.endpoints import Endpoint
from schemas.endpoints import fold as fold_endpoint
from schemas.errors import Refusal, shown
from schemas.lifetimes import NOTHING, Lifetime
from schemas.outcomes import Conflict, Outcome
from schemas.rule_context import RuleContext
from schemas.segments import Segment, Shelf
from schemas.versions import Version

__all__ = ["Attribute", "Catalog", "Endpoint", "Key", "Outcome", "Segment", "Tenant", "Version"]

MAX_ENDPOINTS: Final = 1_000
_OUTCOMES_KEPT: Final = 10_000
_ZONES: Final = available_timezones()


class Tenant(Struct, frozen=True):
    """A tenant in force."""

    id: str
    timezone: str
    currency: str
    country: str
    salt: str = ""


class Key(Struct, frozen=True):
    """An API key in force."""

    id: str
    tenant: str
    name: str
    scopes: frozenset[str]
    created_ms: int


_ACCEPTED: Final = Outcome(True)


class Catalog:
    """Everything in force up to `offset` (exclusive)."""

    def __init__(self) -> None:
        self.offset = 0
        self.tenants: dict[str, Tenant] = {}
        self.keys: dict[str, Key] = {}
        self.segments: dict[str, dict[str, Segment]] = {}
        self.endpoints: dict[str, dict[str, Endpoint]] = {}
        self.endpoints_at = 0
        """The offset after the last record that changed an endpoint."""
        self.revisions: dict[str, int] = {}
        """For each tenant the offset after the last record that changed who could be in a segment."""
        self.declared: dict[str, int] = {}
        """For each tenant the offset after the last attribute that was declared: what was stored before means something else since."""
        self._shelves: dict[str, Shelf] = {}
        self._declarations: dict[str, Declarations] = {}
        self._outcomes: OrderedDict[int, Outcome] = OrderedDict()
        self._hash_of_key: dict[str, str] = {}

    def apply(self, offset: int, document: bytes) -> Outcome:
        """Fold the record at `offset`; what cannot be accepted changes nothing and keeps its reason."""
        if offset < self.offset:
            return self.outcome(offset)
        try:
            self._fold(offset, decode_definition(document))
            outcome = _ACCEPTED
        except Conflict as conflict:
            outcome = conflict.outcome
        except Refusal as refusal:
            outcome = Outcome(False, 422, refusal.detail, refusal.pointer)
        self.offset = offset + 1
        self._outcomes[offset] = outcome
        if len(self._outcomes) > _OUTCOMES_KEPT:
            self._outcomes.popitem(last=False)
        return outcome

    def outcome(self, offset: int) -> Outcome:
        """Return what was said of the record at `offset`; one read long ago is no longer known and counts as refused."""
        return self._outcomes.get(offset, Outcome(False, 503, "the outcome of this change is no longer known; read it again"))

    def key(self, sha256: str) -> Key | None:
        """Return the key with this hash, if it is in force."""
        return self.keys.get(sha256)

    def segment(self, tenant: str, segment_id: str) -> Segment | None:
        """Return the last version of a segment, archived or not."""
        return self.segments.get(tenant, {}).get(segment_id)

    def check(self, candidate: Segment) -> None:
        """Refuse a segment that could not be saved now beside a known tenant's others; raises `Conflict`."""
        self._shelves[candidate.tenant].check(candidate)

    def live_segments(self, tenant: str) -> list[Segment]:
        """Return the tenant's segments that can have members, by id."""
        return [s for _, s in sorted(self.segments.get(tenant, {}).items()) if not s.archived]

    def segments_in_order(self, tenant: str) -> list[Segment]:
        """Return the same segments, each after those that it depends on; see `schemas.dependencies`."""
        return ordered(self.live_segments(tenant))

    def versions(self, tenant: str, segment_id: str) -> Sequence[Version]:
        """Return the versions of a segment that are kept, the oldest first."""
        shelf = self._shelves.get(tenant)
        return () if shelf is None else shelf.versions.of(segment_id)

    def lifetimes(self, tenant: str) -> Mapping[Lifetime, int]:
        """Return since when each metric and sequence that no time ends has been asked for by the tenant's live segments."""
        shelf = self._shelves.get(tenant)
        return NOTHING if shelf is None else shelf.lifetimes.since_ms

    def shelf(self, tenant: str) -> Shelf:
        """Return a known tenant's segments, with what their rules cost."""
        return self._shelves[tenant]

    def attributes(self, tenant: str) -> list[Attribute]:
        """Return what the tenant has declared, by name."""
        declared = self._declarations.get(tenant)
        return [] if declared is None else declared.all()

    def endpoints_of(self, tenant: str) -> list[Endpoint]:
        """Return the tenant's endpoints that have not been deleted, by id."""
        return [e for _, e in sorted(self.endpoints.get(tenant, {}).items()) if not e.deleted]

    def rule_context(self, tenant: str, *, history_months: int | None = None, max_cost: int | None = None, saving: bool = False) -> RuleContext:
        """Return what a known tenant's rules are read with, within the limits of whoever saves one."""
        known = self.tenants[tenant]
        currency = known.currency if saving else None
        return RuleContext(known.timezone, self._declarations[tenant].kinds, history_months, max_cost, currency)

    def _fold(self, offset: int, record: Definition) -> None:
        if isinstance(record, TenantPut):
            self._tenant(record)
            return
        if record.tenant not in self.tenants:
            raise Conflict(404, f"no tenant {shown(record.tenant)}")
        if isinstance(record, KeyPut):
            self._key(record)
        elif isinstance(record, KeyRevoked):
            found = self._hash_of_key.get(record.key_id)
            if found is None or found not in self.keys or self.keys[found].tenant != record.tenant:
                raise Conflict(404, "no such key")
            del self.keys[found]
        elif isinstance(record, EndpointRecord):
            fold_endpoint(self.endpoints.setdefault(record.tenant, {}), record, MAX_ENDPOINTS)
            self.endpoints_at = offset + 1
        elif isinstance(record, AttributePut):
            if self._declarations[record.tenant].fold(record):
                self.revisions[record.tenant] = self.declared[record.tenant] = offset + 1
        elif self._shelves[record.tenant].fold(offset, record, self.rule_context(record.tenant)):
            self.revisions[record.tenant] = offset + 1

    def _tenant(self, record: TenantPut) -> None:
        if record.tenant in self.tenants:
            raise Conflict(409, f"tenant {record.tenant} exists")
        if record.timezone not in _ZONES:
            raise Refusal(f"{shown(record.timezone)} is no IANA time zone, like Europe/Paris", pointer="/timezone")
        self.tenants[record.tenant] = Tenant(record.tenant, record.timezone, record.currency, record.country, record.salt)
        self.revisions[record.tenant] = 0
        shelf = self._shelves[record.tenant] = Shelf()
        self.segments[record.tenant] = shelf.segments
        self._declarations[record.tenant] = Declarations()

    def _key(self, record: KeyPut) -> None:
        if record.sha256 in self.keys or record.key_id in self._hash_of_key:
            raise Conflict(409, "this key exists")
        self._hash_of_key[record.key_id] = record.sha256
        self.keys[record.sha256] = Key(record.key_id, record.tenant, record.name, frozenset(record.scopes), record.at_ms)
