"""What worked examples are told with: documents about one customer, and the judge's answers about that customer."""

from __future__ import annotations

from itertools import count
from typing import Any

from tests.oracle import clock, model

Json = dict[str, Any]
PARIS = {"id": "demo", "timezone": "Europe/Paris", "currency": "EUR", "country": "FR"}
NOON = "2024-05-15T12:00:00Z"
_ids = count()


def fact(event: str, at: str, /, **body: Any) -> Json:
    """A document about customer c, with an id greater than all before."""
    return {"event_id": f"e{next(_ids):06}", "tenant": "demo", "customer_id": "c", "type": event, "occurred_at": at} | body


def sale(at: str = "2024-05-01T10:00:00Z", total: Any = "10.00", **body: Any) -> Json:
    """A checkout of customer c."""
    return fact("checkout", at, total=total, **body)


def profile(at: str = "2024-01-01T00:00:00Z", **attributes: Any) -> Json:
    """A profile event of customer c."""
    return fact("profile", at, attributes=attributes)


def told(*documents: Json, tenant: Json = PARIS, declared: dict[str, str] | None = None) -> model.History:
    """A judge who has heard these."""
    history = model.History(tenant, declared)
    for document in documents:
        history.add(document)
    return history


def value(metric: Json, *documents: Json, at: str = NOON, tenant: Json = PARIS, declared: dict[str, str] | None = None) -> Any:
    """A metric of customer c, of checkouts unless it says otherwise."""
    return model.value_of({"event": "checkout"} | metric, told(*documents, tenant=tenant, declared=declared), "c", clock.instant(at))


def holds(rule: Json, *documents: Json, at: str = NOON, tenant: Json = PARIS, declared: dict[str, str] | None = None) -> bool:
    """Whether a rule holds of customer c."""
    return model.holds(rule, told(*documents, tenant=tenant, declared=declared), "c", clock.instant(at))


def beside(at: str, ms: int) -> str:
    """An instant so many milliseconds from another."""
    return clock.moment(clock.instant(at) + ms).isoformat()


def bought(at_least: int, **metric: Any) -> Json:
    """A rule: so many checkouts, or more."""
    return {"metric": {"measure": "count", "event": "checkout"} | metric, "op": "gte", "value": at_least}
