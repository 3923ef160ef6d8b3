"""Who shops there, what their segments are, and the judge's book of everything that was accepted."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any, Final

from tests.oracle import answers, model
from tests.oracle.answers import World

Json = dict[str, Any]

TENANTS: Final[tuple[Json, ...]] = (
    {"id": "amber", "timezone": "Europe/Paris", "currency": "EUR", "country": "FR"},
    {"id": "birch", "timezone": "America/New_York", "currency": "USD", "country": "US"},
    {"id": "cedar", "timezone": "Asia/Kolkata", "currency": "GBP", "country": "GB"},
)
"""One has most of the events, as some always has; all have customers of the same names."""

SHARES: Final = (0.6, 0.3, 0.1)


def _counted(event: str, last: str | None, op: str, value: object, **metric: Any) -> Json:
    window = {"window": {"last": last}} if last else {}
    return {"metric": {"measure": "count", "event": event, **metric, **window}, "op": op, "value": value}


_REVENUE: Final = {"measure": "sum", "event": "checkout", "field": "total", "window": {"last": "P1M"}}
_CHANNEL: Final = {"measure": "favourite", "event": "checkout", "field": "channel", "window": {"last": "P1M"}}
_SPRING: Final = [{"field": "coupon_id", "op": "eq", "value": "SPRING"}]
_SPENT: Final = {"measure": "sum", "event": "checkout", "field": "total", "window": {"last": "P14D"}}
_CLICK, _REDEMPTION, _CHECKOUT = ({"event": event} for event in ("email-click", "coupon-redemption", "checkout"))
_VISIT: Final = {"event": "visit", "where": [{"field": "store_id", "op": "eq", "value": "s0"}]}

SEGMENTS: Final[tuple[Json, ...]] = (
    {"id": "buyers", "rule": _counted("checkout", None, "gte", 1)},
    {"id": "regulars", "rule": _counted("checkout", "P14D", "gte", 5)},
    {
        "id": "spenders",
        "rule": {
            "all": [
                {"metric": _REVENUE, "op": "gt", "value": "300.00"},
                {"not": _counted("coupon-redemption", None, "gte", 1, where=_SPRING)},
            ]
        },
    },
    # Time alone takes them out again: most exits of a run are of this one.
    {"id": "here", "rule": _counted("visit", "PT15S", "gte", 1)},
    {"id": "readers", "rule": _counted("email-open", "P7D", "between", [2, 4])},
    {"id": "grown-ups", "rule": {"profile": "age", "op": "gte", "value": 18}, "include": ["stranger"], "exclude": ["c3"]},
    {"id": "web", "rule": {"metric": _CHANNEL, "op": "eq", "value": "web"}},
    {"id": "core", "rule": {"all": [{"segment": "regulars"}, {"not": {"segment": "readers"}}]}},
    {"id": "chosen", "include": ["stranger"]},
    {"id": "foremost", "rule": {"rank": {"metric": _SPENT, "order": "desc", "top": 10}}},
    {"id": "tempted", "rule": {"sequence": {"first": _CLICK, "then": _REDEMPTION, "within": "P1D", "happens": True, "window": {"last": "P14D"}}}},
    {"id": "lookers", "rule": {"sequence": {"first": _VISIT, "then": _CHECKOUT, "within": "PT10S", "happens": False, "window": {"last": "PT20S"}}}},
)
FLEETING: Final = frozenset(("here", "lookers"))
"""Whose members change from one moment to the next, although nothing happens."""

_RANKS_STAND_MS: Final = 3_000
"""So long the judge takes a rank for what it was: finding one looks at everybody, and while nothing happens it hardly moves."""

_SEEN: Final = frozenset(
    ("type", "event_id", "customer_id", "occurred_at", "kind", "total", "channel", "store_id", "receipt_id", "coupon_id", "attributes", "into")
)
"""The fields that a rule above, or a void, looks at: the book keeps no others, for a long run has millions of documents."""


class Book:
    """The judge's histories, and who was touched since the last look. Written by the load, read while it rests.

    `erased`: everyone who was erased at some time, under each id.
    """

    def __init__(self) -> None:
        self.histories = {tenant["id"]: model.History(tenant) for tenant in TENANTS}
        self.segments = {tenant["id"]: [{**segment, "include": [*segment.get("include", ())]} for segment in SEGMENTS] for tenant in TENANTS}
        for history in self.histories.values():
            for segment in SEGMENTS:
                history.name(segment["id"], [*segment.get("include", ()), *segment.get("exclude", ())])
        self.touched: set[tuple[str, str]] = set()
        self.erased: set[tuple[str, str]] = set()
        self.accepted = 0
        self._ranks: dict[tuple[str, int], dict[str, list[str]]] = {}
        self._ranked_of = 0
        self._lock = threading.Lock()

    def take(self, tenant: str, documents: Iterable[Json]) -> None:
        """Write down what was accepted."""
        history = self.histories[tenant]
        with self._lock:
            for document in documents:
                self.accepted += 1
                if (customer := document.get("customer_id")) is None:
                    continue
                self.touched.add((tenant, customer))
                if document["type"] == "customer-merge":
                    self.touched.add((tenant, document["into"]))
                elif document["type"] == "customer-erase":
                    person = {(tenant, name) for name in history.ids_of(customer)}
                    self.touched |= person
                    self.erased |= person
                history.add({name: value for name, value in document.items() if name in _SEEN})

    def choose(self, tenant: str, customer: str) -> None:
        """Write down that a customer was put on the manual list."""
        with self._lock:
            listed = next(segment for segment in self.segments[tenant] if segment["id"] == "chosen")["include"]
            if customer not in listed:
                listed.append(customer)
            self.histories[tenant].name("chosen", [customer])
            self.touched.add((tenant, customer))

    def known(self, tenant: str) -> set[str]:
        """Everyone of a tenant, by the id that lives on."""
        return self.histories[tenant].known

    def survivor(self, tenant: str, customer: str) -> str:
        """Whom an id means."""
        return self.histories[tenant].survivor(customer)

    def expected(self, tenant: str, customer: str, at_ms: int, only: str = "") -> set[str] | None:
        """The segments that a customer is in at an instant, by the judge, `only` one of them if it is named; None for who is unknown."""
        history, segments = self.histories[tenant], self.segments[tenant]
        person = history.survivor(customer)
        if person not in history.known:
            return None
        world = World(history, segments, {}, self._standing(tenant, at_ms))
        return {segment["id"] for segment in segments if only in ("", segment["id"]) and answers.is_in(world, segment, person, at_ms)}

    def _standing(self, tenant: str, at_ms: int) -> dict[str, list[str]]:
        """Of whom each rank holds about an instant."""
        if self._ranked_of != self.accepted:
            self._ranks.clear()
            self._ranked_of = self.accepted
        # Partitions are as of different instants, and of a hundred thousand customers each of these takes a second.
        moment = tenant, at_ms // _RANKS_STAND_MS
        if moment not in self._ranks:
            world = World(self.histories[tenant], self.segments[tenant], {})
            self._ranks[moment] = answers.standing(world, at_ms)
        return self._ranks[moment]

    def take_touched(self) -> set[tuple[str, str]]:
        """Return who was touched since the last time."""
        with self._lock:
            touched, self.touched = self.touched, set()
        return touched
