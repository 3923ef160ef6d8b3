"""Reads rules: every name, operator and type is checked here, and refused with the place and what would have been right.

What the language will have later is refused by name, so that a rule can never be saved and quietly mean something else.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

from schemas.errors import Refusal, pointer_token, shown
from schemas.instants import DAY_MS, Duration, parse_date, parse_duration
from schemas.rules import (
    MAX_CONDITIONS,
    MAX_DEPTH,
    MAX_LIST,
    MAX_TEXT,
    MAX_WHERE,
    MEASURES,
    All,
    Any_,
    Metric,
    MetricCondition,
    Near,
    Not,
    Op,
    ProfileCondition,
    Rule,
    Value,
    Where,
)
from schemas.vocabulary import ATTRIBUTES, DERIVED_ATTRIBUTES, DERIVED_FIELDS, EVENT_FIELDS, EVENT_TYPES, ITEM_FIELDS, Kind

_COMPARE: Final = ("eq", "ne", "gt", "gte", "lt", "lte", "between", "in", "not_in", "exists")
OPS: Final[dict[Kind, tuple[str, ...]]] = {
    Kind.MONEY: _COMPARE,
    Kind.INTEGER: _COMPARE,
    Kind.NUMBER: _COMPARE,
    Kind.TEXT: ("eq", "ne", "in", "not_in", "contains", "starts_with", "exists"),
    Kind.TEXTS: ("contains", "in", "not_in", "exists"),
    Kind.BOOLEAN: ("eq", "ne", "exists"),
    Kind.DATE: (*_COMPARE, "older_than", "within_last"),
    Kind.PLACE: ("exists",),
}
"""The operators of each kind of value."""

_LATER_RULES: Final = ("sequence", "segment", "rank")
_LATER_WINDOWS: Final = ("calendar", "from", "to")
_LONGEST: Final = Duration(1_200, 36_600 * DAY_MS)
_NUMERIC: Final = (Kind.MONEY, Kind.INTEGER, Kind.NUMBER)


def parse_rule(document: Any, currency: str) -> Rule:
    """Read a decoded JSON rule (decimals as `Decimal`) for a tenant of this currency; raise `Refusal` with the place."""
    return _Parser(currency).rule(document, "", 1)


class _Parser:
    def __init__(self, currency: str) -> None:
        self.currency = currency
        self.seen = 0

    def rule(self, document: Any, at: str, depth: int) -> Rule:
        if depth > MAX_DEPTH:
            raise Refusal(f"nested more than {MAX_DEPTH} deep", pointer=at)
        node = _object(document, at, "a rule")
        words = [word for word in ("all", "any", "not", "metric", "profile", "near") if word in node]
        later = [word for word in _LATER_RULES if word in node]
        if later and not words:
            raise Refusal(f"{later[0]!r} is not available in this version", pointer=f"{at}/{later[0]}", reason="unsupported")
        if len(words) != 1:
            raise Refusal(f"a rule has exactly one of all, any, not, metric, profile, near; this one has {words or sorted(node)[:5]}", pointer=at)
        word = words[0]
        here = f"{at}/{word}"
        if word in ("all", "any"):
            _only(node, (word,), at)
            members = _list(node[word], here, "rules", MAX_CONDITIONS)
            rules = tuple(self.rule(member, f"{here}/{index}", depth + 1) for index, member in enumerate(members))
            return All(rules) if word == "all" else Any_(rules)
        if word == "not":
            _only(node, ("not",), at)
            return Not(self.rule(node["not"], here, depth + 1))
        self.seen += 1
        if self.seen > MAX_CONDITIONS:
            raise Refusal(f"a rule has at most {MAX_CONDITIONS} conditions", pointer=at)
        if word == "near":
            _only(node, ("near",), at)
            return self.near(node["near"], here)
        _only(node, (word, "op", "value"), at)
        if word == "profile":
            return self.profile(node, at)
        metric = self.metric(node["metric"], here)
        op, value = self.comparison(node, at, metric.kind)
        return MetricCondition(metric, op, value)

    def near(self, document: Any, at: str) -> Near:
        node = _object(document, at, "a place")
        _only(node, ("lat", "lon", "km"), at)
        lat, lon, km = (_number_between(node, name, low, high, at) for name, low, high in (("lat", -90, 90), ("lon", -180, 180), ("km", 0, 20_040)))
        return Near(lat, lon, km)

    def profile(self, node: dict[str, Any], at: str) -> ProfileCondition:
        name = node["profile"]
        kind = (ATTRIBUTES | DERIVED_ATTRIBUTES).get(name) if isinstance(name, str) else None
        if kind is None:
            known = ", ".join((*ATTRIBUTES, *DERIVED_ATTRIBUTES))
            raise Refusal(f"unknown attribute {shown(name)}; one of {known}", pointer=f"{at}/profile")
        op, value = self.comparison(node, at, kind)
        return ProfileCondition(name, op, value, kind)

    def metric(self, document: Any, at: str) -> Metric:
        node = _object(document, at, "a metric")
        measure, event = node.get("measure"), node.get("event")
        if isinstance(measure, dict) or "numerator" in node or measure == "ratio":
            raise Refusal("'ratio' is not available in this version", pointer=f"{at}/measure", reason="unsupported")
        if measure not in MEASURES:
            raise Refusal(f"unknown measure {shown(measure)}; one of {', '.join(MEASURES)}", pointer=f"{at}/measure")
        if event not in EVENT_TYPES:
            raise Refusal(f"unknown event {shown(event)}; one of {', '.join(EVENT_TYPES)}", pointer=f"{at}/event")
        _only(node, ("measure", "event", "name", "field", "where", "window"), at)
        name = node.get("name")
        if (event == "custom") != (name is not None) or (name is not None and not isinstance(name, str)):
            raise Refusal("'name' is the custom event's name: required for custom events, and only there", pointer=f"{at}/name")
        fields = _fields_of(event)
        field, kind = self.field(node.get("field"), measure, fields, f"{at}/field")
        filters = _list(node.get("where", []), f"{at}/where", "filters", MAX_WHERE, least=0)
        where = tuple(self.where(member, fields, f"{at}/where/{index}") for index, member in enumerate(filters))
        return Metric(measure, event, kind, name, field, where, self.window(node.get("window"), f"{at}/window"))

    def field(self, field: Any, measure: str, fields: dict[str, Kind], at: str) -> tuple[str | None, Kind]:
        if measure in ("count", "days_since_first", "days_since_last"):
            if field is not None:
                raise Refusal(f"{measure} takes no field; filter with where, or use distinct or sum", pointer=at)
            return None, Kind.INTEGER
        numeric = measure in ("sum", "avg", "min", "max")
        fitting = [name for name, kind in fields.items() if not numeric or kind in _NUMERIC]
        if field not in fitting:
            known = ", ".join(fitting) or "none of this event's"
            raise Refusal(f"{measure} needs a {'numeric ' if numeric else ''}field, not {shown(field)}; one of {known}", pointer=at)
        if measure == "distinct":
            return field, Kind.INTEGER
        kind = fields[field]
        return field, Kind.TEXT if kind is Kind.TEXTS else kind

    def where(self, document: Any, fields: dict[str, Kind], at: str) -> Where:
        node = _object(document, at, "a filter")
        _only(node, ("field", "op", "value"), at)
        field = node.get("field")
        if isinstance(field, str) and field.startswith("properties."):
            raise Refusal(
                "properties must be declared with a type, which is not available in this version", pointer=f"{at}/field", reason="unsupported"
            )
        if not isinstance(field, str) or field not in fields:
            raise Refusal(f"unknown field {shown(field)}; one of {', '.join(fields)}", pointer=f"{at}/field")
        op, value = self.comparison(node, at, fields[field])
        return Where(field, op, value, fields[field])

    def window(self, document: Any, at: str) -> Duration | None:
        if document is None:
            return None
        node = _object(document, at, "a window")
        for word in _LATER_WINDOWS:
            if word in node:
                raise Refusal(f"the window {word!r} is not available in this version; use last", pointer=f"{at}/{word}", reason="unsupported")
        _only(node, ("last",), at)
        return self.duration(node.get("last"), f"{at}/last")

    def duration(self, document: Any, at: str) -> Duration:
        found = parse_duration(document, at)
        if found.longest_ms > _LONGEST.exact_ms:
            raise Refusal("a duration is at most 100 years", pointer=at)
        return found

    def comparison(self, node: dict[str, Any], at: str, kind: Kind) -> tuple[Op, Value]:
        op = node.get("op")
        if op not in OPS[kind]:
            raise Refusal(f"unknown operator {shown(op)} for {kind}; one of {', '.join(OPS[kind])}", pointer=f"{at}/op")
        here = f"{at}/value"
        if op == "exists":
            value = node.get("value", True)
            if not isinstance(value, bool):
                raise Refusal(f"exists takes true or false, not {shown(value)}", pointer=here)
            return op, value
        if "value" not in node:
            raise Refusal("value is missing", pointer=here)
        value = node["value"]
        if op in ("older_than", "within_last"):
            return op, self.duration(value, here)
        if op == "between":
            ends = _list(value, here, "two ends", 2, least=2)
            low, high = (self.value(end, kind, f"{here}/{index}") for index, end in enumerate(ends))
            if low > high:  # type: ignore[operator]
                raise Refusal(f"the lower end comes first: {shown(ends[0])} is greater than {shown(ends[1])}", pointer=here)
            return op, (low, high)
        if op in ("in", "not_in"):
            members = _list(value, here, "values", MAX_LIST)
            return op, tuple(dict.fromkeys(self.value(member, kind, f"{here}/{index}") for index, member in enumerate(members)))
        return op, self.value(value, kind, here)

    def value(self, value: Any, kind: Kind, at: str) -> Value:
        if kind is Kind.MONEY:
            return _money(value, at)
        if kind is Kind.DATE:
            return parse_date(value, at).isoformat()
        if kind is Kind.BOOLEAN:
            if isinstance(value, bool):
                return value
            raise Refusal(f"{shown(value)} is not true or false", pointer=at)
        if kind in (Kind.INTEGER, Kind.NUMBER):
            return _number(value, at)
        if isinstance(value, str) and len(value) <= MAX_TEXT:
            return value
        raise Refusal(f"{shown(value)} is not a text of at most {MAX_TEXT} characters", pointer=at)


def _fields_of(event: str) -> dict[str, Kind]:
    fields = dict(EVENT_FIELDS[event])
    if event == "checkout":
        fields |= {f"items.{name}": kind for name, kind in ITEM_FIELDS}
    return fields | dict(DERIVED_FIELDS)


def _number(value: Any, at: str) -> int | Decimal:
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**18:
        return value
    if isinstance(value, Decimal) and value.is_finite() and abs(value) < 10**18 and int(value.as_tuple().exponent) >= -12:
        return int(value) if value == value.to_integral_value() else value
    raise Refusal(f"{shown(value)} is not a number of at most 18 digits and 12 decimals", pointer=at)


def _money(value: Any, at: str) -> int | Decimal:
    if isinstance(value, str):
        text = value.removeprefix("-")
        whole, _, decimals = text.partition(".")
        if whole.isascii() and whole.isdigit() and (text == whole or (decimals.isascii() and decimals.isdigit())) and len(value) < 32:
            return _money(Decimal(value), at)
        raise Refusal(f'{shown(value)} is not an amount; write a decimal like "150.00"', pointer=at)
    _number(value, at)
    return Decimal(value)  # keeps "150.00" as it was written: 150 and 150.00 are equal, and people read the second


def _number_between(node: dict[str, Any], name: str, low: float, high: float, at: str) -> float:
    value = node.get(name)
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool) and low <= value <= high:
        return float(value)
    raise Refusal(f"{name} is a number from {low} to {high}, not {shown(value)}", pointer=f"{at}/{name}")


def _object(document: Any, at: str, what: str) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise Refusal(f"{what} is an object, not {shown(document)}", pointer=at)
    return document


def _list(document: Any, at: str, what: str, most: int, least: int = 1) -> list[Any]:
    if not isinstance(document, list | tuple) or not least <= len(document) <= most:
        size = f"{least}" if least == most else f"{least} to {most}"
        raise Refusal(f"a list of {size} {what}, not {shown(document)}", pointer=at)
    return list(document)


def _only(node: dict[str, Any], words: tuple[str, ...], at: str) -> None:
    for name in node:
        if name not in words:
            raise Refusal(f"unknown word {shown(name)}; here: {', '.join(words)}", pointer=f"{at}/{pointer_token(str(name))}")
