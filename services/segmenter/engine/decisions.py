"""Decisions: from bits that flipped to transitions, in the order and at the instants that the contract promises.

A customer's time is stepped through: deadlines that have passed are taken one by one, each decided at its own instant, before
a fact is taken in and decided at the instant of the decision. `seq` has no gap, `at` never decreases.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from schemas.facts import PROFILE, Fact
from schemas.instants import DAY_MS, NEVER, iso, iso_or_none
from schemas.transitions import Cause, Transition, transition_id
from services.segmenter.engine.live import Live, bits_of
from services.segmenter.engine.plan import CompiledSegment
from services.segmenter.engine.reasons import condition_values
from services.segmenter.engine.row import Row
from services.segmenter.engine.tree import verdict
from services.segmenter.engine.verdict import Verdict

HORIZON_MS: Final = 400 * DAY_MS
"""`until` looks no further ahead than this: a year and its leap day, and a month of slack."""

CLOCK: Final = Cause("clock")
DEFINITION: Final = Cause("definition")


def _cause(fact: Fact) -> Cause:
    return Cause("profile" if fact.type == PROFILE else "event", fact.event_id, fact.imported)


class Customer:
    """One customer being decided on: the row that is kept and the live state that is derived.

    Facts of one instant are taken in one by one (`add`) and decided together (`settle`): at an instant a customer is in or out
    once, whatever the order in which that instant's facts were read.
    """

    def __init__(self, tenant: str, customer_id: str, row: Row, live: Live) -> None:
        self.tenant = tenant
        self.customer_id = customer_id
        self.row = row
        self.live = live
        self.pending: Fact | None = None
        """The last fact that has been taken in and not been decided."""
        self.pending_ms = 0
        self.fresh = False
        """Nothing was ever decided: the first decision looks at every segment."""

    def add(self, fact: Fact, now_ms: int) -> None:
        """Take in a fact at an instant; the caller has settled what is pending of an earlier one, and let deadlines pass."""
        self.live.add(fact, now_ms)
        self.pending = fact
        self.pending_ms = now_ms

    def settle(self, out: list[Transition]) -> None:
        """Decide what the pending facts changed, at their instant. Each transition's cause is the last fact its segment looks at."""
        last = self.pending
        if last is None:
            return
        self.pending = None
        now_ms = self.pending_ms
        flipped = self.live.settle(now_ms)
        if self.fresh:
            self.fresh = False
            self.decide(self.live.plan.segments.values(), now_ms, now_ms, _cause(last), out)
        elif flipped:
            for compiled, fact in self._affected(flipped):
                self.decide([compiled], now_ms, now_ms, _cause(fact), out)

    def advance(self, now_ms: int, out: list[Transition]) -> None:
        """Step through every deadline up to and including now; nothing is pending."""
        live = self.live
        while (deadline_ms := live.soonest_ms) <= now_ms:
            self._decide_passed(live.pass_to(deadline_ms), deadline_ms, now_ms, out)
            if live.soonest_ms <= deadline_ms:
                raise AssertionError(f"time stands still at {deadline_ms} for a customer of {self.tenant}")

    def _decide_passed(self, flipped: int, at_ms: int, now_ms: int, out: list[Transition]) -> None:
        if flipped:
            affected = {c.id: c for bit in bits_of(flipped) for c in self.live.plan.dependents[bit]}
            self.decide([affected[segment_id] for segment_id in sorted(affected)], at_ms, now_ms, CLOCK, out)

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

    def _affected(self, flipped: dict[int, Fact]) -> list[tuple[CompiledSegment, Fact]]:
        """Return the segments that look at bits that flipped, by id, each with the last fact that flipped one of its bits."""
        dependents = self.live.plan.dependents
        found: dict[str, tuple[CompiledSegment, Fact]] = {}
        for bit, fact in flipped.items():
            for compiled in dependents[bit]:
                known = found.get(compiled.id)
                if known is None or known[1].at_ms <= fact.at_ms:
                    found[compiled.id] = (compiled, fact)
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
