"""Guards: of many segments, those that have to be looked at when bits flip, and those that can hold at all.

A guard of a rule is a set of bits of which at least one is set wherever the rule holds. While none of them is, nothing else that
flips can let the rule hold, so a segment lies behind its guard: it is looked at when a bit of the guard itself flips, and for
the others of its bits only where the guard was set before or is set now. Which guards are set is read from the customer's bits;
nothing is kept for each customer. That a segment lies behind a guard says nothing of who holds it otherwise (by hand, by `min_stay`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from services.segmenter.engine.features import PlainFeature
from services.segmenter.engine.tree import Leaf, Node

_FEW: Final = 8
"""A number guards only where no more segments look at it: many of its thresholds are passed at once, and each passed is a guard set."""
_SAYING: Final = frozenset({"eq", "in", "contains", "starts_with", "gt", "gte", "between"})
"""Operators that hold of few; the others (`ne`, `lt`, …) hold of nearly everybody of whom little is known."""
_REMEMBERED: Final = 10_000


class Guarded:
    """What guards must know of a segment's rule: its tree, its leaves, and the leaf that says whether its time has come."""

    def __init__(self, tree: Node | None, leaves: list[Leaf], life: Leaf | None) -> None:
        self.tree = tree
        self.leaves = leaves
        self.life = life


class _Behind:
    """The segments behind one bit of a guard, and which of them look at each other bit."""

    def __init__(self) -> None:
        self.segments: list[int] = []
        self.looks = 0
        self.by_bit: dict[int, list[int]] = {}


class _View:
    """What can be seen past the guards that are set: the bits that some segment looks at, and who is behind these guards."""

    def __init__(self, looks: int, behind: list[_Behind]) -> None:
        self.looks = looks
        self.behind = behind


class Guards:
    """The segments of a plan, by their places in its order, each behind its guard if it has one."""

    def __init__(self, rules: Sequence[Guarded], bits: int) -> None:
        """Choose a guard for each rule, of those that it has the one that the fewest segments share."""
        self.mask = 0
        self._behind: dict[int, _Behind] = {}
        self._open: list[list[int]] = [[] for _ in range(bits)]
        """For each bit the segments that are looked at whenever it flips."""
        self._open_bits = 0
        self._unguarded: list[int] = []
        self._views: dict[int, _View] = {}
        shared = _weights(rules)
        for order, rule in enumerate(rules):
            self._put(order, rule, _guard(rule.tree, shared, wanted=True))

    def _put(self, order: int, rule: Guarded, guard: frozenset[int] | None) -> None:
        bits = {leaf.bit for leaf in rule.leaves}
        if guard is None:
            self._unguarded.append(order)
            self._open_at(order, bits)
        else:
            self._open_at(order, guard)
            for bit in guard:
                self._put_behind(order, bits - guard, bit)
        if rule.life is not None:
            # Whoever is in by hand enters and leaves with it, whatever the rule says.
            self._open_at(order, (rule.life.bit,))

    def _open_at(self, order: int, bits: Iterable[int]) -> None:
        for bit in bits:
            self._open[bit].append(order)
            self._open_bits |= 1 << bit

    def _put_behind(self, order: int, bits: Iterable[int], guard: int) -> None:
        behind = self._behind.get(guard)
        if behind is None:
            behind = self._behind[guard] = _Behind()
            self.mask |= 1 << guard
        behind.segments.append(order)
        for bit in bits:
            behind.looks |= 1 << bit
            behind.by_bit.setdefault(bit, []).append(order)

    def concerned(self, flipped: int, truth: int) -> set[int]:
        """Return the segments whose rule or time the bits that flipped may have changed; `truth` is what holds after it."""
        view = self._view((truth | flipped) & self.mask)
        found: set[int] = set()
        for bit in bits_of(flipped & view.looks):
            found.update(self._open[bit])
            for behind in view.behind:
                orders = behind.by_bit.get(bit)
                if orders is not None:
                    found.update(orders)
        return found

    def possible(self, truth: int) -> set[int]:
        """Return the segments of which the rule may hold; of all the others it does not."""
        found = set(self._unguarded)
        for behind in self._view(truth & self.mask).behind:
            found.update(behind.segments)
        return found

    def _view(self, held: int) -> _View:
        view = self._views.get(held)
        if view is None:
            if len(self._views) >= _REMEMBERED:
                self._views.clear()
            behind = [self._behind[bit] for bit in bits_of(held)]
            looks = self._open_bits
            for one in behind:
                looks |= one.looks
            view = self._views[held] = _View(looks, behind)
        return view


def _weights(rules: Sequence[Guarded]) -> Callable[[Leaf], int]:
    """Return what a leaf weighs as a guard: how many segments share it; -1 if it is none."""
    by_bit = Counter([bit for rule in rules for bit in {leaf.bit for leaf in rule.leaves}])
    by_feature = Counter([index for rule in rules for index in {leaf.feature.index for leaf in rule.leaves if leaf.feature is not None}])

    def weight(leaf: Leaf) -> int:
        feature = leaf.feature
        if feature is None:
            return by_bit[leaf.bit]
        if feature.tests[leaf.bit].op not in _SAYING:
            return -1
        if isinstance(feature, PlainFeature):
            return by_bit[leaf.bit]
        return by_feature[feature.index] if by_feature[feature.index] <= _FEW else -1

    return weight


def _guard(node: Node | None, weight: Callable[[Leaf], int], *, wanted: bool) -> frozenset[int] | None:
    """Return the lightest guard of a node's being `wanted`, None without one: a rule that holds of nobody has an empty one."""
    found = _weighed(node, weight, wanted=wanted)
    return None if found is None else found[1]


def _weighed(node: Node | None, weight: Callable[[Leaf], int], *, wanted: bool) -> tuple[int, frozenset[int]] | None:
    if node is None:
        return 0, frozenset()
    if isinstance(node, Leaf):
        weighs = weight(node) if wanted else -1
        return None if weighs < 0 else (weighs, frozenset((node.bit,)))
    if node.word == "not":
        return _weighed(node.members[0], weight, wanted=not wanted)
    found = [_weighed(member, weight, wanted=wanted) for member in node.members]
    known = [one for one in found if one is not None]
    if (node.word == "all") is wanted:
        return min(known, key=lambda one: one[0], default=None)
    if len(known) < len(found):
        return None
    return sum([one[0] for one in known]), frozenset().union(*[one[1] for one in known])


def bits_of(mask: int) -> list[int]:
    """Return the places of the bits that are set, lowest first."""
    places = []
    while mask:
        lowest = mask & -mask
        places.append(lowest.bit_length() - 1)
        mask ^= lowest
    return places
