"""The page on rules: what its examples say is so, in the product and for the judge."""

from __future__ import annotations

import json
import re
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import Refusal
from schemas.rule_context import PROPERTIES, RuleContext
from schemas.rule_parser import parse_rule
from schemas.vocabulary import ATTRIBUTE_RANGES, ATTRIBUTES, CHOICES, DERIVED_ATTRIBUTES, EVENT_FIELDS, FIELD_RANGES, Kind
from services.api.documents import converted
from services.api.shapes import SegmentCreate
from tests.oracle import clock, model
from tests.oracle.examples import NOON, PARIS, sale
from tests.support.fleet import Fleet

PAGE = (Path(__file__).parents[2] / "docs/RULES.md").read_text()
_CHAPTER = PAGE.split("\n## Ranks\n")[1].split("\n## ")[0]
_ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")] for line in _CHAPTER.splitlines() if line.startswith("|") and not line.startswith("|--")
]
BOUGHT = {row[0]: [total for total in row[1].split(", ") if total] for row in _ROWS if len(row) == 3 and row[0] != "customer"}
EXAMPLES = [(json.loads(row[0].strip("`")), {name for name in row[1].split(", ") if name}) for row in _ROWS if row[0].startswith("`{")]
YESTERDAY = "2024-05-14T10:00:00Z"


def documents() -> list[dict[str, Any]]:
    """What the customers of the page have done."""
    numbers = count()
    found: list[dict[str, Any]] = []
    for customer, totals in BOUGHT.items():
        common = {"customer_id": customer, "occurred_at": YESTERDAY}
        found.append(common | {"event_id": f"e{next(numbers)}", "type": "visit", "store_id": "s1"})
        for total in totals:
            number = f"e{next(numbers)}"
            sold = {"receipt_id": number, "store_id": "s1", "channel": "store", "kind": "sale", "total": total, "currency": "EUR", "items": []}
            found.append(common | {"event_id": number, "type": "checkout"} | sold)
    return found


def test_the_page_has_its_examples() -> None:
    """They are read from it, and none is lost on the way."""
    assert len(BOUGHT) == 5
    assert len(EXAMPLES) == len(re.findall(r'^\| `\{"(?:rank|all)', _CHAPTER, re.MULTILINE)) == 6


@pytest.mark.parametrize("partitions", [1, 3])
@pytest.mark.parametrize(("rule", "holds"), EXAMPLES)
def test_a_rank_holds_for_whom_the_page_says(rule: Any, holds: set[str], partitions: int) -> None:
    """In however many partitions they live."""
    fleet, history = Fleet(PARIS, clock.instant(NOON), partitions), model.History(PARIS)
    fleet.post(*documents())
    for document in documents():
        history.add(document)
    segment = {"id": "s", "rule": rule}
    fleet.save(segment)
    fleet.rest()
    assert fleet.members("s") == holds
    assert model.members(segment, history, clock.instant(NOON)) == holds


def chapter(title: str) -> str:
    """A chapter of the page."""
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def rows(title: str) -> list[list[list[str]]]:
    """The rows of a chapter's table, each cell as the names in it; the cells of the first column keep their words."""
    lines = [line.strip("|").split("|") for line in chapter(title).splitlines() if line.startswith("|")]
    return [[re.findall(r"`([^`]+)`", cell) or [cell.strip()] for cell in line] for line in lines[2:]]


def test_the_page_names_every_field_and_what_it_is() -> None:
    """The table of events is the vocabulary, kind by kind; so are what follows on line items, and the words and numbers that fields can be."""
    told: dict[str, dict[str, Kind]] = {}
    for events, *cells in rows("Events and fields"):
        for event in events:
            told[event] = {name: kind for names, kind in zip(cells, (Kind.TEXT, Kind.MONEY, Kind.INTEGER), strict=True) for name in names if name}
    derived = told.pop("any of them")
    assert derived == dict.fromkeys(FIELD_RANGES, Kind.INTEGER)
    assert told == {event: {name: kind for name, kind in fields if kind is not Kind.TEXTS} for event, fields in EVENT_FIELDS.items()}
    text = chapter("Events and fields")
    said = {name for name in re.findall(r"`([a-z_.]+)`", text) if not name.startswith(PROPERTIES)}
    assert {*RuleContext("UTC").fields("checkout"), *(word for words in CHOICES.values() for word in words)} <= said
    assert all(f"({low} " in text and f" {high}" in text for low, high in FIELD_RANGES.values())


def test_the_page_names_every_attribute_and_what_it_is() -> None:
    """Those of every tenant and the derived ones, by their kind."""
    told = {name: kinds[0] for kinds, names in rows("Profile attributes") for name in names}
    assert told == {name: kind.value for name, kind in (ATTRIBUTES | DERIVED_ATTRIBUTES).items()}
    assert {kind.value for kind in Kind} <= {*re.findall(r"`(\w+)`", chapter("Profile attributes"))}
    assert f"and {ATTRIBUTE_RANGES['birthday_in_days'][1]} at most" in chapter("Profile attributes")


BLOCKS = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)]


def test_a_segment_of_the_page_can_be_posted() -> None:
    """The body is one, with every field that there is, and its rule can be saved."""
    (body,) = [block for block in BLOCKS if "id" in block]
    assert converted(SegmentCreate, body).name == "GOLD"
    assert set(body) == {*SegmentCreate.__struct_fields__}
    parse_rule(body["rule"], RuleContext("Europe/Paris", currency="EUR"))


def test_what_lies_further_back_is_two_conditions() -> None:
    """Five purchases before the last sixty days count, whether just before them or almost six months earlier; one within does not."""
    (rule,) = [block for block in BLOCKS if "all" in block]
    at = clock.instant(NOON)
    edge = at - 60 * clock.DAY
    bought = {"just before": [edge] * 5, "long before": [edge - 180 * clock.DAY] * 5, "four": [edge] * 4, "earlier": [edge - 190 * clock.DAY] * 5}
    bought["since"] = [*bought["just before"], edge + 1]
    fleet, history = Fleet(PARIS, at, 1), model.History(PARIS)
    for customer, instants in bought.items():
        for place, instant in enumerate(instants):
            document = sale(clock.moment(instant).isoformat()) | {"customer_id": customer, "event_id": f"e{place}"}
            history.add(document)
            fleet.post(document)
    fleet.save({"id": "s", "rule": rule})
    fleet.rest()
    assert fleet.members("s") == model.members({"id": "s", "rule": rule}, history, at) == {"just before", "long before"}


@pytest.mark.parametrize(
    "rest",
    [
        {"where": [{"field": "hour", "op": "in", "value": [22, 23, 0, 1, 2, 3, 4, 5]}]},
        {"window": {"last": "P6M60D"}}, {"window": {"last": "P758D"}}, {"window": {"last": "P1Y6M"}}, {"window": {"last": "PT36H"}},
    ],
)  # fmt: skip
def test_what_the_page_says_in_passing_can_be_saved(rest: Any) -> None:
    """Nights, and durations that combine; what it calls too long is refused."""
    context = RuleContext("Europe/Paris", history_months=25, currency="EUR")
    metric = {"measure": "count", "event": "checkout"}
    parse_rule({"metric": metric | rest, "op": "gte", "value": 1}, context)
    with pytest.raises(Refusal):
        parse_rule({"metric": metric | {"window": {"last": "P759D"}}, "op": "gte", "value": 1}, context)
