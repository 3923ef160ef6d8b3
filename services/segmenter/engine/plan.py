"""The plan of a tenant: its live segments compiled so that they share all the work that is the same.

Segments become formulas over condition bits; equal conditions share a bit, conditions on one metric a feature, metrics of one
filter a series. A fact touches only the series of its type, their features, and, where a mask changes, the segments that
look at the bits that flipped.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from schemas.amounts import currency_exponent
from schemas.catalog import Segment, Tenant
from schemas.rules import All, Any_, Not, Rule
from services.segmenter.engine.calendar import Calendar
from services.segmenter.engine.features import Feature
from services.segmenter.engine.series import Series
from services.segmenter.engine.sharing import SeriesSpec, Sharing
from services.segmenter.engine.tree import Group, Leaf, Node, formula


class CompiledSegment:
    """A segment ready to be asked: the formula over bits for the hot path, the tree for verdicts, the leaves for reasons."""

    def __init__(self, segment: Segment, tree: Node | None, leaves: list[Leaf]) -> None:
        self.segment = segment
        self.id: str = segment.id
        self.version: int = segment.version
        self.tree = tree
        self.leaves = leaves
        self.holds = formula(tree)


class Plan:
    """Everything compiled for one tenant at one revision of its segments."""

    def __init__(self, tenant: Tenant, segments: Iterable[Segment], revision: int) -> None:
        """Compile the segments that are not archived; `revision` is the offset after the last definition that changed one."""
        everything = sorted(segments, key=lambda segment: segment.id)
        self.archived = {segment.id: segment for segment in everything if segment.archived}
        self.tenant = tenant
        self.revision = revision
        self.calendar = Calendar(tenant.timezone)
        self.exponent: int = currency_exponent(tenant.currency)
        self.sharing = sharing = Sharing(self.calendar, self.exponent)
        drafted = [(segment, None if segment.rule is None else self._tree(segment.rule, "")) for segment in everything if not segment.archived]
        sharing.finish()
        self.features: list[Feature] = sharing.features
        self.profile_features: list[Feature] = sharing.profile_features
        self.blank: list[Series] = [spec.blank for spec in sharing.series]
        """The series of a customer without facts."""
        self.blank_masks: list[int] | None = None
        """The masks of a customer without facts, once they have been found."""
        self.segments: dict[str, CompiledSegment] = {}
        self.dependents: list[list[CompiledSegment]] = [[] for _ in range(sharing.bits)]
        for segment, tree in drafted:
            self._compile(segment, tree)

    def touched_by(self, number: int, body: tuple[Any, ...]) -> list[SeriesSpec]:
        """Return the series that a fact of a type (by number) may contribute to."""
        return self.sharing.touched_by(number, body)

    def _compile(self, segment: Segment, tree: Any) -> None:
        leaves: list[Leaf] = []
        node = None if tree is None else self._resolved(tree, leaves)
        compiled = self.segments[segment.id] = CompiledSegment(segment, node, leaves)
        for bit in {leaf.bit for leaf in leaves}:
            self.dependents[bit].append(compiled)

    def _tree(self, rule: Rule, path: str) -> Any:
        """Return a draft of a rule's tree: groups as (word, members), leaves as (path, condition, feature's key, bit)."""
        if isinstance(rule, (All, Any_)):
            word = "all" if isinstance(rule, All) else "any"
            return word, [self._tree(member, f"{path}/{word}/{place}") for place, member in enumerate(rule.rules)]
        if isinstance(rule, Not):
            return "not", [self._tree(rule.rule, f"{path}/not")]
        key, bit = self.sharing.bit_of(rule)
        return path, rule, key, bit

    def _resolved(self, tree: Any, leaves: list[Leaf]) -> Node:
        if tree[0] in ("all", "any", "not"):
            return Group(tree[0], [self._resolved(member, leaves) for member in tree[1]])
        path, condition, key, bit = tree
        leaf = Leaf(path, condition, self.sharing.feature(key), bit)
        leaves.append(leaf)
        return leaf
