"""The past, told from history with what is known today: when a customer was in a segment, also before it was saved.

In the past all that is known now was known at once, lists were what they are now, and each entry has its `min_stay` from its own
instant. So a life is the same walk as the one that finds `until`, begun before anything had happened. What has left the history is
not known, whether it was dropped already or not, unless the segment looks at it for ever.

Whoever asks about a segment that depends on a rank tells from when to when that held of the customer; or, where this would be too much,
where the rank ended at each instant asked about: there a membership can be told, and not what it was between two of them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Generator, Iterable, Iterator, Sequence

from schemas.catalog import Segment
from schemas.facts import Brief
from schemas.questions import Asked, Course, Was
from services.segmenter.engine.live import Live
from services.segmenter.engine.outlook import HORIZON_MS, Outlook
from services.segmenter.engine.plan import CompiledSegment, Plan
from services.segmenter.engine.row import Row
from services.segmenter.questions.inquiry import OfEveryone, OfOne, People, Unknowable
from services.segmenter.questions.person import Person
from services.segmenter.questions.ranked import UNTOLD, Ends, Turns, turns_told


class Life:
    """One customer's memberships of a segment and of what it depends on, from an instant on, while ranks held as told."""

    def __init__(self, compiled: CompiledSegment, row: Row, live: Live, turns: Turns, start_ms: int) -> None:
        self._live, self._turns = live, turns
        self._outlook = Outlook(Row(0, manual=row.manual), self._live, compiled)
        self._bound_ms = self._decided(start_ms)

    def _decided(self, at_ms: int) -> int:
        self._live.stand(self._turns.standing(at_ms))
        return min(self._outlook.decide(at_ms), self._turns.next_ms(at_ms))

    @property
    def member(self) -> bool:
        """Whether the customer is in, where the walk has come to."""
        return self._outlook.member

    def walk(self, to_ms: int) -> Iterator[int]:
        """Walk up to an instant and on it, yielding each at which something was decided."""
        while self._bound_ms <= to_ms:
            at_ms = self._bound_ms
            self._bound_ms = self._decided(at_ms)
            yield at_ms

    def stand(self, at_ms: int, person: Person, ends: Ends) -> None:
        """Decide an instant, that the walk has come to, by the ranks that held then. No stay depends on them (`remembered`)."""
        self._live.stand(ends.standing(person, self._live))
        self._outlook.decide(at_ms)


def remembered(compiled: CompiledSegment) -> CompiledSegment:
    """Return a segment whose past can be told; raises `Unknowable` where a rank starts a stay: then it would matter at every instant before."""
    stays = [other.id for other in compiled.closure if other.min_stay is not None and other.ranks]
    if stays:
        raise Unknowable(f"whom the min_stay of segment {stays[0]} held depends on a rank at every instant before, which is not known")
    return compiled


def known_facts(plan: Plan, person: Person, history_from_ms: int) -> Sequence[Brief]:
    """Return the facts by which a past is told, with line items where the plan looks at any."""
    return plan.kept(person.read(0, bool(plan.feeds.with_items)), history_from_ms)


def beginning_ms(compiled: CompiledSegment, facts: Iterable[Brief], turns: Turns, at_ms: int) -> int:
    """Return an instant, no later than another, before which nothing can have changed: where a whole life begins.

    Before the first fact, the first turn of a rank and the first start or end of a segment, nothing changes but by stays that end, each
    of them once.
    """
    edges = [edge for other in compiled.closure for edge in (other.segment.starts_at_ms, other.segment.ends_at_ms) if edge is not None]
    stays = [other.min_stay.longest_ms for other in compiled.closure if other.min_stay is not None]
    return max(0, min([at_ms, turns.first_ms, *edges, *(fact.at_ms for fact in facts)]) - 1 - sum(stays))


