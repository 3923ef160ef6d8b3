"""What a segmenter of an earlier version wrote into its changelog is read by this one, and goes on as it would have gone on.

`golden/changelog-0.1.jsonl` is what `python -m tests.unit.test_state_kept` wrote then: first what was seen, then the changelog.
When rows change their shape, the file stays and must be read, or be refused at the start with a sentence.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from schemas.instants import DAY_MS, iso
from tests.support.simulation import Simulation

WHERE = Path(__file__).parents[1] / "golden" / "changelog-0.1.jsonl"
NOW = 1_795_342_500_000
TENANT = {"id": "demo", "timezone": "Europe/Paris", "currency": "EUR", "country": "FR"}
COUNT = {"measure": "count", "event": "checkout", "window": {"last": "P14D"}}
SEGMENTS: tuple[dict[str, Any], ...] = (
    {"id": "regulars", "rule": {"metric": COUNT, "op": "gte", "value": 2}},
    {"id": "gold", "rule": {"metric": COUNT, "op": "gte", "value": 3}, "tier": {"family": "status", "level": 2}, "min_stay": "P20D"},
    {"id": "picked", "include": ["9", "stranger"], "exclude": []},
    {"id": "ever", "rule": {"metric": {"measure": "sum", "event": "checkout", "field": "total"}, "op": "gt", "value": "100.00"}},
    {"id": "grown", "rule": {"profile": "age", "op": "gte", "value": 18}},
)


def event(what: str, event_id: str, at_ms: int, customer: str, **more: Any) -> dict[str, Any]:
    """An event of a customer."""
    return {"type": what, "event_id": event_id, "occurred_at": iso(at_ms), "customer_id": customer, **more}


def installed() -> Simulation:
    """Return a shop with its segments, and nobody in it."""
    shop = Simulation(TENANT, NOW)
    for segment in SEGMENTS:
        shop.save(segment)
    return shop


def lived() -> Simulation:
    """Return a shop after forty days: purchases, a return, a void, a profile, a dead letter."""
    shop = installed()
    for day in range(40):
        shop.pass_to(NOW + day * DAY_MS)
        for number, customer in enumerate(("718", "9", "42", "old", "new")):
            if day % (number + 2) == 0:
                shop.post(event("checkout", f"{customer}-{day}", shop.now_ms, customer, total="9.95", store_id="7", receipt_id=f"{customer}-{day}"))
    shop.post(event("checkout", "back", shop.now_ms, "42", total="5.00", kind="return"))
    shop.post(event("checkout-void", "void", shop.now_ms, "718", store_id="7", receipt_id="718-38"))
    shop.post(event("profile", "born", shop.now_ms, "9", attributes={"birth_date": "1990-02-28", "city": "Nîmes"}))
    shop.post(event("checkout", "718-0", shop.now_ms, "718", total="1.00"))
    return shop


def seen(shop: Simulation) -> dict[str, Any]:
    """Return what a shop shows now, and what it decides in the thirty days to come."""
    members = {customer: sorted(found) for customer, found in shop.memberships().items()}
    found = {"members": members, "outcomes": shop.outcomes(), "offsets": dict(shop.partition.offsets)}
    shop.transitions.clear()
    shop.post(
        event("checkout", "late", shop.now_ms - 3 * DAY_MS, "old", total="200.00"), event("checkout", "718-2", NOW + 2 * DAY_MS, "718", total="2.00")
    )
    for day in range(40, 70):
        shop.pass_to(NOW + day * DAY_MS)
    return json.loads(json.dumps(found | {"then": shop.transitions, "outcomes_then": shop.outcomes()}))  # type: ignore[no-any-return]


def test_state_of_version_0_1_goes_on() -> None:
    """Members, offsets and outcomes are those that were seen; duplicates and deadlines are known; every exit comes."""
    first, *lines = WHERE.read_bytes().splitlines()
    shop = installed()
    shop.now_ms = NOW + 39 * DAY_MS
    shop.changelog = {base64.b64decode(key): base64.b64decode(value) for key, value in map(json.loads, lines)}
    shop.restart()
    assert seen(shop) == json.loads(first)


if __name__ == "__main__":
    shop = lived()
    kept = dict(shop.changelog)
    records = [[base64.b64encode(part).decode() for part in record] for record in sorted(kept.items())]
    WHERE.write_text("\n".join(json.dumps(line) for line in (seen(shop), *records)) + "\n")
