"""What a tenant's segments rank by, and how much of that there may be: each ranking holds a place for every customer."""

from __future__ import annotations

from typing import Final

from schemas.outcomes import Conflict
from schemas.rules import Metric, Rank, Rule, conditions

MAX_RANKINGS: Final = 50
"""Metrics, one way or the other, that the live segments of a tenant may rank by. Each costs some hundred bytes a customer."""
MAX_RANKS: Final = 500
"""Ranks, by number or percent, that they may have together. Where each ends is told to all partitions whenever one moves."""


class Rankings:
    """The ranks of a tenant's live segments."""

    def __init__(self) -> None:
        self._ranks: dict[str, frozenset[Rank]] = {}

    def check(self, segment_id: str, rule: Rule | None) -> None:
        """Refuse a segment with which there would be more rankings or ranks than there may be."""
        named = _named(rule)
        if not named:
            return
        others = [ranks for other, ranks in self._ranks.items() if other != segment_id]
        ranks = set(named).union(*others)
        first = min(named.values())
        if len(ranks) > MAX_RANKS:
            raise Conflict(422, f"the tenant's segments would have {len(ranks)} different ranks, {MAX_RANKS} at most", f"/rule{first}")
        rankings: set[tuple[Metric, str]] = {(rank.metric, rank.order) for rank in ranks}
        if len(rankings) > MAX_RANKINGS:
            raise Conflict(422, f"the tenant's segments would rank by {len(rankings)} different metrics, {MAX_RANKINGS} at most", f"/rule{first}")

    def keep(self, segment_id: str, rule: Rule | None) -> None:
        """Take note of a live segment's rule; None for a segment that has none or is archived."""
        named = _named(rule)
        if named:
            self._ranks[segment_id] = frozenset(named)
        else:
            self._ranks.pop(segment_id, None)


def _named(rule: Rule | None) -> dict[Rank, str]:
    """Return the ranks of a rule, each with the JSON Pointer of its place."""
    return {} if rule is None else {one: f"{pointer}/rank" for pointer, one in conditions(rule) if isinstance(one, Rank)}
