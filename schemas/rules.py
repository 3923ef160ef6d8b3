"""The rule language: its tree, its canonical JSON, and the limits of both. `schemas.rule_parser` reads it.

The tree is what the engine compiles, the canonical JSON what is stored and shown: two rules that mean the same by their
letters (defaults left out, durations written differently) have the same canonical form, so equal metrics are shared.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from schemas.instants import Duration
from schemas.vocabulary import Kind

MAX_DEPTH: Final = 12
MAX_CONDITIONS: Final = 200
MAX_LIST: Final = 1_000
MAX_WHERE: Final = 20
MAX_TEXT: Final = 256
MAX_TOP: Final = 10_000_000
MAX_COST: Final = 2_000
"""What a rule may cost to keep up to date; `schemas.rule_cost` has the arithmetic."""
SEGMENT_ID_PATTERN: Final = r"^[a-z0-9][a-z0-9_-]{0,63}$"

Measure = Literal["count", "sum", "avg", "min", "max", "distinct", "favourite", "days_since_first", "days_since_last", "ratio"]
AGGREGATES: Final[tuple[Measure, ...]] = ("count", "sum", "avg", "min", "max", "distinct", "favourite", "days_since_first", "days_since_last")
"""The measures that read events; a `ratio` reads two of these."""
MEASURES: Final[tuple[Measure, ...]] = (*AGGREGATES, "ratio")
MONTHS: Final = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december",
)  # fmt: skip
CALENDAR_WORDS: Final = ("today", "this_week", "this_month", "last_month", "this_quarter", "this_year", "last_year", *MONTHS)
"""The words of calendar windows; the month `YYYY-MM` is the one that is no word. A month's name is its latest one that has begun."""
Op = Literal["eq", "ne", "gt", "gte", "lt", "lte", "between", "in", "not_in", "contains", "starts_with", "exists", "older_than", "within_last"]
Value = str | bool | int | Decimal | Duration | tuple[Any, ...]


class Where(Struct, frozen=True):
    """A filter on one field of an event, or of its line items where `field` begins with `items.`."""

    field: str
    op: Op
    value: Value
    kind: Kind


class Last(Struct, frozen=True):
    """A window that moves with the clock: an event at *e* is inside during `[e, e + span)`."""

    span: Duration


class CalendarWindow(Struct, frozen=True):
    """A window of the tenant's calendar: one of `CALENDAR_WORDS`, or a month written `YYYY-MM`."""

    word: str


class Between(Struct, frozen=True):
    """A fixed window: from `from_ms` on and before `to_ms`, None for an open side. The texts are kept as they were given."""

    from_ms: int | None
    to_ms: int | None
    from_text: str | None = None
    to_text: str | None = None


Window = Last | CalendarWindow | Between


class Metric(Struct, frozen=True):
    """An aggregate over a customer's events, through a filter, in a window. `window` None is for ever; `kind` is its value's.

    A `ratio` has no event, filter or window of its own but two metrics that do. Both are taken in the units that people use
    (money in major units) and compared as an exact fraction; there is no value where one of them has none, where the
    denominator is 0, or where it is less than `min_denominator`.
    """

    measure: Measure
    event: str
    kind: Kind
    name: str | None = None
    field: str | None = None
    where: tuple[Where, ...] = ()
    window: Window | None = None
    numerator: Metric | None = None
    denominator: Metric | None = None
    min_denominator: int | Decimal | None = None


class MetricCondition(Struct, frozen=True):
    """A metric compared with a value."""

    metric: Metric
    op: Op
    value: Value


class ProfileCondition(Struct, frozen=True):
    """A profile attribute, or a derived one, compared with a value."""

    attribute: str
    op: Op
    value: Value
    kind: Kind


class Near(Struct, frozen=True):
    """Within `km` of a place, on the great circle."""

    lat: float
    lon: float
    km: float


class Matcher(Struct, frozen=True):
    """One of the two events of a sequence: its type, a custom event's name, and filters that must all hold."""

    event: str
    name: str | None = None
    where: tuple[Where, ...] = ()


class Sequence(Struct, frozen=True):
    """One event followed by another, or not.

    With `happens` it holds while some `first` in the window has another event matching `then` at or after it and less than
    `within` later; without, while some `first` in the window is at least `within` old and has none.
    """

    first: Matcher
    then: Matcher
    within: Duration
    happens: bool
    window: Window | None = None


class SegmentRef(Struct, frozen=True):
    """Member of another segment."""

    segment: str


class Rank(Struct, frozen=True):
    """Among the first of the tenant's customers that have a value for the metric: `top` of them, or ⌈percent·n/100⌉.

    Exactly one of the two is given. Customers of one value are in the order of their ids' UTF-8 bytes.
    """

    metric: Metric
    order: Literal["asc", "desc"]
    top: int | None = None
    percent: Decimal | None = None


