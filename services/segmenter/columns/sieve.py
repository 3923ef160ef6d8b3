"""A sieve: who would be in a drafted segment, as far as columns know; the others have to be looked at one by one.

What is asked is three-valued: of a place it is known that something holds, or that it does not, or neither. So a condition without a
column matters only where those with one leave the rule undecided.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from schemas.rules import Rank
from services.segmenter.columns.column import Answers, Column, standing
from services.segmenter.columns.table import Table
from services.segmenter.engine.features import Feature
from services.segmenter.engine.live import Live
from services.segmenter.engine.plan import CompiledSegment
from services.segmenter.engine.readers import State
from services.segmenter.engine.tree import Leaf, Node
from services.segmenter.slots import FREE, TOLD

_MOST_LEAVES: Final = 32
"""Conditions that are held against columns; all of it is one piece of work, so it must be quick."""
_NOBODY: Final = State([])


class Sieve:
    """The customers of a tenant at an instant, sifted. `rest`: the keys of those of whom columns do not know enough.

    Of the others: `of` is how many they are, `count` how many would be in, `enters` and `leaves` how many of them are not or no longer
    would be in the segment that the draft replaces; `inside` are the keys of some who would be in.
    """

    def __init__(self, table: Table, compiled: CompiledSegment, at_ms: int, *, replaces: bool, cuts_told: bool, sample: int) -> None:
        """`cuts_told`: where ranks end is told with the question, so memberships that depend on them may be others than those decided."""
        self._table, self._at_ms, self._cuts_told = table, at_ms, cuts_told
        self._features: dict[int, tuple[Column, Feature]] = {}
        self._leaves = 0
        states = table.states()
        self._nowhere = np.zeros(len(states), np.bool_)
        yes, no = Answers(self._nowhere, ~self._nowhere) if compiled.tree is None else self._node(compiled.tree)
        known, before = states == TOLD, self._nowhere
        if replaces:
            # Its lists and its members are those in force; an edit ends its stays.
            seats = table.seats(compiled.id)
            known = known & seats.known
            before = seats.members
            yes, no = (yes | seats.included) & ~seats.excluded, (no & ~seats.included) | seats.excluded
        if compiled.life is not None and not compiled.life.verdict(_NOBODY, at_ms, {}).holds:
            yes, no = self._nowhere, ~self._nowhere
        for higher in compiled.higher:
            inside = self._member(higher.id)
            yes, no = yes & inside.no, no | inside.yes
        yes, no = yes & known, no & known
        known = yes | no
        self.of, self.count = int(known.sum()), int(yes.sum())
        self.enters, self.leaves = int((yes & ~before).sum()), int((no & before).sum())
        self.inside = [table.keys[place] for place in np.flatnonzero(yes)[:sample].tolist()]
        self.rest = [table.keys[place] for place in np.flatnonzero((states != FREE) & ~known).tolist()]

    def keep(self, place: int, live: Live) -> None:
        """Keep what was found of somebody who had to be looked at, under the draft's plan and as of the sieve's instant."""
        state, known_ms = live.seen_at(self._at_ms)
        self._table.tell_some(place, self._features.values(), state, self._at_ms, known_ms)

    def _node(self, node: Node) -> Answers:
        if isinstance(node, Leaf):
            return self._leaf(node)
        members = [self._node(member) for member in node.members]
        if node.word == "not":
            return Answers(members[0].no, members[0].yes)
        yes, no = members[0]
        for member in members[1:]:
            yes, no = (yes & member.yes, no | member.no) if node.word == "all" else (yes | member.yes, no & member.no)
        return Answers(yes, no)

    def _leaf(self, leaf: Leaf) -> Answers:
        if leaf.member_of:
            return self._member(leaf.member_of)
        feature = leaf.feature
        self._leaves += 1
        if feature is None or isinstance(leaf.condition, Rank) or self._leaves > _MOST_LEAVES or (column := self._table.column(feature)) is None:
            return Answers(self._nowhere, self._nowhere)
        self._features[feature.index] = column, feature
        return column.answers(feature, leaf.bit, self._at_ms)

    def _member(self, segment_id: str) -> Answers:
        compiled = self._table.plan.segments[segment_id]
        if self._cuts_told and compiled.ranks:
            return Answers(self._nowhere, self._nowhere)
        seats = self._table.seats(segment_id)
        known = seats.known & standing(seats.bounds, self._at_ms)
        return Answers(known & seats.members, known & ~seats.members)
