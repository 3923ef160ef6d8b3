"""How much of the process's time each tenant may have while others are there (`services.kit.shares`).

All partitions, questions and backfills of all tenants compute in one thread, and what a tenant sends, asks and saves may go on for
ever. Whoever has a lone event needs the thread a dozen times until it is shown (to fetch it, to decide it, for each answer of the
broker), and finds it taken each time; and a process that never rests is given its turns by the system late. So taking turns is
not enough: a tenant has a share of each second, and saves up a little of it. And however much was saved up, all that is asked and all
that can wait have a part of each moment each, and not the whole of it.

How much others feel depends on the machine, on what else it does and on how large each piece of work is. So a second has a price: it
rises while the steps of those who need little are slow to be written, and with it the shares of those shrink who have used up half of
what they may save.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from services.kit.limits import RateLimits
from services.kit.shares import Allowance, Company, Price
from services.segmenter.turns import OURS

_AT_ONCE: Final = 0.15
"""Of each moment no more is for the questions of all, and no more for what can wait, while several send: however much was saved up."""
_MOMENT_S: Final = 0.01
"""How much of each is computed in one go."""

_SLOW_S: Final = 0.015
"""A step of somebody who needs little is written in three milliseconds by a process that has time, and in more than this by one that has none."""
_DEAREST: Final = 3.0
"""However slow others are, a third of each share is left: whoever needs less than that does not fall behind, nor catches up later."""


class Shares:
    """The shares of one process: of a tenant's events, of its questions, and of what can wait, which is everybody's together."""

    def __init__(self, events: float, questions: float, background: float) -> None:
        self._events, self._questions = Allowance(events, 0.05), Allowance(questions, 2.0)
        self._background = Allowance(background, 0.5)
        self._questions_at_once = RateLimits(max(questions, _AT_ONCE), _MOMENT_S, 1, 1.0)
        self._background_at_once = RateLimits(max(background, _AT_ONCE), _MOMENT_S, 1, 1.0)
        self._company = Company()
        self._price = Price(_SLOW_S, _DEAREST)

    def sent(self, tenant: str, now_s: float) -> None:
        """Take note that a tenant has sent. What is nobody's does not count: receipts of a tenant that is alone are among it."""
        if tenant != OURS:
            self._company.came(tenant, now_s)

    def crowded(self, now_s: float) -> bool:
        """Whether several tenants have sent lately."""
        return self._company.several(now_s)

    def price(self, now_s: float) -> float:
        """Return how many times as much a second costs."""
        return self._price.at(now_s)

    def written(self, tenants: Collection[str], took_s: float, now_s: float) -> None:
        """Hear how long it took to write a step with nothing but events of these tenants: it counts where all of them need little."""
        if OURS not in tenants and self.crowded(now_s) and all(self._events.ample(tenant, now_s) for tenant in tenants):
            self._price.observe(took_s, now_s)

    # ---- events

    def applied(self, tenant: str, spent_s: float, now_s: float) -> None:
        """Count what a tenant's events took; they may have waited for long."""
        self.sent(tenant, now_s)
        if tenant != OURS:
            self._events.took(tenant, spent_s, now_s, self._price.at(now_s))

    def events_rest_s(self, tenant: str, now_s: float) -> float:
        """Return for how long a tenant's events rest."""
        return self._company.rest_s(self._events, tenant, now_s)

    # ---- questions

    def answered(self, tenant: str, spent_s: float, now_s: float) -> None:
        """Count what a tenant's questions took."""
        self._questions.took(tenant, spent_s, now_s, self._price.at(now_s))
        self._questions_at_once.charge(OURS, spent_s, now_s)

    def questions_rest_s(self, tenant: str, now_s: float) -> float:
        """Return for how long a tenant's questions rest."""
        rest_s = self._company.rest_s(self._questions, tenant, now_s)
        return max(rest_s, self._questions_at_once.rest_s(OURS, now_s)) if self.crowded(now_s) else rest_s

    # ---- what can wait

    def worked(self, spent_s: float, now_s: float) -> None:
        """Count what backfill and the like took."""
        self._background.took(OURS, spent_s, now_s, self._price.at(now_s))
        self._background_at_once.charge(OURS, spent_s, now_s)

    def background_rest_s(self, now_s: float) -> float:
        """Return for how long what can wait rests."""
        return max(self._background.rest_s(OURS, now_s), self._background_at_once.rest_s(OURS, now_s)) if self.crowded(now_s) else 0.0
