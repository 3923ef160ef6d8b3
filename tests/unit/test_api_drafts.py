"""Merge patches, and what a body becomes before it is written: laws that need no server."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from schemas.catalog import Segment
from schemas.definitions import Tier
from schemas.instants import Duration
from schemas.rule_context import RuleContext
from schemas.rule_parser import parse_rule
from schemas.rules import canonical
from services.api.documents import converted
from services.api.drafts import keeps_rule, merged, patched
from services.api.errors import Refused
from services.api.shapes import SegmentPatch

RULE = parse_rule({"profile": "age", "op": "gte", "value": 20}, RuleContext("UTC"))
CURRENT = Segment(
    "demo", "gold", 3, "Gold", "the best", RULE, 9, 9, 9, 1, 2, tier=Tier("status", 2), min_stay=Duration(0, 7 * 86_400_000), starts_at_ms=0,
)  # fmt: skip


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_patches_merge_as_the_standard_shows(target: Any, patch: Any, result: Any) -> None:
    """The table of RFC 7396, appendix A."""
    assert merged(target, patch) == result


DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3) | st.lists(inner, max_size=2),
    max_leaves=8,
)


@given(DOCUMENTS, DOCUMENTS)
def test_a_patch_twice_is_the_patch_once(target: Any, patch: Any) -> None:
    """Merging is idempotent: a client that got no answer can send it again."""
    once = merged(target, patch)
    assert merged(once, patch) == once


def test_a_segment_whose_rule_would_be_refused_today_can_be_renamed() -> None:
    """Its rule is left as it is by any patch that does not speak of it, and by no other."""
    old: Any = {"any": [
        {"metric": {"measure": "count", "event": "checkout"}, "op": "lt", "value": 0}, {"near": {"lat": 43.6047, "lon": 1.4442, "km": 30}},
        {"metric": {"measure": "sum", "event": "checkout", "field": "total", "window": {"last": "P12M"}}, "op": "gt", "value": "150.00"},
    ]}  # fmt: skip
    saved = replace(CURRENT, rule=parse_rule(old, RuleContext("UTC")))
    renamed, changed = (patched(saved, SegmentPatch(**some)) for some in ({"name": "Gone"}, {"rule": old | {"any": old["any"][:1]}}))
    assert renamed is not None
    assert changed is not None
    assert keeps_rule(saved, renamed)
    assert not keeps_rule(saved, changed)
    assert not keeps_rule(None, renamed)


def test_a_patch_that_is_nested_without_end_is_refused() -> None:
    """It is a 422 and no fault."""
    patch: Any = {}
    for _ in range(500):
        patch = {"a": patch}
    with pytest.raises(Refused, match="nested"):
        merged({}, patch)


@pytest.mark.parametrize(
    ("patch", "after"),
    [
        ({"name": "Best"}, {"name": "Best"}),
        ({"description": None}, {"description": None}),
        ({"rule": {"value": 30}}, {"rule": {"profile": "age", "op": "gte", "value": 30}}),
        ({"rule": None}, {"rule": None}),
        ({"tier": {"level": 3}}, {"tier": Tier("status", 3)}),
        ({"tier": None, "min_stay": None, "starts_at": None}, {"tier": None, "min_stay": None, "starts_at": None}),
        ({"ends_at": "2030-01-01T00:00:00Z"}, {"ends_at": "2030-01-01T00:00:00Z"}),
        ({"include": []}, {"include": []}),
    ],
)
def test_what_a_patch_does_not_name_stays(patch: dict[str, Any], after: dict[str, Any]) -> None:
    """The body that is saved is the segment's own, with exactly what the patch names different."""
    body = patched(CURRENT, converted(SegmentPatch, patch))
    assert body is not None
    usual = {
        "id": "gold", "name": "Gold", "description": "the best", "rule": canonical(RULE), "tier": Tier("status", 2), "min_stay": "P7D",
        "starts_at": "1970-01-01T00:00:00.000Z", "ends_at": None, "include": None, "exclude": None,
    }  # fmt: skip
    assert {name: getattr(body, name) for name in usual} == usual | after


@pytest.mark.parametrize("patch", [{}, {"name": "Gold"}, {"rule": {}}, {"rule": {"op": "gte"}}, {"tier": {"level": 2}}, {"ends_at": None}])
def test_a_patch_that_changes_nothing_is_none(patch: dict[str, Any]) -> None:
    """Nothing is saved for it."""
    assert patched(CURRENT, converted(SegmentPatch, patch)) is None


@pytest.mark.parametrize(
    ("patch", "pointer"),
    [
        ({"name": None}, "/name"),
        ({"tier": {"family": None}}, "/tier/family"),
        ({"tier": {"colour": "red"}}, "/tier/colour"),
        ({"tier": "gold"}, "/tier"),
        ({"include": None}, "/include"),
        ({"include": {"add": ["718"]}}, "/include"),
        ({"starts_at": 5}, "/starts_at"),
        ({"version": 4}, "/version"),
    ],
)
def test_a_patch_that_leaves_no_segment_is_refused_with_the_place(patch: dict[str, Any], pointer: str) -> None:
    """What would be wrong in a whole body is wrong in a patch."""
    with pytest.raises(Refused) as caught:
        patched(CURRENT, converted(SegmentPatch, patch))
    assert (caught.value.status, caught.value.pointer) == (422, pointer)
