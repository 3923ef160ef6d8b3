"""Bodies are read, inflated and cut within their limits, whatever is sent."""

from __future__ import annotations

import asyncio
import gzip
import json
import tracemalloc
import zlib
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.catalog import Tenant
from schemas.examples import EVENTS
from schemas.instants import parse_instant
from schemas.partitions import partition_of, record_key
from schemas.topics import Topics
from services.ingest.bodies import Body, Cutter, Inflater, Refused, has_lines, is_array, is_gzip
from services.ingest.intake import Intake, Judged
from services.kit.limits import Budget

NOW_MS = parse_instant("2026-11-23T00:00:00Z")
DEMO = Tenant("demo", "Europe/Paris", "EUR", "FR")


def pieces(body: bytes, size: int) -> list[bytes]:
    """Cut bytes as a network might."""
    return [body[start : start + size] for start in range(0, len(body), size)]


def judged(*documents: dict[str, object]) -> Judged:
    """Judge documents for the demo tenant in four partitions."""
    into = Judged()
    Intake(Topics(), 4).judge(DEMO, [(index, json.dumps(one).encode()) for index, one in enumerate(documents)], NOW_MS, into)
    return into


@given(st.lists(st.binary(max_size=200), min_size=1, max_size=4), st.integers(1, 50))
def test_inflating_in_pieces_gives_the_whole(members: list[bytes], size: int) -> None:
    """However a gzip body is cut on its way, and of however many members it is made, it inflates to what was compressed."""
    inflater = Inflater(10_000)
    assert b"".join(inflater.feed(piece) for piece in pieces(b"".join(map(gzip.compress, members)), size)) == b"".join(members)
    inflater.finish()


@pytest.mark.parametrize("size", [1, 7, 1_000, 10**6])
def test_a_bomb_is_never_inflated_beyond_the_limit(size: int) -> None:
    """A body that would inflate a thousandfold is refused while it inflates, at a cost of about the limit."""
    bomb, limit = gzip.compress(bytes(100_000_000), 9), 100_000
    tracemalloc.start()
    inflater = Inflater(limit)
    with pytest.raises(Refused) as refused:  # noqa: PT012 - any piece may be the one
        for piece in pieces(bomb, size):
            inflater.feed(piece)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert refused.value.status == 413
    assert peak < 20 * limit


@pytest.mark.parametrize(
    "body",
    [b"no gzip", gzip.compress(b"x" * 100)[:-3], gzip.compress(b"x") + b"rest", zlib.compress(b"x"), gzip.compress(b"") * 1_001],
)
def test_what_is_not_whole_gzip_is_refused(body: bytes) -> None:
    """Plain text, a body cut short, other bytes after it, another format, endless members: 400."""
    inflater = Inflater(10_000)
    with pytest.raises(Refused) as refused:  # noqa: PT012 - either step may see it
        inflater.feed(body)
        inflater.finish()
    assert refused.value.status == 400


@given(st.integers(0, 3_000), st.integers(1, 500), st.booleans())
def test_a_body_is_read_exactly_up_to_its_limit(length: int, size: int, zipped: object) -> None:
    """At the limit a body is read in full, a byte beyond it is 413, and afterwards no memory is held."""
    budget, content = Budget(10_000, 1, "bytes"), b"a" * length
    sent = gzip.compress(content) if zipped else content

    async def arriving() -> AsyncIterator[bytes]:
        for piece in pieces(sent, size):
            yield piece

    async def read() -> bytes:
        with Body(2_000, budget) as body:
            return await body.read(arriving(), gzip=bool(zipped))

    if length <= 2_000:
        assert asyncio.run(read()) == content
    else:
        with pytest.raises(Refused) as refused:
            asyncio.run(read())
        assert refused.value.status == 413
    assert budget.held == 0


@given(st.lists(st.sampled_from([b"", b" ", b"\r", b"{}", b"{broken", b'{"a":"\xff"}']), max_size=12))
def test_lines_keep_their_numbers(lines: list[bytes]) -> None:
    """Each line that holds something is a document under its own number; blank ones are none, whatever follows the last."""
    expected = [(index, line) for index, line in enumerate(lines) if line.strip()]
    for end in (b"", b"\n"):
        assert Cutter(100).lines(b"\n".join(lines) + end) == expected


