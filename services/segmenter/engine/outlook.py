"""The outlook: what time alone will make of a customer's membership, found by deciding again at successive bounds.

In = the segment's time has come and is not over, the customer is not excluded, and is included, or the rule holds, or the last
entry is younger than `min_stay`; then, of a family, only the highest level. What a segment depends on is decided along with it,
for an entry of today's future holds somebody there as well.
"""

from __future__ import annotations

from typing import Final

from schemas.instants import DAY_MS, NEVER
from services.segmenter.engine.live import Live
from services.segmenter.engine.plan import CompiledSegment
from services.segmenter.engine.readers import State
from services.segmenter.engine.row import Row
from services.segmenter.engine.tree import verdict
from services.segmenter.engine.verdict import Verdict, conjunction, disjunction, negated

HORIZON_MS: Final = 400 * DAY_MS
"""`until` looks no further ahead than this: a year and its leap day, and a month of slack."""


def by_hand(row: Row, compiled: CompiledSegment) -> tuple[bool, bool]:
    """Return whether the customer is on the include and on the exclude list in force."""
    if not row.manual:
        return False, False
    include, exclude = row.manual.get(compiled.id, (-1, -1))
    return include >= compiled.segment.include_since, exclude >= compiled.segment.exclude_since


class Outlook:
    """A customer's memberships of one segment and of those that it depends on, as they are and as time alone will make them."""

    def __init__(self, row: Row, live: Live, compiled: CompiledSegment) -> None:
        self._row = row
        self._live = live
        self._target = compiled
        self._members = {other.id: other.id in row.members for other in compiled.closure}
        self._entered: dict[str, int] = dict(row.entered) if row.entered else {}

    @property
    def member(self) -> bool:
        """Whether the customer is in, as of the last decision."""
        return self._members[self._target.id]

    def until(self, at_ms: int) -> int:
        """Return the first instant after `at_ms` at which membership is another than now, `NEVER` beyond the horizon."""
        target = self._target.id
        before = self._members[target]
        bound_ms = self.decide(at_ms)
        while bound_ms <= at_ms + HORIZON_MS:
            next_ms = self.decide(bound_ms)
            if self._members[target] is not before:
                return bound_ms
            bound_ms = next_ms
        return NEVER

    def decide(self, at_ms: int) -> int:
        """Decide every segment of the closure at an instant, later than those before; return until when it all stands."""
        state: State = self._live
        bound_ms = NEVER
        if self._live.ahead:
            state, bound_ms = self._live.seen_at(at_ms)
        verdicts: dict[str, Verdict] = {}
        for compiled in self._target.closure:
            found = self._verdict(compiled, state, at_ms, verdicts)
            if found.holds and not self._members[compiled.id] and compiled.min_stay is not None:
                self._entered[compiled.id] = at_ms
                found = self._verdict(compiled, state, at_ms, verdicts)
            verdicts[compiled.id] = found
            self._members[compiled.id] = found.holds
            bound_ms = min(bound_ms, found.until_ms)
        return bound_ms

    def _verdict(self, compiled: CompiledSegment, state: State, at_ms: int, members: dict[str, Verdict]) -> Verdict:
        included, excluded = by_hand(self._row, compiled)
        if excluded:
            return Verdict(False, NEVER)
        found = Verdict(True, NEVER) if included else verdict(compiled.tree, state, at_ms, members)
        if compiled.min_stay is not None and compiled.id in self._entered:
            end_ms = self._live.plan.calendar.plus(self._entered[compiled.id], compiled.min_stay)
            if at_ms < end_ms:
                found = disjunction([found, Verdict(True, end_ms)])
        needed = [found]
        if compiled.life is not None:
            needed.append(compiled.life.verdict(state, at_ms, members))
        needed.extend([negated(members[other.id]) for other in compiled.higher])
        return found if len(needed) == 1 else conjunction(needed)
