"""Compiled rules: the tree that verdicts are found on, and the formula over bits that the hot path asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from schemas.instants import NEVER
from schemas.rules import Condition, MetricCondition, ProfileCondition, value_json
from services.segmenter.engine.features import Feature
from services.segmenter.engine.readers import State
from services.segmenter.engine.verdict import Verdict, conjunction, disjunction, negated


class Leaf:
    """A condition of a compiled rule: its place in the rule, what it says, its bit and its feature; a segment (`member_of`) or a rank has none.

    `threshold`: what a value is held against, as transitions show it.
    """

    def __init__(self, path: str, condition: Condition | None, bit: int, feature: Feature | None, member_of: str = "") -> None:
        self.path = path
        self.condition = condition
        self.bit = bit
        self.feature = feature
        self.member_of = member_of
        self.threshold: Any = None
        if isinstance(condition, MetricCondition):
            self.threshold = value_json(condition.value, condition.metric.kind)
        elif isinstance(condition, ProfileCondition):
            self.threshold = value_json(condition.value, condition.kind)

    def verdict(self, state: State, at_ms: int, members: Mapping[str, Verdict]) -> Verdict:
        """Return the condition's verdict; `members` has those of the segments that it may name. What a rank says stands."""
        if self.member_of:
            return members[self.member_of]
        if self.feature is None:
            return Verdict(state.standing >> self.bit & 1 == 1, NEVER)
        return self.feature.verdict(state, at_ms, self.bit)


class Group:
    """`all` or `any` of a compiled rule, or `not` with one member."""

    def __init__(self, word: str, members: list[Node]) -> None:
        self.word = word
        self.members = members


Node = Leaf | Group


def verdict(node: Node | None, state: State, at_ms: int, members: Mapping[str, Verdict]) -> Verdict:
    """Evaluate a rule plainly at an instant: the reference that the incremental path is held against, and the way to `until`."""
    if node is None:
        return Verdict(False, NEVER)
    if isinstance(node, Leaf):
        return node.verdict(state, at_ms, members)
    verdicts = [verdict(member, state, at_ms, members) for member in node.members]
    if node.word == "not":
        return negated(verdicts[0])
    return conjunction(verdicts) if node.word == "all" else disjunction(verdicts)


def formula(node: Node | None) -> Callable[[int], bool]:
    """Return the function of the bits that a rule is; groups of plain conditions become one mask each."""
    if node is None:
        return lambda _: False
    if isinstance(node, Leaf):
        mask = 1 << node.bit
        return lambda truth: truth & mask != 0
    if node.word == "not":
        inner = formula(node.members[0])
        return lambda truth: not inner(truth)
    bits = 0
    for member in node.members:
        if isinstance(member, Leaf):
            bits |= 1 << member.bit
    others = [formula(member) for member in node.members if not isinstance(member, Leaf)]
    if node.word == "all":
        if not others:
            return lambda truth: truth & bits == bits
        return lambda truth: truth & bits == bits and all([other(truth) for other in others])
    if not others:
        return lambda truth: truth & bits != 0
    return lambda truth: truth & bits != 0 or any([other(truth) for other in others])
