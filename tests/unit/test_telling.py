"""Conditions in plain words: every construct of the language, in both languages, and no two that ask for different things alike."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from schemas.examples import DECLARED, RULES
from schemas.rule_context import RuleContext
from schemas.rule_parser import parse_rule
from schemas.rules import Condition, conditions
from schemas.telling import Teller
from schemas.vocabulary import ATTRIBUTES, DERIVED_ATTRIBUTES, EVENT_FIELDS, ITEM_FIELDS, Kind
from schemas.wording import ATTRIBUTES as NOUNS
from schemas.wording import EVENTS, FIELDS, LANGUAGES
from tests.support.simulation import exact_json

CONTEXT = RuleContext("Europe/Paris", {name: Kind(kind) for name, kind in DECLARED.items()})
BOUGHT: dict[str, Any] = {"measure": "count", "event": "checkout"}


def conditions_of(rule: Any) -> list[Condition]:
    """Return the conditions of a rule."""
    return [condition for _, condition in conditions(parse_rule(exact_json(rule), CONTEXT))]


def told(rule: Any, language: Any = "en") -> str:
    """Tell a rule that is one condition."""
    [condition] = conditions_of(rule)
    return Teller(language, {"regulars": "Regulars"}, "EUR").condition(condition)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", RULES)
def test_every_construct_is_told(name: str, language: Any) -> None:
    """Whole, without a placeholder that was forgotten, and without doubled spaces."""
    for condition in conditions_of(RULES[name]):
        text = Teller(language).condition(condition)
        assert text == text.strip()
        assert not any(sign in text for sign in ("{", "}", "  ", "None")), text


@pytest.mark.parametrize("language", LANGUAGES)
def test_different_conditions_are_told_differently(language: Any) -> None:
    """Whoever reads the text knows which condition it is."""
    found = {condition for rule in RULES.values() for condition in conditions_of(rule)}
    assert len({Teller(language).condition(condition) for condition in found}) == len(found)


@pytest.mark.parametrize(
    ("rule", "english", "french"),
    [
        (
            {"metric": {**BOUGHT, "window": {"last": "P3M"}}, "op": "gte", "value": 4},
            "at least 4 checkouts in the last 3 months",
            "au moins 4 passages en caisse au cours des 3 derniers mois",
        ),
        ({"metric": {**BOUGHT, "window": {"last": "P1Y"}}, "op": "lt", "value": 1}, "fewer than 1 checkout in the last year", None),
        (
            {"metric": {**BOUGHT, "window": {"last": "P1Y6M"}}, "op": "between", "value": [2, 4]},
            "between 2 and 4 checkouts in the last 1 year and 6 months",
            None,
        ),
        (
            {"metric": {**BOUGHT, "window": {"calendar": "2026-05"}}, "op": "gt", "value": 10},
            "more than 10 checkouts in May 2026",
            "plus de 10 passages en caisse en mai 2026",
        ),
        (RULES["sum"], "the sum of total over checkouts in the last 3 months is more than 150.00 EUR", None),
        (
            RULES["days since the last"],
            "the number of days since the last checkout is at least 30",
            "le nombre de jours depuis le dernier passage en caisse atteint au moins 30",
        ),
        (
            RULES["sequence that does not"],
            "an email open in the last 30 days, not followed by a checkout within 7 days",
            "une ouverture d'e-mail au cours des 30 derniers jours, sans un passage en caisse dans les 7 jours qui suivent",
        ),
        (
            RULES["where on an event field"],
            "exactly 0 coupon redemptions where coupon is SPRING",
            "exactement 0 utilisations de coupon où coupon vaut SPRING",
        ),
        (RULES["near"], "within 30 km of 43.6047, 1.4442", "à 30 km au plus de 43.6047, 1.4442"),
        ({"segment": "regulars"}, "member of Regulars", "membre de Regulars"),
        (RULES["age"], "the age is between 20 and 30", "l'âge se situe entre 20 et 30"),
        (RULES["profile date"], "the card's date is at least 3 months ago", "la date de la carte remonte à au moins 3 mois"),
        ({"profile": "card_number", "op": "exists", "value": False}, "the card number is not known", "le numéro de carte n'est pas connu"),
        ({"profile": "consent", "op": "eq", "value": True}, "the consent is yes", "le consentement vaut oui"),
        (RULES["rank by percent"], "among the first 20 % by the number of days since the last checkout, the smallest first", None),
    ],
)
def test_as_people_say_it(rule: Any, english: str, french: str | None) -> None:
    """The words themselves."""
    assert told(rule) == english
    if french is not None:
        assert told(rule, "fr") == french


def test_everything_that_rules_can_name_has_a_word() -> None:
    """Events, fields and attributes: a new one without words would be told by a name that marketers do not know."""
    fields = {name for event in EVENT_FIELDS.values() for name, _ in event} | {f"items.{name}" for name, _ in ITEM_FIELDS}
    assert set(EVENT_FIELDS) == set(EVENTS)
    assert fields - FIELDS.keys() == {"name"}
    assert NOUNS.keys() == ATTRIBUTES.keys() | DERIVED_ATTRIBUTES.keys()


def test_what_the_documentation_tells() -> None:
    """The table of docs/RULES.md: each rule beside its words."""
    lines = (Path(__file__).parents[2] / "docs" / "RULES.md").read_text().split("| rule | in words |")[1].split("\n\n")[0].splitlines()[2:]
    rows = [line.strip("| ").split(" | ") for line in lines]
    assert len(rows) == 3
    for rule, words in rows:
        assert told(json.loads(rule.strip("`"))) == words
