"""What a rule would make of a segment, before it is saved: counted exactly, customer by customer, on what is already kept."""

from __future__ import annotations

from collections.abc import Iterator

from schemas.catalog import Segment
from schemas.questions import SAMPLE, Asked, Previewed
from schemas.rule_parser import parse_rule
from schemas.segments import edited, unsaved
from services.segmenter.engine.decisions import Customer
from services.segmenter.engine.live import Live
from services.segmenter.questions.inquiry import OfEveryone, People, Unknowable
from services.segmenter.questions.person import Person


class Previewing(OfEveryone):
    """Answers `Preview`."""

    def __init__(self, people: People, asked: Asked, now_ms: int) -> None:
        super().__init__(people, asked, now_ms)
        self._segment = self._draft()
        self._plan = people.plans.draft(self._segment, now_ms)
        if not self._plan.segments[self._segment.id].ranks <= set(people.ranks_known(self.tenant)):
            raise Unknowable("where a rank of this rule ends is not known: it is found when a segment with it is saved")
        self._count = self._of = self._enters = self._leaves = 0
        self._sample: list[str] = []

    def _draft(self) -> Segment:
        rule = parse_rule(self.question.rule, self.people.plans.catalog.rule_context(self.tenant))
        if self.question.replaces is None:
            return unsaved(self.tenant, rule)
        return edited(self.segment(self.question.replaces), rule)

    def look(self, person: Person) -> Iterator[int]:
        """Decide one customer under the draft, by the series that are kept for the rules in force wherever these will do."""
        row, segment_id = person.row, self._segment.id
        # An edit ends its segment's stay.
        row.entered = {other: since_ms for other, since_ms in row.entered.items() if other != segment_id}
        before = segment_id in row.members
        live = Live(self._plan, person.read, self.now_ms, person.live)
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
