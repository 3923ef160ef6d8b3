"""How much of the process's time each tenant's requests may have while others ask; whoever had more waits for it, one request after the other.

A page of the feed or of a list computes a hundred times longer than the question of an app, and whoever asks for one after the other
has the process whenever it is free. Rates count what is asked; this counts what it takes. Of all that a tenant may have a part is for what is
not quick: so an app's questions do not wait for its own console, and consoles leave most of the process to apps.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

from services.api.settings import ApiSettings
from services.kit.limits import Budget
from services.kit.metering import Metered
from services.kit.resting import Rests
from services.kit.shares import Allowance, Company

T = TypeVar("T")

_SAVED_S = 1.0
"""A console that draws a page asks for a dozen things at once, and waits for nothing."""


class Times:
    """The time of one process."""

    def __init__(self, settings: ApiSettings, monotonic_s: Callable[[], float]) -> None:
        self._monotonic_s = monotonic_s
        self._all, self._pages = Allowance(settings.api_time_share, _SAVED_S), Allowance(settings.api_pages_share, _SAVED_S)
        self._company = Company()
        self._waiting = Budget(settings.api_max_waiting, settings.tenant_share, "requests wait for the tenant's share of time")
        self._rests = Rests()

    async def turn(self, tenant: str, *, quick: bool = False) -> None:
        """Wait until a tenant may have some time; raises `Full` where too many wait."""
        self._company.came(tenant, self._monotonic_s())
        rest_s = partial(self._rest_s, tenant, quick=quick)
        if rest_s():
            with self._waiting.lent(tenant):
                async with self._rests.over((tenant, quick), rest_s):
                    pass

    async def counted(self, tenant: str, work: Coroutine[Any, Any, T], *, quick: bool = False) -> T:
        """Do a tenant's work, and count what it computes where several tenants ask."""
        if not self._company.several(self._monotonic_s()):
            return await work
        return await Metered(work, partial(self._took, tenant, quick), self._monotonic_s)

    def _rest_s(self, tenant: str, *, quick: bool) -> float:
        now_s = self._monotonic_s()
        rest_s = self._company.rest_s(self._all, tenant, now_s)
        return rest_s if quick else max(rest_s, self._company.rest_s(self._pages, tenant, now_s))

    def _took(self, tenant: str, quick: bool, spent_s: float) -> None:  # noqa: FBT001 - bound beforehand
        now_s = self._monotonic_s()
        self._all.charge(tenant, spent_s, now_s)
        if not quick:
            self._pages.charge(tenant, spent_s, now_s)
