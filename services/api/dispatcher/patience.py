"""How long an endpoint has taken nothing: pure, for one partition; what the others know comes in with the affairs.

A partition that has seen nothing taken for a hundredth of the limit says so to all (`Failing`); who knows better answers (`Took`).
So an endpoint that takes what it is sent costs nothing, and none is given up before everybody had time to contradict.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from schemas.affairs import Affair, Affairs, Failing, Took
from schemas.catalog import Endpoint

_SAID_AT: Final = 0.01
_ANSWER_MS: Final = 10_000
_Name = tuple[str, str]


class Patience:
    """What one partition knows. `say` tells everybody; what was said comes back in the affairs."""

    def __init__(self, partition: int, limit_ms: int, affairs: Affairs, say: Callable[[Affair], None]) -> None:
        self._partition, self._limit_ms, self._affairs, self._say = partition, limit_ms, affairs, say
        self.failing: dict[_Name, int] = {}
        """Since when nothing was taken, by tenant and endpoint: what must survive this process."""
        self._took_ms: dict[_Name, int] = {}
        self._said: dict[_Name, Affair] = {}

    def took(self, endpoint: Endpoint, at_ms: int) -> None:
        """An attempt was taken."""
        name = endpoint.tenant, endpoint.id
        self.failing.pop(name, None)
        self._took_ms[name] = at_ms
        self.answer(endpoint)

    def answer(self, endpoint: Endpoint) -> None:
        """Answer who says that an endpoint has taken nothing, if this partition knows better."""
        name = endpoint.tenant, endpoint.id
        at_ms, claimed_ms = self._took_ms.get(name, -1), self._affairs.failing_since(endpoint)
        said = self._said.get(name)
        if claimed_ms is not None and claimed_ms <= at_ms and not (isinstance(said, Took) and claimed_ms <= said.at_ms):
            self._tell(name, Took(*name, at_ms))

    def failed(self, endpoint: Endpoint, at_ms: int) -> bool:
        """An attempt failed; return whether the endpoint has taken nothing for so long that it is to be disabled."""
        name = endpoint.tenant, endpoint.id
        since_ms = self.failing.get(name, -1)
        if since_ms < endpoint.on_since_ms or since_ms <= self._affairs.took_ms(endpoint):
            since_ms = self.failing[name] = at_ms
        claimed_ms, said = self._affairs.failing_since(endpoint), self._said.get(name)
        saying = isinstance(said, Failing) and said.since_ms == since_ms
        if at_ms - since_ms >= self._limit_ms * _SAID_AT and (claimed_ms is None or since_ms < claimed_ms) and not saying:
            self._tell(name, Failing(*name, self._partition, since_ms, at_ms))
        settled_ms = self._affairs.failing_since(endpoint, at_ms - _ANSWER_MS)
        return settled_ms is not None and at_ms - settled_ms >= self._limit_ms

    def forget(self, off: Callable[[str, str], bool]) -> None:
        """Forget endpoints (by tenant and id) that are off: who is switched on again begins anew."""
        for known in (self.failing, self._took_ms, self._said):
            for name in [name for name in known if off(*name)]:
                del known[name]

    def _tell(self, name: _Name, affair: Affair) -> None:
        self._said[name] = affair
        self._say(affair)
