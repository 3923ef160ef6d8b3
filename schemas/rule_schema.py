"""The JSON Schema of the rule language, put together from the same vocabulary and operators that the parser reads.

Whatever the parser accepts of a rule that is saved, the schema accepts. The parser refuses a little more (a lower end above the
upper one, say, or filters that leave nothing together): it is the truth, and the schema is what an editor needs to complete and
check a rule while it is typed.
"""

from __future__ import annotations

from typing import Any, Final

from schemas.examples import RULES
from schemas.rule_context import RuleContext
from schemas.rule_metrics import ADDING, FIELDLESS
from schemas.rule_values import NUMERIC, OPS, SPANS
from schemas.rules import AGGREGATES, CALENDAR_WORDS, MAX_CONDITIONS, MAX_LIST, MAX_TEXT, MAX_TOP, MAX_WHERE, SEGMENT_ID_PATTERN
from schemas.vocabulary import ATTRIBUTE_RANGES, ATTRIBUTES, CHOICES, DERIVED_ATTRIBUTES, EVENT_FIELDS, FIELD_RANGES, Kind

Schema = dict[str, Any]

_TEXT: Final[Schema] = {"type": "string", "maxLength": MAX_TEXT}
_NUMBER: Final[Schema] = {"type": "number"}
_SCALARS: Final[dict[Kind, Schema]] = {
    Kind.TEXT: _TEXT,
    Kind.TEXTS: _TEXT,
    Kind.MONEY: {"anyOf": [{"type": "string", "pattern": r"^-?\d+(\.\d*)?$", "maxLength": 31}, _NUMBER]},
    Kind.INTEGER: _NUMBER,
    Kind.NUMBER: _NUMBER,
    Kind.BOOLEAN: {"type": "boolean"},
    Kind.DATE: {"type": "string", "format": "date"},
    Kind.PLACE: {},
}
_POSITIVE: Final[dict[Kind, Schema]] = {
    Kind.MONEY: {"anyOf": [{"type": "string", "pattern": r"^(-0+(\.0*)?|\d+(\.\d*)?)$", "maxLength": 31}, {"type": "number", "minimum": 0}]},
    Kind.INTEGER: {"type": "number", "minimum": 0},
    Kind.NUMBER: {"type": "number", "minimum": 0},
}
"""What the fields of events can be: nothing that an event says is negative."""
_COUNTING: Final = (*FIELDLESS, "distinct")
_DURATION: Final[Schema] = {
    "type": "string",
    "pattern": r"^P(?!$)(\d+Y)?(\d+M)?(\d+W)?(\d+D)?(T(?!$)(\d+H)?(\d+M)?(\d+S)?)?$",
    "description": "ISO 8601, longer than nothing: PT2H, P14D, P3M, P1Y. A day is 24 hours; months and years follow the calendar.",
}
_PROPERTY: Final[Schema] = {"type": "string", "pattern": r"^properties\."}
_END: Final[Schema] = {
    "type": "string",
    "anyOf": [{"format": "date"}, {"format": "date-time"}],
    "description": "RFC 3339 with an offset, or a date: the midnight that begins it in the tenant's zone.",
}
_EVERYONES: Final = RuleContext("UTC")
"""What every tenant's rules can name; declarations come on top of it."""
_CONSTRUCTS: Final = ("all", "any", "not", "metric_condition", "profile_condition", "near", "sequence", "segment", "rank")


def rule_schema() -> Schema:
    """Return the schema of a rule."""
    kinds = {f"{kind}_comparison": _comparison(kind, _SCALARS[kind]) for kind in Kind} | _bounded()
    metrics = {f"{event}_metric": _metric(event) for event in EVENT_FIELDS}
    members = {"type": "array", "items": _ref("rule"), "minItems": 1, "maxItems": MAX_CONDITIONS}
    return {
        "$id": "rule.json",
        "title": "Rule",
        "description": "Who is in a segment: groups of conditions over metrics, profile attributes, distance, sequences, ranks and other segments.",
        "$ref": "#/$defs/rule",
        "examples": list(RULES.values()),
        "$defs": {
            "rule": {"oneOf": [_ref(name) for name in _CONSTRUCTS]},
            "all": _object({"all": members}, description="Every rule of the group holds."),
            "any": _object({"any": members}, description="At least one rule of the group holds."),
            "not": _object({"not": _ref("rule")}, description="The rule does not hold."),
            "near": _object({"near": _ref("place")}, description="The customer's location lies within a distance of a place."),
            "place": _object({
                "lat": {"type": "number", "minimum": -90, "maximum": 90},
                "lon": {"type": "number", "minimum": -180, "maximum": 180},
                "km": {"type": "number", "minimum": 0, "maximum": 20_040, "description": "On the great circle."},
            }),
            "segment": _object(
                {"segment": {"type": "string", "pattern": SEGMENT_ID_PATTERN, "maxLength": 64}}, description="Member of another segment.",
            ),
            "metric_condition": {
                "description": "A metric compared with a value of its own kind.",
                "type": "object",
                "required": ["metric", "op"],
                "properties": {"metric": _ref("metric"), "op": {}, "value": {}},
                "additionalProperties": False,
                "if": {"properties": {"metric": {"properties": {"measure": {"enum": list(_COUNTING)}}, "required": ["measure"]}}},
                "then": _ref(_positive(Kind.INTEGER)),
                "else": {"anyOf": [_ref(f"{kind}_comparison") for kind in Kind if kind not in (Kind.TEXTS, Kind.PLACE)]},
            },
            "metric": {"oneOf": [_ref("aggregate"), _ref("ratio")]},
            "aggregate": {"oneOf": [_ref(name) for name in metrics]},
            "ratio": _ratio(),
            "profile_condition": _profile_condition(),
            "sequence": _object({"sequence": _ref("followed")}, description="One event followed by another, or not."),
            "followed": _followed(),
            "matcher": {"oneOf": [_matcher(event) for event in EVENT_FIELDS]},
            "rank": _object({"rank": _ref("ranking")}, description="Among the first of all customers that have a value for a metric."),
            "ranking": _ranking(),
            **_windows(),
            "duration": _DURATION,
            **kinds,
            **metrics,
        },
    }  # fmt: skip


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