class All(Struct, frozen=True):
    """Every rule of the group holds."""

    rules: tuple[Rule, ...]


class Any_(Struct, frozen=True):  # noqa: N801 - `Any` is the language's word, and Python's
    """At least one rule of the group holds."""

    rules: tuple[Rule, ...]


class Not(Struct, frozen=True):
    """The rule does not hold."""

    rule: Rule


Condition = MetricCondition | ProfileCondition | Near | Sequence | SegmentRef | Rank
Rule = All | Any_ | Not | Condition

encode: Final = msgspec.json.Encoder(decimal_format="number").encode


def canonical(rule: Rule) -> dict[str, Any]:
    """Return the canonical JSON of a rule; parsing it gives the same tree."""
    if isinstance(rule, All):
        return {"all": [canonical(member) for member in rule.rules]}
    if isinstance(rule, Any_):
        return {"any": [canonical(member) for member in rule.rules]}
    if isinstance(rule, Not):
        return {"not": canonical(rule.rule)}
    if isinstance(rule, Near):
        return {"near": {"lat": rule.lat, "lon": rule.lon, "km": rule.km}}
    if isinstance(rule, SegmentRef):
        return {"segment": rule.segment}
    if isinstance(rule, Sequence):
        return {"sequence": _canonical_sequence(rule)}
    if isinstance(rule, Rank):
        share = {"top": rule.top} if rule.percent is None else {"percent": _plain(rule.percent)}
        return {"rank": {"metric": canonical_metric(rule.metric), "order": rule.order, **share}}
    if isinstance(rule, ProfileCondition):
        return {"profile": rule.attribute, "op": rule.op, "value": value_json(rule.value, rule.kind)}
    return {"metric": canonical_metric(rule.metric), "op": rule.op, "value": value_json(rule.value, rule.metric.kind)}


def canonical_metric(metric: Metric) -> dict[str, Any]:
    """Return the canonical JSON of a metric."""
    if metric.numerator is not None and metric.denominator is not None:
        ratio = {"measure": metric.measure, "numerator": canonical_metric(metric.numerator), "denominator": canonical_metric(metric.denominator)}
        least = metric.min_denominator
        return ratio if least is None else ratio | {"min_denominator": value_json(least, metric.denominator.kind)}
    out: dict[str, Any] = {"measure": metric.measure, "event": metric.event}
    if metric.name is not None:
        out["name"] = metric.name
    if metric.field is not None:
        out["field"] = metric.field
    return out | _canonical_filters(metric.where) | _canonical_window(metric.window)


def _canonical_sequence(rule: Sequence) -> dict[str, Any]:
    first, then = (
        {"event": one.event} | ({} if one.name is None else {"name": one.name}) | _canonical_filters(one.where) for one in (rule.first, rule.then)
    )
    return {"first": first, "then": then, "within": str(rule.within), "happens": rule.happens} | _canonical_window(rule.window)


def _canonical_filters(where: tuple[Where, ...]) -> dict[str, Any]:
    return {"where": [{"field": w.field, "op": w.op, "value": value_json(w.value, w.kind)} for w in where]} if where else {}


def _canonical_window(window: Window | None) -> dict[str, Any]:
    if window is None:
        return {}
    if isinstance(window, Last):
        return {"window": {"last": str(window.span)}}
    if isinstance(window, CalendarWindow):
        return {"window": {"calendar": window.word}}
    ends = {"from": window.from_text, "to": window.to_text}
    return {"window": {name: text for name, text in ends.items() if text is not None}}


def value_json(value: Value, kind: Kind) -> Any:
    """Return the JSON of a value: money as decimal strings, durations as ISO 8601."""
    if isinstance(value, Duration):
        return str(value)
    if isinstance(value, tuple):
        return [value_json(member, kind) for member in value]
    if kind is Kind.MONEY and isinstance(value, int | Decimal) and not isinstance(value, bool):
        return f"{value:f}" if isinstance(value, Decimal) else str(value)
    return value


def _plain(number: Decimal) -> int | Decimal:
    return int(number) if number == number.to_integral_value() else number


def conditions(rule: Rule, pointer: str = "") -> list[tuple[str, Condition]]:
    """List a rule's conditions, each with the JSON Pointer of its place in the canonical form."""
    if isinstance(rule, All | Any_):
        word = "all" if isinstance(rule, All) else "any"
        return [found for index, member in enumerate(rule.rules) for found in conditions(member, f"{pointer}/{word}/{index}")]
    if isinstance(rule, Not):
        return conditions(rule.rule, f"{pointer}/not")
    return [(pointer, rule)]


def references(rule: Rule | None) -> dict[str, str]:
    """Return the segments that a rule refers to, each with the JSON Pointer of the first place that names it."""
    found: dict[str, str] = {}
    for pointer, condition in [] if rule is None else conditions(rule):
        if isinstance(condition, SegmentRef):
            found.setdefault(condition.segment, f"{pointer}/segment")
    return found
