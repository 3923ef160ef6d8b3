"""Who was ahead of whom: how one customer's scores went, and how many of the others were ahead meanwhile.

A rank of one customer follows from two numbers at every instant: how many are ahead, and how many have a place. Both change only where
somebody passes the customer, comes or goes; so all that partitions must tell each other is that, however many customers there are.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from itertools import chain, pairwise
from typing import Final

from schemas.instants import NEVER
from schemas.partitions import record_key
from schemas.questions import MOST_STEPS, Asked, Climbed, Raced, Rivalry, Step
from services.segmenter.engine.live import Live
from services.segmenter.engine.rankings import Ranking, Score, kept
from services.segmenter.questions.inquiry import OfEveryone, OfOne, People, Unknowable
from services.segmenter.questions.past import known_facts
from services.segmenter.questions.person import Person
from services.segmenter.questions.ranked import steps_of
from services.segmenter.ranks.messages import Entry, entry_of, placed

_LEAD_BYTES: Final = 24
"""Of a lead as it travels, and of a step."""


class Climbing(OfOne):
    """Answers `Climb`."""

    def look(self, person: Person) -> Generator[int, None, Climbed]:
        """Look at one customer's scores."""
        plan = self.people.plans.about(self.tenant, self.segment(self.question.segment_id))
        from_ms: int = self.question.from_ms
        facts = known_facts(plan, person, self.people.plans.history_from_ms(self.tenant, self.now_ms))
        live, first_ms = Live(plan, lambda *_: facts, from_ms), min([fact.at_ms for fact in facts], default=NEVER)
        yield 1 + person.events
        found: dict[str, list[Step]] = {}
        for ranking in plan.rankings.values():
            steps = found[ranking.name] = []
            yield from _sent(steps_of(plan, ranking, live, first_ms, from_ms, self.question.to_ms), steps)
        return Climbed(found if sum(map(len, found.values())) <= MOST_STEPS else None)


def _sent(scores: Iterable[tuple[int, Score | None]], into: list[Step]) -> Iterator[int]:
    """Put scores where they differ from the one before, as they are sent; up to a few more than may be sent at all."""
    for at_ms, score in scores:
        sent = None if score is None else kept(score)
        if not into or sent != into[-1][1]:
            into.append((at_ms, sent))
        if len(into) > MOST_STEPS:
            return
        yield 1


class _Path:
    """The way of the customer asked about through a ranking: each entry with the instants between which it is; and who was ahead meanwhile."""

    def __init__(self, ranking: Ranking, key: bytes, steps: Sequence[Step]) -> None:
        self.ranking = ranking
        self.from_ms = steps[0][0]
        entries = [(at_ms, None if score is None else entry_of(score, key, descending=ranking.descending)) for at_ms, score in steps]
        self._pieces = [(at_ms, end_ms, entry) for (at_ms, entry), (end_ms, _) in pairwise([*entries, (NEVER, None)])]
        self.leads: dict[int, tuple[int, int]] = {}
        """How many more are ahead from an instant on, and have a place."""

    def _entry(self, score: Score | None, key: bytes) -> Entry | None:
        return None if score is None else placed(score, key, descending=self.ranking.descending)

    def follow(self, steps: Iterable[tuple[int, Score | None]], key: bytes) -> Iterator[None]:
        """Go along with the scores of another customer, the last of them to mark the end, and note each instant at which one passes the other."""
        pieces, place = self._pieces, 0
        was_ahead = had_place = 0
        for (at_ms, score), (until_ms, _) in pairwise(steps):
            entry = self._entry(score, key)
            has_place = int(entry is not None)
            # Whatever of the way lies within the step: it begins in the piece in which the one before has ended.
            while True:
                start_ms, end_ms, mine = pieces[place]
                if end_ms > at_ms:
                    ahead = int(entry is not None and mine is not None and entry < mine)
                    if ahead != was_ahead or has_place != had_place:
                        known = self.leads.get(lead_ms := max(at_ms, start_ms), (0, 0))
                        self.leads[lead_ms] = (known[0] + ahead - was_ahead, known[1] + has_place - had_place)
                        was_ahead, had_place = ahead, has_place
                if end_ms >= until_ms:
                    break
                place += 1
            yield None


