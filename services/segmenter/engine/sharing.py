"""Sharing: conditions on one metric read one feature, metrics of one filter read one series, equal conditions share a bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from schemas.facts import TYPE_NUMBERS
from schemas.instants import Duration
from schemas.rules import Condition, Metric, Near, ProfileCondition
from schemas.vocabulary import DERIVED_ATTRIBUTES, Kind
from services.segmenter.engine import attributes
from services.segmenter.engine.calendar import Calendar
from services.segmenter.engine.extract import KIND_PLACE, Extractor, extractor, sees_returns, test_of
from services.segmenter.engine.features import Feature, FractionFeature, PlainFeature, RankedFeature
from services.segmenter.engine.operators import Test
from services.segmenter.engine.readers import AverageReader, CountReader, DaysReader, Reader, SumReader
from services.segmenter.engine.series import AverageSeries, MarkSeries, Series, SumSeries, ValueSeries
from services.segmenter.engine.tallies import ValuesReader
from services.segmenter.engine.windows import Expiries, MonthsWindow, SpanWindow, Window

_NUMERIC: Final = (Kind.MONEY, Kind.INTEGER, Kind.NUMBER)
_CHECKOUT: Final = TYPE_NUMBERS["checkout"]
_MARKS, _SUMS, _AVERAGES, _VALUES = "marks", "sums", "averages", "values"
_SERIES_OF: Final = {"count": _MARKS, "days_since_first": _MARKS, "days_since_last": _MARKS, "sum": _SUMS, "avg": _AVERAGES}
_MAKERS: Final[dict[str, Callable[[list[Expiries]], Series]]] = {
    _MARKS: MarkSeries,
    _SUMS: SumSeries,
    _AVERAGES: AverageSeries,
    _VALUES: ValueSeries,
}


class SeriesSpec:
    """A series that the plan keeps for each customer, what feeds it and what reads it.

    `blank` is the series of a customer without facts, shared by all of them and never added to.
    """

    def __init__(self, index: int, flavour: str, extract: Extractor) -> None:
        self.index = index
        self.extractor = extract
        self.expiries: list[Expiries] = []
        self.features: list[Feature] = []
        self._make = _MAKERS[flavour]
        self.blank: Series = self._make([])

    def months(self, span: Duration, remembered: dict[Duration, Expiries], calendar: Calendar) -> int:
        """Return the place of a window of months among the expiries, made when it is new."""
        expiries = remembered.setdefault(span, Expiries(calendar, span))
        if expiries not in self.expiries:
            self.expiries.append(expiries)
        return self.expiries.index(expiries)

    def make(self) -> Series:
        """Return a customer's empty series."""
        return self._make(self.expiries)


class _Draft:
    """A feature while its conditions are being gathered."""

    def __init__(self, reader: Reader, kind: str, series: SeriesSpec | None) -> None:
        self.reader = reader
        self.kind = kind
        self.series = series
        self.bits: dict[tuple[str, Any], int] = {}
        self.tests: dict[int, Test] = {}
        self.feature: Feature | None = None

    def bit(self, found: Test, free: int) -> int:
        """Return the bit of a test, the free one if it is new."""
        bit = self.bits.setdefault((found.op, found.threshold), free)
        self.tests[bit] = found
        return bit


