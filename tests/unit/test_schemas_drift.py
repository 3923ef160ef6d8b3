"""What is published is what is accepted: the schema files are current, and decoder, parser and schema agree on documents."""

from __future__ import annotations

import copy
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from schemas import generate
from schemas.decoding import decode_event
from schemas.errors import Refusal
from schemas.events import TYPES
from schemas.examples import DECLARED, EVENTS, RULES
from schemas.reading import Facts
from schemas.rule_context import RuleContext
from schemas.rule_parser import parse_rule
from schemas.rule_values import OPS
from schemas.rules import MAX_COST, MEASURES, canonical, encode
from schemas.vocabulary import ATTRIBUTES, DERIVED_ATTRIBUTES, EVENT_FIELDS, Kind

SCHEMAS = {name: json.loads(text) for name, text in generate.documents().items()}
RULE = Draft202012Validator(SCHEMAS["rule.json"])
EVENT = Draft202012Validator(SCHEMAS["event.json"])
CONTEXT = RuleContext("Europe/Paris", {name: Kind(kind) for name, kind in DECLARED.items()}, history_months=25, max_cost=MAX_COST, currency="EUR")


def parse(document: Any) -> Any:
    """Read a rule as the product does: through JSON, decimals as decimals."""
    return parse_rule(json.loads(json.dumps(document), parse_float=Decimal), CONTEXT)


def test_the_published_files_are_current() -> None:
    """Every file in schemas/json is what would be generated now."""
    assert generate.drifted() == []


def test_drift_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--check names a file that was changed, one that is missing and one that should not be there, and nothing else."""
    assert generate.main([], tmp_path) == generate.main(["--check"], tmp_path) == 0
    (tmp_path / "rule.json").write_text((tmp_path / "rule.json").read_text() + " ")
    (tmp_path / "visit.json").unlink()
    (tmp_path / "old.json").write_text("{}")
    assert generate.main(["--check"], tmp_path) == 1
    assert [line.split()[0].rpartition("/")[2] for line in capsys.readouterr().err.splitlines()] == ["old.json", "rule.json", "visit.json"]
    assert generate.main([], tmp_path) == generate.main(["--check"], tmp_path) == 0


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_is_a_schema_and_its_examples_obey_it(name: str) -> None:
    """Each file is valid draft 2020-12, says what it is, and its examples validate."""
    schema = SCHEMAS[name]
    Draft202012Validator.check_schema(schema)
    assert schema["$id"] == name
    assert schema["title"]
    assert schema["description"]
    assert schema["examples"]
    for shown in schema["examples"]:
        Draft202012Validator(schema).validate(shown)


@pytest.mark.parametrize("tag", TYPES)
def test_an_event_obeys_its_own_schema_and_no_other(tag: str) -> None:
    """The example of a type is valid under its schema, and under no other type's."""
    valid = [other for other in TYPES if Draft202012Validator(SCHEMAS[f"{other}.json"]).is_valid(EVENTS[tag])]
    assert valid == [tag]


@pytest.mark.parametrize("shown", RULES.values(), ids=RULES)
def test_every_rule_that_is_shown_is_accepted_and_stays_itself(shown: dict[str, Any]) -> None:
    """Each example parses, and its canonical form is valid under the schema and parses to the same tree."""
    tree = parse(shown)
    again = json.loads(encode(canonical(tree)))
    RULE.validate(again)
    assert parse(again) == tree


def test_every_construct_of_the_language_is_shown() -> None:
    """There is an example with each group, measure, operator and window that the parser takes."""
    text = json.dumps(list(RULES.values()))
    words = {*MEASURES, "all", "any", "not", "near", "metric", "profile", "where", "window", "last", "calendar", "from", "to", "min_denominator"}
    words |= {"sequence", "segment", "rank", "top", "percent", *(op for ops in OPS.values() for op in ops)}
    missing = {word for word in words if f'"{word}"' not in text}
    assert missing <= {"not_in"}  # shown beside `in` by the schema itself


WORDS = st.sampled_from(
    [
        *["all", "any", "not", "metric", "profile", "near", "op", "value", "measure", "event", "field", "where", "window", "last", "x"],
        *["calendar", "from", "to", "numerator", "denominator", "min_denominator", "sequence", "first", "then", "within", "happens", "name"],
        *["segment", "rank", "order", "top", "percent"],
    ]
)
PLAIN = [
    None,
    True,
    0,
    1.5,
    "150.00",
    "2026-01-01",
    "P3M",
    "gte",
    "eq",
    "in",
    "exists",
    "older_than",
    [1, 2],
    [],
    ["a"],
    {},
    {"last": "P1Y"},
    {"calendar": "may"},
    {"to": "2026-01-01"},
    {"event": "visit"},
    "desc",
    "today",
    100,
]
VALUES = st.sampled_from([*PLAIN, *ATTRIBUTES, *DERIVED_ATTRIBUTES, *EVENT_FIELDS, *DECLARED, "total", "items.brand", *MEASURES])


@given(st.sampled_from(list(RULES)), st.data())
def test_what_the_parser_accepts_the_schema_accepts(name: str, data: st.DataObject) -> None:
    """However an example is changed: if the parser takes the rule, the schema does too."""
    document = copy.deepcopy(RULES[name])
    node: Any = document
    for _ in range(data.draw(st.integers(0, 4))):
        children = [child for child in (node.values() if isinstance(node, dict) else node) if isinstance(child, dict | list) and child]
        if not children:
            break
        node = data.draw(st.sampled_from(children))
    if isinstance(node, dict):
        key = data.draw(st.sampled_from(list(node)) | WORDS)
        if data.draw(st.booleans()):
            node.pop(key, None)
        else:
            node[key] = data.draw(VALUES)
    else:
        node[data.draw(st.integers(0, len(node) - 1))] = data.draw(VALUES)
    try:
        parse(document)
    except Refusal:
        return
    assert RULE.is_valid(document)


@given(st.sampled_from(TYPES), st.data())
def test_what_the_decoder_accepts_the_schema_accepts(tag: str, data: st.DataObject) -> None:
    """However a field of an event is changed: if the gate takes the event, the published schema does too."""
    document = copy.deepcopy(EVENTS[tag])
    key = data.draw(st.sampled_from([*document, "discount", "value", "items", "import"]))
    values: list[Any] = [None, True, 0, -1, 12.5, "12.50", "x", "", [], [{}], [{"amount": None}], {}, "2026-01-01T00:00:00Z", "sale", "EUR"]
    document[key] = data.draw(st.sampled_from(values))
    try:
        event = decode_event(json.dumps(document).encode())
        if event.customer_id is None and tag != "checkout":
            return
        Facts("EUR").of(event)
    except Refusal:
        return
    EVENT.validate(document)
