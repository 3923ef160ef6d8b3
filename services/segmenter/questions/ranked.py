"""Ranks at an instant for which partitions have not agreed on any: the question tells where they end, and here is found which hold of whom."""

from __future__ import annotations

from collections.abc import Mapping

from schemas.partitions import record_key
from schemas.standings import Cut
from services.segmenter.engine.live import Live
from services.segmenter.engine.plan import Plan
from services.segmenter.engine.rankings import Ranking, kept_score, rank_name
from services.segmenter.questions.inquiry import Unknowable
from services.segmenter.questions.person import Person
from services.segmenter.ranks.messages import Entry, entry_at, entry_of
from services.segmenter.ranks.table import within


def entry_then(plan: Plan, ranking: Ranking, live: Live, key: bytes, at_ms: int) -> Entry | None:
    """Return a customer's entry at an instant, None for one who has no place; the same for who is lined up and for who is compared."""
    value = plan.scored[ranking.place].reader.value(live, at_ms)
    return None if value is None else entry_of(kept_score(value), key, descending=ranking.descending)


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
