"""Shares of a process's time: how much each name may have of every second while others are there, and for how long it rests beyond that.

Time is left for those who need little, so a name rests only while another one is there that does not rest: nobody does who is
alone, nor do those who all want more than their share rest for each other.

Pure: instants are seconds of any steady clock, and are passed in.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Collection
from typing import Final

from services.kit.limits import RateLimits

_LATELY_S: Final = 10.0
"""Whoever has come within this time may come again at any moment."""
_KEPT: Final = 1_000
"""Names of which it is remembered what they had; one that is forgotten has saved up all that may be."""
_OWED_S: Final = 1.0
"""What was taken is rested for no longer than this: most of it when nobody was in need."""
_DEARER: Final = 1.25
_CHEAPER: Final = 0.995
_HALVED_S: Final = 10.0
"""In this time a price comes half of the way back, whether anything is heard or not."""
_SLOW: Final = 5.0
"""So many times what a tenth is quicker than is slow."""
_SLOWER: Final = 1.002
_QUICKER: Final = 0.982
"""By how much the tenth is taken to be slower with each that was, and quicker with each that was not: so that one of ten is quicker."""


class Allowance(RateLimits):
    """`share` of each second for every name, of which `saved_s` may be saved up."""

    def __init__(self, share: float, saved_s: float) -> None:
        super().__init__(share, saved_s, _KEPT, _OWED_S)
        self._ample_s = saved_s / 2

    def ample(self, name: str, now_s: float) -> bool:
        """Whether a name needs less than its share, and so has half of what may be saved."""
        return self.level(name, now_s) >= self._ample_s

    def took(self, name: str, spent_s: float, now_s: float, price: float) -> None:
        """Count what a name took; `price` times as much where it does not need less than its share."""
        self.charge(name, spent_s if self.ample(name, now_s) else spent_s * price, now_s)


class Price:
    """What a second costs those who want more than a share: dearer as soon as those who need little feel it, cheaper while they do not.

    From one up to `most`. It settles where one of some forty is slow: takes longer than `slow_s`, and than five times what the quickest
    tenth takes, for what is far away is always slow, and nothing becomes quicker by leaving it more time.
    """

    def __init__(self, slow_s: float, most: float) -> None:
        self._slow_s, self._most = slow_s, most
        self._tenth_s = 0.0
        self._price, self._at_s = 1.0, 0.0

    def at(self, now_s: float) -> float:
        """Return the price of an instant."""
        return 1.0 + (self._price - 1.0) * math.pow(0.5, max(0.0, now_s - self._at_s) / _HALVED_S)

    def observe(self, took_s: float, now_s: float) -> None:
        """Hear what something took that somebody waited for who needs little."""
        price, tenth_s = self.at(now_s), self._tenth_s or took_s
        slow = took_s > max(self._slow_s, tenth_s * _SLOW)
        self._tenth_s = tenth_s * (_SLOWER if took_s > tenth_s else _QUICKER)
        self._price = min(self._most, price * _DEARER) if slow else max(1.0, price * _CHEAPER)
        self._at_s = now_s


class Company:
    """Who is there, and so whether whoever has used up an allowance rests: others are in need who have something left of it."""

    def __init__(self) -> None:
        self._came: OrderedDict[str, float] = OrderedDict()
        """When each name came last, in that order."""

    def came(self, name: str, now_s: float) -> None:
        """Take note that a name is there."""
        self._came[name] = now_s
        self._came.move_to_end(name)

    def several(self, now_s: float) -> bool:
        """Whether more than one is there."""
        return len(self._lately(now_s)) > 1

    def rest_s(self, allowance: Allowance, name: str, now_s: float) -> float:
        """Return for how long a name rests that has used up an allowance: not at all where nobody else is in need."""
        rest_s = allowance.rest_s(name, now_s)
        if rest_s and any(other != name and not allowance.rest_s(other, now_s) for other in self._lately(now_s)):
            return rest_s
        return 0.0

    def _lately(self, now_s: float) -> Collection[str]:
        while self._came and now_s - next(iter(self._came.values())) >= _LATELY_S:
            self._came.popitem(last=False)
        return self._came.keys()
