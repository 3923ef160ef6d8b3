"""The portrait of a customer: the profile, a few figures that tell a regular from a stranger, and what happened last."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from functools import lru_cache
from typing import Any, Final

from schemas.catalog import Segment
from schemas.questions import MOST_HOLDERS, Figure, Portrait, encoded
from schemas.rule_context import RuleContext
from schemas.rule_parser import parse_rule
from schemas.rules import MetricCondition, Rule, canonical_metric
from services.segmenter.engine.live import Live
from services.segmenter.engine.reasons import condition_values
from services.segmenter.plans import Plans
from services.segmenter.questions.documents import TYPES, document, profile
from services.segmenter.questions.inquiry import OfEveryone, OfOne
from services.segmenter.questions.person import Person

_BOUGHT: Final = {"event": "checkout"}
_YEAR: Final = {"window": {"last": "P1Y"}}
_METRICS: Final[tuple[dict[str, Any], ...]] = (
    {"measure": "count", **_BOUGHT},
    {"measure": "count", **_BOUGHT, "window": {"last": "P3M"}},
    {"measure": "count", **_BOUGHT, **_YEAR},
    {"measure": "sum", **_BOUGHT, "field": "total"},
    {"measure": "sum", **_BOUGHT, "field": "total", **_YEAR},
    {"measure": "avg", **_BOUGHT, "field": "total", **_YEAR},
    {"measure": "days_since_first", **_BOUGHT},
    {"measure": "days_since_last", **_BOUGHT},
    {"measure": "favourite", **_BOUGHT, "field": "channel"},
    {"measure": "favourite", **_BOUGHT, "field": "store_id"},
    {"measure": "count", "event": "coupon-redemption", **_YEAR},
    {
        "measure": "ratio",
        "numerator": {"measure": "count", "event": "email-open", **_YEAR},
        "denominator": {"measure": "count", "event": "email-send", **_YEAR},
    },
)
"""What is measured of everybody."""


@lru_cache(maxsize=256)
def _rule(timezone: str) -> Rule:
    """Return a rule whose conditions are the figures."""
    return parse_rule({"any": [{"metric": metric, "op": "exists", "value": True} for metric in _METRICS]}, RuleContext(timezone))


def portrayed(person: Person, plans: Plans, now_ms: int, events: int) -> Portrait:
    """Return a customer's portrait with the newest events, as of now."""
    timezone, history_from_ms = plans.catalog.tenants[person.tenant].timezone, plans.history_from_ms(person.tenant, now_ms)
    figures = Segment(person.tenant, "", 1, "", "", _rule(timezone), 0, 0, 0, 0, 0)
    plan = plans.draft(figures, now_ms)
    history = sorted(plan.kept(person.history(), history_from_ms), key=lambda fact: (fact.at_ms, fact.event_id))
    live = Live(plan, lambda *_: history, now_ms)
    compiled = plan.segments[""]
    shown = [
        Figure(encoded(canonical_metric(leaf.condition.metric)), encoded(seen.value))
        for leaf, seen in zip(compiled.leaves, condition_values(compiled, live, now_ms), strict=True)
        if isinstance(leaf.condition, MetricCondition)
    ]
    kept = [fact for fact in history if fact.at_ms >= history_from_ms]
    counts: dict[str, int] = {}
    for fact in kept:
        counts[TYPES[fact.type]] = counts.get(TYPES[fact.type], 0) + 1
    return Portrait(
        customer_id=person.customer_id,
        profile=encoded(profile(history, now_ms)),
        metrics=shown,
        events=[encoded(document(fact, plan.exponent)) for fact in kept[: -events - 1 : -1]],
        event_counts=counts,
        first_event_ms=kept[0].at_ms if kept else None,
        last_event_ms=kept[-1].at_ms if kept else None,
    )


class Portraying(OfOne):
    """Answers `Portray`."""

    def look(self, person: Person) -> Generator[int, None, Portrait]:
        """Read the history."""
        found = portrayed(person, self.people.plans, self.now_ms, self.question.events)
        yield 1 + person.events
        return found


class Holders(OfEveryone):
    """Answers `WithCard`. Only histories that name the number at all are decoded."""

    def __init__(self, *asked: Any) -> None:
        super().__init__(*asked)
        self._found: list[str] = []

    def look(self, person: Person) -> Iterator[int]:
        """Take note of a customer whose profile has the card number."""
        card: str = self.question.card_number
        if len(self._found) <= MOST_HOLDERS and person.mentions(card.encode()) and profile(person.history(), self.now_ms).get("card_number") == card:
            self._found.append(person.customer_id)
        yield 1 + person.events // 16

    def answer(self) -> list[str]:
        """Return their ids: where there are more than are shown, one more than those."""
        return self._found
