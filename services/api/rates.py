"""How much each key may ask: reads, writes, and questions that only segmenters can answer, each at a rate of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, get_args

from schemas.catalog import Key
from services.api.errors import Refused
from services.api.settings import ApiSettings
from services.kit.limits import KeyRates

Rate = Literal["reads", "writes", "questions"]

EVERYBODY: Final = 5.0
"""What a question costs that looks at all of a tenant's customers."""
MANY_RECORDS: Final = 20.0
"""What a call costs that looks through thousands of records, or has them looked through."""
OUTBOUND: Final = 5.0
"""What a write costs that has the API call somebody else and wait."""
ENTRY: Final = 0.002
"""What each manual entry costs besides the call: five hundred are one more write."""


class Rates:
    """The rates of one process."""

    def __init__(self, settings: ApiSettings, monotonic_s: Callable[[], float]) -> None:
        self._monotonic_s = monotonic_s
        self._rates: dict[Rate, KeyRates] = {}
        for rate in get_args(Rate):
            per_s: float = getattr(settings, f"api_{rate}_per_s")
            self._rates[rate] = KeyRates(per_s, per_s * settings.api_burst_s, together=settings.tenant_rate_factor, kept=settings.rate_buckets)

    def spend(self, key: Key, rate: Rate, cost: float = 1.0) -> None:
        """Charge a key for what it is about to do; raises `Refused` (429) when it, or its tenant, has nothing left."""
        rates, now_s = self._rates[rate], self._monotonic_s()
        if (refusal := rates.refusal(key, rate, now_s)) is not None:
            wait_s, why = refusal
            raise Refused(429, why, {"Retry-After": str(wait_s)})
        rates.charge(key, cost, now_s)
