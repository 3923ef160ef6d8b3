"""How much of the process's time each tenant may have while others are there; who had more rests, and the time is nobody's.

All partitions, questions and backfills of all tenants compute in one thread, and what a tenant sends, asks and saves may go on for
ever. Whoever has a lone event needs the thread a dozen times until it is shown (to fetch it, to decide it, for each answer of the
broker), and finds it taken each time; and a process that never rests is given its turns by the system late. So taking turns is
not enough: a tenant has a share of each second, and saves up a little of it.

Time is left for those who need little, so a tenant rests only while another one is there who has sent lately and does not rest:
nobody does who sends alone, nor do those who all want more than their share rest for each other.

Pure: instants are seconds of any steady clock, and are passed in.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from typing import Final

from services.segmenter.turns import OURS

_LATELY_S: Final = 10.0
"""Whoever has sent within this time may send the next record at any moment."""
_KEPT: Final = 1_000
"""Names of which it is remembered what they had; one that is forgotten has saved up all that may be."""
_OWED_S: Final = 1.0
"""What was taken is rested for no longer than this: most of it when nobody was in need."""


class Allowance:
    """`share` of each second for every name, of which `saved_s` may be saved up."""

    def __init__(self, share: float, saved_s: float) -> None:
        self._share, self._saved_s = share, saved_s
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """What each name had left, and when."""

    def took(self, name: str, spent_s: float, now_s: float) -> None:
        """Count time that a name had."""
        left_s = max(self._left_s(name, now_s) - spent_s, -_OWED_S * self._share)
        self._left[name] = left_s, now_s
        self._left.move_to_end(name)
        if len(self._left) > _KEPT:
            self._left.popitem(last=False)

    def rest_s(self, name: str, now_s: float) -> float:
        """Return for how long a name has nothing left, 0 when it has."""
        return max(0.0, -self._left_s(name, now_s) / self._share)

    def _left_s(self, name: str, now_s: float) -> float:
        left_s, at_s = self._left.get(name, (self._saved_s, now_s))
        return min(self._saved_s, left_s + (now_s - at_s) * self._share)


class Shares:
    """The shares of one process: of a tenant's events, of its questions, and of what can wait, which is everybody's together."""

    def __init__(self, events: float, questions: float, background: float) -> None:
        self._events, self._questions = Allowance(events, 0.05), Allowance(questions, 1.0)
        self._background = Allowance(background, 0.05)
        self._sent: OrderedDict[str, float] = OrderedDict()
        """When each tenant sent last, in that order."""

    def sent(self, tenant: str, now_s: float) -> None:
        """Take note that a tenant has sent. What is nobody's does not count: receipts of a tenant that is alone are among it."""
        if tenant != OURS:
            self._sent[tenant] = now_s
            self._sent.move_to_end(tenant)

    def crowded(self, now_s: float) -> bool:
        """Whether several tenants have sent lately."""
        return len(self._lately(now_s)) > 1

    def _lately(self, now_s: float) -> Collection[str]:
        while self._sent and now_s - next(iter(self._sent.values())) >= _LATELY_S:
            self._sent.popitem(last=False)
        return self._sent.keys()

    def _needed(self, rest_s: float, tenant: str, now_s: float) -> float:
        """Return a tenant's rest, 0 where nobody else is there who has not had more than a share."""
        if rest_s and any(other != tenant and not self._events.rest_s(other, now_s) for other in self._lately(now_s)):
            return rest_s
        return 0.0

    # ---- events

    def applied(self, tenant: str, spent_s: float, now_s: float) -> None:
        """Count what a tenant's events took; they may have waited for long."""
        self.sent(tenant, now_s)
        if tenant != OURS:
            self._events.took(tenant, spent_s, now_s)

    def events_rest_s(self, tenant: str, now_s: float) -> float:
        """Return for how long a tenant's events rest."""
        return self._needed(self._events.rest_s(tenant, now_s), tenant, now_s)

    # ---- questions

    def answered(self, tenant: str, spent_s: float, now_s: float) -> None:
        """Count what a tenant's questions took."""
        self._questions.took(tenant, spent_s, now_s)

    def questions_rest_s(self, tenant: str, now_s: float) -> float:
        """Return for how long a tenant's questions rest."""
        return self._needed(self._questions.rest_s(tenant, now_s), tenant, now_s)

    # ---- what can wait

    def worked(self, spent_s: float, now_s: float) -> None:
        """Count what backfill and the like took."""
        self._background.took(OURS, spent_s, now_s)

    def background_rest_s(self, now_s: float) -> float:
        """Return for how long what can wait rests."""
        return self._background.rest_s(OURS, now_s) if self.crowded(now_s) else 0.0
