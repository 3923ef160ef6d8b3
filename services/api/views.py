"""How what is in force is shown: segments, endpoints and keys as documents, and the figures of segments."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from msgspec import UNSET, Raw, UnsetType

from schemas.catalog import Attribute, Endpoint, Key, Segment, Version
from schemas.events import has_control
from schemas.instants import iso, iso_or_none
from schemas.rules import canonical
from services.api.desk import Desk
from services.api.errors import Refused, absent
from services.api.freshness import oldest
from services.api.reads import Known, progress
from services.api.shapes import AttributeView, EndpointView, KeyView, SegmentView, VersionView

when: Final = lru_cache(maxsize=131_072)(iso)
until: Final = lru_cache(maxsize=131_072)(iso_or_none)
"""Instants as text. Many share theirs: a backfill's `since`, a midnight's `until`."""


def is_customer_id(text: str) -> bool:
    """Whether an event could carry this customer id."""
    return 1 <= len(text) <= 128 and not has_control(text)


def existing(segment: Segment | None) -> Segment:
    """Return a segment that can have members; raises `Refused` (404) otherwise."""
    if segment is None or segment.archived:
        raise absent("segment")
    return segment


def segment_view(
    segment: Segment, markers: Sequence[Known | None], count: int | None, *, position: str | UnsetType = UNSET
) -> SegmentView:  # fmt: skip
    """Show a segment; `markers` are those of all partitions, none where nothing is known."""
    found = progress(segment, markers)
    if segment.archived:
        status = "archived"
    elif segment.paused_ms is not None:
        status = "paused"
    else:
        status = "live" if found.live and markers else "backfilling"
    return SegmentView(
        id=segment.id,
        name=segment.name,
        description=segment.description,
        rule=None if segment.rule is None else canonical(segment.rule),
        tier=segment.tier,
        min_stay=None if segment.min_stay is None else str(segment.min_stay),
        starts_at=instant_or_none(segment.starts_at_ms),
        ends_at=instant_or_none(segment.ends_at_ms),
        version=segment.version,
        status=status,
        progress=found.share if markers else 0.0,
        count=count,
        created_at=iso(segment.created_ms),
        updated_at=iso(segment.updated_ms),
        position=position,
    )


def version_view(version: Version) -> VersionView:
    """Show one version of a segment."""
    return VersionView(
        version=version.version,
        change=version.change,
        at=iso(version.at_ms),
        name=version.name,
        description=version.description,
        rule=None if version.rule is None else Raw(version.rule),
        tier=version.tier,
        min_stay=None if version.min_stay is None else str(version.min_stay),
        starts_at=instant_or_none(version.starts_at_ms),
        ends_at=instant_or_none(version.ends_at_ms),
    )


async def segment_views(desk: Desk, segments: Sequence[Segment]) -> list[SegmentView]:
    """Show segments with their figures; raises `Refused` (503) when those cannot be known."""
    if not segments:
        return []
    markers, counts = await desk.reads.counts(segments)
    oldest(markers)
    return [segment_view(segment, markers, count) for segment, count in zip(segments, counts, strict=True)]


async def written_view(desk: Desk, segment: Segment, *, position: str | UnsetType = UNSET) -> SegmentView:
    """Show a segment that was just saved: it is saved, whether its figures can be known at this moment or not."""
    with contextlib.suppress(Refused):
        markers, counts = await desk.reads.counts([segment])
        oldest(markers)
        return segment_view(segment, markers, counts[0], position=position)
    return segment_view(segment, [], None, position=position)


def attribute_view(attribute: Attribute) -> AttributeView:
    """Show a declared attribute."""
    return AttributeView(name=attribute.name, kind=attribute.kind, origin="declared", created_at=iso(attribute.created_ms))


def endpoint_view(endpoint: Endpoint, failing_ms: int | None, *, secret: str | UnsetType = UNSET) -> EndpointView:
    """Show an endpoint and since when it takes nothing, its secret only where it is given."""
    return EndpointView(
        id=endpoint.id,
        url=endpoint.url,
        description=endpoint.description,
        segments=None if endpoint.segments is None else sorted(endpoint.segments),
        changes=sorted(endpoint.changes),
        causes=None if endpoint.causes is None else sorted(endpoint.causes),
        imports=endpoint.imports,
        enabled=endpoint.enabled,
        status=endpoint.status,
        status_reason=None if endpoint.enabled else endpoint.off_reason,
        status_since=instant_or_none(endpoint.off_ms),
        failing_since=instant_or_none(failing_ms),
        created_at=iso(endpoint.created_ms),
        secret=secret,
    )


def key_view(key: Key, *, secret: str | UnsetType = UNSET) -> KeyView:
    """Show a key, the secret itself only where it is given."""
    return KeyView(id=key.id, name=key.name, scopes=sorted(key.scopes), created_at=iso(key.created_ms), key=secret)


def instant_or_none(at_ms: int | None) -> str | None:
    """Show an instant that may not be set."""
    return None if at_ms is None else iso(at_ms)
