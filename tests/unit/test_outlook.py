"""The outlook where what lies ahead depends on what lies ahead."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from schemas.instants import DAY_MS, iso
from tests.support.simulation import Simulation

NOW = 1_795_342_500_000
TENANT = {"id": "demo", "timezone": "Europe/Paris", "currency": "EUR", "country": "FR"}


@given(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9))
def test_an_entry_to_come_holds_for_its_min_stay(lapsed: int, stay: int, fresh: int) -> None:
    """Whoever will be in another segment, and be held there, is in by it until that stay is over: not earlier and not later."""
    shop = Simulation(TENANT, NOW)
    lapsing = {"metric": {"measure": "days_since_last", "event": "visit"}, "op": "eq", "value": lapsed}
    shop.save({"id": "lapsing", "rule": lapsing, "min_stay": f"P{stay}D"})
    visited = {"metric": {"measure": "count", "event": "visit", "window": {"last": f"P{fresh}D"}}, "op": "gte", "value": 1}
    shop.save({"id": "reached", "rule": {"any": [{"segment": "lapsing"}, visited]}})
    shop.post({"type": "visit", "event_id": "a", "customer_id": "718", "occurred_at": iso(NOW), "store_id": "7"})
    _, until_ms = shop.memberships()["718"]["reached"]
    assert until_ms == NOW + (max(fresh, lapsed + stay) if fresh >= lapsed else fresh) * DAY_MS
    shop.pass_to(until_ms - 1)
    assert "718" in shop.members("reached")
    shop.pass_to(until_ms)
    assert "718" not in shop.members("reached")
