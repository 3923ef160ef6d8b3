"""What the customers do: an endless stream of documents from a seed, in the order in which they are sent.

Of a hundred documents some five are repeated word for word, five voided (some before they come), some carry an old or a future
instant, one has no customer, and one comes a second time with other bytes that no rule looks at. Customers come and go: each has
some fifty documents, however long the run. Of a thousand documents one says that a customer is another one, whose number is greater, while
events of both go on; nobody is merged twice, so whoever is whom does not depend on the order in which that is heard.
"""

from __future__ import annotations

import random
from collections import deque
from typing import Any, Final

from schemas.instants import DAY_MS, HOUR_MS, iso
from tests.chaos.town import SHARES, TENANTS

Json = dict[str, Any]

_ACTIVE: Final = 300
"""Customers of each tenant at a time."""

_EVENTS_PER_NEWCOMER: Final = 50
_MERGES: Final = 0.001
_HELD_BACK: Final = 60
"""How many documents later what was held back is sent: behind the void that came first, or again as a client's retry would."""


class Stream:
    """Documents by the number; the same seed gives the same stream, with instants counted from when each is asked for."""

    def __init__(self, seed: int) -> None:
        self._draw = random.Random(seed)
        self._number = 0
        self._held: deque[tuple[int, str, Json]] = deque()
        self._merged: set[tuple[str, int]] = set()

    def next(self, now_ms: int) -> tuple[str, Json]:
        """Return the next document and its tenant."""
        self._number += 1
        if self._held and self._held[0][0] <= self._number:
            return self._held.popleft()[1:]
        place = self._draw.choices(range(len(TENANTS)), SHARES)[0]
        tenant = TENANTS[place]
        document = self._document(tenant, now_ms)
        fate = self._draw.random()
        if fate < 0.05:
            self._hold(tenant["id"], document)
        elif fate < 0.06 and document["type"] == "checkout":
            self._hold(tenant["id"], document | {"payment_method": "other"})
        elif fate < 0.2 and document["type"] == "checkout" and "customer_id" in document:
            void = self._void(document)
            first, second = (void, document) if fate < 0.12 else (document, void)
            self._hold(tenant["id"], second)
            return tenant["id"], first
        return tenant["id"], document

    def chance(self, share: float) -> bool:
        """Whether something happens that happens so often."""
        return self._draw.random() < share

    def _hold(self, tenant: str, document: Json) -> None:
        self._held.append((self._number + _HELD_BACK, tenant, document))

    def _document(self, tenant: Json, now_ms: int) -> Json:
        draw, number = self._draw, self._number
        newest = number // _EVENTS_PER_NEWCOMER + _ACTIVE
        customer = f"c{newest - int(_ACTIVE * draw.random() ** 2)}"
        head = {"event_id": f"e{number}", "customer_id": customer, "occurred_at": iso(now_ms - self._late_ms())}
        if draw.random() < _MERGES and (merge := self._merge(tenant["id"], newest)):
            return {"event_id": f"e{number}", "occurred_at": iso(now_ms), **merge}
        kind = draw.random()
        if kind < 0.45:
            if draw.random() < 0.02:
                del head["customer_id"]
            return head | self._checkout(tenant)
        if kind < 0.65:
            return head | {"type": "email-open", "campaign_id": f"k{draw.randrange(9)}", "message_id": f"m{number}"}
        if kind < 0.75:
            # Now, whatever the others are: they leave `here` again within the run.
            return head | {"type": "visit", "store_id": f"s{draw.randrange(9)}", "occurred_at": iso(now_ms)}
        if kind < 0.85:
            return head | {"type": "coupon-redemption", "coupon_id": draw.choice(("SPRING", "SUMMER", "AUTUMN"))}
        if kind < 0.9:
            return head | {"type": "email-click", "campaign_id": f"k{draw.randrange(9)}", "message_id": f"m{number}"}
        return head | {"type": "profile", "attributes": {"birth_date": draw.choice(("1990-05-01", "2015-05-01", None))}}

    def _late_ms(self) -> int:
        kind = self._draw.random()
        if kind < 0.01:
            return -30_000
        if kind < 0.5:
            return self._draw.randrange(2_000)
        return self._draw.randrange(6 * HOUR_MS) if kind < 0.7 else self._draw.randrange(20 * DAY_MS)

    def _checkout(self, tenant: Json) -> Json:
        draw = self._draw
        return {
            "type": "checkout",
            "receipt_id": f"r{self._number}",
            "store_id": f"s{draw.randrange(9)}",
            "channel": draw.choice(("store", "web", "app")),
            "kind": draw.choice(("sale", "sale", "sale", "sale", "return")),
            "currency": tenant["currency"],
            "total": f"{draw.randrange(1, 120)}.50",
            "items": [{"product_id": f"p{draw.randrange(50)}", "quantity": 1, "amount": "1.50"}],
        }

    def _merge(self, tenant: str, newest: int) -> Json:
        """Return who is whom, unless who was drawn is somebody else already."""
        old, into = sorted(self._draw.sample(range(newest - _ACTIVE, newest + 1), 2))
        if (tenant, old) in self._merged:
            return {}
        self._merged.add((tenant, old))
        return {"type": "customer-merge", "customer_id": f"c{old}", "into": f"c{into}"}

    def _void(self, checkout: Json) -> Json:
        common = {name: checkout[name] for name in ("customer_id", "occurred_at", "store_id", "receipt_id")}
        return common | {"type": "checkout-void", "event_id": checkout["event_id"] + "-void"}
