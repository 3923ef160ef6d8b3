"""Predefined segments with ranks: for each, somebody enters and leaves, in a crowd that lives in several partitions; the judge agrees.

Of the twenty others, number *i* bought *i* times, for ten times *i* each, the last time 21 - *i* days ago: the greater the number, the better on
every axis. One more of a value that number *i* has comes before it, for its id is the lesser, and so is (21 - *i*)th of twenty-one.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count
from typing import Any, NamedTuple

import pytest

from schemas.template_parts import Template
from schemas.template_rfm import CELLS
from schemas.templates import TEMPLATES
from tests.oracle import clock, model
from tests.oracle.examples import NOON, PARIS
from tests.support.fleet import Fleet

Json = dict[str, Any]
OTHERS = 20
AMONG = {5: 18, 4: 14, 3: 10, 2: 6, 1: 2}
"""The number of whom somebody equals who stands in the middle of a quintile."""


class Life(NamedTuple):
    """How somebody enters: like which of the others on each axis; and whether a year without them is what makes them leave."""

    recency: int
    frequency: int
    amount: int
    by_time: bool = False


LIVES: dict[str, Life] = {
    **{f"rfm-{cell}": Life(AMONG[recency[0]], AMONG[frequency[1]], 10) for cell, (_, _, recency, frequency) in CELLS.items()},
    **{f"rfm-recency-{quintile}": Life(AMONG[quintile], 10, 10) for quintile in AMONG},
    **{f"rfm-frequency-{quintile}": Life(10, AMONG[quintile], 10) for quintile in AMONG},
    **{f"rfm-amount-{quintile}": Life(10, 10, AMONG[quintile]) for quintile in AMONG},
    **{template: Life(10, 3, 19) for template in ("very-good", "major-customers", "high-end")},
    "medium-customers": Life(10, 10, 14),
    "small-customers": Life(10, 10, 6),
}
LIVES |= {
    template: LIVES[template]._replace(by_time=True)
    for template in ("rfm-champions", "rfm-recency-5", "rfm-frequency-5", "rfm-amount-5", "very-good", "major-customers", "high-end")
}
RANKED = [template for template in TEMPLATES if "'rank'" in repr(template.rule)]
_receipts = count()


def bought(customer: str, at: int, total: int) -> Json:
    """A checkout of a customer."""
    receipt = f"r{next(_receipts):06}"
    document = {"type": "checkout", "event_id": receipt, "customer_id": customer, "occurred_at": clock.moment(at).isoformat(), "receipt_id": receipt}
    return document | {"store_id": "s1", "channel": "store", "kind": "sale", "total": f"{total}.00", "currency": "EUR", "items": []}


def crowd(now: int) -> Iterable[Json]:
    """What the others bought."""
    for number in range(1, OTHERS + 1):
        for _ in range(number):
            yield bought(f"k{number:02}", now - (21 - number) * clock.DAY, 10 * number)


def test_every_template_with_a_rank_has_a_life() -> None:
    """Thirty of them, and nobody is forgotten."""
    assert {template.id for template in RANKED} == LIVES.keys()
    assert len(RANKED) == 30


@pytest.mark.parametrize("template", RANKED, ids=lambda template: template.id)
def test_somebody_enters_and_leaves(template: Template) -> None:
    """By buying, or by not having bought for a year: each time the judge says the same, and the cause is the rank's."""
    now = clock.instant(NOON)
    fleet, history = Fleet(PARIS, now, 3), model.History(PARIS)
    segment = {"id": "s", "rule": template.rule}

    def hear(*documents: Json) -> bool:
        """Post documents, come to rest, and say whether c is in."""
        fleet.post(*documents)
        fleet.rest()
        for document in documents:
            history.add(document)
        member = "c" in fleet.members("s")
        assert member is model.is_member(segment, history, "c", fleet.now_ms)
        return member

    fleet.save(segment)
    assert not hear(*crowd(now))
    life = LIVES[template.id]
    at, total = now - (21 - life.recency) * clock.DAY, 10 * life.amount**2
    first = total - (life.frequency - 1) * (total // life.frequency)
    assert hear(*(bought("c", at, total // life.frequency if n else first) for n in range(life.frequency)))
    if life.by_time:
        fleet.pass_to(now + 366 * clock.DAY)
        assert not hear(*crowd(fleet.now_ms))
    else:
        assert not hear(*(bought("c", now, 100) for _ in range(60)))
    mine = [(change["change"], change["seq"]) for change in fleet.transitions if change["customer_id"] == "c"]
    assert mine[0] == ("entered", 1)
    assert mine[-1] == ("exited", len(mine))
