"""The JSON Schema of the rule language, put together from the same vocabulary and operators that the parser reads.

Whatever the parser accepts, the schema accepts. The parser refuses a little more (a lower end above the upper one, say): it is
the truth, and the schema is what an editor needs to complete and check a rule while it is typed.
"""

from __future__ import annotations

from typing import Any, Final

from schemas.examples import RULES
from schemas.rule_parser import OPS
from schemas.rules import MAX_CONDITIONS, MAX_LIST, MAX_TEXT, MAX_WHERE, MEASURES
from schemas.vocabulary import ATTRIBUTES, DERIVED_ATTRIBUTES, DERIVED_FIELDS, EVENT_FIELDS, ITEM_FIELDS, Kind

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
_DURATION: Final[Schema] = {
    "type": "string",
    "pattern": r"^P(?!$)(\d+Y)?(\d+M)?(\d+W)?(\d+D)?(T(?!$)(\d+H)?(\d+M)?(\d+S)?)?$",
    "description": "ISO 8601, longer than nothing: PT2H, P14D, P3M, P1Y. A day is 24 hours; months and years follow the calendar.",
}
_FIELDLESS: Final = ("count", "days_since_first", "days_since_last")
_NUMERIC: Final = ("sum", "avg", "min", "max")


def rule_schema() -> Schema:
    """Return the schema of a rule."""
    kinds = {f"{kind}_comparison": _comparison(kind) for kind in Kind}
    metrics = {f"{event}_metric": _metric(event) for event in EVENT_FIELDS}
    members = {"type": "array", "items": _ref("rule"), "minItems": 1, "maxItems": MAX_CONDITIONS}
    return {
        "$id": "rule.json",
        "title": "Rule",
        "description": "Who is in a segment: groups of conditions over metrics, profile attributes and distance.",
        "$ref": "#/$defs/rule",
        "examples": list(RULES.values()),
        "$defs": {
            "rule": {"oneOf": [_ref(name) for name in ("all", "any", "not", "metric_condition", "profile_condition", "near")]},
            "all": _object({"all": members}, description="Every rule of the group holds."),
            "any": _object({"any": members}, description="At least one rule of the group holds."),
            "not": _object({"not": _ref("rule")}, description="The rule does not hold."),
            "near": _object({"near": _ref("place")}, description="The customer's location lies within a distance of a place."),
            "place": _object({
                "lat": {"type": "number", "minimum": -90, "maximum": 90},
                "lon": {"type": "number", "minimum": -180, "maximum": 180},
                "km": {"type": "number", "minimum": 0, "maximum": 20_040, "description": "On the great circle."},
            }),
            "metric_condition": {
                "description": "A metric compared with a value of its own kind.",
                "type": "object",
                "required": ["metric", "op"],
                "properties": {"metric": {"oneOf": [_ref(name) for name in metrics]}, "op": {}, "value": {}},
                "additionalProperties": False,
                "anyOf": [_ref(f"{kind}_comparison") for kind in Kind if kind not in (Kind.TEXTS, Kind.PLACE)],
            },
            "profile_condition": {
                "description": "A profile attribute compared with a value of its own kind.",
                "type": "object",
                "required": ["profile", "op"],
                "properties": {"profile": {}, "op": {}, "value": {}},
                "additionalProperties": False,
                "oneOf": _by_kind("profile", ATTRIBUTES | DERIVED_ATTRIBUTES),
            },
            "window": _object(
                {"last": _ref("duration")}, description="An event counts from its instant until the duration later. Absent: for ever.",
            ),
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


def _comparison(kind: Kind) -> Schema:
    """Return what `op` and `value` may be for a kind, each operator with the value that it takes."""
    scalar, alternatives = _SCALARS[kind], []
    plain = [op for op in OPS[kind] if op not in ("between", "in", "not_in", "exists", "older_than", "within_last")]
    if plain:
        alternatives.append(_op(plain, scalar))
    if "between" in OPS[kind]:
        both = {"type": "array", "items": scalar, "minItems": 2, "maxItems": 2, "description": "Both ends are included."}
        alternatives.append(_op(["between"], both))
    if "in" in OPS[kind]:
        alternatives.append(_op(["in", "not_in"], {"type": "array", "items": scalar, "minItems": 1, "maxItems": MAX_LIST}))
    if "older_than" in OPS[kind]:
        alternatives.append(_op(["older_than", "within_last"], _ref("duration")))
    alternatives.append(_op(["exists"], {"type": "boolean", "default": True}, required=["op"]))
    return {"oneOf": alternatives}


def _op(names: list[str], value: Schema, required: list[str] | None = None) -> Schema:
    return {"required": required or ["op", "value"], "properties": {"op": {"enum": names}, "value": value}}


def _by_kind(word: str, names: dict[str, Kind]) -> list[Schema]:
    """Return one alternative for each kind: the names of that kind, with what they can be compared with."""
    kinds = dict.fromkeys(names.values())
    return [{"properties": {word: {"enum": [name for name, its in names.items() if its is kind]}}, **_ref(f"{kind}_comparison")} for kind in kinds]


def _fields(event: str) -> dict[str, Kind]:
    items = {f"items.{name}": kind for name, kind in ITEM_FIELDS} if event == "checkout" else {}
    return dict(EVENT_FIELDS[event]) | items | dict(DERIVED_FIELDS)


def _metric(event: str) -> Schema:
    fields = _fields(event)
    numeric = [name for name, kind in fields.items() if kind in (Kind.MONEY, Kind.INTEGER, Kind.NUMBER)]
    where = {
        "type": "object",
        "required": ["field", "op"],
        "properties": {"field": {}, "op": {}, "value": {}},
        "additionalProperties": False,
        "oneOf": _by_kind("field", fields),
    }
    properties: Schema = {
        "measure": {"enum": list(MEASURES)},
        "event": {"const": event},
        "field": {"enum": list(fields)},
        "where": {"type": "array", "items": where, "maxItems": MAX_WHERE, "description": "All must hold."},
        "window": _ref("window"),
    }
    required = ["measure", "event"]
    if event == "custom":
        properties["name"] = {"type": "string", "description": "The custom event's name."}
        required.append("name")
    others = [measure for measure in MEASURES if measure not in (*_FIELDLESS, *_NUMERIC)]
    metric = _object(properties, required=required)
    metric["oneOf"] = [
        {"properties": {"measure": {"enum": list(_FIELDLESS)}, "field": False}},
        {"properties": {"measure": {"enum": list(_NUMERIC)}, "field": {"enum": numeric}}, "required": ["field"]},
        {"properties": {"measure": {"enum": others}}, "required": ["field"]},
    ]
    return metric
