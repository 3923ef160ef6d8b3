"""Limits: how much may be held at once, and how much one key may do. No clock: `now_s` is passed in."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from schemas.catalog import Key
from schemas.errors import RollcallError

RETRY_AFTER_S = 1
"""When to come again to a budget that is used up: what it holds is given back within moments."""


class Full(RollcallError):
    """What a budget has no room for: 503 when nobody has any, 429 when it is only the tenant that holds its share."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail


class Budget:
    """A number of things, such as bytes, that all tenants share; `what` says what they are and what they do.

    One tenant holds `share` of it at most, and less while others press as well: never more than share/(1 - share) times what is left
    free, so that there is room for whoever comes next, however many are greedy. With a half: of one tenant half is left, of two a third.
    """

    def __init__(self, limit: int, share: float, what: str) -> None:
        self._limit, self._share, self._what = limit, share, what
        self.held = 0
        self._holders: dict[str, int] = {}

    def take(self, size: int, tenant: str) -> None:
        """Take for a tenant; raises `Full`.

        Who holds nothing takes what is there, and an empty budget always gives, so that nothing is too large for ever.
        """
        mine, after = self._holders.get(tenant, 0), self.held + size
        if self.held and after > self._limit:
            raise Full(503, f"{self.held} {self._what}")
        if mine and (mine + size) * (1 - self._share) > self._share * (self._limit - after):
            raise Full(429, f"{mine} {self._what} for this tenant alone, which is its share")
        self.hold(size, tenant)

    def hold(self, size: int, tenant: str) -> None:
        """Take without asking, what is there already."""
        self.held += size
        self._holders[tenant] = self._holders.get(tenant, 0) + size

    def give_back(self, size: int, tenant: str) -> None:
        """Give back what was taken for a tenant."""
        self.held -= size
        left = self._holders.get(tenant, 0) - size
        if left > 0:
            self._holders[tenant] = left
        else:
            self._holders.pop(tenant, None)

    @contextmanager
    def lent(self, tenant: str) -> Iterator[None]:
        """Take one for as long as a block; raises `Full`."""
        self.take(1, tenant)
        try:
            yield
        finally:
            self.give_back(1, tenant)


class RateLimits:
    """A token bucket for each name, `kept` of them at most; beyond that the one unused for longest is full again.

    Who asks is let in while the bucket is not empty and is charged in full afterwards, so that what costs more than the burst still
    passes and is paid for by waiting longer after it: no longer than `owed_s`.
    """

    def __init__(self, per_s: float, burst: float, kept: int = 10_000, owed_s: float = math.inf) -> None:
        self.per_s = per_s
        self._least = -owed_s * per_s
        self._burst = float(burst)
        self._kept = kept
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        """Return how many buckets are held."""
        return len(self._buckets)

    def wait_s(self, name: str, now_s: float) -> int:
        """Return 0 if there is something in the bucket, else after how many whole seconds there will be."""
        return 0 if self.level(name, now_s) > 0 else max(1, math.ceil(self.rest_s(name, now_s)))

    def rest_s(self, name: str, now_s: float) -> float:
        """Return after how many seconds what was taken is paid for, 0 if it is."""
        return max(0.0, -self.level(name, now_s) / self.per_s)

    def charge(self, name: str, cost: float, now_s: float) -> None:
        """Take the tokens of what was let in."""
        self._buckets[name] = (max(self._least, self.level(name, now_s) - cost), now_s)
        self._buckets.move_to_end(name)
        if len(self._buckets) > self._kept:
            self._buckets.popitem(last=False)

    def level(self, name: str, now_s: float) -> float:
        """Return what is in the bucket, negative where something is owed."""
        level, at_s = self._buckets.get(name, (self._burst, now_s))
        return min(self._burst, level + max(0.0, now_s - at_s) * self.per_s)


class KeyRates:
    """A rate for each key, and one for all keys of a tenant, `together` times as much: making keys makes no room."""

    def __init__(self, per_s: float, burst: float, *, together: float, kept: int) -> None:
        self._keys = RateLimits(per_s, burst, kept)
        self._tenants = RateLimits(per_s * together, burst * together, kept)

    def refusal(self, key: Key, what: str, now_s: float) -> tuple[int, str] | None:
        """Return after how many seconds a key may come again and why, None when it may go on. `what` is what is counted."""
        own_s, all_s = self._keys.wait_s(key.id, now_s), self._tenants.wait_s(key.tenant, now_s)
        if not own_s and not all_s:
            return None
        who, limits = ("this key has", self._keys) if own_s >= all_s else ("the keys of this tenant have", self._tenants)
        return max(own_s, all_s), f"{who} used more than {limits.per_s:g} {what} a second"

    def charge(self, key: Key, cost: float, now_s: float) -> None:
        """Take the tokens of what was let in."""
        self._keys.charge(key.id, cost, now_s)
        self._tenants.charge(key.tenant, cost, now_s)