def _object(properties: Schema, *, required: list[str] | None = None, description: str | None = None) -> Schema:
    needed = list(properties) if required is None else required
    found: Schema = {"type": "object", "properties": properties, "required": needed, "additionalProperties": False}
    return found if description is None else {"description": description, **found}


def _bounded() -> Schema:
    """Return what `op` and `value` may be where a value is one of a few, or lies in a range."""
    ranges = {name: {"type": "number", "minimum": low, "maximum": high} for name, (low, high) in FIELD_RANGES.items()}
    for name, (low, high) in ATTRIBUTE_RANGES.items():
        ranges[name] = {"type": "number", "minimum": low} | ({} if high is None else {"maximum": high})
    found = {f"{name}_comparison": _comparison(Kind.INTEGER, one) for name, one in ranges.items()}
    found |= {f"{name}_comparison": _comparison(Kind.TEXT, {"enum": list(words)}) for name, words in CHOICES.items()}
    return found | {_positive(kind): _comparison(kind, one) for kind, one in _POSITIVE.items()}


def _positive(kind: Kind) -> str:
    return f"positive_{kind}_comparison"


def _comparison_of(word: str, name: str, kind: Kind) -> str:
    """Return the name of the comparison that fits a field of an event, or an attribute."""
    if name in (*CHOICES, *FIELD_RANGES, *ATTRIBUTE_RANGES):
        return f"{name}_comparison"
    return _positive(kind) if word == "field" and kind in _POSITIVE else f"{kind}_comparison"


def _comparison(kind: Kind, scalar: Schema) -> Schema:
    """Return what `op` and `value` may be for a kind, each operator with the value that it takes."""
    alternatives = []
    parts = ["contains", "starts_with"] if kind is Kind.TEXT else []
    plain = [op for op in OPS[kind] if op not in ("between", "in", "not_in", "exists", *SPANS, *parts)]
    if plain:
        alternatives.append(_op(plain, scalar))
    if parts:
        alternatives.append(_op(parts, _TEXT | {"minLength": 1}))
    if "between" in OPS[kind]:
        both = {"type": "array", "items": scalar, "minItems": 2, "maxItems": 2, "description": "Both ends are included."}
        alternatives.append(_op(["between"], both))
    if "in" in OPS[kind]:
        alternatives.append(_op(["in", "not_in"], {"type": "array", "items": scalar, "minItems": 1, "maxItems": MAX_LIST}))
    if SPANS[0] in OPS[kind]:
        alternatives.append(_op(list(SPANS), _ref("duration")))
    alternatives.append(_op(["exists"], {"type": "boolean", "default": True}, required=["op"]))
    return {"oneOf": alternatives}


def _op(names: list[str], value: Schema, required: list[str] | None = None) -> Schema:
    return {"required": required or ["op", "value"], "properties": {"op": {"enum": names}, "value": value}}


def _by_kind(word: str, names: dict[str, Kind]) -> list[Schema]:
    """Return one alternative for each comparison: the names that it fits."""
    fitting: dict[str, list[str]] = {}
    for name, kind in names.items():
        fitting.setdefault(_comparison_of(word, name, kind), []).append(name)
    return [{"properties": {word: {"enum": some}}, **_ref(comparison)} for comparison, some in fitting.items()]


