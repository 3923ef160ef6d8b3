"""Inquiries: a question being worked on for one partition, in slices between which records and deadlines have their turn.

What a question does is a generator that yields after each piece of work how many units it was; a fact read is about one. Customers
who change between two slices are seen once, before or after; all are looked at as of the instant at which the question was
asked, so that facts that happen later do not count.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from typing import Any, Final, Protocol

from schemas.catalog import Segment
from schemas.errors import RollcallError
from schemas.partitions import record_key
from schemas.questions import Asked
from services.segmenter.columns.table import Table
from services.segmenter.plans import Plans
from services.segmenter.questions.person import Person

_PASSED_BY: Final = 64
"""Customers of other tenants that are passed by for the price of one unit."""


class Unknowable(RollcallError):
    """What was asked cannot be known at the moment; the message says why."""


class People(Protocol):
    """What a question sees of a partition."""

    plans: Plans

    def keys(self) -> Iterable[bytes]:
        """Return the record keys of all customers."""

    def ranks_known(self, tenant: str) -> Iterable[str]:
        """Return the names of the ranks of which it is known where they end."""

    def table(self, tenant: str) -> Table | None:
        """Return what is kept of a tenant's customers side by side, None where each must be looked at."""

    def person(self, key: bytes) -> Person | None:
        """Return a customer to look at, None for one who is not known."""


class Inquiry:
    """A question, asked of one partition at an instant. Subclasses say what to do in `steps`, and what came of it in `answer`."""

    def __init__(self, people: People, asked: Asked, now_ms: int) -> None:
        self.people, self.asked, self.now_ms = people, asked, now_ms
        self.question: Any = asked.question
        self._steps: Iterator[int] | None = None

    def work(self, limit: int) -> int:
        """Do about `limit` units; return how many they were, 0 when there is nothing left to do."""
        if self._steps is None:
            self._steps = self.steps()
        done = 0
        for units in self._steps:
            done += units
            if done >= limit:
                return done
        return 0

    def steps(self) -> Iterator[int]:
        """Do the work, yielding the units of each piece."""
        raise NotImplementedError

    def answer(self) -> Any:
        """Return the answer, once there is nothing left to do."""
        raise NotImplementedError

    @property
    def tenant(self) -> str:
        """Whose customers are looked at."""
        return self.asked.tenant

    def segment(self, segment_id: str) -> Segment:
        """Return a segment that is live; raises `Unknowable` where this worker knows of none."""
        found = self.people.plans.catalog.segment(self.tenant, segment_id)
        if found is None or found.archived:
            raise Unknowable(f"segment {segment_id} is not live here")
        return found


class OfOne(Inquiry):
    """A question about the customer `question.customer_id`. Its answer is None when there is no such customer."""

    _found: Any = None

    def steps(self) -> Iterator[int]:
        """Look at the customer."""
        person = self.people.person(record_key(self.tenant, self.question.customer_id))
        if person is not None:
            self._found = yield from self.look(person)

    def look(self, person: Person) -> Generator[int, None, Any]:
        """Return the answer."""
        raise NotImplementedError

    def answer(self) -> Any:
        """Return what was found."""
        return self._found


class OfEveryone(Inquiry):
    """A question that looks at each customer of the tenant, and adds up."""

    def steps(self) -> Iterator[int]:
        """Look at everyone who is known when it begins and still then."""
        keys, prefix, passed = self.keys(), record_key(self.tenant, ""), 0
        for key in keys:
            if not key.startswith(prefix):
                passed += 1
                if passed % _PASSED_BY == 0:
                    yield 1
            elif (person := self.people.person(key)) is not None:
                yield from self.look(person)

    def keys(self) -> Iterable[bytes]:
        """Return the record keys of all who are to be looked at, among others."""
        return self.people.keys()

    def look(self, person: Person) -> Iterator[int]:
        """Take notice of one customer."""
        raise NotImplementedError
