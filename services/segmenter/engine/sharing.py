"""Sharing: conditions on one metric read one feature, metrics of one filter read one series, equal conditions share a bit."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any, Final

from schemas.facts import TYPE_NUMBERS, Brief
from schemas.instants import NEVER, Duration
from schemas.lifetimes import Lifetime, stands
from schemas.rule_values import NUMERIC
from schemas.rules import CalendarWindow, Last, Matcher, Metric, MetricCondition, Near, ProfileCondition, Sequence
from schemas.rules import Window as AskedWindow
from schemas.vocabulary import DERIVED_ATTRIBUTES, Kind
from services.segmenter.engine import attributes
from services.segmenter.engine.extract import Extractor, RoleExtractor, Vocabulary, decimals, extractor, sees_returns, test_of
from services.segmenter.engine.features import Feature, FractionFeature, PlainFeature, RankedFeature
from services.segmenter.engine.feeds import Feed, Feeds, SeriesSpec
from services.segmenter.engine.operators import Test
from services.segmenter.engine.ratios import RatioReader
from services.segmenter.engine.readers import AverageReader, CountReader, DaysReader, Reader, SumReader
from services.segmenter.engine.sequences import FIRST, THEN, Following, SequenceReader, SequenceSeries
from services.segmenter.engine.series import AverageSeries, MarkSeries, Series, SumSeries, ValueSeries
from services.segmenter.engine.tallies import ValuesReader
from services.segmenter.engine.windows import Expiries, FixedWindow, IntervalWindow, MonthsWindow, SpanWindow, Window

CountsFrom = Callable[[Lifetime], int]
"""From what no time ends to the instant from which on it counts."""

_MARKS, _SUMS, _AVERAGES, _VALUES = "marks", "sums", "averages", "values"
_SERIES_OF: Final = {"count": _MARKS, "days_since_first": _MARKS, "days_since_last": _MARKS, "sum": _SUMS, "avg": _AVERAGES}
_MAKERS: Final[dict[str, Callable[[list[Expiries]], Series]]] = {
    _MARKS: MarkSeries,
    _SUMS: SumSeries,
    _AVERAGES: AverageSeries,
    _VALUES: ValueSeries,
}


class _Draft:
    """A feature while its conditions are being gathered, with the series that it reads."""

    def __init__(self, reader: Reader, kind: str, series: list[SeriesSpec]) -> None:
        self.reader = reader
        self.kind = kind
        self.series = series
        self.bits: dict[tuple[str, Any], int] = {}
        self.tests: dict[int, Test] = {}
        self.feature: Feature | None = None
        self.scored = False

    def bit(self, found: Test, free: int) -> int:
        """Return the bit of a test, the free one if it is new."""
        bit = self.bits.setdefault((found.op, found.threshold), free)
        self.tests[bit] = found
        return bit


class Sharing:
    """The series and features of a tenant's rules. Conditions are asked for first (`bit_of`), then it is finished."""

    def __init__(self, tenant: Vocabulary, counts_from: CountsFrom) -> None:
        self._tenant = tenant
        self._counts_from = counts_from
        self.series: list[SeriesSpec] = []
        self.features: list[Feature] = []
        self.profile_features: list[Feature] = []
        self.scored: list[Feature] = []
        self.bits = 0
        self.feeds = Feeds(())
        """What feeds them."""
        self._calendar = tenant.calendar
        self._drafts: dict[Any, _Draft] = {}
        self._by_filter: dict[Any, SeriesSpec] = {}
        self._fed: list[Feed] = []
        self._expiries: dict[Duration, Expiries] = {}
        self._readers = 0

    def keeps(self, fact: Brief) -> bool:
        """Whether a window that no time ends looks at a fact, so that it must be kept however old it becomes."""
        at_ms: int = fact.at_ms
        items: tuple[Any, ...] = self.feeds.items.of(fact)
        for feed in self.feeds.of(fact.type, fact.body):
            if any([window.keeps(at_ms) for window in feed.spec.windows]) and feed.extractor.of(at_ms, fact.body, items) is not None:
                return True
        return False

    def bit_of(self, condition: MetricCondition | ProfileCondition | Near | Sequence) -> tuple[Any, int]:
        """Return the key of the condition's feature and the condition's bit."""
        key, found, draft = self._drafted(condition)
        return key, self._taken(draft, found)

    def own_bit(self, key: Any, reader: Reader) -> int:
        """Return the bit of a truth that is not a condition's, such as whether a segment's time has come."""
        return self._taken(self._draft(key, lambda: reader), Test("eq", True))

    def keep_score(self, metric: Metric) -> Any:
        """Have the exact value of a metric kept for each customer; return the key of its feature."""
        if metric not in self._drafts:
            self._drafts[metric] = self._metric(metric)
        self._drafts[metric].scored = True
        return metric

    def free_bit(self) -> int:
        """Return a bit that no feature sets."""
        self.bits += 1
        return self.bits - 1

    def _taken(self, draft: _Draft, found: Test) -> int:
        bit = draft.bit(found, self.bits)
        if bit == self.bits:
            self.bits += 1
        return bit

    def feature(self, key: Any) -> Feature:
        """Return a finished feature by its key."""
        feature = self._drafts[key].feature
        assert feature is not None
        return feature

    def finish(self) -> None:
        """Turn the drafts into features, now that each has all its tests."""
        for key, draft in self._drafts.items():
            feature = _feature(len(self.features), draft)
            feature.key = key, _beginning(draft.reader)
            draft.feature = feature
            self.features.append(feature)
            if draft.scored:
                feature.score = len(self.scored)
                self.scored.append(feature)
            for spec in draft.series:
                spec.features.append(feature)
            if not draft.series:
                self.profile_features.append(feature)
        for spec in self.series:
            spec.blank = spec.make()
        self.feeds = Feeds(self._fed)

    def _drafted(self, rule: MetricCondition | ProfileCondition | Near | Sequence) -> tuple[Any, Test, _Draft]:
        if isinstance(rule, Near):
            return rule, Test("eq", True), self._draft(rule, lambda: attributes.NearReader(rule.lat, rule.lon, rule.km))
        if isinstance(rule, ProfileCondition):
            return self._attribute(rule)
        if isinstance(rule, Sequence):
            if rule not in self._drafts:
                self._drafts[rule] = self._sequence(rule)
            return rule, Test("eq", True), self._drafts[rule]
        metric = rule.metric
        if metric not in self._drafts:
            self._drafts[metric] = self._metric(metric)
        return metric, test_of(rule.op, rule.value, metric.kind, self._tenant.exponent), self._drafts[metric]

    def _draft(self, key: Any, make: Callable[[], Reader], kind: str = "plain") -> _Draft:
        if key not in self._drafts:
            self._drafts[key] = _Draft(make(), kind, [])
        return self._drafts[key]

    def _attribute(self, rule: ProfileCondition) -> tuple[Any, Test, _Draft]:
        name, span, calendar = rule.attribute, rule.value, self._calendar
        if isinstance(span, Duration):
            key = (name, rule.op, span)
            return key, Test("eq", True), self._draft(key, lambda: attributes.SpanReader(name, rule.op, span, calendar))
        found = test_of(rule.op, rule.value, rule.kind, self._tenant.exponent)
        if name in DERIVED_ATTRIBUTES:
            return name, found, self._draft(name, lambda: attributes.derived(name, calendar), "ranked")
        return name, found, self._draft(name, lambda: attributes.AttributeReader(name), "ranked" if rule.kind in NUMERIC else "plain")

    def _metric(self, metric: Metric) -> _Draft:
        if metric.numerator is not None and metric.denominator is not None:
            return self._ratio(metric, metric.numerator, metric.denominator)
        reader, spec = self.reader(metric)
        if metric.measure == "avg":
            return _Draft(reader, "fraction", [spec])
        return _Draft(reader, "ranked" if metric.kind in NUMERIC else "plain", [spec])

    def _ratio(self, metric: Metric, above: Metric, below: Metric) -> _Draft:
        numerator, fed = self.reader(above)
        denominator, fed_too = self.reader(below)
        least = None if metric.min_denominator is None else Fraction(metric.min_denominator)
        exponent = self._tenant.exponent
        reader = RatioReader(numerator, denominator, (decimals(above.kind, exponent), decimals(below.kind, exponent)), least)
        return _Draft(reader, "fraction", [fed] if fed is fed_too else [fed, fed_too])

    def reader(self, metric: Metric) -> tuple[Reader, SeriesSpec]:
        """Return a reader of a metric that is no ratio, and the series that it reads."""
        spec, measure = self._series(metric), metric.measure
        window, index = self._window(metric, metric.window, spec), spec.index
        if measure == "count":
            return CountReader(index, window), spec
        if measure == "sum":
            return SumReader(index, window), spec
        if measure == "avg":
            return AverageReader(index, window), spec
        if measure in ("days_since_first", "days_since_last"):
            return DaysReader(index, window, first=measure == "days_since_first"), spec
        self._readers += 1
        return ValuesReader(index, window, measure, self._readers), spec

    def _window(self, rule: Lifetime, asked: AskedWindow | None, spec: SeriesSpec) -> Window:
        window = self._standing(asked, self._counts_from(rule)) if stands(asked) else self._moving(asked, spec)
        spec.windows.append(window)
        return window

    def _standing(self, asked: AskedWindow | None, since_ms: int) -> Window:
        if asked is None:
            return Window(since_ms)
        if isinstance(asked, CalendarWindow):
            start_ms, end_ms, _ = self._calendar.interval(asked.word, since_ms)
            return FixedWindow(start_ms, end_ms, since_ms)
        assert not isinstance(asked, Last)
        return FixedWindow(0 if asked.from_ms is None else asked.from_ms, NEVER if asked.to_ms is None else asked.to_ms, since_ms)

    def _moving(self, asked: AskedWindow | None, spec: SeriesSpec) -> Window:
        if isinstance(asked, Last):
            if asked.span.months:
                place = spec.months(asked.span, self._expiries, self._calendar)
                return MonthsWindow(spec.expiries[place], place)
            return SpanWindow(asked.span.exact_ms)
        assert isinstance(asked, CalendarWindow)
        calendar, word = self._calendar, asked.word
        return IntervalWindow(lambda at_ms: calendar.interval(word, at_ms))

    def _series(self, metric: Metric) -> SeriesSpec:
        flavour = _SERIES_OF.get(metric.measure, _VALUES)
        key = (metric.event, metric.name, metric.where, metric.field, flavour)
        spec = self._by_filter.get(key)
        if spec is None:
            spec = self._by_filter[key] = self._new_series(key, _MAKERS[flavour])
            self._feed(metric.event, spec, extractor(metric, self._tenant), of_returns=sees_returns(metric.measure, metric.where))
        return spec

    def _sequence(self, rule: Sequence) -> _Draft:
        following = Following(self._calendar, rule.within, happens=rule.happens)
        key = (rule.first, rule.then, rule.within, rule.happens)
        spec = self._by_filter.get(key)
        if spec is None:
            spec = self._by_filter[key] = self._new_series(key, lambda expiries: SequenceSeries(expiries, following))
            for role, matcher in ((FIRST, rule.first), (THEN, rule.then)):
                extract = RoleExtractor(_counted(matcher), self._tenant, role)
                self._feed(matcher.event, spec, extract, of_returns=sees_returns("count", matcher.where))
        return _Draft(SequenceReader(spec.index, self._window(rule, rule.window, spec)), "plain", [spec])

    def _new_series(self, key: Any, make: Callable[[list[Expiries]], Series]) -> SeriesSpec:
        spec = SeriesSpec(len(self.series), key, make)
        self.series.append(spec)
        return spec

    def _feed(self, event: str, spec: SeriesSpec, extract: Extractor, *, of_returns: bool) -> None:
        self._fed.append(Feed(spec, extract, TYPE_NUMBERS[event], of_returns=of_returns))


def _counted(matcher: Matcher) -> Metric:
    return Metric("count", matcher.event, Kind.INTEGER, matcher.name, None, matcher.where)


def _beginning(reader: Reader) -> Any:
    """Return from when on a reader counts what no time ends; what it reads otherwise is in its key."""
    if isinstance(reader, RatioReader):
        return _beginning(reader.numerator), _beginning(reader.denominator)
    if isinstance(reader, (CountReader, SumReader, AverageReader, DaysReader, ValuesReader, SequenceReader)):
        return reader.window.since_ms
    return None


def _feature(index: int, draft: _Draft) -> Feature:
    if draft.kind == "plain":
        return PlainFeature(index, draft.reader, draft.tests)
    if draft.kind == "fraction":
        return FractionFeature(index, draft.reader, draft.tests)
    return RankedFeature(index, draft.reader, draft.tests)
