"""How many attempts one dispatcher has under way, over all its partitions and endpoints; each tenant has its share of them."""

from __future__ import annotations

from collections.abc import Callable

from services.api.dispatcher.settings import DispatcherSettings
from services.kit.limits import Budget, Full


class Attempts:
    """A budget whose refused come again: they are told when an attempt is over, who was refused first before others."""

    def __init__(self, settings: DispatcherSettings) -> None:
        self._under_way = Budget(settings.dispatcher_attempts, settings.tenant_share, "attempts are under way")
        self._refused: dict[Callable[[], None], None] = {}

    @property
    def under_way(self) -> int:
        """How many are under way."""
        return self._under_way.held

    def begin(self, tenant: str, again: Callable[[], None]) -> bool:
        """Begin one for a tenant if there is room; `again` is called, once, when there may be."""
        try:
            self._under_way.take(1, tenant)
        except Full:
            self._refused[again] = None
            return False
        return True

    def over(self, tenant: str) -> None:
        """End one."""
        self._under_way.give_back(1, tenant)
        refused, self._refused = self._refused, {}
        for again in refused:
            again()
