"""What was accepted about a tenant's customers, who is whom, and who is forgotten."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tests.oracle import clock, keeping

Json = dict[str, Any]
_WEEK = 7 * clock.DAY


class History:
    """All documents of a tenant that were accepted, in the order in which they were."""

    def __init__(self, tenant: Json, declared: Mapping[str, str] | None = None, kept: str | None = None) -> None:
        self.tenant = tenant
        self.zone: str = tenant["timezone"]
        # The type of each declared attribute by its name, and of each property of custom events as `properties.x`.
        self.declared = dict(declared or {})
        # How long documents are kept, None for ever; and what of that is counted all the same.
        self.kept = kept
        self._counts_from: dict[str, int] = {}
        self.documents: dict[str, list[Json]] = {}
        self.known: set[str] = set()
        self._accepted: list[Json] = []
        self._into: dict[str, str] = {}
        self._forgotten: dict[str, int] = {}
        # The segments that have named an erased id since then; who was never erased is not in it.
        self._named_since: dict[str, set[str]] = {}

    def add(self, document: Json) -> bool:
        """Accept a document or not, and say so.

        The first of an id counts; a receipt without a customer is nobody's; another tenant's is not seen; of who was erased, nothing from
        before counts; a merge of somebody with himself, by whatever way, is refused.
        """
        name = document.get("customer_id")
        if name is None or document.get("tenant", self.tenant["id"]) != self.tenant["id"]:
            return False
        customer, happened = self.survivor(name), clock.instant(document["occurred_at"])
        if self.is_forgotten(name, happened):
            return False
        if any(other["event_id"] == document["event_id"] for other in self.documents.get(customer, [])):
            return False
        if document["type"] == "customer-erase":
            self._erase(customer, happened)
            return True
        if document["type"] == "customer-merge" and self.survivor(document["into"]) == customer:
            return False
        self._accepted.append(document)
        self.documents.setdefault(customer, []).append(document)
        self.known.add(customer)
        if document["type"] == "customer-merge":
            self._merge(customer, self.survivor(document["into"]))
        return True

    def is_forgotten(self, name: str, happened: int) -> bool:
        """Whether what happened at an instant is from before an erasure of the id."""
        return name in self._forgotten and happened <= self._forgotten[name]

    def too_late(self, document: Json, at: int) -> bool:
        """Whether a document that is told at an instant has left the history."""
        return self.kept is not None and clock.later(clock.instant(document["occurred_at"]), self.kept, self.zone) <= at

    def define(self, segments: Iterable[Json], at: int) -> None:
        """Hear that from an instant on these are the live segments: what one of them asks for without an end counts from what is kept then.

        What was asked for just before goes on counting from where it did.
        """
        asked = {keeping.name(one) for segment in segments for one in keeping.endless(segment.get("rule"))}
        begin = 0 if self.kept is None else clock.earlier(at, self.kept, self.zone)
        self._counts_from = {name: self._counts_from.get(name, begin) for name in asked}

    def counts_from(self, asked: Json) -> int:
        """From when on events count for a metric or sequence."""
        return self._counts_from.get(keeping.name(asked), 0)

    def survivor(self, customer: str) -> str:
        """Whom an id means today, after all merges."""
        while customer in self._into:
            customer = self._into[customer]
        return customer

    def ids_of(self, customer: str) -> set[str]:
        """Every id that means somebody."""
        return {name for name in [self.survivor(customer), *self._into] if self.survivor(name) == self.survivor(customer)}

    def _merge(self, customer: str, into: str) -> None:
        """Join two histories, of each event id the document that was accepted first; nothing is left of the one who disappears."""
        self._into[customer] = into
        self.documents.pop(customer)
        self.known.discard(customer)
        joined: dict[str, Json] = {}
        for document in self._accepted:
            if self.survivor(document["customer_id"]) == into:
                joined.setdefault(document["event_id"], document)
        self.documents[into] = list(joined.values())
        self.known.add(into)

    def _erase(self, customer: str, happened: int) -> None:
        """Forget a person under every id; what is told later of the time until then is refused."""
        for name in self.ids_of(customer):
            self._forgotten[name] = max(happened, self._forgotten.get(name, happened))
            self._named_since[name] = set()
        self._accepted = [document for document in self._accepted if self.survivor(document["customer_id"]) != customer]
        self.documents.pop(customer, None)
        self.known.discard(customer)

    def name(self, segment_id: str, customers: Iterable[str]) -> None:
        """Hear that a segment's manual list, saved just now, names these: they are known, and named again if they were erased."""
        for customer in customers:
            self.known.add(self.survivor(customer))
            if customer in self._named_since:
                self._named_since[customer].add(segment_id)

    def named(self, segment: Json, which: str) -> set[str]:
        """Whom a segment's list means: survivors, and nobody whose entry went with an erasure."""
        names = segment.get(which) or ()
        return {self.survivor(name) for name in names if name not in self._named_since or segment["id"] in self._named_since[name]}

    def of(self, customer: str, at: int, kind: str) -> list[Json]:
        """A customer's documents of a type that have happened by an instant, in order, without the checkouts that were voided."""
        mine = self.documents.get(self.survivor(customer), [])
        voids = [document for document in mine if document["type"] == "checkout-void"]
        happened = [d for d in mine if d["type"] == kind and clock.instant(d["occurred_at"]) <= at and not any(is_voided(d, v) for v in voids)]
        return sorted(happened, key=lambda d: (clock.instant(d["occurred_at"]), d["event_id"]))

    def profile(self, customer: str, at: int) -> Json:
        """The attributes at an instant: the latest word on each, then the greater id; null removes."""
        merged: Json = {}
        for document in self.of(customer, at, "profile"):
            merged |= document["attributes"]
        return {name: value for name, value in merged.items() if value is not None}


def is_voided(document: Json, void: Json) -> bool:
    """Whether a void means a document: a checkout with the same store and receipt, at most seven days before or after."""
    apart = abs(clock.instant(document["occurred_at"]) - clock.instant(void["occurred_at"]))
    same = all(document.get(field) == void[field] for field in ("store_id", "receipt_id"))
    return document["type"] == "checkout" and same and apart <= _WEEK
