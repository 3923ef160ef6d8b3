"""A tenant's segments in force, folded record by record: what is saved, what it may refer to, and what is refused.

Segments depend on each other. A rule that names a segment depends on it; a segment of a tier family depends on the family's
higher levels, for a customer is in the highest only. Both are one graph, and it has no cycle: whoever would close one is
refused here, where definitions are put in order, since of two writers neither alone may be to blame.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec import UNSET, Struct
from msgspec.structs import asdict, replace

from schemas.definitions import Around, SegmentArchived, SegmentPaused, SegmentPut, SegmentRecord, SegmentRestored, SegmentResumed, Tier
from schemas.errors import Refusal, listed, shown
from schemas.instants import Duration
from schemas.lifetimes import Lifetimes
from schemas.outcomes import Conflict
from schemas.rankings import Rankings
from schemas.rule_context import RuleContext
from schemas.rule_cost import rule_cost
from schemas.rule_parser import parse_rule
from schemas.rule_values import duration
from schemas.rules import SEGMENT_ID_PATTERN, Rule, canonical, encode, references
from schemas.versions import Version, VersionChange, Versions

MAX_SEGMENTS: Final = 20_000
MAX_DEPENDENCIES: Final = 200
"""Segments that one may depend on, directly and through others: what the fold walks through for each record that is saved."""
_AS_IT_WAS: Final = Around()
_FAMILY: Final = re.compile(SEGMENT_ID_PATTERN.removesuffix("$"), re.ASCII)


class Segment(Struct, frozen=True):
    """The last version of a segment.

    `offset` is where it was saved: a partition that has been swept past it answers for it. `include_since` and
    `exclude_since` are the offsets since which manual entries count, and `announced` says how many of them each partition waits
    for: list → partition → entries. `paused_ms` is since when no webhook is pushed, None
    when they are; `last_pause` the pause before, from and until. `moved` is where a segment that this one depends on was last
    saved, archived or restored.
    """

    tenant: str
    id: str
    version: int
    name: str
    description: str
    rule: Rule | None
    offset: int
    include_since: int
    exclude_since: int
    created_ms: int
    updated_ms: int
    archived: bool = False
    tier: Tier | None = None
    min_stay: Duration | None = None
    starts_at_ms: int | None = None
    ends_at_ms: int | None = None
    paused_ms: int | None = None
    last_pause: tuple[int, int] | None = None
    moved: int = -1
    announced: Mapping[str, Mapping[int, int]] = {}

    @property
    def answers_from(self) -> int:
        """The offset that a partition must have been swept past to answer for the segment."""
        return max(self.offset, self.moved)


class Shelf:
    """The segments of one tenant, by id, with an index of who refers to whom and who stands on which level."""

    def __init__(self) -> None:
        self.segments: dict[str, Segment] = {}
        self.versions = Versions()
        self.lifetimes = Lifetimes()
        self._references: dict[str, dict[str, str]] = {}
        self._referrers: dict[str, set[str]] = {}
        self._families: dict[str, dict[int, str]] = {}
        self._rankings = Rankings()
        self.costs: dict[str, int] = {}
        """What the rule of each live segment costs (`rule_cost`)."""
        self.cost = 0
        """What all of them cost."""

    def fold(self, offset: int, record: SegmentRecord, context: RuleContext) -> bool:
        """Accept a record, and say whether it may change who is in a segment; raise `Conflict` or `Refusal` when it is refused."""
        if isinstance(record, SegmentPaused | SegmentResumed):
            self._pause(record)
            return False
        if isinstance(record, SegmentPut):
            self._save(offset, record, context)
        elif isinstance(record, SegmentArchived):
            self._archive(offset, record)
        else:
            self._restore(offset, record)
        return True

    def _save(self, offset: int, record: SegmentPut, context: RuleContext) -> None:
        if record.replaces == 0:
            if record.segment_id in self.segments:
                raise Conflict(409, f"segment {record.segment_id} exists; ids are never used again", "/id")
            if len(self.segments) >= MAX_SEGMENTS:
                raise Conflict(422, f"a tenant has at most {MAX_SEGMENTS} segments")
            current = None
        else:
            current = self._current(record.segment_id, record.replaces)
        try:
            rule = None if record.rule is None else parse_rule(record.rule, context)
        except Refusal as refusal:
            raise refusal.under("/rule") from None
        candidate = saved(offset, record, rule, current)
        self.check(candidate)
        self._keep(candidate, "saved")

    def _archive(self, offset: int, record: SegmentArchived) -> None:
        current = self._current(record.segment_id, record.replaces)
        referrers = sorted(self._referrers.get(current.id, ()))
        if referrers:
            raise Conflict(409, f"segment {current.id} is referred to by {listed(referrers, 10)}; change those first")
        self._keep(archived(offset, record.at_ms, current), "archived")

    def _restore(self, offset: int, record: SegmentRestored) -> None:
        current = self.segments.get(record.segment_id)
        if current is None:
            raise Conflict(404, f"no segment {record.segment_id}")
        if not current.archived:
            raise Conflict(409, f"segment {current.id} is not archived; there is nothing to restore")
        _check_version(current, record.replaces)
        gone = [target for target in references(current.rule) if self.segments[target].archived]
        if gone:
            raise Conflict(409, f"segment {current.id} refers to {listed(gone, 10)}, which is archived; restore that first")
        candidate = restored(offset, record.at_ms, current)
        self.check(candidate)
        self._keep(candidate, "restored")

    def _pause(self, record: SegmentPaused | SegmentResumed) -> None:
        current = self._current(record.segment_id, record.version)
        change = paused if isinstance(record, SegmentPaused) else resumed
        self.segments[current.id] = change(record.at_ms, current)

    def _current(self, segment_id: str, version: int) -> Segment:
        current = self.segments.get(segment_id)
        if current is None or current.archived:
            raise Conflict(404, f"no segment {segment_id}")
        _check_version(current, version)
        return current

    def _keep(self, segment: Segment, change: VersionChange) -> None:
        moved = self._dependents(segment.id)
        self._remove_from_index(segment.id)
        rule = None if segment.archived else segment.rule
        self._rankings.keep(segment.id, rule)
        self.cost -= self.costs.pop(segment.id, 0)
        if not segment.archived:
            self.costs[segment.id] = rule_cost(rule)
            self.cost += self.costs[segment.id]
        self.lifetimes.keep(segment.id, rule, segment.updated_ms)
        if not segment.archived:
            named = self._references[segment.id] = references(segment.rule)
            for target in named:
                self._referrers.setdefault(target, set()).add(segment.id)
            if segment.tier is not None:
                self._families.setdefault(segment.tier.family, {})[segment.tier.level] = segment.id
        self.segments[segment.id] = segment
        for dependent in moved | self._dependents(segment.id):
            self.segments[dependent] = replace(self.segments[dependent], moved=segment.offset)
        self.versions.add(segment.id, _version(segment, change, self.versions.of(segment.id)))

    def _dependents(self, segment_id: str) -> set[str]:
        """Return the live segments that depend on one, directly or through others."""
        found: set[str] = set()
        ahead = [segment_id]
        while ahead:
            here = ahead.pop()
            tier = None if (segment := self.segments.get(here)) is None or segment.archived else segment.tier
            lower = [] if tier is None else [holder for level, holder in self._families.get(tier.family, {}).items() if level < tier.level]
            for dependent in (*self._referrers.get(here, ()), *lower):
                if dependent not in found:
                    found.add(dependent)
                    ahead.append(dependent)
        return found

    def _remove_from_index(self, segment_id: str) -> None:
        for target in self._references.pop(segment_id, ()):
            self._referrers[target].discard(segment_id)
        former = self.segments.get(segment_id)
        if former is not None and former.tier is not None and not former.archived:
            del self._families[former.tier.family][former.tier.level]

    def check(self, candidate: Segment) -> None:
        """Refuse what names no live segment, a level that is taken, a cycle, and more dependencies or ranks than there may be."""
        for target, place in references(candidate.rule).items():
            known = self.segments.get(target)
            if target != candidate.id and (known is None or known.archived):
                said = "there is no segment" if known is None else "nobody is in the archived segment"
                raise Conflict(422, f"{said} {shown(target)}; refer to one that exists", f"/rule{place}")
        self._rankings.check(candidate.id, candidate.rule)
        tier = candidate.tier
        holder = None if tier is None else self._families.get(tier.family, {}).get(tier.level)
        if tier is not None and holder not in (None, candidate.id):
            raise Conflict(409, f"level {tier.level} of {tier.family} is that of segment {holder}; levels are unique", "/tier/level")
        way: dict[str, str] = {}
        ahead = [candidate.id]
        while ahead:
            here = ahead.pop()
            for target in self._dependencies(here, candidate):
                if target == candidate.id:
                    raise _cycle(candidate, way, here)
                if target not in way:
                    way[target] = here
                    ahead.append(target)
            if len(way) > MAX_DEPENDENCIES:
                raise Conflict(422, f"segment {candidate.id} would depend on more than {MAX_DEPENDENCIES} others", _place(candidate, ""))

    def _dependencies(self, segment_id: str, candidate: Segment) -> Sequence[str]:
        """Return what a segment depends on, were the candidate in force: those it refers to, and the next higher level."""
        segment = candidate if segment_id == candidate.id else self.segments[segment_id]
        named = references(candidate.rule) if segment is candidate else self._references[segment_id]
        if segment.tier is None:
            return tuple(named)
        levels = {level: holder for level, holder in self._families.get(segment.tier.family, {}).items() if holder != candidate.id}
        if candidate.tier is not None and candidate.tier.family == segment.tier.family:
            levels[candidate.tier.level] = candidate.id
        higher = [level for level in levels if level > segment.tier.level]
        return (*named, levels[min(higher)]) if higher else tuple(named)


def saved(offset: int, record: SegmentPut, rule: Rule | None, current: Segment | None) -> Segment:
    """Return the version that a record saves over the current one; raise `Refusal` when what it carries is not right."""
    candidate = Segment(
        tenant=record.tenant,
        id=record.segment_id,
        version=record.replaces + 1,
        name=record.name,
        description=record.description,
        rule=rule,
        offset=offset,
        include_since=offset if current is None or "include" in record.resets else current.include_since,
        exclude_since=offset if current is None or "exclude" in record.resets else current.exclude_since,
        created_ms=record.at_ms if current is None else current.created_ms,
        updated_ms=record.at_ms,
        tier=record.tier,
        min_stay=None if record.min_stay is None else duration(record.min_stay, "/min_stay"),
        starts_at_ms=record.starts_at_ms,
        ends_at_ms=record.ends_at_ms,
        paused_ms=None if current is None else current.paused_ms,
        last_pause=None if current is None else current.last_pause,
        announced={}
        if current is None
        else {name: count for name, count in current.announced.items() if name not in record.resets}
        | {name: count for name, count in record.announces.items() if name in record.resets},
    )
    return _fitting(candidate)


def _fitting(candidate: Segment) -> Segment:
    """Return a segment whose tier and span of life can be; raise `Refusal` for others."""
    if candidate.tier is not None and not _FAMILY.fullmatch(candidate.tier.family):
        raise Refusal(f"{shown(candidate.tier.family)} is no name of a family; use a-z, 0-9, - and _, at most 64", pointer="/tier/family")
    if candidate.starts_at_ms is not None and candidate.ends_at_ms is not None and candidate.starts_at_ms >= candidate.ends_at_ms:
        raise Refusal("starts_at comes before ends_at", pointer="/ends_at")
    return candidate


def unsaved(tenant: str, rule: Rule, around: Around = _AS_IT_WAS) -> Segment:
    """Return a segment that has only a rule yet, and what stands around it; its id is empty. Raises `Refusal` as `saved` does."""
    return _with(Segment(tenant, "", 1, "", "", rule, offset=0, include_since=0, exclude_since=0, created_ms=0, updated_ms=0), around)


def edited(current: Segment, rule: Rule, around: Around = _AS_IT_WAS) -> Segment:
    """Return a segment as it would be with another rule, and other things around it. Raises `Refusal` as `saved` does."""
    return _with(replace(current, version=current.version + 1, rule=rule), around)


def _with(segment: Segment, around: Around) -> Segment:
    changes: dict[str, Any] = {name: value for name, value in asdict(around).items() if value is not UNSET}
    if changes.get("min_stay") is not None:
        changes["min_stay"] = duration(changes["min_stay"], "/min_stay")
    return _fitting(replace(segment, **changes))


def archived(offset: int, at_ms: int, current: Segment) -> Segment:
    """Return the version that ends a segment."""
    return replace(current, version=current.version + 1, archived=True, offset=offset, updated_ms=at_ms)


def restored(offset: int, at_ms: int, current: Segment) -> Segment:
    """Return the version that brings an archived segment back, with empty lists and not paused."""
    return replace(
        resumed(at_ms, current), version=current.version + 1, archived=False, offset=offset, updated_ms=at_ms,
        include_since=offset, exclude_since=offset, announced={},
    )  # fmt: skip


def paused(at_ms: int, current: Segment) -> Segment:
    """Return a segment whose webhooks are held back; one that is paused stays as it is."""
    return current if current.paused_ms is not None else replace(current, paused_ms=at_ms)


def resumed(at_ms: int, current: Segment) -> Segment:
    """Return a segment whose webhooks are pushed again; one that is not paused stays as it is."""
    return current if current.paused_ms is None else replace(current, paused_ms=None, last_pause=(current.paused_ms, at_ms))


def _check_version(current: Segment, version: int) -> None:
    if current.version != version:
        raise Conflict(412, f"segment {current.id} is at version {current.version}, not {version}; read it again")


def _cycle(candidate: Segment, way: dict[str, str], last: str) -> Conflict:
    path = [last]
    while path[-1] != candidate.id:
        path.append(way[path[-1]])
    names = " → ".join([*reversed(path), candidate.id])
    said = f"segment {candidate.id} would depend on itself: {names} (a rule depends on the segments that it names, a tier on the higher ones)"
    return Conflict(422, said, _place(candidate, path[-2] if len(path) > 1 else candidate.id))


def _place(candidate: Segment, target: str) -> str:
    """Return the place in the body that leads to a segment: where the rule names it, else the tier."""
    named = references(candidate.rule)
    if target in named:
        return f"/rule{named[target]}"
    return "/tier" if candidate.tier is not None else "/rule"


def _version(segment: Segment, change: VersionChange, before: Sequence[Version]) -> Version:
    rule = None if segment.rule is None else encode(canonical(segment.rule))
    if before and before[-1].rule == rule:
        rule = before[-1].rule  # one copy of a rule that stays
    return Version(
        version=segment.version,
        change=change,
        at_ms=segment.updated_ms,
        offset=segment.offset,
        name=segment.name,
        description=segment.description,
        rule=rule,
        tier=segment.tier,
        min_stay=segment.min_stay,
        starts_at_ms=segment.starts_at_ms,
        ends_at_ms=segment.ends_at_ms,
    )
