"""Reasons: what each condition of a segment saw at an instant, in the units and words that people use."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

from schemas.amounts import decimal_text, short_text
from schemas.rules import MetricCondition, Near, ProfileCondition, Rank
from schemas.transitions import ConditionValue
from schemas.vocabulary import Kind
from services.segmenter.engine.extract import decimals
from services.segmenter.engine.live import Live
from services.segmenter.engine.operators import distance_km
from services.segmenter.engine.plan import CompiledSegment
from services.segmenter.engine.rankings import ranking_name, size_of
from services.segmenter.engine.tree import Leaf

_SHOWN_DECIMALS: Final = 6
"""Decimals of a fraction that is shown; it is compared exactly."""


def condition_values(compiled: CompiledSegment, live: Live, at_ms: int) -> list[ConditionValue]:
    """Return what every condition of a segment saw at an instant, in the rule's order."""
    return [_seen(leaf, live, at_ms) for leaf in compiled.leaves]


def _seen(leaf: Leaf, live: Live, at_ms: int) -> ConditionValue:
    condition, feature = leaf.condition, leaf.feature
    if isinstance(condition, Rank):
        return _ranked(leaf, condition, live)
    if feature is None:
        member = bool(live.truth >> leaf.bit & 1)
        return ConditionValue(leaf.path, member, "eq", True, member)
    found = feature.reader.value(live, at_ms)
    holds = bool(feature.mask_of(found) >> leaf.bit & 1)
    if isinstance(condition, Near):
        location = live.profile.get("location")
        km = None if location is None else round(distance_km((location[0], location[1]), (condition.lat, condition.lon)), 3)
        return ConditionValue(leaf.path, km, "lte", condition.km, holds)
    if isinstance(condition, MetricCondition):
        kind = condition.metric.kind
        return ConditionValue(leaf.path, _shown(found, kind, live.plan.exponent), condition.op, leaf.threshold, holds)
    if isinstance(condition, ProfileCondition):
        spanned = condition.op in ("older_than", "within_last")
        value = live.profile.get(condition.attribute) if spanned else _shown(found, _kept_as(condition), live.plan.exponent)
        return ConditionValue(leaf.path, value, condition.op, leaf.threshold, holds)
    return ConditionValue(leaf.path, found, "eq", True, holds)


def _ranked(leaf: Leaf, condition: Rank, live: Live) -> ConditionValue:
    """Return the score, and the size of the rank; where the others stand is not known here."""
    place = live.plan.rankings[ranking_name(condition)].place
    kind = condition.metric.kind
    size = condition.top if condition.percent is None else size_of(condition)
    op = "top" if condition.order == "desc" else "bottom"
    return ConditionValue(leaf.path, _shown(live.scores[place], kind, live.plan.exponent), op, size, bool(live.truth >> leaf.bit & 1))


def _kept_as(condition: ProfileCondition) -> Kind:
    """Return the kind by which a profile's value is shown; what is no number is shown as it is."""
    return condition.kind if condition.kind in (Kind.MONEY, Kind.NUMBER) else Kind.TEXT


def _shown(value: Any, kind: Kind, exponent: int) -> Any:
    if value is None or isinstance(value, str) or kind is Kind.TEXT:
        return value
    digits = decimals(kind, exponent)
    if isinstance(value, tuple):
        decimal = Decimal(value[0]) / Decimal(value[1] * 10**digits)
        rounded = short_text(round(decimal, _SHOWN_DECIMALS))
        return rounded if kind is Kind.MONEY else Decimal(rounded)
    if kind is Kind.MONEY:
        return decimal_text(value, exponent)
    return Decimal(short_text(Decimal(value).scaleb(-digits))) if digits else value
