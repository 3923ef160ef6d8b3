"""Finds from when to when ranks held of everybody, by following all scores from one instant to another.

Who is in a rank changes at an instant only for those whose scores do, and those whom the cut passes over. Where it would be too much for
one answer nothing is told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Final

from sortedcontainers import SortedList

from schemas.catalog import Segment
from schemas.questions import MOST_ROOM, Race, Raced, Step, encode
from schemas.rules import Rank
from services.api.rivals import MOST_FACTS, sizes_of
from services.api.web import Call
from services.segmenter.engine.rankings import places
from services.segmenter.ranks.messages import Entry, entry_of
from services.segmenter.ranks.table import within

_MOST_BYTES: Final = 3 << 19
"""Of what a question tells of turns: a worker takes two megabytes."""
_TURN: Final = 200
"""Instants that are followed before others get their turn."""


class Field:
    """Everybody in one ranking, followed from instant to instant; and when each of its ranks turned for whom, by the rank's name. Pure."""

    def __init__(self, sizes: Mapping[str, str], *, descending: bool) -> None:
        self._sizes, self._descending = sizes, descending
        self._line: SortedList[Entry] = SortedList()
        self._entries: dict[str, Entry] = {}
        self._last: dict[str, Entry | None] = dict.fromkeys(sizes)
        self.turns: dict[str, dict[str, list[int]]] = {name: {} for name in sizes}

    def follow(self, parts: Iterable[Mapping[str, Sequence[Step]]]) -> Iterator[None]:
        """Take everybody's scores, in the order in which they changed, yielding after each instant."""
        steps = [(at_ms, customer_id, score) for part in parts for customer_id, mine in part.items() for at_ms, score in mine]
        steps.sort(key=itemgetter(0))
        for at_ms, group in groupby(steps, itemgetter(0)):
            moved: set[str] = set()
            for _, customer_id, score in group:
                moved.add(customer_id)
                if (before := self._entries.pop(customer_id, None)) is not None:
                    self._line.remove(before)
                if score is not None:
                    entry = self._entries[customer_id] = entry_of(score, customer_id.encode(), descending=self._descending)
                    self._line.add(entry)
            for name, size in self._sizes.items():
                self._cut(at_ms, name, places(size, len(self._line)), moved)
            yield None

    def _cut(self, at_ms: int, name: str, place: int, moved: set[str]) -> None:
        """End a rank at a place, and note for whom that is a turn."""
        before, last = self._last[name], self._line[place - 1] if place else None
        self._last[name] = last
        if before != last:
            low, high = (before, last) if before is None or (last is not None and before < last) else (last, before)
            passed = self._line.irange(low, high, inclusive=(False, True))
            moved = moved.union([key.decode() for _, key in passed])
        turns = self.turns[name]
        for customer_id in moved:
            holds, mine = within(self._entries.get(customer_id), last), turns.get(customer_id)
            if holds is (mine is None or len(mine) % 2 == 0):
                turns.setdefault(customer_id, []).append(at_ms)


async def raced(call: Call, segment: Segment, ranks: Collection[Rank], from_ms: int, to_ms: int) -> dict[str, dict[str, list[int]]] | None:
    """Return when ranks turned for everybody, by their names; None where that would be too much. Raises `Refused` 503 when nobody can tell."""
    settings, rankings = call.desk.settings, sizes_of(ranks)
    # A worker may own all partitions.
    room = min(MOST_ROOM, settings.api_answer_bytes // (2 * settings.partitions))
    asked = Race(segment.id, from_ms, to_ms, MOST_FACTS // (len(rankings) * settings.partitions), room)
    parts, _ = await call.desk.asking.all(call.tenant, asked, Raced, definitions=segment.answers_from + 1)
    known = [part.steps for part in parts if part.steps is not None]
    if len(known) < len(parts):
        return None
    found: dict[str, dict[str, list[int]]] = {}
    for ranking, sizes in rankings.items():
        field = Field(sizes, descending=ranking.endswith("-"))
        for number, _ in enumerate(field.follow([part[ranking] for part in known])):
            if number % _TURN == 0:
                await asyncio.sleep(0)
        found |= field.turns
    return found if len(encode(found)) <= _MOST_BYTES else None
