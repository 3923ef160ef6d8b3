"""The definitions topic is kept for ever: what an earlier version of the product wrote folds today, and means what it meant."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

from schemas.catalog import Catalog
from schemas.rules import canonical, encode

WRITTEN = (Path(__file__).parents[1] / "golden" / "definitions-0.1.jsonl").read_bytes().splitlines()


def folded() -> Catalog:
    """Fold what version 0.1 wrote."""
    catalog = Catalog()
    for offset, line in enumerate(WRITTEN):
        assert catalog.apply(offset, line).accepted, line
    return catalog


def test_records_of_version_0_1_fold() -> None:
    """Tenant, keys, endpoints and segments are in force as they were written, with nothing of what came later."""
    catalog = folded()
    assert catalog.tenants["demo"].timezone == "Europe/Paris"
    assert [key.id for key in catalog.keys.values()] == ["key_1"]
    assert [endpoint.id for endpoint in catalog.endpoints_of("demo")] == ["whk_1"]
    assert len(catalog.live_segments("demo")) > 20
    for segment in catalog.segments["demo"].values():
        assert (segment.tier, segment.min_stay, segment.starts_at_ms, segment.ends_at_ms) == (None, None, None, None)
        assert (segment.paused_ms, segment.last_pause, segment.announced) == (None, None, {})
    archived, press = catalog.segment("demo", "s00"), catalog.segment("demo", "press")
    assert archived is not None
    assert press is not None
    assert (archived.archived, archived.version) == (True, 2)
    assert (press.rule, press.name, press.version) == (None, "Press and friends", 2)
    assert press.include_since < press.offset
    assert catalog.attributes("demo") == []


def test_rules_of_version_0_1_are_canonical_still() -> None:
    """Each rule that was stored is its own canonical form, byte for byte: equal metrics of old and new segments are shared."""
    catalog = folded()
    seen = 0
    for line in WRITTEN:
        record = json.loads(line, parse_float=Decimal)
        if record["record"] == "segment" and record["rule"] is not None:
            segment = catalog.segment("demo", record["segment_id"])
            assert segment is not None
            assert segment.rule is not None
            assert encode(canonical(segment.rule)) == encode(record["rule"])
            seen += 1
    assert seen > 20
    assert all(catalog.versions("demo", segment_id) for segment_id in catalog.segments["demo"])
