"""The row: what must be remembered of a customer because it was decided rather than derived."""

from __future__ import annotations

from msgspec import Struct

from schemas.facts import Fact
from schemas.instants import NEVER
from schemas.manual import ManualEntry
from schemas.standings import KeptScore


class Erasure(Struct, array_like=True):
    """What is remembered of the erasures of an id: until when late facts about it are refused, and the last erasure.

    `number`: its place among the decisions of the tenant. `at_ms`: its own instant; `heard_ms`: when it was first heard of.
    """

    until_ms: int
    number: int
    at_ms: int
    heard_ms: int

    def outlived_by(self, fact: Fact, number: int) -> bool:
        """Whether a fact that was on its way, sent after decision `number`, is none of those that the last erasure meant."""
        return number >= self.number or (fact.accepted_ms > self.heard_ms and fact.at_ms > self.at_ms)


class Row(Struct, array_like=True, gc=False):
    """What must be remembered of a customer besides the history, because it was decided rather than derived.

    `revision`: the tenant's definitions under which every segment was decided. `deadline_ms`: not later than the next
    instant at which anything flips by itself. `seq` and `last_at_ms`: the last transition's. `members`: segment →
    (since, until). `manual`: segment → (definition offset of the include entry, of the exclude entry), -1 for none. `entered`:
    segment with a `min_stay` → the last entry that still holds the customer. `scores`: the exact value of each metric that a
    rank orders by. `ranks`: those that hold. `waiting`: segments that have not been decided under their last version, for a cut
    or the entries of a list are missing. `erasure`: of an earlier life under this id. `homes`: the partitions where the ids live that
    were merged into this one.
    """

    revision: int
    deadline_ms: int = NEVER
    seq: int = 0
    last_at_ms: int = 0
    members: dict[str, tuple[int, int]] = {}
    manual: dict[str, tuple[int, int]] = {}
    entered: dict[str, int] = {}
    erasure: Erasure | None = None
    scores: dict[str, KeptScore] = {}
    ranks: list[str] = []
    waiting: list[str] = []
    homes: list[int] = []


def listed(row: Row, entry: ManualEntry) -> bool:
    """Put an entry into a row; return whether it changed anything. One of a list that has been replaced since changes nothing."""
    before = row.manual.get(entry.segment_id, (-1, -1))
    if entry.since < before[0 if entry.entries == "include" else 1]:
        return False
    value = entry.since if entry.present else -1
    after: tuple[int, int] = (value, before[1]) if entry.entries == "include" else (before[0], value)
    if after == before:
        return False
    row.manual = row.manual | {entry.segment_id: after}
    return True