class Remembering(OfOne):
    """Answers `WasMember`."""

    def look(self, person: Person) -> Generator[int, None, Was]:
        """Walk from before the first fact to the instant, and on to where it changes."""
        at_ms: int = self.question.at_ms
        segment = self.segment(self.question.segment_id)
        plan = self.people.plans.about(self.tenant, segment)
        history_from_ms = self.people.plans.history_from_ms(self.tenant, self.now_ms)
        compiled, facts = plan.segments[segment.id], known_facts(plan, person, history_from_ms)
        if self.question.only_ms is not None:
            remembered(compiled)
        turns = turns_told(plan, compiled.ranks, self.question.turns, self.question.only_ms or 0)
        start_ms = beginning_ms(compiled, facts, turns, at_ms)
        life = Life(compiled, person.row, Live(plan, lambda *_: facts, start_ms), turns, start_ms)
        yield 1 + person.events
        member, since_ms = life.member, None
        for turn_ms in life.walk(at_ms):
            if life.member is not member:
                member, since_ms = life.member, turn_ms
            yield 1
        until_ms = None
        for turn_ms in life.walk(at_ms + HORIZON_MS):
            yield 1
            if life.member is not member:
                until_ms = turn_ms
                break
        return Was(segment.version, member, since_ms if member else None, until_ms, history_from_ms)


class Recounting(OfEveryone):
    """Answers `Timeline`."""

    def __init__(self, people: People, asked: Asked, now_ms: int) -> None:
        super().__init__(people, asked, now_ms)
        self._instants: list[int] = self.question.instants_ms
        self._segment: Segment = self.segment(self.question.segment_id)
        self._plan = people.plans.about(self.tenant, self._segment)
        compiled, self._turns = self._plan.segments[self._segment.id], self.question.turns
        if self.question.from_ms or not self._turns:
            remembered(compiled)
        ranks = compiled.ranks if not self._turns else frozenset()
        if ranks and len(self.question.cuts) != len(self._instants):
            raise Unknowable("where a rank ended is told for each instant, or it cannot be known who was in")
        told = zip(self._instants, self.question.cuts, strict=True) if ranks else ()
        self._ends = [Ends(self._plan, ranks, cuts, at_ms) for at_ms, cuts in told]
        self._stays = any(other.min_stay is not None for other in self._plan.segments.values())
        self._history_from_ms = people.plans.history_from_ms(self.tenant, now_ms)
        self._first = 0
        self._entered = [0] * len(self._instants)
        self._exited = [0] * len(self._instants)

    def look(self, person: Person) -> Iterator[int]:
        """Walk through one customer's life and note each entry and exit in its step."""
        plan, instants, facts = self._plan, self._instants, known_facts(self._plan, person, self._history_from_ms)
        compiled, turns = plan.segments[self._segment.id], UNTOLD
        if self._turns:
            mine = {name: by_customer.get(person.customer_id, ()) for name, by_customer in self._turns.items()}
            turns = turns_told(plan, compiled.ranks, mine, self.question.from_ms)
        # Without stays facts and ranks alone decide, and nothing of before matters.
        start_ms = beginning_ms(compiled, facts, turns, instants[0]) if self._stays else instants[0]
        life = Life(compiled, person.row, Live(plan, lambda *_: facts, start_ms), turns, start_ms)
        yield 1 + person.events
        if self._ends:
            yield from self._compare(life, person)
            return
        for _ in life.walk(instants[0]):
            yield 1
        member = life.member
        self._first += member
        for turn_ms in life.walk(instants[-1]):
            if life.member is not member:
                member = life.member
                changes = self._entered if member else self._exited
                changes[bisect_left(instants, turn_ms)] += 1
            yield 1

    def _compare(self, life: Life, person: Person) -> Iterator[int]:
        """Note in each step whether the customer is in and was not at the one before, or the other way round."""
        member: bool | None = None
        for place, (at_ms, ends) in enumerate(zip(self._instants, self._ends, strict=True)):
            for _ in life.walk(at_ms) if self._stays else ():
                yield 1
            before = member
            life.stand(at_ms, person, ends)
            member = life.member
            if before is None:
                self._first += member
            elif member is not before:
                (self._entered if member else self._exited)[place] += 1
            yield 1

    def answer(self) -> Course:
        """Return the size at the first instant, and what changed in each step up to the next ones."""
        return Course(self._segment.version, self._first, self._entered, self._exited, self._history_from_ms)