def _profile_condition() -> Schema:
    known = ATTRIBUTES | DERIVED_ATTRIBUTES
    # Whether it is declared, and as what, is the tenant's to say.
    declared = {
        "description": "An attribute that was declared with PUT /v1/attributes/{name}.",
        "properties": {"profile": {"type": "string", "minLength": 1, "maxLength": 64, "not": {"enum": list(known)}}},
        "anyOf": [_ref(f"{kind}_comparison") for kind in Kind],
    }
    return {
        "description": "A profile attribute compared with a value of its own kind.",
        "type": "object",
        "required": ["profile", "op"],
        "properties": {"profile": {}, "op": {}, "value": {}},
        "additionalProperties": False,
        "oneOf": [*_by_kind("profile", known), declared],
    }


def _ratio() -> Schema:
    least = {"anyOf": [_SCALARS[Kind.MONEY], _NUMBER], "description": "There is no value while the denominator is less."}
    properties = {"measure": {"const": "ratio"}, "numerator": _ref("aggregate"), "denominator": _ref("aggregate"), "min_denominator": least}
    description = "One metric divided by another, compared as an exact fraction; no value where the denominator is 0."
    return _object(properties, required=["measure", "numerator", "denominator"], description=description)


def _followed() -> Schema:
    properties = {
        "first": _ref("matcher"),
        "then": _ref("matcher"),
        "within": _ref("duration"),
        "happens": {
            "type": "boolean",
            "description": "true: some `first` in the window has another event matching `then` less than `within` later. "
            "false: some `first` in the window is at least `within` old and has none.",
        },
        "window": _ref("window"),
    }
    return _object(properties, required=["first", "then", "within", "happens"])


def _ranking() -> Schema:
    properties = {
        "metric": _ref("metric"),
        "order": {"enum": ["desc", "asc"], "description": "desc: the greatest first."},
        "top": {"type": "integer", "minimum": 1, "maximum": MAX_TOP},
        "percent": {"type": "number", "exclusiveMinimum": 0, "maximum": 100, "description": "Rounded up to whole customers."},
    }
    ranking = _object(properties, required=["metric", "order"])
    return ranking | {"oneOf": [{"required": ["top"]}, {"required": ["percent"]}]}


def _windows() -> Schema:
    word = {"type": "string", "anyOf": [{"enum": list(CALENDAR_WORDS)}, {"pattern": r"^2[01]\d\d-(0[1-9]|1[0-2])$"}]}
    fixed = _object({"from": _END, "to": _END}, required=[], description="From one instant on and before another; one of them may be absent.")
    return {
        "window": {"description": "Whose events count. Absent: for ever.", "oneOf": [_ref("last"), _ref("calendar"), _ref("between")]},
        "last": _object({"last": _ref("duration")}, description="An event counts from its instant until the duration later."),
        "calendar": _object({"calendar": word}, description="In the tenant's zone; the name of a month is the latest one that has begun."),
        "between": fixed | {"minProperties": 1},
    }


def _matcher(event: str) -> Schema:
    properties: Schema = {"event": {"const": event}, "where": _filters(event)}
    return _object(properties | _name(event), required=["event", *_name(event)])


def _name(event: str) -> Schema:
    return {"name": {"type": "string", "description": "The custom event's name."}} if event == "custom" else {}


def _filters(event: str) -> Schema:
    alternatives = _by_kind("field", _EVERYONES.fields(event))
    if event == "custom":
        alternatives.append({"properties": {"field": _PROPERTY}, "anyOf": [_ref(f"{kind}_comparison") for kind in Kind]})
    where = {
        "type": "object",
        "required": ["field", "op"],
        "properties": {"field": {}, "op": {}, "value": {}},
        "additionalProperties": False,
        "oneOf": alternatives,
    }
    return {"type": "array", "items": where, "maxItems": MAX_WHERE, "description": "All must hold."}


def _metric(event: str) -> Schema:
    fields = _EVERYONES.fields(event)
    any_field: Schema = {"enum": list(fields)}
    numeric: Schema = {"enum": [name for name, kind in fields.items() if kind in NUMERIC]}
    if event == "custom":
        any_field, numeric = {"anyOf": [any_field, _PROPERTY]}, {"anyOf": [numeric, _PROPERTY]}
    properties: Schema = {
        "measure": {"enum": list(AGGREGATES)},
        "event": {"const": event},
        "field": any_field,
        "where": _filters(event),
        "window": _ref("window"),
    }
    others = [measure for measure in AGGREGATES if measure not in (*FIELDLESS, *ADDING)]
    metric = _object(properties | _name(event), required=["measure", "event", *_name(event)])
    metric["oneOf"] = [
        {"properties": {"measure": {"enum": list(FIELDLESS)}, "field": False}},
        {"properties": {"measure": {"enum": list(ADDING)}, "field": numeric}, "required": ["field"]},
        {"properties": {"measure": {"enum": others}}, "required": ["field"]},
    ]
    return metric
