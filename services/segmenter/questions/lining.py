"""Lines customers up by their scores, at instants that nobody has agreed on: what whoever asks needs to find where ranks end.

Everybody's scores are found for each question. Of a line as many points are shown as an answer has room for: all of it for some thousand
customers at one instant, else enough to ask for more between two of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sortedcontainers import SortedList

from schemas.partitions import record_key
from schemas.questions import Asked, Standing
from services.segmenter.engine.live import Live
from services.segmenter.questions.inquiry import OfEveryone, People, Unknowable
from services.segmenter.questions.past import known_facts
from services.segmenter.questions.person import Person
from services.segmenter.questions.previewing import draft_of, drafted
from services.segmenter.questions.ranked import entry_then
from services.segmenter.ranks.messages import Entry, entry_in
from services.segmenter.ranks.points import points, spread

_MOST_ENTRIES: Final = 1_000_000
"""Entries that a partition puts in order for one question: some hundred megabytes while it takes."""
_POINT_BYTES: Final = 32
"""Of a point as it travels, besides the key, which takes four bytes for three."""
_LEAST: Final = 64
"""Points of a line, or of an interval of it, however little room there is: so each question narrows it as much."""
_MOST: Final = 4_096


class Lining(OfEveryone):
    """Answers `Standings`."""

    def __init__(self, people: People, asked: Asked, now_ms: int) -> None:
        super().__init__(people, asked, now_ms)
        of, plans = self.question.of, people.plans
        self._first_ms: int = min(look.at_ms for look in self.question.looks)
        self._past = isinstance(of, str)
        self._plan = plans.about(self.tenant, self.segment(of)) if self._past else plans.draft(draft_of(self, of), self._first_ms)
        self._history_from_ms = plans.history_from_ms(self.tenant, now_ms)
        if any(look.ranking not in self._plan.rankings for look in self.question.looks):
            raise Unknowable("the segment does not depend on such a rank here: it has been saved meanwhile")
        self._lines: list[SortedList[Entry]] = [SortedList() for _ in self.question.looks]
        self._entries = self._key_bytes = 0
        self._found: list[Standing] = []

    def steps(self) -> Iterator[int]:
        """Line everybody up, then choose what is shown."""
        yield from super().steps()
        looks = self.question.looks
        point_bytes = _POINT_BYTES + 4 * self._key_bytes // (3 * max(1, self._entries))
        each = self.question.room // (point_bytes * sum(max(1, len(look.intervals)) for look in looks))
        each = min(_MOST, max(_LEAST, each))
        for look, line in zip(looks, self._lines, strict=True):
            intervals = [(None if low is None else entry_in(low), entry_in(high)) for low, high in look.intervals]
            # Between the ends of an interval is all that was not known; the last of all is shown in any case.
            some = spread(0, len(line), 1 if intervals else each)
            self._found.append(Standing(len(line), points(line, some, intervals, each)))
            yield 1 + each // 16

    def look(self, person: Person) -> Iterator[int]:
        """Put one customer in line, wherever he has a place."""
        live, key = self._live(person), record_key(person.tenant, person.customer_id)
        for look, line in zip(self.question.looks, self._lines, strict=True):
            entry = entry_then(self._plan, self._plan.rankings[look.ranking], live, key, look.at_ms)
            if entry is not None:
                line.add(entry)
                self._entries += 1
                self._key_bytes += len(key)
        if self._entries > _MOST_ENTRIES:
            raise Unknowable(f"there are more than {_MOST_ENTRIES:,} places in one partition; ask about fewer instants")
        yield 1 + person.events // (1 if self._past else 16) + len(self._lines) // 8

    def _live(self, person: Person) -> Live:
        """Return the customer as the question that follows will see him."""
        if not self._past:
            return drafted(self._plan, person, self._first_ms)
        facts = known_facts(self._plan, person, self._history_from_ms)
        return Live(self._plan, lambda *_: facts, self._first_ms)

    def answer(self) -> list[Standing]:
        """Return what is shown of each line."""
        return self._found
