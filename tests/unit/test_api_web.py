"""Small laws of the API that need no server: tokens, progress, and the published document."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import suppress
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from schemas.catalog import Segment
from schemas.errors import Refusal
from schemas.examples import RULES
from schemas.instants import Duration
from schemas.positions import decode_position, encode_position
from schemas.projection import Marker, Sweep
from schemas.rule_context import RuleContext
from schemas.rule_parser import parse_rule
from services.api.app import build_app
from services.api.auth import new_key
from services.api.cursors import decode_cursor, encode_cursor
from services.api.errors import Refused
from services.api.foremost import ends_of, ranks_of
from services.api.reads import Known, progress
from services.api.routes.common import with_a_past
from services.api.routes.table import ROUTES
from services.api.settings import ApiSettings
from services.api.web import Call, query_of
from tests.support.simulation import exact_json

OFFSETS = st.dictionaries(st.sampled_from(["", "checkouts", "visits"]), st.dictionaries(st.integers(0, 5), st.integers(0, 1 << 61), max_size=6))


@given(OFFSETS)
def test_a_position_comes_back_as_it_was(offsets: dict[str, dict[int, int]]) -> None:
    """Reading a token gives the offsets that it was made from."""
    assert decode_position(encode_position(offsets), partitions=6) == offsets


def test_the_largest_installation_has_tokens_that_are_taken() -> None:
    """A cursor over a thousand partitions is neither refused nor too long for a request line."""
    token = encode_position({"": dict.fromkeys(range(1_000), 1 << 40)})
    assert len(token) < 32_000
    assert len(decode_position(token, partitions=1_000)[""]) == 1_000


@given(st.text(max_size=60) | st.binary(max_size=60).map(encode_cursor))
def test_no_token_is_a_fault(token: str) -> None:
    """Any text is read or refused; nothing else happens."""
    with suppress(Refusal):
        offsets = decode_position(token, partitions=6)
        assert all(0 <= p < 6 and o >= 0 for places in offsets.values() for p, o in places.items())
    with suppress(Refused):
        assert isinstance(decode_cursor(token, tuple[int, str]), tuple)


@given(st.binary(max_size=80))
def test_no_query_is_a_fault(raw: bytes) -> None:
    """Any bytes are parameters that are known, or refused."""
    with suppress(Refused):
        assert query_of(raw, frozenset({"a", "limit"})).keys() <= {"a", "limit"}


MARKERS = st.builds(
    lambda definitions, customers, sweep: Known(Marker(1, 1, {}, definitions, customers, sweep), ""),
    st.integers(0, 9), st.integers(0, 50), st.none() | st.builds(Sweep, st.integers(0, 9), st.integers(0, 50), st.integers(0, 50)),
)  # fmt: skip


@given(st.lists(MARKERS, min_size=1, max_size=6), st.integers(0, 9))
def test_progress_is_whole_exactly_when_every_partition_is_past_it(markers: list[Known], offset: int) -> None:
    """Live and 1.0 go together, and mean that no partition's customers are left."""
    segment = Segment("demo", "s", 1, "s", "", None, offset, offset, offset, 1, 1)
    found = progress(segment, markers)
    assert found.live == (found.share == 1.0) == all(known.marker.definitions > offset for known in markers)
    assert 0 <= found.share <= 1
    assert not progress(segment, [*markers, None]).live


def test_keys_are_different_and_scanners_know_them() -> None:
    """A key is a prefix and all the randomness that was given."""
    assert new_key(lambda size: b"\xff" * size) == "rollcall_" + "_" * 42 + "8"
    assert new_key(bytes) != new_key(lambda size: b"\1" * size)


def test_the_published_document_is_whole() -> None:
    """Every route is in it with its parameters, every reference leads somewhere, and every error has its example."""
    document = published()
    text = json.dumps(document)
    for name in set(re.findall(r'"#/components/schemas/([^"]+)"', text)):
        assert name in document["components"]["schemas"], name
    for spec in ROUTES:
        operation = document["paths"][spec.path][spec.method.lower()]
        named = {(p["in"], p["name"]) for p in operation["parameters"]}
        assert {name for place, name in named if place == "query"} == {param.name for param in spec.params}
        assert {name for place, name in named if place == "path"} == set(re.findall(r"\{(\w+)\}", spec.path))
        assert {"401", "403", "429", "503"} <= operation["responses"].keys()
        assert "Retry-After" in operation["responses"]["429"]["headers"]
        assert spec.scope in operation["description"]
    operations = [operation["operationId"] for methods in document["paths"].values() for operation in methods.values()]
    assert len(operations) == len(set(operations))


def test_what_changes_something_is_a_write() -> None:
    """A route is charged as a write exactly when its scope says that it writes; lists of keys, which only those who make keys see, apart."""
    for spec in ROUTES:
        if spec.scope != "keys:write":
            assert (spec.charged == "writes") == spec.scope.endswith(":write"), spec.path
        assert spec.cost >= 1


@pytest.mark.parametrize("spec", ROUTES, ids=[f"{spec.method} {spec.path}" for spec in ROUTES])
def test_the_examples_are_what_is_taken_and_answered(spec: Any) -> None:
    """Each example of a body is read by the route's own type, each example of an answer has the shape of the answer."""
    for example in spec.examples.values():
        msgspec.convert(example, spec.body)
    for answer in spec.answers.values():
        if answer.body is not None:
            msgspec.json.decode(msgspec.json.encode(answer.example), type=answer.body)
            assert answer.example.keys() <= {info.encode_name for info in msgspec.structs.fields(answer.body)}


def published() -> dict[str, Any]:
    """Return the OpenAPI document."""
    found: dict[str, Any] = build_app(ApiSettings(partitions=2)).app.openapi()
    return found


def test_a_stay_that_a_rank_starts_has_no_past() -> None:
    """By single instants, neither in the segment itself nor in one that it depends on; a rank alone has one, of so many instants, and a stay beside it."""
    context = RuleContext("Europe/Paris")
    rules = {"first": RULES["rank by number"], "asks": {"segment": "first"}, "plain": RULES["count in a window"]}
    segments = {name: Segment("demo", name, 1, name, "", parse_rule(exact_json(rule), context), 1, 1, 1, 1, 1) for name, rule in rules.items()}
    segments["plain"] = replace(segments["plain"], min_stay=Duration(1, 0))
    for segment in segments.values():
        assert with_a_past(segments, segment) is segment
    segments["first"] = replace(segments["first"], min_stay=Duration(1, 0))
    for name in ("first", "asks"):
        with pytest.raises(Refused, match="min_stay of segment first begins with what a rank says") as refused:
            with_a_past(segments, segments[name])
        assert refused.value.status == 422
    with pytest.raises(Refused, match="5000 steps at most") as refused:
        asyncio.run(ends_of(cast(Call, None), "first", ranks_of(segments, segments["first"]), range(5_001), definitions=0))
    assert (refused.value.status, refused.value.pointer) == (422, "/step")
    assert with_a_past(segments, segments["plain"]) is segments["plain"]
