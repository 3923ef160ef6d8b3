"""What is refused for what it can never say, held against the judge: it says nothing indeed, and what somebody has can be asked for."""

from __future__ import annotations

import json
import os
from decimal import Decimal
from fractions import Fraction
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from schemas.errors import Refusal
from schemas.rule_context import RuleContext
from schemas.rule_parser import parse_rule
from tests.oracle import clock, model
from tests.oracle.values import compare
from tests.support import strategies

Json = dict[str, Any]
_LOOKS = int(os.environ.get("ROLLCALL_TEST_WORLDS", "200"))
_ODD: list[Any] = [-1, 0, 7, 8, 23, 24, 366, 2.5, "1.005", "-10", "fax", "return", "sale", "store", ""]
_NONE: list[Json] = [{"op": "exists", "value": True}, {"op": "exists", "value": False}]


def place_of_refusal(rule: Json, tenant: Json) -> str | None:
    """Where a rule is refused that could be read otherwise, None where it is not."""
    document = json.loads(json.dumps(rule), parse_float=Decimal)
    try:
        parse_rule(document, RuleContext(tenant["timezone"]))
    except Refusal:
        assume(False)  # an odd value of another kind: nonsense to everybody
    try:
        parse_rule(document, RuleContext(tenant["timezone"], currency=tenant["currency"]))
    except Refusal as refusal:
        return refusal.pointer
    return None


@st.composite
def odd(draw: st.DrawFn, currency: str) -> Json:
    """A condition, often with a value that is out of place."""
    condition: Json = draw(strategies.metrics(currency))
    for part in [condition, *condition["metric"].get("where", [])]:
        if part["op"] != "exists" and "value" in part and draw(st.booleans()):
            value = draw(st.sampled_from(_ODD))
            part["value"] = [value] * len(part["value"]) if isinstance(part["value"], list) else value
    return condition


def seen(metric: Json, history: model.History, anchor: int) -> list[Any]:
    """What the judge sees of a metric: everybody's value, at many instants."""
    instants = [anchor + step for day in (0, 1, 2, 13, 14, 27, 30, 31, 59, 91, 365) for step in (day * clock.DAY, day * clock.DAY - 1)]
    return [model.value_of(metric, history, customer, at) for customer in sorted(history.known) for at in instants]


@settings(max_examples=_LOOKS)
@given(st.data(), strategies.tenants, strategies.anchors)
def test_what_is_refused_says_nothing(data: st.DataObject, tenant: Json, anchor: int) -> None:
    """A refused comparison answers one thing of every value; a refused filter lets through what is there, or nothing."""
    condition = data.draw(odd(tenant["currency"]))
    place = place_of_refusal(condition, tenant)
    if place is None:
        return
    documents = data.draw(strategies.streams(tenant, anchor, [{"rule": condition}]))
    history = strategies.told(tenant, {}, documents)
    if "/where/" not in place:
        values = [value for value in seen(condition["metric"], history, anchor) if value is not None]
        answers = {compare(value, condition["op"], condition.get("value")) for value in values}
        assert len(answers) <= 1, f"{condition} tells {values} apart"
        return
    metric = condition["metric"]
    index = int(place.split("/where/")[1].split("/")[0])
    field, others = metric["where"][index]["field"], metric["where"][:index] + metric["where"][index + 1 :]
    there, nothing = [*others, {"field": field} | _NONE[0]], others + [{"field": field} | one for one in _NONE]
    found, all_of_them, none = (
        seen(metric | {"where": where}, history, anchor) for where in (metric["where"], there, nothing)
    )  # fmt: skip
    assert found in (all_of_them, none), f"{metric} is neither all nor nothing"


@settings(max_examples=_LOOKS)
@given(st.data(), strategies.tenants, strategies.anchors)
def test_what_somebody_has_can_be_asked_for(data: st.DataObject, tenant: Json, anchor: int) -> None:
    """Equal to it, at least and at most it: no value that a customer has is refused."""
    condition = data.draw(strategies.metrics(tenant["currency"]))
    metric = condition["metric"]
    exists = {"metric": metric, "op": "exists"}
    assume(strategies.savable(tenant, {})(exists))
    history = strategies.told(tenant, {}, data.draw(strategies.streams(tenant, anchor, [{"rule": condition}])))
    for value in {value for value in seen(metric, history, anchor) if value is not None}:
        given_as = _written(value)
        for op in ("eq", "gte", "lte") if not isinstance(value, str) else ("eq",):
            asked = {"metric": metric, "op": op, "value": given_as}
            if given_as is not None:
                assert place_of_refusal(asked, tenant) is None, f"{asked} holds of somebody"


def _written(value: Any) -> Any:
    """A value as a rule writes it, None for a fraction that cannot be written exactly."""
    if not isinstance(value, Fraction):
        return value
    scaled = value * 10**6
    return None if scaled.denominator != 1 else int(value) if value.denominator == 1 else float(value)
