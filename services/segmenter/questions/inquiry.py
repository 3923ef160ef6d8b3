"""Inquiries: a question being worked on for one partition, in slices between which records and deadlines have their turn.

A customer who changes between two slices is seen once, before or after; all are looked at as of the instant at which the question
was asked, so facts that happen later do not count. What a slice costs goes with the facts it reads: those are its units.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, Protocol

from schemas.errors import RollcallError
from schemas.partitions import record_key
from schemas.questions import Asked, Population, Tally
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

    def person(self, key: bytes) -> Person | None:
        """Return a customer to look at, None for one who is not known."""


class OfOne:
    """A question about one customer, answered in one go. Subclasses say what in `look`."""

    def __init__(self, people: People, asked: Asked, now_ms: int) -> None:
        self.people, self.asked, self.now_ms = people, asked, now_ms
        self._answer: Any = None

    def work(self, limit: int) -> int:
        """Look at the customer; there is nothing more to do afterwards."""
        person = self.people.person(record_key(self.asked.tenant, self.customer_id))
        self._answer = None if person is None else self.look(person)
        return 0

    def answer(self) -> Any:
        """Return the answer, None when the customer is not known."""
        return self._answer

    @property
    def customer_id(self) -> str:
        """The customer whom the question is about."""
        found: str = self.asked.question.customer_id  # type: ignore[attr-defined]
        return found

    def look(self, person: Person) -> Any:
        """Return the answer."""
        raise NotImplementedError


class OfEveryone:
    """A question that looks at each customer of the tenant. Subclasses take notice in `look` and add up in `answer`."""

    def __init__(self, people: People, asked: Asked, now_ms: int) -> None:
        self.people, self.asked, self.now_ms = people, asked, now_ms
        self._keys: Iterator[bytes] = iter(people.keys())
        self._prefix = record_key(asked.tenant, "")

    def work(self, limit: int) -> int:
        """Look at customers for about `limit` units; return how many units that were, 0 when everyone has been looked at."""
        units, passed = 0, 0
        for key in self._keys:
            if not key.startswith(self._prefix):
                passed += 1
                units += passed % _PASSED_BY == 0
            elif (person := self.people.person(key)) is not None:
                self.look(person)
                units += 1 + person.events
            if units >= limit:
                return units
        return 0

    def look(self, person: Person) -> None:
        """Take notice of one customer."""
        raise NotImplementedError

    def answer(self) -> Any:
        """Return what was found, once everyone has been looked at."""
        raise NotImplementedError


class Counted(OfEveryone):
    """Answers `Population`."""

    count = 0

    def look(self, person: Person) -> None:
        """Count."""
        self.count += 1

    def answer(self) -> Tally:
        """Return the count."""
        return Tally(self.count)


ANSWERED_BY: Final[dict[type, Callable[[People, Asked, int], OfOne | OfEveryone]]] = {Population: Counted}


def inquiry(people: People, asked: Asked, now_ms: int) -> OfOne | OfEveryone:
    """Return a question ready to be worked on, as of an instant; raise `Unknowable` for a tenant that is not known."""
    if asked.tenant not in people.plans.catalog.tenants:
        raise Unknowable(f"no tenant {asked.tenant!r} is known yet")
    return ANSWERED_BY[type(asked.question)](people, asked, now_ms)
