"""The fold of the definitions: what is accepted, what is refused and why, and that every process agrees."""

from __future__ import annotations

import random
from typing import Any

import pytest

from schemas import catalog as module
from schemas.catalog import Catalog, Outcome
from schemas.definitions import (
    AttributePut,
    Definition,
    EndpointDeleted,
    EndpointPut,
    KeyPut,
    KeyRevoked,
    SegmentArchived,
    SegmentPaused,
    SegmentPut,
    SegmentRestored,
    SegmentResumed,
    TenantPut,
    Tier,
    encode_definition,
)
from schemas.vocabulary import Kind

RULE = {"profile": "age", "op": "gte", "value": 20}


def tenant(name: str = "demo", timezone: str = "Europe/Paris") -> TenantPut:
    """Return a tenant."""
    return TenantPut(tenant=name, at_ms=1, timezone=timezone, currency="EUR", country="FR")


def segment(replaces: int = 0, segment_id: str = "gold", *, of: str = "demo", **more: Any) -> SegmentPut:
    """Return a version of a segment."""
    return SegmentPut(tenant=of, at_ms=10 + replaces, segment_id=segment_id, replaces=replaces, name=f"version {replaces + 1}", **more)


def endpoint(replaces: int = 0, endpoint_id: str = "whk", *, of: str = "demo") -> EndpointPut:
    """Return a revision of an endpoint."""
    return EndpointPut(tenant=of, at_ms=10 + replaces, endpoint_id=endpoint_id, replaces=replaces, url="https://example.com", secret="whsec_x")


def key(key_id: str = "k", sha256: str = "h", *, of: str = "demo") -> KeyPut:
    """Return a key."""
    return KeyPut(tenant=of, at_ms=1, key_id=key_id, name="n", scopes=["segments:read"], sha256=sha256)


def folded(*records: Definition | bytes) -> tuple[Catalog, list[Outcome]]:
    """Fold records from offset 0."""
    catalog = Catalog()
    documents = [record if isinstance(record, bytes) else encode_definition(record) for record in records]
    return catalog, [catalog.apply(offset, document) for offset, document in enumerate(documents)]


def statuses(*records: Definition | bytes) -> list[int]:
    """Fold records and return what each writer is answered."""
    return [outcome.status for outcome in folded(*records)[1]]


def test_of_two_writers_of_one_version_the_first_wins() -> None:
    """The second learns that it lost, and its record changes nothing."""
    catalog, outcomes = folded(tenant(), segment(), segment(1, description="first"), segment(1, description="second"))
    assert [outcome.status for outcome in outcomes] == [200, 200, 200, 412]
    found = catalog.segment("demo", "gold")
    assert found is not None
    assert (found.version, found.description, found.offset) == (2, "first", 2)


@pytest.mark.parametrize(
    ("records", "status"),
    [
        ([b"{"], 422),
        ([b'{"record":"unknown"}'], 422),
        ([b""], 422),
        ([segment()], 404),
        ([tenant(), tenant()], 409),
        ([tenant(timezone="Mars/Olympus")], 422),
        ([tenant(), segment(), segment()], 409),
        ([tenant(), segment(), SegmentArchived(tenant="demo", at_ms=1, segment_id="gold", replaces=1), segment()], 409),
        ([tenant(), segment(), SegmentArchived(tenant="demo", at_ms=1, segment_id="gold", replaces=1), segment(2)], 404),
        ([tenant(), segment(), SegmentArchived(tenant="demo", at_ms=1, segment_id="gold", replaces=2)], 412),
        ([tenant(), segment(3)], 404),
        ([tenant(), segment(rule={"all": []})], 422),
        ([tenant(), segment(rule={"metric": {"measure": "count", "event": "checkout", "where": [{"field": []}]}})], 422),
        ([tenant(), key(), key("another")], 409),
        ([tenant(), key(), key("k", "another")], 409),
        ([tenant(), key(), KeyRevoked(tenant="demo", at_ms=2, key_id="k"), key("k", "again")], 409),
        ([tenant(), tenant("other"), key(), KeyRevoked(tenant="other", at_ms=2, key_id="k")], 404),
        ([tenant(), KeyRevoked(tenant="demo", at_ms=2, key_id="k")], 404),
        ([tenant(), endpoint(), endpoint()], 412),
        ([tenant(), endpoint(1)], 412),
        ([tenant(), EndpointDeleted(tenant="demo", at_ms=2, endpoint_id="whk")], 404),
        ([tenant(), endpoint(), EndpointDeleted(tenant="demo", at_ms=2, endpoint_id="whk"), endpoint(1)], 404),
    ],
)
def test_what_is_refused_changes_nothing(records: list[Any], status: int) -> None:
    """The last record is refused with its status, and what is in force is as it was before it, but for the offset."""
    assert statuses(*records)[-1] == status
    before, after = folded(*records[:-1])[0], folded(*records)[0]
    assert after.offset == before.offset + 1
    for part in ("tenants", "keys", "segments", "endpoints", "revisions"):
        known, found = getattr(before, part), getattr(after, part)
        # An empty shelf for a tenant's first segment or endpoint is nothing that anyone can see.
        assert {name: shelf for name, shelf in found.items() if shelf != {}} == {name: shelf for name, shelf in known.items() if shelf != {}}