@given(st.lists(st.recursive(st.none() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3), max_leaves=5), max_size=10))
def test_an_array_is_cut_into_its_elements(elements: list[object]) -> None:
    """Each element comes out as its own JSON, in order, up to the limit; one more is 413."""
    body = json.dumps(elements, indent=1).encode()
    cut = Cutter(10).array(body)
    assert [(index, json.loads(bytes(document))) for index, document in cut] == list(enumerate(elements))
    if elements:
        with pytest.raises(Refused) as refused:
            Cutter(len(elements) - 1 or 1).array(json.dumps([*elements, 0]).encode())
        assert refused.value.status == 413


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"[" + b"0," * 2_600_000 + b"0]", 413),
        (b"[" + b"{}," * 11 + b"{}]", 413),
        (b"[" * 5_000_000, 400),
        (b"[1,]", 400),
        (b"[1", 400),
        (b"[NaN]", 400),
        (b"[] x", 400),
    ],
    ids=lambda value: str(value[:12]) if isinstance(value, bytes) else None,
)
def test_a_hostile_array_costs_little(body: bytes, status: int) -> None:
    """Millions of elements or levels are refused without being built."""
    cutter = Cutter(10)
    tracemalloc.start()
    with pytest.raises(Refused) as refused:
        cutter.array(body)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert refused.value.status == status
    assert peak < 1_000_000


def test_too_many_lines_are_refused_before_they_are_cut() -> None:
    """Lines are counted first: 413 costs no list of them."""
    assert len(Cutter(3).lines(b"{}\n{}\n{}\n")) == 3
    for body in (b"{}\n{}\n{}\n{}", b"\n" * 5_000_000):
        with pytest.raises(Refused) as refused:
            Cutter(3).lines(body)
        assert refused.value.status == 413


def test_media_types_and_encodings() -> None:
    """JSON and lines are taken, in UTF-8, plain or as gzip; everything else is 415 and says what is taken."""
    assert [has_lines(name) for name in ("application/json", "Application/JSON; charset=UTF-8", "application/x-ndjson", "application/jsonl")] == [
        False, False, True, True,
    ]  # fmt: skip
    assert [is_gzip(name) for name in ("", "identity", "GZIP", "x-gzip")] == [False, False, True, True]
    for taken, value in (
        (has_lines, ""),
        (has_lines, "text/plain"),
        (has_lines, "application/json; charset=latin-1"),
        (is_gzip, "br"),
        (is_gzip, "gzip, gzip"),
    ):
        with pytest.raises(Refused) as refused:
            taken(value)
        assert refused.value.status == 415
    assert (is_array(b" \n [1]"), is_array(b'{"a":[1]}'), is_array(b"")) == (True, False, False)


def test_records_lie_where_kafkas_partitioner_puts_them_under_the_keys_tenant() -> None:
    """Key and partition follow from tenant and customer; the tenant is written into the document."""
    found = judged(EVENTS["visit"], EVENTS["checkout"], {**EVENTS["visit"], "customer_id": "é:1"})
    for customer_id, topic in (("718", "visits"), ("718", "checkouts"), ("é:1", "visits")):
        key = record_key("demo", customer_id)
        records = found.parcels[topic, partition_of(key, 4)]
        assert [json.loads(value)["tenant"] for its, value in records if its == key] == ["demo"]
    assert (found.accepted, found.rejected) == (3, [])
    assert found.size_bytes == sum(len(value) for records in found.parcels.values() for _, value in records)


def test_anonymous_receipts_have_no_key_and_spread() -> None:
    """Receipts of nobody fill every partition, and the same receipt sent again meets itself."""
    receipts = [{**EVENTS["checkout"], "customer_id": None, "event_id": f"e{number}"} for number in range(40)]
    found, again = judged(*receipts), judged(*receipts)
    assert found.parcels == again.parcels
    assert set(found.parcels) == {("checkouts", partition) for partition in range(4)}
    assert {key for records in found.parcels.values() for key, _ in records} == {None}


def test_the_tenant_of_the_body_is_never_another() -> None:
    """The tenant comes from the key: an equal one in the body is taken, another is refused, and nothing of it is sent."""
    found = judged({**EVENTS["visit"], "tenant": "demo"}, {**EVENTS["visit"], "tenant": "other"})
    assert found.accepted == 1
    assert [(one.index, one.status, one.pointer) for one in found.rejected] == [(1, 422, "/tenant")]
