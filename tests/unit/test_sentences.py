"""One sentence about a membership: the language that is asked for, the reasons that decide, and instants of the tenant's zone."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.catalog import Segment
from schemas.instants import DAY_MS, Duration, parse_instant
from schemas.questions import Explained, Seen, encoded
from schemas.rule_context import RuleContext
from schemas.rule_parser import parse_rule
from schemas.rules import Rule, conditions
from schemas.telling import Teller
from services.api.errors import Refused
from services.api.sentences import Speaker, decisive, language_of

NOW = parse_instant("2026-04-20T10:00:00Z")
MAY = parse_instant("2026-05-03T12:02:00Z")
BOUGHT: dict[str, Any] = {"metric": {"measure": "count", "event": "checkout", "window": {"last": "P3M"}}, "op": "gte", "value": 4}
RULES = st.recursive(
    st.just(BOUGHT),
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3).map(lambda members: {"all": members})
        | st.lists(inner, min_size=1, max_size=3).map(lambda members: {"any": members})
        | inner.map(lambda member: {"not": member})
    ),
    max_leaves=6,
)


def parsed(rule: Any) -> Rule:
    """Read a rule."""
    return parse_rule(rule, RuleContext("Europe/Paris"))


def evaluated(rule: Any, holds: dict[str, bool], at: str = "") -> bool:
    """What a rule answers, its conditions answering so: written down once more."""
    if "not" in rule:
        return not evaluated(rule["not"], holds, at + "/not")
    for word, fold in (("all", all), ("any", any)):
        if word in rule:
            return fold(evaluated(member, holds, f"{at}/{word}/{place}") for place, member in enumerate(rule[word]))
    return holds[at]


@given(RULES, st.data())
def test_what_decides_is_enough(rule: Any, data: st.DataObject) -> None:
    """Whatever the other conditions answer, those that decide keep the rule's answer."""
    paths = [path for path, _ in conditions(parsed(rule))]
    holds = {path: data.draw(st.booleans()) for path in paths}
    deciding = set(decisive(parsed(rule), holds))
    assert deciding
    assert deciding <= set(paths)
    others = {path: holds[path] if path in deciding else data.draw(st.booleans()) for path in paths}
    assert evaluated(rule, others) is evaluated(rule, holds)


@pytest.mark.parametrize(
    ("asked", "accepted", "language"),
    [
        (None, "", "en"),
        (None, "fr", "fr"),
        (None, "fr-CA,fr;q=0.9,en;q=0.8", "fr"),
        (None, "en-GB, fr;q=0.9", "en"),
        (None, "de, fr;q=0.2", "fr"),
        (None, "fr;q=0", "en"),
        (None, "*;q=0.1", "en"),
        (None, "fr;q=7, ;;;, \x00", "en"),
        ("fr", "en", "fr"),
        ("en", "fr", "en"),
    ],
)
def test_the_language(asked: str | None, accepted: str, language: str) -> None:
    """The parameter, else what is liked best of the two, else English."""
    assert language_of(asked, accepted) == language


@given(st.text(max_size=100))
def test_no_header_is_a_fault(accepted: str) -> None:
    """Any text has a language; any parameter but the two is refused."""
    assert language_of(None, accepted) in ("en", "fr")
    if accepted not in ("en", "fr"):
        with pytest.raises(Refused):
            language_of(accepted, "")


def said(language: Any = "en", rule: Any = BOUGHT, now_ms: int = NOW, segment: Any = None, **found: Any) -> str:
    """Say something of customer 718 and a segment, who is in unless said otherwise."""
    seen = [Seen(path, encoded(4), "gte", encoded(4), True, None, [], 4) for path, _ in conditions(parsed(rule))] if rule else []
    usual: dict[str, Any] = {
        "version": 1, "member": True, "since_ms": NOW - 30 * DAY_MS, "until_ms": None, "rule_holds": True, "included": False, "excluded": False,
        "held_until_ms": None, "overridden_by": None, "conditions": seen, "history_from_ms": 0,
    }  # fmt: skip
    fields = {"rule": parsed(rule) if rule else None, **(segment or {})}
    made = Segment(
        tenant="demo",
        id="s",
        version=1,
        name="Regulars",
        description="",
        offset=1,
        include_since=1,
        exclude_since=1,
        created_ms=1,
        updated_ms=1,
        **fields,
    )
    speaker = Speaker(Teller(language, {}, "EUR"), "Europe/Paris", {"gold": "GOLD"}, now_ms)
    return speaker.sentence("718", made, Explained(**(usual | found)))


OUT: dict[str, Any] = {"member": False, "since_ms": None, "rule_holds": False}
WHY_NOT = "718 is not in Regulars, because "


@pytest.mark.parametrize(
    ("sentence", "words"),
    [
        (
            said(until_ms=MAY),
            (
                "718 has been in Regulars since 21 March at 11:00, because this holds: at least 4 checkouts in the last 3 months (4 now). "
                "718 will leave by itself on 3 May at 14:02."
            ),
        ),
        (
            said("fr", until_ms=MAY),
            (
                "718 est dans Regulars depuis le 21 mars à 11:00, car ceci est vrai : au moins 4 passages en caisse au cours des 3 derniers mois "
                "(4 actuellement). Si rien de nouveau n'arrive, 718 en sortira le 3 mai à 14:02."
            ),
        ),
        (said(until_ms=MAY + 366 * DAY_MS), "718 will leave by itself on 4 May 2027 at 14:02."),
        (said(**OUT, excluded=True), WHY_NOT + "the customer is on the exclude list."),
        (said(**OUT, overridden_by="gold"), WHY_NOT + "the customer is in the higher level GOLD."),
        (said(**OUT, segment={"starts_at_ms": MAY}), WHY_NOT + "the segment begins only on 3 May at 14:02."),
        (said(**OUT, segment={"ends_at_ms": NOW}), WHY_NOT + "the segment ended on 20 April at 12:00."),
        (said(**OUT, rule=None), WHY_NOT + "the customer is not on the include list."),
        (said(included=True), "because the customer is on the include list."),
        (
            said(rule_holds=False, held_until_ms=MAY, segment={"min_stay": Duration(1, 0)}),
            "because an entry holds for 1 month, until 3 May at 14:02.",
        ),
        (said(**OUT, rule={"not": BOUGHT}), WHY_NOT + "this holds: at least 4 checkouts in the last 3 months (4 now)."),
    ],
)
def test_the_sentence(sentence: str, words: str) -> None:
    """How sentences end, or whole ones, in the order in which one reason overrides the next."""
    assert sentence.endswith(words)
