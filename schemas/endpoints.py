"""Webhook endpoints in force, folded record by record: what each wants, and whether anything is pushed to it.

An endpoint that is paused or disabled is *off*: nothing is queued for it, what was pending is cancelled, and what was decided
meanwhile is served by replay.
"""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from schemas.definitions import DisabledReason, EndpointDeleted, EndpointDisabled, EndpointPaused, EndpointPut, EndpointRecord, EndpointResumed
from schemas.instants import DAY_MS
from schemas.outcomes import Conflict

SECRET_OVERLAP_MS: Final = DAY_MS
"""How long an endpoint's former secret signs beside the new one: a day to tell every receiver."""

Status = Literal["enabled", "paused", "disabled"]
OffReason = Literal["", "paused"] | DisabledReason

KEPT_DELETED: Final = 1_000
"""Endpoints of a tenant that are known to have been deleted; of one deleted before them it is the same as if it had never been."""


class Endpoint(Struct, frozen=True):
    """A webhook endpoint in force; `deleted` ones stay known by name so that pending deliveries can say why they ended.

    `off_ms` is since when nothing is pushed, None while something is, and `off_reason` why; `last_off` the time before in which
    nothing was, from and until.
    """

    tenant: str
    id: str
    revision: int
    url: str
    secret: str
    segments: frozenset[str] | None
    changes: frozenset[str]
    causes: frozenset[str] | None
    imports: bool
    enabled: bool
    description: str
    created_ms: int
    deleted: bool = False
    former_secret: str = ""
    former_until_ms: int = 0
    off_ms: int | None = None
    off_reason: OffReason = ""
    last_off: tuple[int, int] | None = None

    @property
    def status(self) -> Status:
        """Whether it gets what it wants; a disabled one that was paused before is disabled."""
        if not self.enabled:
            return "disabled"
        return "enabled" if self.off_ms is None else "paused"

    @property
    def on(self) -> bool:
        """Whether anything is pushed to it."""
        return self.status == "enabled" and not self.deleted

    @property
    def on_since_ms(self) -> int:
        """Since when it is what it is while it is on: made, or switched on again."""
        return self.created_ms if self.last_off is None else self.last_off[1]

    def secrets(self, now_ms: int) -> list[str]:
        """Return what signs at an instant: the secret, and after a rotation the former one for a while."""
        return [self.secret, self.former_secret] if self.former_secret and now_ms < self.former_until_ms else [self.secret]

    def record(self, at_ms: int) -> EndpointPut:
        """Return the record that saves this endpoint as it is; others are made from it with `replace`."""
        return EndpointPut(
            tenant=self.tenant,
            at_ms=at_ms,
            endpoint_id=self.id,
            replaces=self.revision,
            url=self.url,
            secret=self.secret,
            segments=None if self.segments is None else sorted(self.segments),
            changes=sorted(self.changes),  # type: ignore[arg-type]
            causes=None if self.causes is None else sorted(self.causes),  # type: ignore[arg-type]
            imports=self.imports,
            enabled=self.enabled,
            description=self.description,
        )


def fold(known: dict[str, Endpoint], record: EndpointRecord, most: int) -> None:
    """Take a record in among a tenant's endpoints, of which there are at most `most`; raise `Conflict` when it is refused."""
    current = known.get(record.endpoint_id)
    if current is not None and current.deleted:
        raise Conflict(404, "no such endpoint")
    if isinstance(record, EndpointPut):
        _check_revision(0 if current is None else current.revision, record.replaces)
        if current is None and sum(not endpoint.deleted for endpoint in known.values()) >= most:
            raise Conflict(422, f"a tenant has at most {most} endpoints")
        known[record.endpoint_id] = saved(record, current)
        return
    if current is None:
        raise Conflict(404, "no such endpoint")
    if isinstance(record, EndpointDeleted):
        known[current.id] = replace(known.pop(current.id), deleted=True, revision=current.revision + 1)
        for former in [name for name, endpoint in known.items() if endpoint.deleted][:-KEPT_DELETED]:
            del known[former]
        return
    _check_revision(current.revision, record.revision)
    if isinstance(record, EndpointPaused):
        if not current.enabled:
            raise Conflict(409, f"endpoint {current.id} is disabled; nothing is pushed to it")
        known[current.id] = _off(current, record.at_ms, "paused")
    elif isinstance(record, EndpointResumed):
        known[current.id] = _on(current, record.at_ms)
    else:
        assert isinstance(record, EndpointDisabled)
        known[current.id] = replace(_off(current, record.at_ms, record.reason), enabled=False)


def saved(record: EndpointPut, current: Endpoint | None) -> Endpoint:
    """Return the endpoint that a record saves over the current one. One that is paused stays so; `enabled` is as it was sent."""
    if current is None:
        former, until_ms = "", 0
    elif record.secret == current.secret:
        former, until_ms = current.former_secret, current.former_until_ms
    else:
        former, until_ms = current.secret, record.at_ms + SECRET_OVERLAP_MS
    made = Endpoint(
        tenant=record.tenant,
        id=record.endpoint_id,
        revision=record.replaces,
        url=record.url,
        secret=record.secret,
        segments=None if record.segments is None else frozenset(record.segments),
        changes=frozenset(record.changes),
        causes=None if record.causes is None else frozenset(record.causes),
        imports=record.imports,
        enabled=True if current is None else current.enabled,
        description=record.description,
        created_ms=record.at_ms if current is None else current.created_ms,
        former_secret=former,
        former_until_ms=until_ms,
        off_ms=None if current is None else current.off_ms,
        off_reason="" if current is None else current.off_reason,
        last_off=None if current is None else current.last_off,
    )
    if record.enabled == made.enabled:
        return replace(made, revision=record.replaces + 1)
    return _on(made, record.at_ms) if record.enabled else replace(_off(made, record.at_ms, "asked"), enabled=False)


def _off(current: Endpoint, at_ms: int, reason: OffReason) -> Endpoint:
    """Return an endpoint that is off; the time in which nothing is pushed began when it first was, the reason is the last one."""
    return replace(current, revision=current.revision + 1, off_ms=at_ms if current.off_ms is None else current.off_ms, off_reason=reason)


def _on(current: Endpoint, at_ms: int) -> Endpoint:
    last_off = current.last_off if current.off_ms is None else (current.off_ms, at_ms)
    return replace(current, revision=current.revision + 1, enabled=True, off_ms=None, off_reason="", last_off=last_off)


def _check_revision(revision: int, seen: int) -> None:
    if revision != seen:
        raise Conflict(412, f"the endpoint is at revision {revision}, not {seen}; read it again")
