"""A customer at rest: what a partition holds of each, at the least cost in memory and time.

Apart from the rows themselves, for this is compiled and they cannot be.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from schemas.facts import Brief, briefs_in, stored_in
from schemas.instants import NEVER
from services.segmenter.engine.row import Row
from services.segmenter.rows import decode_head, decode_row

JOIN_AT: Final = 16
"""A chunk of so many facts is left as it is; smaller ones are joined once there are as many of them."""


FREE: Final = 0
TOUCHED: Final = 1
TOLD: Final = 2
"""Nobody is at a place; somebody of whom something has changed; somebody whose values are kept as far as their columns say."""


class Marks:
    """What is known of the places at which a tenant's customers have their values in columns: one byte for each."""

    def __init__(self, size: int) -> None:
        self.states = bytearray(size)


class Slot:
    """A customer at rest: the encoded row and history, the deadline, and the live state while it is remembered.

    `row` is that of the last step taken, `decided` the one of the step under way where no live state has it.
    `loose` are the numbers of the chunks that have not been joined yet, `next_chunk` the number of the next one. `newest`: the
    instant of the latest fact of each chunk, where it is known. `turn`: while restoring, how often everybody's `until` was known to be
    right before the latest record of this customer. `counted`: as how many facts the live state counts among those remembered.
    `marks` and `place`: where the customer's values are kept in columns, if anywhere.
    """

    def __init__(self) -> None:
        self.row: bytes | None = None
        self.decided: bytes | None = None
        self.chunks: dict[int, bytes] = {}
        self.newest: dict[int, int] = {}
        self.loose: list[int] = []
        self.next_chunk = 0
        self.events = 0
        self.deadline_ms = NEVER
        self.revision = -1
        self.turn = 0
        self.counted = 0
        self.customer: Any = None
        self.marks: Marks | None = None
        self.place = 0

    @property
    def latest(self) -> Row | None:
        """What was decided last, None where nothing was: the live state's own row, or a new one."""
        if self.customer is not None:
            row: Row = self.customer.row
            return row
        encoded = self.decided or self.row
        return None if encoded is None else decode_row(encoded)

    def touch(self) -> None:
        """Note that a fact, or what was decided, makes values that are kept of the customer doubtful."""
        marks = self.marks
        if marks is not None:
            marks.states[self.place] = TOUCHED

    def history(self, since_ms: int, *, items: bool) -> list[Brief]:
        """Return the written facts; chunks that end before an instant are left out."""
        found: list[Brief] = []
        known = self.newest
        for number, chunk in self.chunks.items():
            newest_ms = known.get(number, NEVER)
            if newest_ms == NEVER and since_ms > 0:
                newest_ms = known[number] = newest(briefs_in(chunk))
            if newest_ms < since_ms:
                continue
            facts: Sequence[Brief] = stored_in(chunk) if items else briefs_in(chunk)
            if newest_ms == NEVER:
                known[number] = newest(facts)
            found += facts
        return found

    def restore_chunk(self, number: int, chunk: bytes | None) -> None:
        """Take a chunk of history from the changelog; None removes it."""
        if chunk is None:
            self.chunks.pop(number, None)
            self.newest.pop(number, None)
        else:
            self.chunks[number] = chunk
        self.next_chunk = max(self.next_chunk, number + 1)

    def restored(self) -> None:
        """Derive what is not in the changelog, after its last record."""
        self.loose = sorted(number for number, chunk in self.chunks.items() if facts_of(chunk) < JOIN_AT)
        self.events = sum(map(facts_of, self.chunks.values()))
        if self.row is not None:
            head = decode_head(self.row)
            self.revision, self.deadline_ms = head.revision, head.deadline_ms


def newest(facts: Iterable[Brief]) -> int:
    """Return the instant of the latest of some facts."""
    latest_ms = -NEVER
    for fact in facts:
        at_ms: int = fact.at_ms
        latest_ms = max(latest_ms, at_ms)
    return latest_ms


def facts_of(chunk: bytes) -> int:
    """Return how many facts a chunk holds, from its head."""
    return int.from_bytes(chunk[1:3], "big")
