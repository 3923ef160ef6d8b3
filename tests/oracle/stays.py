"""Memberships as they are decided, one instant after another: what a `min_stay` needs, which looks at past decisions and not at facts."""

from __future__ import annotations

import copy
from bisect import bisect_right
from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

from tests.oracle import answers, clock
from tests.oracle.answers import World
from tests.oracle.boundaries import boundaries
from tests.oracle.history import History

Json = dict[str, Any]
_CORRECTIONS = ("checkout-void", "customer-merge", "customer-erase")


class Change(NamedTuple):
    """An entry or an exit, when it was decided."""

    at: int
    segment_id: str
    customer: str
    change: str


class Stays:
    """A tenant's life, told in order: segments are saved, documents accepted, and time passes.

    At each of these instants, and at each at which time alone might change something, everybody is decided about anew, and each
    entry is remembered. A void, a merge or an erasure ends the stays of the customer that it is about, an edit those in its segment:
    the last entry no longer holds anybody, and the next one will.
    """

    def __init__(self, history: History, at: int) -> None:
        self.history = history
        self.at = at
        self.segments: Sequence[Json] = ()
        self.members: dict[str, set[str]] = {}
        self.changes: list[Change] = []
        self._entered: dict[tuple[str, str], int] = {}
        self._ranks: dict[str, list[str]] | None = None

    def define(self, segments: Sequence[Json], at: int) -> None:
        """From an instant on, these are the live segments; one whose definition says anything else than before was edited."""
        self.pass_to(at)
        before = {segment["id"]: _without_lists(segment) for segment in self.segments}
        unchanged = {segment["id"] for segment in segments if before.get(segment["id"]) == _without_lists(segment)}
        self._entered = {(segment, customer): since for (segment, customer), since in self._entered.items() if segment in unchanged}
        self.segments = segments
        self._decide(self._everyone())

    def accept(self, document: Json, at: int) -> bool:
        """Hear of a document at an instant, after all that time alone has changed by then; say whether it counts."""
        self.pass_to(at)
        about = self.history.ids_of(document["customer_id"]) if "customer_id" in document else set()
        accepted = self.history.add(document)
        if accepted and document["type"] in _CORRECTIONS:
            about |= self.history.ids_of(document["customer_id"])
            self._entered = {(segment, customer): since for (segment, customer), since in self._entered.items() if customer not in about}
        self._decide(self._everyone())
        return accepted

    def pass_to(self, at: int) -> None:
        """Let time alone do what it does, an instant after the other, up to one and on it."""
        everyone = self._everyone()
        for instant in self._turns(at, everyone):
            self.at = instant
            self._decide(everyone)
        self.at = at

    def until(self, segment_id: str, customer: str, horizon_days: int = 400) -> int | None:
        """The next instant at which membership flips if nothing new happens and ranks stay, None beyond the horizon."""
        return self.outlook([segment_id], customer, horizon_days)[segment_id]

    def outlook(self, segment_ids: Collection[str], customer: str, horizon_days: int = 400) -> dict[str, int | None]:
        """The same of several segments."""
        person = self.history.survivor(customer)
        ahead = copy.copy(self)
        ahead.members, ahead.changes, ahead._entered = dict(self.members), [], dict(self._entered)
        ahead._ranks = answers.standing(self._world(), self.at)
        found: dict[str, int | None] = dict.fromkeys(segment_ids)
        for instant in ahead._turns(self.at + horizon_days * clock.DAY, {person}):
            ahead.at = instant
            ahead._decide({person})
            for segment_id, until in found.items():
                if until is None and (person in ahead.members[segment_id]) is not (person in self.members[segment_id]):
                    found[segment_id] = instant
            if None not in found.values():
                break
        return found

    def _turns(self, end: int, people: Collection[str]) -> Iterator[int]:
        """The instants up to an end at which time alone might change something for these; while they are taken, new stays come to theirs."""
        found = sorted({at for customer in people for at in boundaries(None, self.history, customer, self.at, end, self.segments)})
        spans = {segment["id"]: segment["min_stay"] for segment in self.segments if segment.get("min_stay")}
        while True:
            ends = {clock.later(since, spans[segment], self.history.zone) for (segment, _), since in self._entered.items() if segment in spans}
            ahead = [*found[(place := bisect_right(found, self.at)) : place + 1], *(at for at in ends if self.at < at <= end)]
            if not ahead:
                return
            yield min(ahead)

    def _world(self) -> World:
        return World(self.history, self.segments, self._entered, self._ranks)

    def _everyone(self) -> set[str]:
        # Whoever was in a moment ago as well: somebody who disappears leaves.
        return answers.everyone(self._world()).union(*self.members.values())

    def _decide(self, people: Collection[str]) -> None:
        """Decide about these, and note who entered and who left."""
        world, before = self._world(), self.members
        present = answers.everyone(world)
        self.members = {}
        for segment in self.segments:
            others = before.get(segment["id"], set()).difference(people)
            asked = present.intersection(people)
            self.members[segment["id"]] = others | {customer for customer in asked if answers.is_in(world, segment, customer, self.at)}
        for segment_id in sorted(before.keys() | self.members.keys()):
            was, now = before.get(segment_id, set()), self.members.get(segment_id, set())
            for customer in sorted(was ^ now):
                self.changes.append(Change(self.at, segment_id, customer, "entered" if customer in now else "exited"))
                if customer in now:
                    self._entered[segment_id, customer] = self.at


def _without_lists(segment: Json) -> Json:
    """What makes a version: lists do not."""
    return {name: value for name, value in segment.items() if name not in ("include", "exclude")}
