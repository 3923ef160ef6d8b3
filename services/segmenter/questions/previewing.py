"""What a rule would make of a segment, before it is saved: counted exactly, on what is already kept.

Customers of whom columns know enough are counted all together, the others one by one: with the same result.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from schemas.catalog import Segment
from schemas.partitions import split_key
from schemas.questions import SAMPLE, Asked, Preview, Previewed
from schemas.rule_parser import parse_rule
from schemas.segments import edited, unsaved
from services.segmenter.columns.sieve import Sieve
from services.segmenter.engine.decisions import Customer
from services.segmenter.engine.live import Live
from services.segmenter.engine.plan import Plan
from services.segmenter.questions.inquiry import Inquiry, OfEveryone, People, Unknowable
from services.segmenter.questions.person import Person
from services.segmenter.questions.ranked import Ends


class Previewing(OfEveryone):
    """Answers `Preview`."""

    def __init__(self, people: People, asked: Asked, now_ms: int) -> None:
        super().__init__(people, asked, now_ms)
        self.now_ms = now_ms if self.question.at_ms is None else self.question.at_ms
        self._segment = draft_of(self, self.question)
        self._plan = people.plans.draft(self._segment, self.now_ms)
        needed = self._plan.segments[self._segment.id].ranks
        self._ends = Ends(self._plan, needed, self.question.cuts, self.now_ms) if self.question.cuts else None
        if self._ends is None and not needed <= set(people.ranks_known(self.tenant)):
            raise Unknowable("where a rank of this rule ends is being found for a segment that was just saved")
        self._count = self._of = self._enters = self._leaves = 0
        self._sample: list[str] = []
        # At once, before anything can change: no slice is as long as this is for a quarter of a million customers.
        self._sieve = self._sifted()

    def _sifted(self) -> Sieve | None:
        """Count those of whom columns know enough."""
        table = self.people.table(self.tenant)
        if table is None or self.now_ms < table.told_ms:
            return None
        compiled, replaces = self._plan.segments[self._segment.id], self.question.replaces is not None
        sieve = Sieve(table, compiled, self.now_ms, replaces=replaces, cuts_told=self._ends is not None, sample=SAMPLE)
        self._count, self._of, self._enters, self._leaves = sieve.count, sieve.of, sieve.enters, sieve.leaves
        self._sample = [split_key(key)[1] for key in sieve.inside]
        return sieve

    def keys(self) -> Iterable[bytes]:
        """Return whom to look at."""
        return super().keys() if self._sieve is None else self._sieve.rest

    def look(self, person: Person) -> Iterator[int]:
        """Decide one customer under the draft."""
        row, segment_id = person.row, self._segment.id
        # An edit ends its segment's stay.
        row.entered = {other: since_ms for other, since_ms in row.entered.items() if other != segment_id}
        before = segment_id in row.members
        live = drafted(self._plan, person, self.now_ms)
        if self._sieve is not None and person.place >= 0:
            self._sieve.keep(person.place, live)
        # What the version in force waits for is none of the draft's business; and who waits for cuts has them here.
        row.waiting = [other for other in row.waiting if other != segment_id]
        if self._ends is not None:
            row.ranks, row.waiting = self._ends.holding(person, live), []
        row.members = {other: membership for other, membership in row.members.items() if other in self._plan.segments}
        customer = Customer(self.tenant, person.customer_id, row, live)
        customer.stand(self.now_ms)
        holds = segment_id in customer.row.members
        self._of += 1
        self._count += holds
        self._enters += holds and not before
        self._leaves += before and not holds
        if holds and len(self._sample) < SAMPLE:
            self._sample.append(person.customer_id)
        yield 1 + person.events // 16

    def answer(self) -> Previewed:
        """Return the sums."""
        return Previewed(self._count, self._of, self._sample, self._enters, self._leaves)


def draft_of(inquiry: Inquiry, asked: Preview) -> Segment:
    """Return the segment that a preview is about."""
    rule = parse_rule(asked.rule, inquiry.people.plans.catalog.rule_context(inquiry.tenant))
    if asked.replaces is None:
        return unsaved(inquiry.tenant, rule, asked.around)
    return edited(inquiry.segment(asked.replaces), rule, asked.around)


def drafted(plan: Plan, person: Person, at_ms: int) -> Live:
    """Return a customer under a draft, by the series that are kept for the rules in force wherever these will do."""
    return Live(plan, person.read, at_ms, person.live)
