"""A tenant's table: a place for each customer, a column for each feature of the plan in force, and the memberships by segment.

Whoever changes something of a customer touches the place (`Slot.touch`); what was kept there counts no more until it is told anew.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.segmenter.columns.column import Column, Truths, bound_of, column_for, grown, standing
from services.segmenter.engine.features import Feature
from services.segmenter.engine.outlook import by_hand
from services.segmenter.engine.plan import CompiledSegment, Plan
from services.segmenter.engine.readers import State
from services.segmenter.engine.row import Row
from services.segmenter.slots import FREE, TOLD, TOUCHED, Marks, Slot

_SLACK: Final = 16
_MOST_COLUMNS: Final = 100
_MOST_SEATS: Final = 100
"""All of them are told anew of whoever is touched: more would cost more than the event that did it."""
_MOST_ASKED: Final = 8
"""Columns of what only questions asked for: whoever tries thresholds of a metric asks for it again and again."""
_MEMBER, _INCLUDED, _EXCLUDED = 1, 2, 4


class Seats(NamedTuple):
    """Of whom the others are known; who was decided to be a member; who is on which list; and until when nothing of it changes by itself."""

    known: Truths
    members: Truths
    included: Truths
    excluded: Truths
    bounds: NDArray[np.uint32]


class Table:
    """The customers of one tenant. `keys`: whose each place is."""

    def __init__(self, plan: Plan) -> None:
        self.keys: list[bytes] = []
        self._marks = Marks(_SLACK)
        self._free: list[int] = []
        self._columns: dict[Any, Column] = {}
        self._asked: OrderedDict[Any, Column] = OrderedDict()
        """Those of what the latest questions asked for beyond the plan: they know whom a question has looked at, and no round tells them."""
        self._left_bytes = 0
        self._told: list[tuple[Column, Feature]] = []
        """The columns of the plan's features."""
        self._seats: dict[Any, NDArray[np.uint8]] = {}
        """For each segment, by what it depends on: who is a member as decided last, and who is on its lists."""
        self._seated: list[tuple[NDArray[np.uint8], CompiledSegment]] = []
        self._row_bounds: NDArray[np.uint32] = np.zeros(_SLACK, np.uint32)
        self._soonest: NDArray[np.uint32] = np.zeros(_SLACK, np.uint32)
        """Not later than the soonest bound of the columns."""
        self.plan = plan
        self._room_bytes = 0
        self.told_ms = -1
        """The latest instant as of which anything is kept: nothing is known of those before."""

    # ---- places

    def meet(self, key: bytes, slot: Slot) -> None:
        """Give a customer a place."""
        if self._free:
            place = self._free.pop()
            self.keys[place] = key
        else:
            place = len(self.keys)
            self.keys.append(key)
            if place >= len(self._marks.states):
                self._grow(place + place // 8 + _SLACK)
        slot.place, slot.marks = place, self._marks
        slot.touch()

    def part(self, slot: Slot) -> None:
        """Take the place of a customer who is no more."""
        self._marks.states[slot.place] = FREE
        self._free.append(slot.place)
        self.keys[slot.place] = b""
        slot.marks = None

    def _grow(self, size: int) -> None:
        marks = self._marks
        marks.states = marks.states + bytes(size - len(marks.states))
        for column in self._all():
            column.grow(size)
        self._row_bounds, self._soonest = grown(self._row_bounds, size), grown(self._soonest, size)
        self._seats = {key: grown(seats, size) for key, seats in self._seats.items()}
        self._under(self.plan)

    def states(self) -> NDArray[np.uint8]:
        """Return whether a place is free, touched or kept; not to be held on to, for places may become more."""
        return np.frombuffer(self._marks.states, np.uint8)

    def size_bytes(self) -> int:
        """Return what the columns take."""
        each = sum([column.cell_bytes for column in self._all()]) + len(self._seats)
        return (each + self._row_bounds.itemsize + self._soonest.itemsize) * len(self._marks.states)

    # ---- columns

    def under(self, plan: Plan, room_bytes: int) -> None:
        """Keep what a plan asks for, up to so many bytes of each customer: first what most conditions look at."""
        if plan is self.plan and room_bytes == self._room_bytes:
            return
        if plan.tenant != self.plan.tenant or plan.declared != self.plan.declared:
            self._columns.clear()  # facts mean something else
            self._asked.clear()
            self._seats.clear()
        self._room_bytes = room_bytes
        self._under(plan)

    def _under(self, plan: Plan) -> None:
        size = len(self._marks.states)
        self.plan = plan
        self._told.clear()
        left_bytes = self._room_bytes - self._soonest.itemsize - self._row_bounds.itemsize
        before, self._columns = self._columns, {}
        for feature in sorted(plan.features, key=lambda feature: -len(feature.tests))[:_MOST_COLUMNS]:
            # Of a draft that was saved, what is known of some stays, and a round tells the rest.
            column = before.get(feature.key) or self._asked.pop(feature.key, None) or column_for(feature, size)
            if column is None or column.cell_bytes > left_bytes:
                continue
            if feature.key not in before:
                self._soonest[:] = 0
            left_bytes -= column.cell_bytes
            self._columns[feature.key] = column
            self._told.append((column, feature))
        seats_before, self._seats, self._seated = self._seats, {}, []
        for compiled in plan.in_order[: min(_MOST_SEATS, max(0, left_bytes))]:
            seats = seats_before.get(_depends_on(compiled))
            if seats is None:
                seats = np.zeros(size, np.uint8)
                self._row_bounds[:] = 0
            self._seats[_depends_on(compiled)] = seats
            self._seated.append((seats, compiled))
        self._left_bytes = left_bytes - len(self._seats)
        self._fit()

    def _fit(self) -> None:
        """Let go of what was asked for longest ago, beyond what there is room for."""
        while self._asked and (len(self._asked) > _MOST_ASKED or sum([column.cell_bytes for column in self._asked.values()]) > self._left_bytes):
            self._asked.popitem(last=False)

    def _all(self) -> Iterator[Column]:
        yield from self._columns.values()
        yield from self._asked.values()

    def doubtful(self, at_ms: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return the places at which some value must be told anew, and then those at which only memberships must."""
        states = self.states()
        taken, kept = states != FREE, states == TOLD
        if self._told:
            kept &= standing(self._soonest, at_ms)
        seated = standing(self._row_bounds, at_ms) if self._seated else taken
        return np.flatnonzero(taken & ~kept), np.flatnonzero(kept & ~seated)

    def tell(self, place: int, state: State, at_ms: int, known_ms: int) -> None:
        """Keep all that the plan's features see in a customer at an instant."""
        self._begin(place, at_ms)
        for column, feature in self._told:
            column.tell(place, feature, state, at_ms, known_ms)
        self._soonest[place] = min([column.bounds[place] for column, _ in self._told], default=0)

    def tell_some(self, place: int, features: Iterable[tuple[Column, Feature]], state: State, at_ms: int, known_ms: int) -> None:
        """Keep what some features, of whatever plan, see."""
        self._begin(place, at_ms)
        for column, feature in features:
            if self._columns.get(feature.key, self._asked.get(feature.key)) is column:  # else it was dropped meanwhile
                column.tell(place, feature, state, at_ms, known_ms)
                self._soonest[place] = min(self._soonest[place], column.bounds[place])

    def seat(self, place: int, row: Row, at_ms: int, until_ms: int) -> None:
        """Keep in which segments a customer is, as the row says, who has been decided under the plan; it stands until another instant."""
        self._begin(place, at_ms)
        for seats, compiled in self._seated:
            included, excluded = by_hand(row, compiled)
            seats[place] = _MEMBER * (compiled.id in row.members) + _INCLUDED * included + _EXCLUDED * excluded
        self._row_bounds[place] = bound_of(until_ms)

    def _begin(self, place: int, at_ms: int) -> None:
        self.told_ms = max(self.told_ms, at_ms)
        states = self._marks.states
        if states[place] == TOUCHED:
            for column in self._all():
                column.bounds[place] = 0
            self._row_bounds[place] = self._soonest[place] = 0
            states[place] = TOLD

    # ---- what is known

    def column(self, feature: Feature) -> Column | None:
        """Return the column of a feature of any plan of the tenant, begun where there is room for one; None where there is not."""
        column = self._columns.get(feature.key) or self._asked.get(feature.key) or column_for(feature, len(self._marks.states))
        if column is not None and feature.key not in self._columns:
            self._asked[feature.key] = column
            self._asked.move_to_end(feature.key)
            self._fit()
        return column

    def seats(self, segment_id: str) -> Seats:
        """Return who is in a segment in force, as far as it is known."""
        seats = self._seats.get(_depends_on(self.plan.segments[segment_id]))
        if seats is None:
            nowhere = np.zeros(len(self._row_bounds), np.bool_)
            return Seats(nowhere, nowhere, nowhere, nowhere, self._row_bounds)
        return Seats(self._row_bounds > 0, seats & _MEMBER != 0, seats & _INCLUDED != 0, seats & _EXCLUDED != 0, self._row_bounds)


def _depends_on(compiled: CompiledSegment) -> Any:
    """Return what a membership depends on besides facts: the definitions, each by its offset."""
    return compiled.id, tuple([other.segment.offset for other in compiled.closure])