def test_every_process_that_has_read_the_same_says_the_same() -> None:
    """Any sequence of records, also nonsense, folds to the same catalog and outcomes, and folding a record again changes nothing."""
    rng = random.Random(3)
    makers: list[Any] = [
        lambda: tenant(rng.choice(["demo", "other"])),
        lambda: segment(rng.randrange(3), rng.choice(["a", "b"]), of=rng.choice(["demo", "other"]), rule=rng.choice([None, RULE])),
        lambda: segment(rng.randrange(3), rng.choice(["a", "b"]), rule={"segment": rng.choice(["a", "b", "c"])}),
        lambda: segment(rng.randrange(3), rng.choice(["a", "b"]), tier=Tier("f", rng.randint(1, 2))),
        lambda: SegmentArchived(tenant="demo", at_ms=1, segment_id=rng.choice(["a", "b"]), replaces=rng.randrange(4)),
        lambda: SegmentRestored(tenant="demo", at_ms=1, segment_id=rng.choice(["a", "b"]), replaces=rng.randrange(4)),
        lambda: rng.choice([SegmentPaused, SegmentResumed])(tenant="demo", at_ms=1, segment_id=rng.choice(["a", "b"]), version=rng.randrange(4)),
        lambda: AttributePut(tenant="demo", at_ms=1, name=rng.choice(["x", "properties.x", "city"]), kind=rng.choice([Kind.TEXT, Kind.DATE])),
        lambda: endpoint(rng.randrange(3), rng.choice(["x", "y"])),
        lambda: EndpointDeleted(tenant="demo", at_ms=1, endpoint_id=rng.choice(["x", "y"])),
        lambda: key(rng.choice("kl"), rng.choice("hi")),
        lambda: KeyRevoked(tenant="demo", at_ms=1, key_id=rng.choice("kl")),
        lambda: b"nonsense",
    ]
    for _ in range(200):
        records = [tenant(), *(rng.choice(makers)() for _ in range(30))]
        (one, said), (two, again) = folded(*records), folded(*records)
        assert said == again
        for offset in range(len(records)):
            assert two.apply(offset, b"anything") == said[offset], "a record that was read is not read again"
        assert (one.tenants, one.keys, one.segments, one.endpoints, one.revisions) == (
            two.tenants,
            two.keys,
            two.segments,
            two.endpoints,
            two.revisions,
        )
        for tenant_id, segments in one.segments.items():
            assert one.attributes(tenant_id) == two.attributes(tenant_id)
            assert all(one.versions(tenant_id, found) == two.versions(tenant_id, found) for found in segments)
            assert all(s.version >= 1 and s.created_ms <= s.updated_ms + 10 for s in segments.values())


def test_the_revision_moves_when_what_is_saved_may_change_who_is_in() -> None:
    """A version of any kind and a new declaration move it to the record; a pause, a refusal and the same again do not."""
    catalog = Catalog()
    edits: dict[str, int] = {}
    for offset, (record, moves) in enumerate(
        [
            (tenant(), False),
            (segment(rule=RULE), True),
            (segment(rule=RULE), False),
            (SegmentPaused(tenant="demo", at_ms=1, segment_id="gold", version=1), False),
            (SegmentResumed(tenant="demo", at_ms=1, segment_id="gold", version=1), False),
            (segment(1, tier=Tier("status", 1)), True),
            (SegmentArchived(tenant="demo", at_ms=1, segment_id="gold", replaces=2), True),
            (SegmentRestored(tenant="demo", at_ms=1, segment_id="gold", replaces=3), True),
            (AttributePut(tenant="demo", at_ms=1, name="x", kind=Kind.TEXT), True),
            (AttributePut(tenant="demo", at_ms=1, name="x", kind=Kind.TEXT), False),
            (AttributePut(tenant="demo", at_ms=1, name="x", kind=Kind.DATE), False),
            (key(), False),
            (endpoint(), False),
        ]
    ):
        before = dict(catalog.revisions)
        catalog.apply(offset, encode_definition(record))
        edits["demo"] = offset + 1 if moves else before.get("demo", 0)
        assert catalog.revisions == edits


def test_manual_lists_begin_anew_only_when_they_are_replaced() -> None:
    """A list belongs to the version that reset it; an edit of the rule keeps both."""
    catalog, _ = folded(tenant(), segment(), segment(1, rule=RULE), segment(2, resets=["exclude"]), segment(3, resets=["include", "exclude"]))
    history = [folded(tenant(), segment(), segment(1, rule=RULE), segment(2, resets=["exclude"]))[0], catalog]
    sinces = [(s.include_since, s.exclude_since) for s in (one.segment("demo", "gold") for one in history) if s is not None]
    assert sinces == [(1, 3), (4, 4)]


def test_deleted_endpoints_do_not_use_up_the_number_that_there_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit counts endpoints that exist."""
    monkeypatch.setattr(module, "MAX_ENDPOINTS", 2)
    gone = EndpointDeleted(tenant="demo", at_ms=1, endpoint_id="a")
    assert statuses(tenant(), endpoint(0, "a"), endpoint(0, "b"), endpoint(0, "c"), gone, endpoint(0, "c")) == [200, 200, 200, 422, 200, 200]


def test_a_forgotten_outcome_is_not_an_acceptance(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was said long ago is no longer known, and nobody is told that it was accepted."""
    monkeypatch.setattr(module, "_OUTCOMES_KEPT", 2)
    catalog, _ = folded(tenant(), segment(), segment(1))
    assert (catalog.outcome(0).status, catalog.outcome(2).status, catalog.outcome(99).accepted) == (503, 200, False)


def test_a_revoked_key_opens_nothing() -> None:
    """A key is in force from its record to its revocation."""
    assert folded(tenant(), key())[0].key("h") is not None
    assert folded(tenant(), key(), KeyRevoked(tenant="demo", at_ms=2, key_id="k"))[0].key("h") is None
