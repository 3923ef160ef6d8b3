"""The versions of a tenant's segments, as far back as memory allows: what each said, and since when."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from typing import Final, Literal

from msgspec import Struct

from schemas.definitions import Tier
from schemas.instants import Duration

KEPT_OF_ONE: Final = 100
"""Versions kept of one segment: more than anybody scrolls through."""
KEPT_BYTES: Final = 32 << 20
"""Rules kept for one tenant: some 20,000 segments of half a kilobyte, with one edit each."""
_OVERHEAD: Final = 512
"""What a version takes besides its rule."""

VersionChange = Literal["saved", "archived", "restored"]


class Version(Struct, frozen=True):
    """One version of a segment. `rule` is its canonical JSON, `offset` where it was saved, `change` what made it."""

    version: int
    change: VersionChange
    at_ms: int
    offset: int
    name: str
    description: str
    rule: bytes | None
    tier: Tier | None = None
    min_stay: Duration | None = None
    starts_at_ms: int | None = None
    ends_at_ms: int | None = None


class Versions:
    """The versions of one tenant's segments; the oldest go first, of one segment and of all."""

    def __init__(self) -> None:
        self._of: dict[str, deque[Version]] = {}
        self._sizes: OrderedDict[tuple[str, int], int] = OrderedDict()
        self._bytes = 0

    def of(self, segment_id: str) -> Sequence[Version]:
        """Return the versions of a segment that are kept, the oldest first."""
        return tuple(self._of.get(segment_id, ()))

    def add(self, segment_id: str, version: Version) -> None:
        """Keep a version; versions of a segment come in their order."""
        kept = self._of.setdefault(segment_id, deque())
        size = _OVERHEAD + len(version.rule or b"")
        kept.append(version)
        self._sizes[segment_id, version.version] = size
        self._bytes += size
        if len(kept) > KEPT_OF_ONE:
            self._drop(segment_id)
        while self._bytes > KEPT_BYTES and len(self._sizes) > 1:
            self._drop(next(iter(self._sizes))[0])

    def _drop(self, segment_id: str) -> None:
        oldest = self._of[segment_id].popleft()
        self._bytes -= self._sizes.pop((segment_id, oldest.version))
