"""The plan of a tenant: its live segments compiled so that they share all the work that is the same.

Segments become formulas over condition bits; equal conditions share a bit, conditions on one metric a feature, metrics of one
filter a series. A fact touches only the series of its type, their features, and, where a mask changes, the segments that
look at the bits that flipped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from schemas.amounts import currency_exponent
from schemas.catalog import Segment, Tenant
from schemas.errors import Refusal
from schemas.facts import TYPE_NUMBERS, Fact
from schemas.instants import NEVER, Duration
from schemas.rules import All, Any_, Condition, Last, Metric, MetricCondition, Near, Not, ProfileCondition, Rule
from schemas.vocabulary import DERIVED_ATTRIBUTES, Kind
from services.segmenter.engine import attributes, readers
from services.segmenter.engine.calendar import Calendar
from services.segmenter.engine.extract import KIND_PLACE, Extractor, extractor, sees_returns, threshold
from services.segmenter.engine.features import Feature, PlainFeature, RankedFeature, Test
from services.segmenter.engine.series import AverageSeries, Expiry, Series, SumSeries, ValueSeries
from services.segmenter.engine.verdict import Verdict, conjunction, disjunction, negated

_NUMERIC: Final = (Kind.MONEY, Kind.INTEGER, Kind.NUMBER)
_CHECKOUT: Final = TYPE_NUMBERS["checkout"]
_SERIES_OF: Final[dict[str, Callable[[tuple[Expiry, ...]], Any]]] = {
    "count": Series,
    "days_since_first": Series,
    "days_since_last": Series,
    "sum": SumSeries,
    "avg": AverageSeries,
}


@dataclass(eq=False)
class SeriesSpec:
    """A series that the plan keeps for each customer, what feeds it and what reads it."""

    index: int
    make: Callable[[tuple[Expiry, ...]], Any]
    extract: Extractor
    month_windows: list[Duration] = field(default_factory=list)
    expiries: tuple[Expiry, ...] = ()
    blank: Any = None
    features: list[Feature] = field(default_factory=list)


@dataclass(eq=False)
class Leaf:
    """A condition of a compiled rule: its place in the rule, what it says, its feature and its bit."""

    path: str
    condition: Condition
    feature: Feature
    bit: int


@dataclass(eq=False)
class Group:
    """`all` or `any` of a compiled rule, or `not` with one member."""

    word: str
    members: list[Node]


Node = Leaf | Group


@dataclass(eq=False)
class CompiledSegment:
    """A segment ready to be asked: the formula over bits for the hot path, the tree for verdicts, the leaves for reasons."""

    segment: Segment
    tree: Node | None
    leaves: list[Leaf]
    holds: Callable[[int], bool]


@dataclass(eq=False)
class _Draft:
    """A feature while its tests are being gathered."""

    reader: readers.Reader
    kind: str
    series: SeriesSpec | None = None
    tests: dict[tuple[str, Any], Test] = field(default_factory=dict)
    feature: Feature | None = None


class Plan:
    """Everything compiled for one tenant at one revision of its segments."""

    def __init__(self, tenant: Tenant, segments: Iterable[Segment], revision: int) -> None:
        """Compile the segments that are not archived; `revision` is the offset after the last definition that changed one."""
        everything = sorted(segments, key=lambda segment: segment.id)
        self.archived = {segment.id: segment for segment in everything if segment.archived}
        self.tenant = tenant
        self.revision = revision
        self.calendar = Calendar(tenant.timezone)
        self.exponent = currency_exponent(tenant.currency)
        self.series: list[SeriesSpec] = []
        self.features: list[Feature] = []
        self.profile_features: list[Feature] = []
        self._drafts: dict[Any, _Draft] = {}
        self._by_filter: dict[Any, SeriesSpec] = {}
        self._bits = 0
        self._by_type: list[list[SeriesSpec]] = [[] for _ in TYPE_NUMBERS]
        self._of_returns: list[SeriesSpec] = []
        drafted = [(segment, None if segment.rule is None else self._tree(segment.rule, "")) for segment in everything if not segment.archived]
        self.blank: list[Any] = []
        """The series of a customer without facts, shared by all of them and never added to."""
        self.blank_masks: list[int] | None = None
        """The masks of a customer without facts, once they have been found."""
        self._finish()
        self.segments: dict[str, CompiledSegment] = {}
        self.dependents: list[list[CompiledSegment]] = [[] for _ in range(self._bits)]
        for segment, tree in drafted:
            self._compile(segment, tree)

    def touched_by(self, fact: Fact) -> list[SeriesSpec]:
        """Return the series that a fact may contribute to."""
        if fact.type == _CHECKOUT and fact.body[KIND_PLACE] == "return":
            return self._of_returns
        return self._by_type[fact.type]

    def _compile(self, segment: Segment, tree: Any) -> None:
        leaves: list[Leaf] = []
        node = None if tree is None else self._resolved(tree, leaves)
        compiled = CompiledSegment(segment, node, leaves, _formula(node))
        self.segments[segment.id] = compiled
        for bit in {leaf.bit for leaf in leaves}:
            self.dependents[bit].append(compiled)

    def _tree(self, rule: Rule, path: str) -> Any:
        """Return a draft of a rule's tree: groups as (word, members), leaves as (path, condition, draft, test)."""
        if isinstance(rule, All | Any_):
            word = "all" if isinstance(rule, All) else "any"
            return word, [self._tree(member, f"{path}/{word}/{place}") for place, member in enumerate(rule.rules)]
        if isinstance(rule, Not):
            return "not", [self._tree(rule.rule, f"{path}/not")]
        draft, op, value = self._draft(rule)
        found = draft.tests.get((op, value))
        if found is None:
            found = draft.tests[op, value] = Test(self._bits, op, value)
            self._bits += 1
        return path, rule, draft, found

    def _draft(self, rule: Condition) -> tuple[_Draft, str, Any]:
        """Return the draft of the feature that a condition reads, with its operator and threshold in the facts' units."""
        if isinstance(rule, Near):
            reader: readers.Reader = attributes.NearReader(rule.lat, rule.lon, rule.km)
            return self._drafts.setdefault(rule, _Draft(reader, "plain")), "eq", True
        if isinstance(rule, MetricCondition):
            value = threshold(rule.value, rule.op, rule.metric.kind, self.exponent)
            draft = self._drafts.get(rule.metric)
            if draft is None:
                draft = self._drafts[rule.metric] = self._metric(rule.metric)
            return draft, rule.op, value
        if isinstance(rule, ProfileCondition):
            return self._attribute(rule)
        raise Refusal(f"this engine does not compile {type(rule).__name__}", reason="unsupported")

    def _attribute(self, rule: ProfileCondition) -> tuple[_Draft, str, Any]:
        if isinstance(rule.value, Duration):
            reader: readers.Reader = attributes.SpanReader(rule.attribute, rule.op, rule.value, self.calendar)
            return self._drafts.setdefault((rule.attribute, rule.op, rule.value), _Draft(reader, "plain")), "eq", True
        if rule.attribute in DERIVED_ATTRIBUTES:
            reader = attributes.AgeReader(self.calendar) if rule.attribute == "age" else attributes.BirthdayReader(self.calendar)
        else:
            reader = attributes.AttributeReader(rule.attribute)
        kind = "ranked" if rule.kind in _NUMERIC else "plain"
        value = threshold(rule.value, rule.op, rule.kind, self.exponent)
        return self._drafts.setdefault(rule.attribute, _Draft(reader, kind)), rule.op, value

    def _metric(self, metric: Metric) -> _Draft:
        if metric.measure == "ratio" or not (metric.window is None or isinstance(metric.window, Last)):
            raise Refusal(f"this engine compiles neither ratio nor windows other than last: {metric}", reason="unsupported")
        spec = self._series(metric)
        ends = 0
        span = None if metric.window is None else metric.window.span
        if span is not None and span.months:
            if span not in spec.month_windows:
                spec.month_windows.append(span)
            ends = spec.month_windows.index(span)
        window = readers.Window(span, self.calendar, ends)
        measure = metric.measure
        if measure == "count":
            return _Draft(readers.CountReader(spec.index, window), "ranked", series=spec)
        if measure == "sum":
            return _Draft(readers.SumReader(spec.index, window), "ranked", series=spec)
        if measure == "avg":
            return _Draft(readers.AverageReader(spec.index, window), "fractions", series=spec)
        if measure in ("days_since_first", "days_since_last"):
            return _Draft(readers.DaysReader(spec.index, window, first=measure == "days_since_first"), "ranked", series=spec)
        kind = "plain" if metric.kind not in _NUMERIC else "ranked"
        return _Draft(readers.ValuesReader(spec.index, window, measure, len(self._drafts)), kind, series=spec)

    def _series(self, metric: Metric) -> SeriesSpec:
        make = _SERIES_OF.get(metric.measure, ValueSeries)
        flavour = make.__name__
        key = (metric.event, metric.name, metric.where, metric.field, flavour)
        spec = self._by_filter.get(key)
        if spec is None:
            spec = self._by_filter[key] = SeriesSpec(len(self.series), make, extractor(metric, self.calendar, self.exponent))
            self.series.append(spec)
            self._by_type[TYPE_NUMBERS[metric.event]].append(spec)
            if metric.event == "checkout" and sees_returns(metric):
                self._of_returns.append(spec)
        return spec

    def _finish(self) -> None:
        """Turn the drafts into features, now that each has all its tests."""
        for draft in self._drafts.values():
            tests = list(draft.tests.values())
            index = len(self.features)
            feature: Feature
            if draft.kind == "plain":
                feature = PlainFeature(index, draft.reader, tests)
            else:
                feature = RankedFeature(index, draft.reader, tests, fractions=draft.kind == "fractions")
            draft.feature = feature
            self.features.append(feature)
            (self.profile_features if draft.series is None else draft.series.features).append(feature)
        remembered: dict[Duration, Expiry] = {}
        for spec in self.series:
            spec.expiries = tuple([remembered.setdefault(window, _expiry(self.calendar, window)) for window in spec.month_windows])
            spec.blank = spec.make(spec.expiries)
        self.blank = [spec.blank for spec in self.series]

    def _resolved(self, tree: Any, leaves: list[Leaf]) -> Node:
        if tree[0] in ("all", "any", "not"):
            return Group(tree[0], [self._resolved(member, leaves) for member in tree[1]])
        path, condition, draft, found = tree
        leaf = Leaf(path, condition, draft.feature, found.bit)
        leaves.append(leaf)
        return leaf


