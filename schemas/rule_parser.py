"""Reads rules: every name, operator and type is checked here, and refused with the place and what would have been right."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any, Final
from urllib.parse import quote

from schemas.amounts import short_text
from schemas.errors import Refusal, listed, shown
from schemas.rule_context import PROPERTIES, RuleContext
from schemas.rule_cost import cost_of
from schemas.rule_domains import attribute_domain, metric_domain
from schemas.rule_metrics import ranking_metric, read_matcher, read_metric
from schemas.rule_values import LIMIT, comparison, duration, each, list_of, number, number_between, object_of, only
from schemas.rule_windows import check_kept, check_outlasts, read_window
from schemas.rules import (
    MAX_CONDITIONS,
    MAX_DEPTH,
    MAX_TOP,
    SEGMENT_ID_PATTERN,
    All,
    Any_,
    Condition,
    MetricCondition,
    Near,
    Not,
    ProfileCondition,
    Rank,
    Rule,
    SegmentRef,
    Sequence,
)

_WORDS: Final = ("all", "any", "not", "metric", "profile", "near", "sequence", "segment", "rank")
_COMPARED: Final = ("metric", "profile")
_ID: Final = re.compile(SEGMENT_ID_PATTERN.removesuffix("$"), re.ASCII)


def parse_rule(document: Any, context: RuleContext) -> Rule:
    """Read a decoded JSON rule (decimals as `Decimal`) for a tenant; raise `Refusal` with the place.

    Whether the segments that it refers to exist, and refer back, is asked where definitions are put in order.
    """
    return _Parser(context, document).rule(document, "", 1)


class _Parser:
    def __init__(self, context: RuleContext, whole: Any) -> None:
        self.context = context
        self.whole = whole
        self.seen = 0
        self.cost = 0

    def rule(self, document: Any, at: str, depth: int) -> Rule:
        if depth > MAX_DEPTH:
            raise Refusal(f"nested more than {MAX_DEPTH} deep", pointer=at)
        node = object_of(document, at, "a rule")
        words = [word for word in _WORDS if word in node]
        if len(words) != 1:
            given: list[str] = [*words] or sorted(node)
            has = listed([shown(word) for word in given], 5) or "none"
            raise Refusal(f"a rule has exactly one of {', '.join(_WORDS)}; this one has {has}", pointer=at)
        word = words[0]
        only(node, (word, "op", "value") if word in _COMPARED else (word,), at)
        here = f"{at}/{word}"
        if word in ("all", "any"):
            members = list_of(node[word], here, "rules", MAX_CONDITIONS)
            rules = each(members, here, lambda member, place: self.rule(member, place, depth + 1))
            return All(rules) if word == "all" else Any_(rules)
        if word == "not":
            return Not(self.rule(node["not"], here, depth + 1))
        self.seen += 1
        if self.seen > MAX_CONDITIONS:
            said = f"a rule has at most {MAX_CONDITIONS} conditions; this one has {_written(self.whole)}"
            raise Refusal(said, pointer=at, reason=LIMIT)
        condition = self.condition(word, node, at)
        self.spend(cost_of(condition), at)
        return condition

    def condition(self, word: str, node: dict[str, Any], at: str) -> Condition:
        here = f"{at}/{word}"
        if word == "metric":
            metric = read_metric(node["metric"], here, self.context)
            op, value = comparison(node, at, metric.kind, metric_domain(metric, self.context))
            return MetricCondition(metric, op, value)
        if word == "profile":
            return self.profile(node, at)
        if word == "near":
            return _near(node["near"], here)
        if word == "sequence":
            return self.sequence(node["sequence"], here)
        if word == "rank":
            return self.rank(node["rank"], here)
        return _reference(node["segment"], here)

    def spend(self, cost: int, at: str) -> None:
        self.cost += cost
        limit = self.context.max_cost
        if limit is not None and self.cost > limit:
            raise Refusal(
                f"a rule may cost {limit} to keep up to date; with this condition, of {cost}, it costs {self.cost}", pointer=at, reason=LIMIT
            )

    def profile(self, node: dict[str, Any], at: str) -> ProfileCondition:
        name = node["profile"]
        kind = self.context.attribute(name) if isinstance(name, str) else None
        if kind is None:
            raise self.unknown(name, f"{at}/profile")
        op, value = comparison(node, at, kind, attribute_domain(name, kind, self.context), spans=True)
        return ProfileCondition(name, op, value, kind)

    def unknown(self, name: Any, at: str) -> Refusal:
        if isinstance(name, str) and name.startswith(PROPERTIES):
            return Refusal(f"{shown(name)} belongs to custom events; a metric's where or field can name it", pointer=at)
        known = f"one of {listed(self.context.attributes())}"
        declare = f", or declare it with PUT /v1/attributes/{quote(name[:80], safe='')}" if isinstance(name, str) else ""
        return Refusal(f"unknown attribute {shown(name)}; {known}{declare}", pointer=at)

    def sequence(self, document: Any, at: str) -> Sequence:
        node = object_of(document, at, "a sequence")
        only(node, ("first", "then", "within", "happens", "window"), at)
        first, then = (read_matcher(node.get(name), f"{at}/{name}", self.context) for name in ("first", "then"))
        within = duration(node.get("within"), f"{at}/within")
        check_kept(within, f"{at}/within", self.context)
        happens = node.get("happens")
        if not isinstance(happens, bool):
            raise Refusal(f"happens is true (then follows) or false (it does not), not {shown(happens)}", pointer=f"{at}/happens")
        window = read_window(node, at, self.context)
        if self.context.saving and not happens and window is not None:
            check_outlasts(window, within, f"{at}/window")
        return Sequence(first, then, within, happens, window)

    def rank(self, document: Any, at: str) -> Rank:
        node = object_of(document, at, "a rank")
        only(node, ("metric", "order", "top", "percent"), at)
        metric = ranking_metric(read_metric(node.get("metric"), f"{at}/metric", self.context), f"{at}/metric", "a rank")
        order = node.get("order")
        if order not in ("asc", "desc"):
            raise Refusal(f"order is desc (the greatest first) or asc, not {shown(order)}", pointer=f"{at}/order")
        if ("top" in node) == ("percent" in node):
            raise Refusal("a rank says how many: either top, a number of customers, or percent of them", pointer=at)
        if "top" in node:
            top = number(node["top"], f"{at}/top")
            if not isinstance(top, int) or not 1 <= top <= MAX_TOP:
                raise Refusal(f"top is a whole number from 1 to {MAX_TOP}, not {shown(node['top'])}", pointer=f"{at}/top")
            return Rank(metric, order, top=top)
        percent = number(node["percent"], f"{at}/percent")
        if not 0 < percent <= 100:
            raise Refusal(f"percent is more than 0 and at most 100, not {shown(node['percent'])}", pointer=f"{at}/percent")
        return Rank(metric, order, percent=Decimal(short_text(Decimal(percent))))


def _written(whole: Any) -> int:
    """Count the conditions of a rule that has not been read."""
    found, left = 0, [whole]
    while left:
        node = left.pop()
        if isinstance(node, list):
            left += node
        elif isinstance(node, dict):
            groups = [node[word] for word in ("all", "any", "not") if word in node]
            left += groups
            found += not groups
    return found


def _near(document: Any, at: str) -> Near:
    node = object_of(document, at, "a place")
    only(node, ("lat", "lon", "km"), at)
    lat, lon, km = (number_between(node, name, low, high, at) for name, low, high in (("lat", -90, 90), ("lon", -180, 180), ("km", 0, 20_040)))
    return Near(lat, lon, km)


def _reference(document: Any, at: str) -> SegmentRef:
    if not isinstance(document, str) or not _ID.fullmatch(document):
        raise Refusal(f"{shown(document)} is no segment id; use a-z, 0-9, - and _, at most 64", pointer=at)
    return SegmentRef(document)
