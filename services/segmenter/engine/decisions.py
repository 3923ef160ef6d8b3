"""Decisions: from bits that flipped to transitions, in the order and at the instants that the contract promises.

A customer's time is stepped through: deadlines that have passed are taken one by one, each decided at its own instant, before
a fact is taken in and decided at the instant of the decision. `seq` has no gap, `at` never decreases.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from heapq import heapify, heappop, heappush
from typing import Final

from schemas.facts import PROFILE, Fact
from schemas.instants import NEVER, iso, iso_or_none
from schemas.transitions import Cause, Transition, transition_id
from services.segmenter.engine.live import Live
from services.segmenter.engine.outlook import Outlook, by_hand
from services.segmenter.engine.plan import CompiledSegment
from services.segmenter.engine.reasons import condition_values
from services.segmenter.engine.row import Row

_NO_CAUSES: Final[dict[str, Cause]] = {}
CLOCK: Final = Cause("clock")
DEFINITION: Final = Cause("definition")
RANK: Final = Cause("rank")


def _cause(fact: Fact) -> Cause:
    return Cause("profile" if fact.type == PROFILE else "event", fact.event_id, fact.imported)


def _causes(changed: list[CompiledSegment], flipped: Sequence[tuple[int, Fact]]) -> dict[str, Cause]:
    """Return for each segment that looks at bits that flipped the latest of the facts that flipped them."""
    found: dict[str, Cause] = {}
    for compiled in changed:
        last: Fact | None = None
        for mask, fact in flipped:
            if mask & compiled.looks and (last is None or last.at_ms <= fact.at_ms):
                last = fact
        if last is not None:
            found[compiled.id] = _cause(last)
    return found


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
        self._left_out = frozenset(row.waiting)
        """Segments that are not to be decided yet, though they depend on one that is."""
        self._stays: dict[str, int] = {}
        """Until when a `min_stay` holds the customer, by segment."""
        for segment_id, since_ms in row.entered.items():
            compiled = live.plan.segments.get(segment_id)
            if compiled is not None and compiled.min_stay is not None:
                self._stays[segment_id] = live.plan.calendar.plus(since_ms, compiled.min_stay)
        self._see_members()

    @property
    def soonest_ms(self) -> int:
        """The next instant at which anything may change by itself."""
        soonest_ms = self.live.soonest_ms
        for end_ms in self._stays.values():
            soonest_ms = min(soonest_ms, end_ms)
        return soonest_ms

    def stands_at(self, now_ms: int) -> bool:
        """Whether nothing is to be decided before a fact can be taken in at an instant."""
        return self.pending_ms == now_ms if self.pending is not None else self.soonest_ms > now_ms

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
            self.decide_all(now_ms, now_ms, _cause(last), out)
        elif flipped:
            bits = 0
            for mask, _ in flipped:
                bits |= mask
            changed = self._changed(self._concerned(bits), max(now_ms, self.row.last_at_ms))
            if changed:
                self._put_out(changed, now_ms, now_ms, _cause(last), out, _causes(changed, flipped))

    def advance(self, now_ms: int, out: list[Transition]) -> None:
        """Step through every deadline up to and including now; nothing is pending."""
        while (deadline_ms := self.soonest_ms) <= now_ms:
            self.decide(self._passed(deadline_ms), deadline_ms, now_ms, CLOCK, out)
            if self.soonest_ms <= deadline_ms:
                raise AssertionError(f"time stands still at {deadline_ms} for a customer of {self.tenant}")

    def _passed(self, deadline_ms: int) -> list[CompiledSegment]:
        """Let time pass to a deadline; return the segments that may have changed."""
        live, plan = self.live, self.live.plan
        affected: list[CompiledSegment] = []
        if live.soonest_ms <= deadline_ms:
            affected = self._concerned(live.pass_to(deadline_ms))
        for segment_id in [segment_id for segment_id, end_ms in self._stays.items() if end_ms <= deadline_ms]:
            self._end_stay(segment_id)
            affected.append(plan.segments[segment_id])
        return affected

    def _end_stay(self, segment_id: str) -> None:
        self._stays.pop(segment_id, None)
        if segment_id in self.row.entered:
            self.row.entered = {other: since for other, since in self.row.entered.items() if other != segment_id}

    def correct(self, live: Live, now_ms: int, cause: Cause, out: list[Transition]) -> None:
        """Decide everything anew by a history that was corrected; a stay ends at once. Nothing is pending."""
        self.live = live
        self._see_members()
        self._stays.clear()
        self.row.entered = {}
        self.decide_all(now_ms, now_ms, cause, out)

    def leave(self, now_ms: int, cause: Cause, out: list[Transition]) -> None:
        """Leave every segment, for this id is merged into another or erased. Nothing is pending."""
        plan, row = self.live.plan, self.row
        at_ms = max(now_ms, row.last_at_ms)
        members, row.members = sorted(row.members), {}
        for segment_id in members:
            compiled = plan.segments[segment_id]
            out.append(self._transition(segment_id, compiled.version, at_ms, now_ms, cause, entered=False, until_ms=NEVER))

    def adopt(self, now_ms: int, out: list[Transition], ranks: list[str], unsettled: frozenset[str]) -> None:
        """Decide every segment under a plan that is new to this customer.

        The live state was built at the row's deadline, or now if that is later. Segments that did not change since the row
        was decided are stepped through their own deadlines first; the rest, and the archived, are decided now, by the `ranks` that
        hold. Of the rest, those that are `unsettled` stay as they are until their lists and the cuts of their ranks are there (`ranked`).
        """
        plan, row = self.live.plan, self.row
        changed = {compiled.id for compiled in plan.in_order if compiled.segment.offset >= row.revision}
        self._left_out = frozenset(changed | (plan.segments.keys() & row.waiting))
        if row.deadline_ms <= now_ms:
            self.decide_all(row.deadline_ms, now_ms, CLOCK, out)
        while (deadline_ms := self.soonest_ms) <= now_ms:
            self._passed(deadline_ms)
            self.decide_all(deadline_ms, now_ms, CLOCK, out)
        for segment_id in row.entered.keys() & self._left_out:
            self._end_stay(segment_id)
        self._wait_for(self._left_out & unsettled)
        row.ranks = ranks
        self._see_ranks()
        for segment_id in sorted(row.members.keys() - plan.segments.keys()):
            self._exit_archived(segment_id, now_ms, out)
        self.decide_all(now_ms, now_ms, DEFINITION, out)
        row.manual = {segment_id: entry for segment_id, entry in row.manual.items() if segment_id in plan.segments}
        row.revision = plan.revision

    def hear(self, revision: int, now_ms: int, out: list[Transition]) -> None:
        """Decide what is new up to a revision; the live state is under a plan of that alone, as of now, and no deadline has passed."""
        self.decide(self.live.plan.segments.values(), now_ms, now_ms, DEFINITION, out)
        self.row.revision = revision

    def _wait_for(self, segments: frozenset[str]) -> None:
        self._left_out = segments
        self.row.waiting = sorted(segments)

    def ranked(self, ranks: list[str], unsettled: frozenset[str], now_ms: int, out: list[Transition]) -> None:
        """Let these be the ranks that hold, and decide what looks at them; deadlines have passed, nothing is pending.

        Segments that waited for a cut or a list and do no longer are decided first, under their last version.
        """
        plan = self.live.plan
        self.row.ranks = ranks
        flipped = self._see_ranks()
        released = self._left_out - unsettled
        if released:
            self._wait_for(self._left_out & unsettled)
            self.decide([plan.segments[segment_id] for segment_id in released], now_ms, now_ms, DEFINITION, out)
        self.decide(self._concerned(flipped), now_ms, now_ms, RANK, out)

    def decide(
        self,
        segments: Iterable[CompiledSegment],
        at_ms: int,
        now_ms: int,
        cause: Cause,
        out: list[Transition],
        causes: Mapping[str, Cause] = _NO_CAUSES,
    ) -> None:
        """Compare what segments answer with what was decided before, and put the differences out; `causes` has those of its own.

        Segments are decided in their order, and whoever depends on one that changed is decided after it.
        """
        changed = self._changed(segments, max(at_ms, self.row.last_at_ms))
        self._put_out(changed, at_ms, now_ms, cause, out, causes)

    def decide_all(self, at_ms: int, now_ms: int, cause: Cause, out: list[Transition], causes: Mapping[str, Cause] = _NO_CAUSES) -> None:
        """Compare what every segment answers with what was decided before, as `decide` does."""
        self.decide(self._conceivable(), at_ms, now_ms, cause, out, causes)

    def _conceivable(self) -> list[CompiledSegment]:
        """Return the segments that the customer is in or can be in: of all the others neither rule nor anything else says so."""
        row, plan = self.row, self.live.plan
        orders = plan.guards.possible(self.live.truth)
        for segment_id in [*row.members, *row.manual, *self._stays]:
            compiled = plan.segments.get(segment_id)
            if compiled is not None:
                orders.add(compiled.order)
        return [plan.in_order[order] for order in orders]

    def _concerned(self, flipped: int) -> list[CompiledSegment]:
        """Return the segments that the bits that flipped, to what they are now, may let the customer enter or leave."""
        plan = self.live.plan
        return [plan.in_order[order] for order in plan.guards.concerned(flipped, self.live.truth)]

    def _changed(self, segments: Iterable[CompiledSegment], at_ms: int) -> list[CompiledSegment]:
        """Find the segments that the customer enters or leaves, and take note of it in the row."""
        row = self.row
        waiting = {compiled.order: compiled for compiled in segments if compiled.id not in self._left_out}
        orders = list(waiting)
        heapify(orders)
        changed: list[CompiledSegment] = []
        while orders:
            compiled = waiting[heappop(orders)]
            wanted = self.holds(compiled, at_ms)
            if wanted is (compiled.id in row.members):
                continue
            if not changed:
                # Copied once for all that change: whoever has read the row keeps the one that was read.
                row.members = dict(row.members)
            changed.append(compiled)
            if wanted:
                row.members[compiled.id] = (at_ms, NEVER)
                if compiled.min_stay is not None:
                    row.entered = row.entered | {compiled.id: at_ms}
                    self._stays[compiled.id] = self.live.plan.calendar.plus(at_ms, compiled.min_stay)
            else:
                del row.members[compiled.id]
            self._see(compiled)
            for follower in compiled.followers:
                if follower.order not in waiting and follower.id not in self._left_out:
                    waiting[follower.order] = follower
                    heappush(orders, follower.order)
        return changed

    def stand(self, at_ms: int) -> None:
        """Bring the memberships to what holds at an instant and tell nobody: for a customer who is only looked at."""
        self._changed(self._conceivable(), at_ms)

    def _see_ranks(self) -> int:
        """Show the ranks that hold to the rules that ask for them; return the bits that flipped."""
        bits = self.live.plan.rank_bits
        standing = 0
        for name in self.row.ranks:
            if name in bits:
                standing |= 1 << bits[name]
        return self.live.stand(standing)

    def _see_members(self) -> None:
        self._see_ranks()
        for segment_id in self.row.members:
            self._see(self.live.plan.segments.get(segment_id))

    def _see(self, compiled: CompiledSegment | None) -> None:
        """Show a membership to the rules that refer to it."""
        if compiled is not None and compiled.member_bit >= 0:
            bit = 1 << compiled.member_bit
            if compiled.id in self.row.members:
                self.live.truth |= bit
            else:
                self.live.truth &= ~bit

    def _put_out(
        self, changed: list[CompiledSegment], decided_ms: int, now_ms: int, cause: Cause, out: list[Transition], causes: Mapping[str, Cause]
    ) -> None:
        """Put out what has just `_changed`, which left the row a dict of its own, by family or id.

        Exits come before entries: whoever moves within a family leaves one level and enters the next.
        """
        row = self.row
        if len(changed) > 1:
            changed.sort(key=lambda compiled: (compiled.family, compiled.id in row.members, compiled.id))
        at_ms = max(decided_ms, row.last_at_ms)
        for compiled in changed:
            entered = compiled.id in row.members
            until_ms = self.until(compiled, at_ms)
            if entered:
                row.members[compiled.id] = (at_ms, until_ms)
            caused = causes.get(compiled.id, cause)
            transition = self._transition(compiled.id, compiled.version, at_ms, now_ms, caused, entered=entered, until_ms=until_ms)
            transition.values = condition_values(compiled, self.live, at_ms)
            out.append(transition)

    def holds(self, compiled: CompiledSegment, at_ms: int) -> bool:
        """Whether the customer is in a segment as of the live state, by the formula of In."""
        truth = self.live.truth
        if compiled.life_mask and not truth & compiled.life_mask:
            return False
        included, excluded = by_hand(self.row, compiled)
        if excluded:
            return False
        if not included and not compiled.holds(truth) and self._stays.get(compiled.id, 0) <= at_ms:
            return False
        members = self.row.members
        for other in compiled.higher:
            if other.id in members:
                return False
        return True

    def until(self, compiled: CompiledSegment, at_ms: int) -> int:
        """Return when membership really flips if nothing new happens."""
        return Outlook(self.row, self.live, compiled).until(at_ms)

    def refresh(self, now_ms: int) -> bool:
        """Find the memberships' `until` anew; return whether any differs."""
        row, segments = self.row, self.live.plan.segments
        fresh = {segment_id: (since, self.until(segments[segment_id], now_ms)) for segment_id, (since, _) in row.members.items()}
        if fresh == row.members:
            return False
        row.members = fresh
        return True

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
