"""Feeds: which series a fact is counted in, and what is read of it for that."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from schemas.facts import TYPE_NUMBERS, ItemReader
from schemas.instants import Duration
from services.segmenter.engine.calendar import Calendar
from services.segmenter.engine.extract import KIND_PLACE, Extractor
from services.segmenter.engine.features import Feature
from services.segmenter.engine.series import Series
from services.segmenter.engine.windows import Expiries, Window

_CHECKOUT: Final = TYPE_NUMBERS["checkout"]
_REMEMBERED: Final = 64


class SeriesSpec:
    """A series that the plan keeps for each customer, and what reads it.

    `blank` is the series of a customer without facts, shared by all of them and never added to.
    """

    def __init__(self, index: int, key: Any, make: Callable[[list[Expiries]], Series]) -> None:
        self.index = index
        self.key = key
        """What is kept, in whatever plan: equal keys are fed the same by the same events of a tenant."""
        self.expiries: list[Expiries] = []
        self.windows: list[Window] = []
        self.features: list[Feature] = []
        self._make = make
        self.blank: Series = make([])

    def months(self, span: Duration, remembered: dict[Duration, Expiries], calendar: Calendar) -> int:
        """Return the place of a window of months among the expiries, made when it is new."""
        expiries = remembered.setdefault(span, Expiries(calendar, span))
        if expiries not in self.expiries:
            self.expiries.append(expiries)
        return self.expiries.index(expiries)

    def reaches(self, at_ms: int) -> int:
        """Return an instant before which no event matters to any reader, at `at_ms` or later."""
        return min([window.reaches(at_ms) for window in self.windows])

    def make(self) -> Series:
        """Return a customer's empty series."""
        return self._make(self.expiries)


class Feed:
    """What feeds a series from the facts of one type."""

    def __init__(self, spec: SeriesSpec, extract: Extractor, number: int, *, of_returns: bool) -> None:
        self.spec = spec
        self.extractor = extract
        self.number = number
        """The type, as facts have it."""
        self.of_returns = of_returns
        """Whether returns feed it as well."""


class Feeds:
    """The feeds of some series, by what a fact is. They are read for every fact, so whoever wants a few series asks for those alone."""

    def __init__(self, feeds: Iterable[Feed]) -> None:
        self._all = list(feeds)
        self._by_type: list[list[Feed]] = [[] for _ in TYPE_NUMBERS]
        self._of_returns: list[Feed] = []
        self._narrowed: dict[frozenset[int], Feeds] = {}
        looking: set[int] = set()
        self.with_items: set[int] = set()
        """The places of the series that line items are looked at for."""
        for feed in self._all:
            self._by_type[feed.number].append(feed)
            if feed.number == _CHECKOUT and feed.of_returns:
                self._of_returns.append(feed)
            if feed.extractor.looks_at_items:
                looking |= feed.extractor.item_places
                self.with_items.add(feed.spec.index)
        self.items = ItemReader(looking)
        """Reads what is looked at of line items."""

    def of(self, number: int, body: tuple[Any, ...]) -> list[Feed]:
        """Return what a fact of a type (by number) feeds."""
        if number == _CHECKOUT and body[KIND_PLACE] == "return":
            return self._of_returns
        return self._by_type[number]

    def only(self, series: Iterable[int]) -> Feeds:
        """Return the feeds of some series, by their places."""
        wanted = frozenset(series)
        found = self._narrowed.get(wanted)
        if found is None:
            if len(self._narrowed) >= _REMEMBERED:
                self._narrowed.clear()
            found = self._narrowed[wanted] = Feeds([feed for feed in self._all if feed.spec.index in wanted])
        return found
