"""The plan of a tenant: its live segments compiled so that they share all the work that is the same.

Segments become formulas over condition bits; equal conditions share a bit, conditions on one metric a feature, metrics of one
filter a series. A fact touches only the series of its type, their features, and, where a mask changes, those of the segments
that look at the bits that flipped whose guards let them through (guards). Segments are in an order in which each comes after those
that it depends on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import count
from typing import Any, TypeVar

from schemas.amounts import currency_exponent
from schemas.catalog import Segment, Tenant
from schemas.dependencies import ordered
from schemas.facts import PROFILE, Brief
from schemas.instants import NEVER, Duration
from schemas.rules import All, Any_, Not, Rank, Rule, SegmentRef
from schemas.vocabulary import Kind
from services.segmenter.engine.attributes import SpanOfLifeReader
from services.segmenter.engine.calendar import calendar_of
from services.segmenter.engine.extract import Vocabulary
from services.segmenter.engine.features import Feature
from services.segmenter.engine.guards import Guarded, Guards
from services.segmenter.engine.rankings import Ranking, rank_name, ranking_name, score_name, size_of
from services.segmenter.engine.series import Series
from services.segmenter.engine.sharing import CountsFrom, Sharing
from services.segmenter.engine.tree import Group, Leaf, Node, formula

_numbers = count()

Kept = TypeVar("Kept", bound=Brief)


class CompiledSegment:
    """A segment ready to be asked: the formula over bits for the hot path, the tree for verdicts, the leaves for reasons.

    `order` is its place among the tenant's segments. `looks` has the bits that it looks at. `life` is the leaf that holds while
    `starts_at` ≤ t < `ends_at`. `higher` are the higher levels of its family, `followers` the segments that depend on it, `closure` all
    that it depends on and itself, in their order. `member_bit` is set while the customer is a member, for those that refer to it; -1
    when none does. `ranks` are the names of those that it, or what it depends on, asks for.
    """

    def __init__(self, segment: Segment, order: int, tree: Node | None, leaves: list[Leaf], life: Leaf | None) -> None:
        self.segment = segment
        self.id: str = segment.id
        self.version: int = segment.version
        self.min_stay: Duration | None = segment.min_stay
        self.family: str = segment.id if segment.tier is None else "tier " + segment.tier.family
        self.order = order
        self.tree = tree
        self.leaves = leaves
        self.life = life
        self.holds = formula(tree)
        self.life_mask = 0 if life is None else 1 << life.bit
        self.looks = self.life_mask
        for leaf in leaves:
            self.looks |= 1 << leaf.bit
        self.higher: list[CompiledSegment] = []
        self.followers: list[CompiledSegment] = []
        self.closure: list[CompiledSegment] = [self]
        self.member_bit = -1
        self.ranks: frozenset[str] = frozenset()


class Heritage:
    """What a feature can take over from the same one of another plan: its `place` there, and for each bit there the one here.

    `straight` says that the bits are the same.
    """

    def __init__(self, former: Feature, bits: list[tuple[int, int]]) -> None:
        self.place = former.index
        self.score = former.score
        self.bits = bits
        self.straight = all([there == here for there, here in bits]) and len(bits) == len(former.tests)

    def mask(self, former: int) -> int:
        """Return what a mask of there is here."""
        if self.straight:
            return former
        found = 0
        for there, here in self.bits:
            if former >> there & 1:
                found |= 1 << here
        return found


class Plan:
    """Everything compiled for one tenant at one revision of its segments."""

    def __init__(self, tenant: Tenant, segments: Iterable[Segment], revision: int, declared: Mapping[str, Kind], counts_from: CountsFrom) -> None:
        """Compile the segments that are not archived; `revision` is the offset after the last definition that changed one."""
        everything = list(segments)
        self.archived = {segment.id: segment for segment in everything if segment.archived}
        self.tenant = tenant
        self.revision = revision
        self.declared = declared
        self.calendar = calendar_of(tenant.timezone)
        self.exponent: int = currency_exponent(tenant.currency)
        self.sharing = Sharing(Vocabulary(self.calendar, self.exponent, self.declared), counts_from)
        self._member_bits: dict[str, int] = {}
        self.rankings: dict[str, Ranking] = {}
        self._ranked: dict[str, Any] = {}
        self.rank_bits: dict[str, int] = {}
        """The bit of each rank, by its name."""
        live = ordered([segment for segment in everything if not segment.archived])
        drafted = [(segment, None if segment.rule is None else self._tree(segment.rule, ""), self._life(segment)) for segment in live]
        self.sharing.finish()
        self.feeds = self.sharing.feeds
        self.scored: list[Feature] = self.sharing.scored
        self.features: list[Feature] = self.sharing.features
        self.profile_features: list[Feature] = self.sharing.profile_features
        self.blank: list[Series] = [spec.blank for spec in self.sharing.series]
        """The series of a customer without facts."""
        self.blank_masks: list[int] | None = None
        """The masks of a customer without facts, once they have been found; those of `clocked` features change all the same."""
        self.blank_scores: list[Any] = []
        self.clocked = [self.sharing.feature(key) for key in dict.fromkeys(life[0] for _, _, life in drafted if life is not None)]
        self.number = next(_numbers)
        self._former = -1
        self._places: list[int] | None = None
        self._heritage: list[Heritage | None] = []
        self.segments: dict[str, CompiledSegment] = {}
        for order, (segment, tree, life) in enumerate(drafted):
            self._compile(segment, order, tree, life)
        for ranking in self.rankings.values():
            ranking.place = self.sharing.feature(self._ranked[ranking.name]).score
        self._connect()
        self.in_order = list(self.segments.values())
        self.guards = Guards([Guarded(compiled.tree, compiled.leaves, compiled.life) for compiled in self.in_order], self.sharing.bits)

    def places_in(self, former: Plan) -> list[int] | None:
        """Return for each series its place in another plan, -1 if it has none; None when its facts mean something else there."""
        self._compare(former)
        return self._places

    def heritage(self, former: Plan) -> list[Heritage | None]:
        """Return for each feature what it can take over from another plan whose facts mean the same, None for nothing."""
        self._compare(former)
        return self._heritage

    def _compare(self, former: Plan) -> None:
        # By number, for a plan must not keep those before it alive.
        if self._former == former.number:
            return
        self._former, self._places, self._heritage = former.number, None, [None] * len(self.features)
        if former.tenant == self.tenant and former.declared == self.declared:
            known = {spec.key: spec.index for spec in former.sharing.series}
            self._places = [known.get(spec.key, -1) for spec in self.sharing.series]
            by_key = {feature.key: feature for feature in former.features}
            self._heritage = [_heritage(feature, by_key.get(feature.key)) for feature in self.features]

    def kept(self, facts: Iterable[Kept], from_ms: int) -> list[Kept]:
        """Return what is kept of some facts where history goes back to an instant: of older ones what no time ends looks at.

        Besides, everything that is no event: what was said of the profile last, and voids, which mean checkouts of an id merged later.
        """
        return [fact for fact in facts if fact.at_ms >= from_ms or fact.type >= PROFILE or self.sharing.keeps(fact)]

    def _life(self, segment: Segment) -> tuple[Any, int] | None:
        starts_ms, ends_ms = segment.starts_at_ms, segment.ends_at_ms
        if starts_ms is None and ends_ms is None:
            return None
        key = ("life", starts_ms, ends_ms)
        reader = SpanOfLifeReader(0 if starts_ms is None else starts_ms, NEVER if ends_ms is None else ends_ms)
        return key, self.sharing.own_bit(key, reader)

    def _compile(self, segment: Segment, order: int, tree: Any, life: tuple[Any, int] | None) -> None:
        leaves: list[Leaf] = []
        node = None if tree is None else self._resolved(tree, leaves)
        living = None if life is None else Leaf("", None, life[1], self.sharing.feature(life[0]))
        compiled = self.segments[segment.id] = CompiledSegment(segment, order, node, leaves, living)
        asked = [leaf.condition for leaf in leaves if isinstance(leaf.condition, Rank)]
        for rank in asked:
            ranking = self.rankings[ranking_name(rank)]
            ranking.since = min(ranking.since, segment.offset)
        compiled.ranks = frozenset([rank_name(ranking_name(rank), size_of(rank)) for rank in asked])

    def _connect(self) -> None:
        """Connect segments with those that they depend on, in their order: so those have been connected before."""
        families: dict[str, list[CompiledSegment]] = {}
        for compiled in self.segments.values():
            compiled.member_bit = self._member_bits.get(compiled.id, -1)
            if compiled.segment.tier is not None:
                # Higher levels come first.
                above = families.setdefault(compiled.family, [])
                compiled.higher = list(above)
                above.append(compiled)
            named = [self.segments[leaf.member_of] for leaf in compiled.leaves if leaf.member_of]
            closure = {compiled.order: compiled}
            for needed in {other.id: other for other in [*named, *compiled.higher]}.values():
                needed.followers.append(compiled)
                closure.update({other.order: other for other in needed.closure})
                compiled.ranks |= needed.ranks
            compiled.closure = [closure[order] for order in sorted(closure)]

    def _tree(self, rule: Rule, path: str) -> Any:
        """Return a draft of a rule's tree: groups as (word, members), leaves as (path, condition, feature's key, bit)."""
        if isinstance(rule, (All, Any_)):
            word = "all" if isinstance(rule, All) else "any"
            return word, [self._tree(member, f"{path}/{word}/{place}") for place, member in enumerate(rule.rules)]
        if isinstance(rule, Not):
            return "not", [self._tree(rule.rule, f"{path}/not")]
        if isinstance(rule, SegmentRef):
            if rule.segment not in self._member_bits:
                self._member_bits[rule.segment] = self.sharing.free_bit()
            return path, rule, None, self._member_bits[rule.segment]
        if isinstance(rule, Rank):
            return path, rule, None, self._rank_bit(rule)
        key, bit = self.sharing.bit_of(rule)
        return path, rule, key, bit

    def _rank_bit(self, rule: Rank) -> int:
        name, size = ranking_name(rule), size_of(rule)
        if name not in self.rankings:
            self.rankings[name] = Ranking(name, score_name(rule.metric), descending=rule.order == "desc")
            self._ranked[name] = self.sharing.keep_score(rule.metric)
        bits = self.rankings[name].bits
        if size not in bits:
            bits[size] = self.rank_bits[rank_name(name, size)] = self.sharing.free_bit()
        return bits[size]

    def _resolved(self, tree: Any, leaves: list[Leaf]) -> Node:
        if tree[0] in ("all", "any", "not"):
            return Group(tree[0], [self._resolved(member, leaves) for member in tree[1]])
        path, condition, key, bit = tree
        named = condition.segment if isinstance(condition, SegmentRef) else ""
        leaf = Leaf(path, condition, bit, None if key is None else self.sharing.feature(key), named)
        leaves.append(leaf)
        return leaf


def _heritage(feature: Feature, former: Feature | None) -> Heritage | None:
    if former is None or (feature.score >= 0) > (former.score >= 0):
        return None
    there = {(found.op, found.threshold): bit for bit, found in former.tests.items()}
    bits = [(there.get((found.op, found.threshold), -1), bit) for bit, found in feature.tests.items()]
    return None if any([bit < 0 for bit, _ in bits]) else Heritage(former, bits)
