"""Ranks at an instant for which partitions have not agreed on any: the question tells where they end, and here is found which hold of whom."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from operator import xor
from typing import Final

from schemas.instants import NEVER
from schemas.partitions import record_key
from schemas.standings import Cut
from services.segmenter.engine.live import Live
from services.segmenter.engine.plan import Plan
from services.segmenter.engine.rankings import Ranking, Score, kept_score, rank_name, score_of
from services.segmenter.engine.readers import until_other
from services.segmenter.questions.inquiry import Unknowable
from services.segmenter.questions.person import Person
from services.segmenter.ranks.messages import Entry, entry_at, entry_of
from services.segmenter.ranks.table import within


def entry_then(plan: Plan, ranking: Ranking, live: Live, key: bytes, at_ms: int) -> Entry | None:
    """Return a customer's entry at an instant, None for one who has no place; the same for who is lined up and for who is compared."""
    value = plan.scored[ranking.place].reader.value(live, at_ms)
    return None if value is None else entry_of(kept_score(value), key, descending=ranking.descending)


def steps_of(plan: Plan, ranking: Ranking, live: Live, first_ms: int, from_ms: int, to_ms: int) -> Iterator[tuple[int, Score | None]]:
    """Yield a customer's score at an instant and wherever it may be another one, up to a later instant; `first_ms`: of the first fact."""
    reader, at_ms = plan.scored[ranking.place].reader, from_ms
    while at_ms <= to_ms:
        value = reader.value(live, at_ms)
        yield at_ms, None if value is None else score_of(value)
        # Before the first fact everything is as of nothing, whatever the calendar says.
        at_ms = first_ms if at_ms < first_ms else until_other(reader, live, at_ms, value)


class Turns:
    """The ranks that a segment depends on, as they held of one customer from instant to instant."""

    def __init__(self, bits: Mapping[str, int], turns: Mapping[str, Iterable[int]], from_ms: int) -> None:
        flips: dict[int, int] = {}
        for name, instants in turns.items():
            for at_ms in instants:
                flips[at_ms] = flips.get(at_ms, 0) ^ 1 << bits[name]
        self._at_ms = sorted(flips)
        self._bits = list(accumulate([flips[at_ms] for at_ms in self._at_ms], xor, initial=0))
        self.first_ms = self.next_ms(from_ms)
        """The first change that was seen."""

    def standing(self, at_ms: int) -> int:
        """Return the bits of those that hold at an instant."""
        return self._bits[bisect_right(self._at_ms, at_ms)]

    def next_ms(self, at_ms: int) -> int:
        """Return the next instant at which they change."""
        place = bisect_right(self._at_ms, at_ms)
        return self._at_ms[place] if place < len(self._at_ms) else NEVER


UNTOLD: Final = Turns({}, {}, 0)
"""Nothing is told of ranks, or there are none."""


def turns_told(plan: Plan, needed: frozenset[str], turns: Mapping[str, Iterable[int]], from_ms: int) -> Turns:
    """Return what was told of one customer; raises `Unknowable` where a rank is missing: what they were found for has changed since."""
    if needed != turns.keys():
        raise Unknowable("when a rank held was not told: what the segment depends on has been saved meanwhile")
    return Turns(plan.rank_bits, turns, from_ms)


class Ends:
    """Where the ranks that a segment depends on end at an instant."""

    def __init__(self, plan: Plan, needed: frozenset[str], cuts: Mapping[str, Cut], at_ms: int) -> None:
        """Raises `Unknowable` where one is missing: what they were found for has changed since."""
        if not needed <= cuts.keys():
            raise Unknowable("where a rank ends was not told: what the segment depends on has been saved meanwhile")
        self._plan, self._at_ms = plan, at_ms
        self._last: list[tuple[Ranking, list[tuple[str, Entry | None]]]] = []
        for ranking in plan.rankings.values():
            names = needed.intersection([rank_name(ranking.name, size) for size in ranking.bits])
            if names:
                self._last.append((ranking, [(name, entry_at(cuts[name], descending=ranking.descending)) for name in names]))

    def holding(self, person: Person, live: Live) -> list[str]:
        """Return the names of the ranks that hold of a customer."""
        key = record_key(person.tenant, person.customer_id)
        found: list[str] = []
        for ranking, last_by_rank in self._last:
            entry = entry_then(self._plan, ranking, live, key, self._at_ms)
            found += [name for name, last in last_by_rank if within(entry, last)]
        return sorted(found)

    def standing(self, person: Person, live: Live) -> int:
        """Return the bits of those ranks."""
        return sum([1 << self._plan.rank_bits[name] for name in self.holding(person, live)])
