"""Finds where ranks end at instants for which partitions have not agreed on it: now for a draft, or in the past.

All partitions line their customers up and show some points of each line; where these do not tell, they are asked for more points in
between. It is the referee's search, run by whoever asks. Scores that change between two questions can move a cut by as much, as between
any two looks; at rest it is exact.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import accumulate, takewhile
from typing import Final

from schemas.catalog import Segment
from schemas.dependencies import closure
from schemas.questions import MOST_LOOKS, MOST_ROOM, Look, Preview, Standing, Standings
from schemas.rules import Rank, conditions
from schemas.standings import Cut
from services.api.errors import Refused, unavailable
from services.api.web import Call
from services.segmenter.engine.rankings import rank_name, ranking_name, size_of
from services.segmenter.ranks.search import Known, search

MOST_CUTS: Final = 5_000
"""Ranks times instants of one question: they travel with it, some sixty bytes each."""
_PATIENCE: Final = 4.0
"""How many times as long as one answer of a segmenter it may take. Each narrows sixtyfold at least, so usually there are one or two."""


class Finding:
    """What is known of where ranks end at some instants, and what is still to be asked. Pure."""

    def __init__(self, ranks: Iterable[Rank], instants_ms: Sequence[int]) -> None:
        self._sizes: dict[str, set[str]] = {}
        for rank in ranks:
            self._sizes.setdefault(ranking_name(rank), set()).add(size_of(rank))
        self._cuts: dict[int, dict[str, Cut]] = {at_ms: {} for at_ms in instants_ms}
        self._open = [Look(at_ms, ranking, []) for at_ms in self._cuts for ranking in self._sizes]

    def looks(self) -> list[Look]:
        """Return what to ask next, nothing when all is found: one look, and more while they leave each other room in an answer."""
        shares = accumulate(max(1, len(look.intervals)) for look in self._open)
        count = sum(1 for _ in takewhile(lambda share: share <= MOST_LOOKS, shares))
        return self._open[: max(1, count)]

    def hear(self, look: Look, shown: Iterable[Standing]) -> None:
        """Take what each partition shows of a look."""
        cuts = self._cuts[look.at_ms]
        sizes = [size for size in self._sizes[look.ranking] if rank_name(look.ranking, size) not in cuts]
        tables = {number: Known(standing.points, standing.total) for number, standing in enumerate(shown)}
        found = search(tables, sizes, descending=look.ranking.endswith("-"))
        cuts.update({rank_name(look.ranking, size): cut for size, cut in found.cuts.items()})
        self._open.remove(look)
        if found.intervals:
            self._open.insert(0, Look(look.at_ms, look.ranking, found.intervals))

    def cuts(self, at_ms: int) -> dict[str, Cut]:
        """Return where each rank ends at an instant, by its name."""
        return self._cuts[at_ms]


def ranks_of(segments: Mapping[str, Segment], segment: Segment) -> set[Rank]:
    """Return the ranks that a segment depends on, its own or by way of others."""
    return ranks_in(closure(segments, segment))


def ranks_in(segments: Iterable[Segment]) -> set[Rank]:
    """Return the ranks that stand in the rules of segments."""
    rules = [segment.rule for segment in segments if segment.rule is not None]
    return {one for rule in rules for _, one in conditions(rule) if isinstance(one, Rank)}


async def ends_of(call: Call, of: str | Preview, ranks: Collection[Rank], instants_ms: Sequence[int], *, definitions: int) -> Finding:
    """Ask until it is known where ranks end; raises `Refused`: 422 for more than can be told at once, 503 when nobody can tell, or not in time."""
    if len(ranks) * len(instants_ms) > MOST_CUTS:
        said = f"the segment depends on {len(ranks)} ranks, so {MOST_CUTS // len(ranks)} steps at most; make them longer, or the time shorter"
        raise Refused(422, said, pointer="/step")
    finding, settings = Finding(ranks, instants_ms), call.desk.settings
    # A worker may own all partitions.
    room = min(MOST_ROOM, settings.api_answer_bytes // (2 * settings.partitions))
    try:
        async with asyncio.timeout(_PATIENCE * settings.api_question_timeout_s):
            while looks := finding.looks():
                parts, _ = await call.desk.asking.all(call.tenant, Standings(of, looks, room), list[Standing], definitions=definitions)
                for place, look in enumerate(looks):
                    finding.hear(look, [part[place] for part in parts])
                    # Others get their turn.
                    await asyncio.sleep(0)
    except TimeoutError:
        raise unavailable("where a rank ends could not be found in time") from None
    return finding
