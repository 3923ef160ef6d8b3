"""From the body of a request to the definition that it asks for: everything is checked here that needs no order of writers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from msgspec import UNSET
from msgspec.structs import asdict

from schemas.catalog import Segment
from schemas.definitions import SegmentPut
from schemas.errors import Refusal
from schemas.events import has_control
from schemas.instants import parse_instant
from schemas.partitions import partition_of, record_key
from schemas.rule_parser import parse_rule
from schemas.rule_values import duration
from schemas.rules import MAX_COST, Rule, canonical
from schemas.segments import saved
from services.api.documents import converted
from services.api.errors import Refused, refused
from services.api.quotas import check_segment
from services.api.shapes import SegmentPatch, SegmentReplace
from services.api.views import instant_or_none, is_customer_id
from services.api.web import Call
from services.api.writer import Edit, ListName

_LISTS: Final[tuple[ListName, ListName]] = ("include", "exclude")
_DEEPEST: Final = 40
"""Objects within objects of a merge patch: a rule nests at most a dozen deep."""


class Draft:
    """A version of a segment on its way to be saved: the record to write, the entries of its lists, and what it will be."""

    def __init__(self, call: Call, segment_id: str, current: Segment | None, body: SegmentReplace) -> None:
        """Check a body; raises `Refused` or `Refusal` with the place."""
        self.current = current
        self.edits = _edits(body)
        if not body.name.strip() or has_control(body.name):
            raise Refused(422, "a name has visible characters and no control characters", pointer="/name")
        self._rule = _rule(call, body, current)
        check_segment(call, segment_id, self._rule)
        min_stay = None if body.min_stay is None else duration(body.min_stay, "/min_stay")
        self.put = SegmentPut(
            tenant=call.tenant,
            at_ms=call.desk.now_ms(),
            segment_id=segment_id,
            replaces=0 if current is None else current.version,
            name=body.name,
            description=body.description or "",
            rule=None if self._rule is None else canonical(self._rule),
            resets=[name for name in _LISTS if getattr(body, name) is not None],
            tier=body.tier,
            min_stay=None if min_stay is None else str(min_stay),
            starts_at_ms=None if body.starts_at is None else parse_instant(body.starts_at, "/starts_at"),
            ends_at_ms=None if body.ends_at is None else parse_instant(body.ends_at, "/ends_at"),
            announces={} if current is None else _announced(call, self.edits),
        )
        self.saved(0)

    def saved(self, offset: int) -> Segment:
        """Return the segment as the fold has it once it has accepted the record at an offset."""
        return saved(offset, self.put, self._rule, self.current)


def patched(current: Segment, patch: SegmentPatch) -> SegmentReplace | None:
    """Return a segment as it shall be after a JSON merge patch (RFC 7396), None when nothing would be different."""
    changes = {name: value for name, value in asdict(patch).items() if value is not UNSET}
    before = _document(current)
    after = merged(before, changes)
    return None if after == before else converted(SegmentReplace, after)


def merged(target: Any, patch: Any, depth: int = 0) -> Any:
    """Merge a patch into a document as RFC 7396 has it; neither is changed. Raises `Refused` (422) where it is nested too deeply."""
    if not isinstance(patch, Mapping):
        return patch
    if depth > _DEEPEST:
        raise Refused(422, f"a patch is nested at most {_DEEPEST} deep")
    found = dict(target) if isinstance(target, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            found.pop(name, None)
        else:
            found[name] = merged(found.get(name), value, depth + 1)
    return found


def check_match(matching: list[str] | None, current: Segment) -> None:
    """Refuse a write that names another version than the one in force."""
    if matching is not None and not {"*", str(current.version)} & set(matching):
        raise Refused(412, f"segment {current.id} is at version {current.version}; read it again", {"ETag": f'"{current.version}"'})


def _document(segment: Segment) -> dict[str, Any]:
    """Return what a patch is merged into: the segment's body, without what is not set."""
    tier = segment.tier
    document = {
        "id": segment.id,
        "name": segment.name,
        "description": segment.description or None,
        "rule": None if segment.rule is None else canonical(segment.rule),
        "tier": None if tier is None else asdict(tier),
        "min_stay": None if segment.min_stay is None else str(segment.min_stay),
        "starts_at": instant_or_none(segment.starts_at_ms),
        "ends_at": instant_or_none(segment.ends_at_ms),
    }
    return {name: value for name, value in document.items() if value is not None}


def _rule(call: Call, body: SegmentReplace, current: Segment | None) -> Rule | None:
    if body.rule is None or keeps_rule(current, body):
        return None if current is None or body.rule is None else current.rule
    return checked_rule(call, body.rule)


def keeps_rule(current: Segment | None, body: SegmentReplace) -> bool:
    """Whether a body leaves the rule as it is: accepted once it stays accepted, whatever else about the segment is changed."""
    return current is not None and current.rule is not None and body.rule == canonical(current.rule)


def checked_rule(call: Call, rule: Any) -> Rule:
    """Read a rule that may be saved; raises `Refused` with the place."""
    months = call.desk.settings.segmenter_history_months
    context = call.catalog.rule_context(call.tenant, history_months=months, max_cost=MAX_COST, saving=True)
    try:
        return parse_rule(rule, context)
    except Refusal as refusal:
        raise refused(refusal, "/rule") from None


def _announced(call: Call, edits: list[Edit]) -> dict[ListName, dict[int, int]]:
    """Count the entries that will follow: each partition decides the difference once it has its own."""
    found: dict[ListName, dict[int, int]] = {}
    for name, customer_id, _ in edits:
        partition = partition_of(record_key(call.tenant, customer_id), call.desk.settings.partitions)
        counts = found.setdefault(name, {})
        counts[partition] = counts.get(partition, 0) + 1
    return found


def _edits(body: SegmentReplace) -> list[Edit]:
    edits: list[Edit] = []
    for name in _LISTS:
        for index, customer_id in enumerate(getattr(body, name) or ()):
            if not is_customer_id(customer_id):
                raise Refused(422, "a customer id has no control characters", pointer=f"/{name}/{index}")
            edits.append((name, customer_id, True))
    return list(dict.fromkeys(edits))