class Sharing:
    """The series and features of a tenant's rules. Conditions are asked for first (`bit_of`), then it is finished."""

    def __init__(self, calendar: Calendar, exponent: int) -> None:
        self.series: list[SeriesSpec] = []
        self.features: list[Feature] = []
        self.profile_features: list[Feature] = []
        self.bits = 0
        self._calendar = calendar
        self._exponent = exponent
        self._drafts: dict[Any, _Draft] = {}
        self._by_filter: dict[Any, SeriesSpec] = {}
        self._by_type: list[list[SeriesSpec]] = [[] for _ in TYPE_NUMBERS]
        self._of_returns: list[SeriesSpec] = []
        self._expiries: dict[Duration, Expiries] = {}

    def touched_by(self, number: int, body: tuple[Any, ...]) -> list[SeriesSpec]:
        """Return the series that a fact of a type (by number) may contribute to."""
        if number == _CHECKOUT and body[KIND_PLACE] == "return":
            return self._of_returns
        return self._by_type[number]

    def bit_of(self, condition: Condition) -> tuple[Any, int]:
        """Return the key of the condition's feature and the condition's bit."""
        key, found, draft = self._drafted(condition)
        bit = draft.bit(found, self.bits)
        if bit == self.bits:
            self.bits += 1
        return key, bit

    def feature(self, key: Any) -> Feature:
        """Return a finished feature by its key."""
        feature = self._drafts[key].feature
        assert feature is not None
        return feature

    def finish(self) -> None:
        """Turn the drafts into features, now that each has all its tests."""
        for draft in self._drafts.values():
            feature = _feature(len(self.features), draft)
            draft.feature = feature
            self.features.append(feature)
            (self.profile_features if draft.series is None else draft.series.features).append(feature)
        for spec in self.series:
            spec.blank = spec.make()

    def _drafted(self, rule: Condition) -> tuple[Any, Test, _Draft]:
        if isinstance(rule, Near):
            return rule, Test("eq", True), self._draft(rule, lambda: attributes.NearReader(rule.lat, rule.lon, rule.km))
        if isinstance(rule, ProfileCondition):
            return self._attribute(rule)
        metric = rule.metric
        if metric not in self._drafts:
            self._drafts[metric] = self._metric(metric)
        return metric, test_of(rule.op, rule.value, metric.kind, self._exponent), self._drafts[metric]

    def _draft(self, key: Any, make: Callable[[], Reader], kind: str = "plain") -> _Draft:
        if key not in self._drafts:
            self._drafts[key] = _Draft(make(), kind, None)
        return self._drafts[key]

    def _attribute(self, rule: ProfileCondition) -> tuple[Any, Test, _Draft]:
        name, span, calendar = rule.attribute, rule.value, self._calendar
        if isinstance(span, Duration):
            key = (name, rule.op, span)
            return key, Test("eq", True), self._draft(key, lambda: attributes.SpanReader(name, rule.op, span, calendar))
        found = test_of(rule.op, rule.value, rule.kind, self._exponent)
        if name in DERIVED_ATTRIBUTES:
            return name, found, self._draft(name, lambda: attributes.derived(name, calendar), "ranked")
        return name, found, self._draft(name, lambda: attributes.AttributeReader(name), "ranked" if rule.kind in _NUMERIC else "plain")

    def _metric(self, metric: Metric) -> _Draft:
        spec, measure = self._series(metric), metric.measure
        window, index = self._window(metric, spec), spec.index
        if measure == "count":
            return _Draft(CountReader(index, window), "ranked", spec)
        if measure == "sum":
            return _Draft(SumReader(index, window), "ranked", spec)
        if measure == "avg":
            return _Draft(AverageReader(index, window), "fraction", spec)
        if measure in ("days_since_first", "days_since_last"):
            return _Draft(DaysReader(index, window, first=measure == "days_since_first"), "ranked", spec)
        kind = "ranked" if metric.kind in _NUMERIC else "plain"
        return _Draft(ValuesReader(index, window, measure, len(self._drafts)), kind, spec)

    def _window(self, metric: Metric, spec: SeriesSpec) -> Window:
        span = metric.window
        if span is None:
            return Window()
        if span.months:
            place = spec.months(span, self._expiries, self._calendar)
            return MonthsWindow(spec.expiries[place], place)
        return SpanWindow(span.exact_ms)

    def _series(self, metric: Metric) -> SeriesSpec:
        flavour = _SERIES_OF.get(metric.measure, _VALUES)
        key = (metric.event, metric.name, metric.where, metric.field, flavour)
        spec = self._by_filter.get(key)
        if spec is None:
            spec = self._by_filter[key] = SeriesSpec(len(self.series), flavour, extractor(metric, self._calendar, self._exponent))
            self.series.append(spec)
            self._by_type[TYPE_NUMBERS[metric.event]].append(spec)
            if metric.event == "checkout" and sees_returns(metric.measure, metric.where):
                self._of_returns.append(spec)
        return spec


def _feature(index: int, draft: _Draft) -> Feature:
    if draft.kind == "plain":
        return PlainFeature(index, draft.reader, draft.tests)
    if draft.kind == "fraction":
        return FractionFeature(index, draft.reader, draft.tests)
    return RankedFeature(index, draft.reader, draft.tests)
