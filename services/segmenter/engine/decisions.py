"""Decisions: from bits that flipped to transitions, in the order and at the instants that the contract promises.

A customer's time is stepped through: deadlines that have passed are taken one by one, each decided at its own instant, before
a fact is taken in and decided at the instant of the decision. `seq` has no gap, `at` never decreases.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from schemas.instants import DAY_MS, NEVER, iso, iso_or_none
from schemas.transitions import Cause, Transition, transition_id
from services.segmenter.engine.live import Live
from services.segmenter.engine.plan import CompiledSegment, verdict
from services.segmenter.engine.reasons import condition_values
from services.segmenter.engine.row import Row
from services.segmenter.engine.verdict import Verdict

HORIZON_MS: Final = 400 * DAY_MS
"""`until` looks no further ahead than this: a year and its leap day, and a month of slack."""

CLOCK: Final = Cause("clock")
DEFINITION: Final = Cause("definition")


class Customer:
    """One customer being decided on: the row that is kept and the live state that is derived."""

    __slots__ = ("customer_id", "live", "row", "tenant")

    def __init__(self, tenant: str, customer_id: str, row: Row, live: Live) -> None:
        self.tenant = tenant
        self.customer_id = customer_id
        self.row = row
        self.live = live

    def advance(self, now_ms: int, out: list[Transition]) -> None:
        """Step through every deadline up to and including now."""
        live = self.live
        while (deadline_ms := live.soonest_ms) <= now_ms:
            self.decide_flips(live.pass_to(deadline_ms), deadline_ms, now_ms, CLOCK, out)
            if live.soonest_ms <= deadline_ms:
                raise AssertionError(f"time stands still at {deadline_ms} for a customer of {self.tenant}")

    def decide_flips(self, flipped: int, at_ms: int, now_ms: int, cause: Cause, out: list[Transition]) -> None:
        """Decide the segments that look at the bits that flipped."""
        if flipped:
            self.decide(self._affected(flipped), at_ms, now_ms, cause, out)

    def adopt(self, now_ms: int, out: list[Transition]) -> None:
        """Decide every segment under a plan that is new to this customer.

        The live state was built at the row's deadline, or now if that is later. Segments that did not change since the row
        was decided are stepped through their own deadlines first; the rest, and the archived, are decided now.
        """
        plan, row = self.live.plan, self.row
        settled = [c for c in plan.segments.values() if c.segment.offset < row.revision]
        if row.deadline_ms <= now_ms:
            self.decide(settled, row.deadline_ms, now_ms, CLOCK, out)
        while (deadline_ms := self.live.soonest_ms) <= now_ms:
            if self.live.pass_to(deadline_ms):
                self.decide(settled, deadline_ms, now_ms, CLOCK, out)
        for segment_id in sorted(row.members.keys() - plan.segments.keys()):
            self._exit_archived(segment_id, now_ms, out)
        self.decide(plan.segments.values(), now_ms, now_ms, DEFINITION, out)
        row.manual = {segment_id: entry for segment_id, entry in row.manual.items() if segment_id in plan.segments}
        row.revision = plan.revision

    def decide(self, segments: Iterable[CompiledSegment], at_ms: int, now_ms: int, cause: Cause, out: list[Transition]) -> None:
        """Compare what each segment answers with what was decided before, and put the differences out, by segment id."""
        row, live = self.row, self.live
        for compiled in segments:
            segment = compiled.segment
            wanted = self.holds(compiled)
            if wanted is (segment.id in row.members):
                continue
            at_ms = max(at_ms, row.last_at_ms)
            until_ms = self.until(compiled, at_ms)
            if wanted:
                row.members = row.members | {segment.id: (at_ms, until_ms)}
            else:
                row.members = {other: membership for other, membership in row.members.items() if other != segment.id}
            transition = self._transition(segment.id, segment.version, at_ms, now_ms, cause, entered=wanted, until_ms=until_ms)
            transition.values = condition_values(compiled, live, at_ms)
            out.append(transition)

    def holds(self, compiled: CompiledSegment) -> bool:
        """Whether the customer is in a segment as of the live state: not excluded, and included or the rule holds."""
        if self.row.manual:
            included, excluded = self.by_hand(compiled)
            if excluded:
                return False
            if included:
                return True
        return compiled.holds(self.live.truth)

    def by_hand(self, compiled: CompiledSegment) -> tuple[bool, bool]:
        """Return whether the customer is on the include and on the exclude list in force."""
        include, exclude = self.row.manual.get(compiled.segment.id, (-1, -1))
        return include >= compiled.segment.include_since, exclude >= compiled.segment.exclude_since

    def until(self, compiled: CompiledSegment, at_ms: int) -> int:
        """Return when membership really flips if nothing new happens, found by evaluating again at successive bounds."""
        if any(self.by_hand(compiled)):
            return NEVER
        holds, bound_ms = self._verdict(compiled, at_ms)
        while bound_ms <= at_ms + HORIZON_MS:
            then, next_ms = self._verdict(compiled, bound_ms)
            if then is not holds:
                return bound_ms
            bound_ms = next_ms
        return NEVER

    def _verdict(self, compiled: CompiledSegment, at_ms: int) -> Verdict:
        if not self.live.ahead:
            return verdict(compiled.tree, self.live, at_ms)
        then, changes_ms = self.live.seen_at(at_ms)
        holds, until_ms = verdict(compiled.tree, then, at_ms)
        return Verdict(holds, min(until_ms, changes_ms))

    def refresh(self, now_ms: int) -> bool:
        """Find the memberships' `until` anew; return whether any differs."""
        row, segments = self.row, self.live.plan.segments
        fresh = {segment_id: (since, self.until(segments[segment_id], now_ms)) for segment_id, (since, _) in row.members.items()}
        if fresh == row.members:
            return False
        row.members = fresh
        return True

    def _affected(self, flipped: int) -> list[CompiledSegment]:
        dependents = self.live.plan.dependents
        found: dict[str, CompiledSegment] = {}
        while flipped:
            lowest = flipped & -flipped
            for compiled in dependents[lowest.bit_length() - 1]:
                found[compiled.segment.id] = compiled
            flipped ^= lowest
        return [found[segment_id] for segment_id in sorted(found)]

    def _exit_archived(self, segment_id: str, now_ms: int, out: list[Transition]) -> None:
        row = self.row
        row.members = {other: membership for other, membership in row.members.items() if other != segment_id}
        archived = self.live.plan.archived.get(segment_id)
        version = archived.version if archived is not None else 0
        at_ms = max(now_ms, row.last_at_ms)
        out.append(self._transition(segment_id, version, at_ms, now_ms, DEFINITION, entered=False, until_ms=NEVER))

    def _transition(self, segment_id: str, version: int, at_ms: int, now_ms: int, cause: Cause, *, entered: bool, until_ms: int) -> Transition:
        row = self.row
        row.seq += 1
        row.last_at_ms = at_ms
        return Transition(
            id=transition_id(self.tenant, self.customer_id, segment_id, row.seq),
            tenant=self.tenant,
            customer_id=self.customer_id,
            segment_id=segment_id,
            segment_version=version,
            change="entered" if entered else "exited",
            at=iso(at_ms),
            decided_at=iso(now_ms),
            seq=row.seq,
            cause=cause,
            until=iso_or_none(until_ms),
            values=[],
        )
