"""The predefined segments: each can be saved as it is by any tenant, and together they answer every criterion that was asked for."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from itertools import product
from typing import Any

import msgspec
import pytest

from schemas.catalog import Catalog
from schemas.definitions import SegmentPut, TenantPut, Tier, encode_definition
from schemas.rule_context import RuleContext
from schemas.rule_parser import parse_rule
from schemas.rules import MAX_COST, All, Not, Rank, Rule, canonical, encode, references
from schemas.template_parts import Template
from schemas.template_rfm import CELLS, quintiles
from schemas.templates import TEMPLATES
from services.api.shapes import SegmentCreate

TENANTS = [("Europe/Paris", "EUR"), ("Asia/Tokyo", "JPY"), ("Asia/Kuwait", "KWD"), ("America/New_York", "USD"), ("Australia/Lord_Howe", "AUD")]
BY_ID = {template.id: template for template in TEMPLATES}

CRITERIA: dict[str, list[str]] = {
    "at least 4 purchases in the last 3 months": ["regular"],
    "within 30 km": ["within-30-km"],
    "more than 150 of revenue": ["spent-over-150"],
    "has not used a given coupon": ["coupon-not-used"],
    "has read a given campaign": ["campaign-read"],
    "aged 20 to 30 and not in a store for one month": ["young-and-away"],
    "prospect over 35 with a card for 3 months and more than 10 checkouts in May": ["prospects-over-35"],
    "BRONZE/GOLD by turnover": ["bronze", "gold"],
    "bought twice in 14 days for more than an amount": ["twice-in-14-days"],
    "loyalty-card holders": ["card-holders", "new-card-holders", "loyalty-birthday"],
    "favourite channel and hour": ["favourite-channel-store", "favourite-channel-web", "favourite-hour-evening", "favourite-hour-noon"],
    "RFM cells": [f"rfm-{cell}" for cell in CELLS] + [f"rfm-{axis}-{n}" for axis in ("recency", "frequency", "amount") for n in range(1, 6)],
    "small, medium and major customers": ["small-customers", "medium-customers", "major-customers"],
    "very good": ["very-good"],
    "active": ["active"],
    "inactive": ["inactive"],
    "regular": ["regular"],
    "volatile": ["volatile"],
    "high-end": ["high-end"],
    "product appetence": ["product-appetence", "brand-appetence"],
    "web versus store": ["web-shoppers", "store-shoppers"],
    "good and bad payers": ["good-payers", "bad-payers", "pays-later"],
    "reacts to offers or not": ["reacts-to-offers", "does-not-react-to-offers", "opened-but-did-not-buy"],
    "any attribute from registration": ["families", "opted-in", "birthday"],
    "new": ["new"],
    "at risk": ["at-risk"],
    "lost": ["lost"],
}
"""What the users of the product asked for, and the template that is it."""


def travelled(document: Any) -> Any:
    """Return a document as it comes from a client: through JSON, decimals as decimals."""
    return json.loads(encode(document), parse_float=Decimal)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_every_criterion_has_its_template(criterion: str) -> None:
    """Each criterion is one rule that is there by name."""
    assert CRITERIA[criterion]
    assert set(CRITERIA[criterion]) <= BY_ID.keys()


@pytest.mark.parametrize("template", TEMPLATES, ids=BY_ID)
@pytest.mark.parametrize(("timezone", "currency"), TENANTS)
def test_a_template_can_be_saved_as_it_is(template: Template, timezone: str, currency: str) -> None:
    """By a tenant of any zone and currency, alone, within every limit; what is stored reads as itself."""
    document = travelled(template.body())
    body = msgspec.convert(document, SegmentCreate)
    rule = parse_rule(body.rule, RuleContext(timezone, history_months=25, max_cost=MAX_COST))
    text = encode(canonical(rule))
    assert parse_rule(json.loads(text, parse_float=Decimal), RuleContext(timezone)) == rule
    assert encode(canonical(parse_rule(json.loads(text, parse_float=Decimal), RuleContext(timezone)))) == text
    assert references(rule) == {}
    catalog = Catalog()
    put = SegmentPut(
        tenant="t", at_ms=1, segment_id=body.id, replaces=0, name=body.name, description=body.description or "", rule=canonical(rule), tier=body.tier
    )
    for offset, record in enumerate([TenantPut(tenant="t", at_ms=1, timezone=timezone, currency=currency, country="FR"), put]):
        outcome = catalog.apply(offset, encode_definition(record))
    assert outcome.accepted, outcome
    found = catalog.segment("t", template.id)
    assert found is not None
    assert (found.rule, found.tier) == (rule, template.tier)


def test_all_templates_can_be_saved_together() -> None:
    """No id and no level of a family is there twice; GOLD is above BRONZE, and decided before it."""
    catalog = Catalog()
    catalog.apply(0, encode_definition(TenantPut(tenant="t", at_ms=1, timezone="UTC", currency="EUR", country="FR")))
    for offset, template in enumerate(TEMPLATES, 1):
        put = SegmentPut(tenant="t", at_ms=1, segment_id=template.id, replaces=0, name=template.name, rule=template.rule, tier=template.tier)
        assert catalog.apply(offset, encode_definition(put)).accepted, template.id
    order = [segment.id for segment in catalog.segments_in_order("t")]
    assert order.index("gold") < order.index("bronze")
    assert (BY_ID["gold"].tier, BY_ID["bronze"].tier) == (Tier("status", 2), Tier("status", 1))


@pytest.mark.parametrize("template", TEMPLATES, ids=BY_ID)
def test_a_template_says_what_it_is(template: Template) -> None:
    """An id for a path, one line each in plain words, and a French name; no two are called the same."""
    assert re.fullmatch(r"[a-z0-9-]{2,64}", template.id)
    for text in (template.name, template.name_fr, template.description):
        assert text == text.strip()
        assert text.isprintable()
        assert 3 <= len(text) <= 200
    assert template.description.endswith((".", ")."))
    for other in TEMPLATES:
        if other is not template:
            assert template.id != other.id
            assert template.name != other.name
            assert template.name_fr != other.name_fr
            assert canonical(parsed(template.rule)) != canonical(parsed(other.rule)), "two names for one rule"


def parsed(rule: Any) -> Rule:
    """Return the tree of a rule."""
    return parse_rule(travelled(rule), RuleContext("UTC"))


def in_rule(rule: Rule, quintile_of: dict[str, int]) -> bool:
    """Whether a customer whose quintiles are known is in a rule made of ranks of fifths, looked at as ranks are defined."""
    if isinstance(rule, All):
        return all(in_rule(member, quintile_of) for member in rule.rules)
    if isinstance(rule, Not):
        return not in_rule(rule.rule, quintile_of)
    assert isinstance(rule, Rank)
    assert rule.percent is not None
    return quintile_of[rule.metric.measure] > 5 - rule.percent / 20


def test_the_cells_are_all_twenty_five_and_each_once() -> None:
    """Every customer who bought in the year is in exactly one named cell, whatever the quintiles of recency and frequency."""
    cells = {key: parsed(BY_ID[f"rfm-{key}"].rule) for key in CELLS}
    for recency, frequency in product(range(1, 6), repeat=2):
        found = [key for key, rule in cells.items() if in_rule(rule, {"days_since_last": recency, "count": frequency})]
        assert len(found) == 1, (recency, frequency, found)
    assert [key for key, rule in cells.items() if in_rule(rule, {"days_since_last": 5, "count": 5})] == ["champions"]
    assert [key for key, rule in cells.items() if in_rule(rule, {"days_since_last": 1, "count": 1})] == ["hibernating"]


@pytest.mark.parametrize(("axis", "measure"), [("recency", "days_since_last"), ("frequency", "count"), ("amount", "sum")])
def test_a_quintile_is_its_fifth(axis: Any, measure: str) -> None:
    """Each quintile holds for its own fifth alone, and spans of quintiles for all of theirs."""
    for lowest, highest in ((low, high) for low in range(1, 6) for high in range(low, 6)):
        rule = parsed(quintiles(axis, lowest, highest))
        assert [q for q in range(1, 6) if in_rule(rule, {measure: q})] == list(range(lowest, highest + 1))
        if lowest == highest:
            assert rule == parsed(BY_ID[f"rfm-{axis}-{lowest}"].rule)