class _Following(OfEveryone):
    """Follows everybody's scores from an instant on, as long as that is not too much."""

    def __init__(self, people: People, asked: Asked, now_ms: int) -> None:
        super().__init__(people, asked, now_ms)
        self._plan = people.plans.about(self.tenant, self.segment(self.question.segment_id))
        self._history_from_ms = people.plans.history_from_ms(self.tenant, now_ms)
        self._facts = NEVER if self.question.facts is None else self.question.facts

    def steps(self) -> Iterator[int]:
        """Look at everybody, as long as it is not too much."""
        for units in super().steps():
            yield units
            if self._full:
                return

    def _live(self, person: Person, from_ms: int) -> tuple[Live, int]:
        """Return a customer's series, and the instant of the first fact."""
        self._facts -= 1 + person.events
        facts = known_facts(self._plan, person, self._history_from_ms)
        return Live(self._plan, lambda *_: facts, from_ms), min([fact.at_ms for fact in facts], default=NEVER)

    @property
    def _full(self) -> bool:
        raise NotImplementedError


class Racing(_Following):
    """Answers `Race`."""

    def __init__(self, people: People, asked: Asked, now_ms: int) -> None:
        super().__init__(people, asked, now_ms)
        self._scores: dict[str, dict[str, list[Step]]] = {name: {} for name in self._plan.rankings}
        self._bytes = 0

    def look(self, person: Person) -> Iterator[int]:
        """Note one customer's scores."""
        live, first_ms = self._live(person, self.question.from_ms)
        yield 1 + person.events
        for ranking in self._plan.rankings.values():
            steps: list[Step] = []
            yield from _sent(steps_of(self._plan, ranking, live, first_ms, self.question.from_ms, self.question.to_ms), steps)
            self._scores[ranking.name][person.customer_id] = steps
            self._bytes += len(person.customer_id) + _LEAD_BYTES * len(steps)

    @property
    def _full(self) -> bool:
        return self._facts < 0 or self._bytes > self.question.room

    def answer(self) -> Raced:
        """Return everybody's scores."""
        return Raced(None if self._full else self._scores)


class Contending(_Following):
    """Answers `Rivals`."""

    def __init__(self, people: People, asked: Asked, now_ms: int) -> None:
        super().__init__(people, asked, now_ms)
        if self._plan.rankings.keys() != self.question.steps.keys():
            raise Unknowable("the segment does not depend on such a rank here: it has been saved meanwhile")
        self._key = record_key(self.tenant, self.question.customer_id)
        self._paths = [_Path(self._plan.rankings[name], self._key, steps) for name, steps in self.question.steps.items()]

    @property
    def _full(self) -> bool:
        return self._facts < 0 or _LEAD_BYTES * sum([len(path.leads) for path in self._paths]) > self.question.room

    def look(self, person: Person) -> Iterator[int]:
        """Note where one customer passes the one asked about, and where he comes and goes."""
        key = record_key(person.tenant, person.customer_id)
        if key == self._key:
            return
        live, first_ms = self._live(person, self._paths[0].from_ms)
        yield 1 + person.events
        for path in self._paths:
            steps = steps_of(self._plan, path.ranking, live, first_ms, path.from_ms, self.question.to_ms)
            for _ in path.follow(chain(steps, [(NEVER, None)]), key):
                yield 1

    def answer(self) -> Rivalry:
        """Return the leads of all others together."""
        if self._full:
            return Rivalry(None)
        return Rivalry({path.ranking.name: [(at_ms, *lead) for at_ms, lead in sorted(path.leads.items()) if any(lead)] for path in self._paths})