def _expiry(calendar: Calendar, window: Duration) -> Expiry:
    """Return the function that finds expiries; it remembers the last, which the next series of the same fact asks for."""
    last_ms, end_ms = -1, -1

    def expiry(at_ms: int) -> int:
        nonlocal last_ms, end_ms
        if at_ms != last_ms:
            last_ms, end_ms = at_ms, calendar.plus(at_ms, window)
        return end_ms

    return expiry


def _formula(node: Node | None) -> Callable[[int], bool]:
    """Return the function of the bits that a rule is; groups of plain conditions become one mask each."""
    if node is None:
        return lambda _: False
    if isinstance(node, Leaf):
        mask = 1 << node.bit
        return lambda truth: truth & mask != 0
    if node.word == "not":
        inner = _formula(node.members[0])
        return lambda truth: not inner(truth)
    bits = 0
    for member in node.members:
        if isinstance(member, Leaf):
            bits |= 1 << member.bit
    others = [_formula(member) for member in node.members if not isinstance(member, Leaf)]
    if node.word == "all":
        if not others:
            return lambda truth: truth & bits == bits
        return lambda truth: truth & bits == bits and all(other(truth) for other in others)
    if not others:
        return lambda truth: truth & bits != 0
    return lambda truth: truth & bits != 0 or any(other(truth) for other in others)


def verdict(node: Node | None, state: readers.State, at_ms: int) -> Verdict:
    """Evaluate a rule plainly at an instant: the reference that the incremental path is held against, and the way to `until`."""
    if node is None:
        return Verdict(False, NEVER)
    if isinstance(node, Leaf):
        return node.feature.verdict(state, at_ms, node.bit)
    verdicts = (verdict(member, state, at_ms) for member in node.members)
    if node.word == "not":
        return negated(next(verdicts))
    return conjunction(verdicts) if node.word == "all" else disjunction(verdicts)
