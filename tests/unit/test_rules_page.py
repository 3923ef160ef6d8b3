"""The page on rules: what its examples say is so, in the product and for the judge."""

from __future__ import annotations

import json
import re
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.oracle import clock, model
from tests.oracle.examples import NOON, PARIS
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
    assert len(EXAMPLES) == len(re.findall(r'^\| `\{"(?:rank|all)', _CHAPTER, re.MULTILINE)) == 5


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
