"""The live state: a customer's history, ready to be evaluated: series, profile, and what every feature answered last.

`truth` holds a bit for each condition of the plan, as of the customer's last evaluation; `bounds` says for each feature until
when its bits stand by themselves, `rooms` how much may still be added before they could change. Everything here is derived
from the history and can be dropped at any time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import Any, Final

from schemas.facts import PROFILE, TYPE_NUMBERS, VOID, Brief, Fact, opened
from schemas.instants import DAY_MS, NEVER
from schemas.reading import declared_value
from services.segmenter.engine.features import Feature
from services.segmenter.engine.feeds import SeriesSpec
from services.segmenter.engine.plan import Heritage, Plan
from services.segmenter.engine.readers import State

_CHECKOUT: Final = TYPE_NUMBERS["checkout"]
_VOID_REACH_MS: Final = 7 * DAY_MS
"""A void reaches the checkouts of its receipt that lie so far away, on either side."""
_NOWHEN: Final = (-1, "")
_AT: Final = attrgetter("at_ms")
"""In this order series grow at their end, which is quickest; in which order those of one instant come makes no difference to them."""


History = Callable[[int, bool], Iterable[Brief]]
"""Yields a customer's facts; those from before an instant may be left out, and so may line items unless they are asked for."""


def whole(history: History) -> list[Fact]:
    """Return all facts of a history, with their line items."""
    return [opened(fact) for fact in history(0, True)]


class Live(State):
    """One customer's series and profile under one plan."""

    def __init__(self, plan: Plan, history: History, at_ms: int, former: Live | None = None) -> None:
        """Build from the whole history and observe every feature at an instant.

        `former` is the customer under another plan, at an earlier instant: what both plans keep is shared with it (and nothing
        may be added to it any more), and the history is read only for what it does not have, as far back as that reaches.
        """
        super().__init__(list(plan.blank))
        self.plan = plan
        self.ids: set[str] = set()
        self._stamps: dict[str, tuple[int, str]] = {}
        self.ahead: list[Brief] = []
        self.touched: dict[int, Fact] = {}
        """The features that facts since the last look may have changed, each with the last such fact."""
        self._voids: dict[tuple[str, str], list[int]] = {}
        """The instants of the voids of each receipt, by (receipt, store)."""
        self.cut: dict[int, int] = {}
        """The series that lack events from before an instant, since nobody asks for those, and that instant."""
        self.seen_ms = at_ms
        """The latest instant that the bits are as of, or at which a fact was taken in."""
        places = None if former is None else plan.places_in(former.plan)
        if former is None or places is None:
            self._learn(history, at_ms)
        else:
            self._take_over(former, places, history, at_ms)
        self.scores: list[Any] = [None] * len(plan.scored)
        self.rescored = True
        """Whether scores may have changed since this was last set to False."""
        size = len(plan.features)
        self.bounds = [NEVER] * size
        self.rooms = [0] * size
        self.truth = 0
        if self.ids or plan.blank_masks is None:
            self.masks = [0] * size
            heritage: list[Heritage | None] = [] if former is None or places is None or former.seen_ms > at_ms else plan.heritage(former.plan)
            for feature in plan.features:
                if former is None or not heritage or not self._inherit(feature, heritage[feature.index], former, at_ms):
                    self._observe(feature, at_ms)
            if not self.ids:
                # Nothing known is the same at every instant, and every newcomer begins so.
                plan.blank_masks, plan.blank_scores = list(self.masks), list(self.scores)
        else:
            self.scores = list(plan.blank_scores)
            self.masks = list(plan.blank_masks)
            for mask in self.masks:
                self.truth |= mask
            for feature in plan.clocked:
                self._observe(feature, at_ms)
        self.soonest_ms = NEVER
        self._find_soonest()

    def _learn(self, history: History, at_ms: int) -> None:
        """Read everything without line items, and these as far back as anything looks at them."""
        facts = sorted(history(0, False), key=_AT)
        for fact in facts:
            self.ids.add(fact.event_id)
            if fact.type == VOID:
                self._voids.setdefault(fact.body, []).append(fact.at_ms)
            elif fact.type == PROFILE:
                self._profile_fact(fact, at_ms)
        all_series, with_items = self.plan.sharing.series, self.plan.feeds.with_items
        self._count(facts, [spec.index for spec in all_series if spec.index not in with_items])
        self._reach_back({spec.index: spec.reaches(at_ms) for spec in all_series if spec.index in with_items}, history)

    def _reach_back(self, reaches: dict[int, int], history: History) -> None:
        """Fill series (by place) that have nothing yet, each at least from an instant on."""
        if not reaches:
            return
        self.cut |= {place: since_ms for place, since_ms in reaches.items() if since_ms > 0}
        since_ms = min(reaches.values())
        looked_at = not self.plan.feeds.with_items.isdisjoint(reaches)
        self._count(_from(history(since_ms, looked_at), since_ms), reaches)

    def _take_over(self, former: Live, places: list[int], history: History, at_ms: int) -> None:
        self.ids, self._voids = former.ids, former._voids
        self.profile, self._stamps = dict(former.profile), dict(former._stamps)
        for fact in former.ahead:
            self._profile_fact(fact, at_ms)
        missing: dict[int, int] = {}
        for spec in self.plan.sharing.series:
            place = places[spec.index]
            cut_ms = NEVER if place < 0 else former.cut.get(place, 0)
            if cut_ms > 0 and cut_ms > (reach_ms := spec.reaches(at_ms)):
                missing[spec.index] = reach_ms
                continue
            if cut_ms > 0:
                self.cut[spec.index] = cut_ms
            if former.series[place] is not former.plan.blank[place]:
                self.series[spec.index] = former.series[place].under(spec.expiries, at_ms)
        self._reach_back(missing, history)

    def _inherit(self, feature: Feature, heritage: Heritage | None, former: Live, at_ms: int) -> bool:
        """Take over what a feature answered under another plan, if that still stands; return whether it did.

        There may have been more tests: then what is said of bound and room is at most too careful.
        """
        if heritage is None or not feature.reads_series:
            return False  # the profile may have changed meanwhile, and is quickly looked at
        index, place = feature.index, heritage.place
        if former.bounds[place] <= at_ms or place in former.touched:
            return False
        self.bounds[index], self.rooms[index] = former.bounds[place], former.rooms[place]
        if feature.score >= 0:
            self.scores[feature.score] = former.scores[heritage.score]
        mask = self.masks[index] = heritage.mask(former.masks[place])
        self.truth |= mask
        return True

    def _count(self, history: list[Brief], only: Iterable[int]) -> None:
        """Add facts in their order to some of the series; the facts have line items if any of these looks at them."""
        # What a loop over all facts looks up by name costs as much as what it does.
        voids, first_other = self._voids, PROFILE
        feeds = self.plan.feeds.only(only)
        items = feeds.items
        for fact in history:
            number: int = fact.type
            if number >= first_other:
                continue
            fact_ms: int = fact.at_ms
            body: tuple[Any, ...] = fact.body
            if voids and number == _CHECKOUT and self._voided(fact_ms, body):
                continue
            lines: tuple[Any, ...] = ()
            unread = True
            for feed in feeds.of(number, body):
                if unread and feed.extractor.looks_at_items:
                    lines, unread = items.of(fact), False
                contribution = feed.extractor.of(fact_ms, body, lines)
                if contribution is not None:
                    self._contribute(feed.spec, fact_ms, contribution, fact.event_id)

    def add(self, fact: Fact, now_ms: int) -> None:
        """Take in a new fact as of `now_ms`; what it may have changed is found by `settle`.

        A void takes effect on checkouts that come after it; for those before, the caller builds the live state anew.
        The caller has brought the customer to `now_ms` first (`pass_to`), so that what is not touched is as of now already, and
        settles before time moves on.
        """
        event_id: str = fact.event_id
        self.ids.add(event_id)
        self.seen_ms = now_ms
        number: int = fact.type
        if number == PROFILE:
            if self._profile_fact(fact, now_ms):
                for feature in self.plan.profile_features:
                    self.touched[feature.index] = fact
            self._find_soonest()
            return
        at_ms: int = fact.at_ms
        on_time = at_ms <= now_ms
        body: tuple[Any, ...] = fact.body
        if number == VOID:
            self._voids.setdefault((body[0], body[1]), []).append(at_ms)
            return
        if self._voids and number == _CHECKOUT and self._voided(at_ms, body):
            return
        items: tuple[Any, ...] = fact.items
        rooms, touched = self.rooms, self.touched
        for feed in self.plan.feeds.of(number, body):
            contribution = feed.extractor.of(at_ms, body, items)
            if contribution is None:
                continue
            spec = feed.spec
            grown = self._contribute(spec, at_ms, contribution, event_id)
            for feature in spec.features:
                index = feature.index
                if on_time and grown >= 0:
                    # Within its room a value that only adds up keeps its mask, and cannot bring a fall nearer: the old bound
                    # is at most early.
                    room = rooms[index] - grown
                    rooms[index] = room
                    if room > 0:
                        continue
                touched[index] = fact

    def stand(self, bits: int) -> int:
        """Let these be the bits of the ranks that hold; return those that flipped."""
        flipped = self.standing ^ bits
        self.standing = bits
        self.truth ^= flipped
        return flipped

    def settle(self, now_ms: int) -> list[tuple[int, Fact]]:
        """Observe what the facts since the last look touched; return the bits that flipped of each feature, with the last of its facts."""
        flipped: list[tuple[int, Fact]] = []
        for index, fact in self.touched.items():
            before = self.masks[index]
            self._observe(self.plan.features[index], now_ms)
            if self.bounds[index] < self.soonest_ms:
                self.soonest_ms = self.bounds[index]
            after = self.masks[index]
            if after != before:
                flipped.append((before ^ after, fact))
        self.touched.clear()
        return flipped

    def pass_to(self, at_ms: int) -> int:
        """Let time pass to an instant, no later than `soonest_ms`; return the bits that flipped."""
        before = self.truth
        self.seen_ms = at_ms
        features = self.plan.features
        if self.ahead and self.ahead[0].at_ms <= at_ms:
            due = [fact for fact in self.ahead if fact.at_ms <= at_ms]
            self.ahead = self.ahead[len(due) :]
            for fact in due:
                self._profile_fact(fact, at_ms)
            for feature in self.plan.profile_features:
                self._observe(feature, at_ms)
        for index, bound_ms in enumerate(self.bounds):
            if bound_ms <= at_ms:
                self._observe(features[index], at_ms)
        self._find_soonest()
        return before ^ self.truth

    def voided(self, fact: Fact) -> bool:
        """Whether a fact counts as if it had never been."""
        return bool(fact.type == _CHECKOUT and self._voided(fact.at_ms, fact.body))

    def _voided(self, at_ms: int, body: tuple[Any, ...]) -> bool:
        """Whether a checkout counts as if it had never been."""
        voids = self._voids.get((body[0], body[1]))
        return voids is not None and any([abs(at_ms - void_ms) <= _VOID_REACH_MS for void_ms in voids])

    def _find_soonest(self) -> None:
        soonest_ms = NEVER
        for bound_ms in self.bounds:
            if bound_ms < soonest_ms:
                soonest_ms = bound_ms
        self.soonest_ms = min(soonest_ms, self.ahead[0].at_ms) if self.ahead else soonest_ms

    def _contribute(self, spec: SeriesSpec, at_ms: int, contribution: Any, event_id: str) -> int:
        series = self.series[spec.index]
        if series is spec.blank:
            series = self.series[spec.index] = spec.make()
        return series.add(at_ms, contribution, event_id)

    def _observe(self, feature: Feature, at_ms: int) -> None:
        index = feature.index
        mask, until_ms, room = feature.observe(self, at_ms)
        self.bounds[index] = until_ms
        self.rooms[index] = room
        if feature.score >= 0:
            self.scores[feature.score] = feature.reader.current(self, at_ms)
            self.rescored = True
        before = self.masks[index]
        if mask != before:
            self.truth ^= before ^ mask
            self.masks[index] = mask

    def seen_at(self, at_ms: int) -> tuple[State, int]:
        """Return the customer as of an instant from now on, and until when nothing that is known already changes the profile."""
        due = [fact for fact in self.ahead if fact.at_ms <= at_ms]
        next_ms: int = self.ahead[len(due)].at_ms if len(due) < len(self.ahead) else NEVER
        if not due:
            return self, next_ms
        then = State(self.series)
        then.standing = self.standing
        then.profile, stamps = dict(self.profile), dict(self._stamps)
        for fact in due:
            self._merge(then.profile, stamps, fact)
        return then, next_ms

    def _profile_fact(self, fact: Brief, now_ms: int) -> bool:
        """Merge a profile fact, or keep it until its instant; return whether anything changed now."""
        if fact.at_ms > now_ms:
            self.ahead = sorted([*self.ahead, fact], key=_in_time)
            return False
        self._merge(self.profile, self._stamps, fact)
        return True

    def _merge(self, profile: dict[str, Any], stamps: dict[str, tuple[int, str]], fact: Brief) -> None:
        """Merge a profile fact: of each attribute the later instant wins, then the greater id; None removes.

        What the tenant declared after it was stored lies there as text; it counts as absent where it does not fit its kind.
        """
        stamp = _in_time(fact)
        values: dict[str, Any] = fact.body[0]
        texts: dict[str, str | None] = fact.body[1]
        declared = self.plan.declared
        if texts and declared:
            values = dict(values)
            for name, text in texts.items():
                if name in declared:
                    values[name] = None if text is None else declared_value(text, declared[name], self.plan.exponent)
        for name, value in values.items():
            if stamp > stamps.get(name, _NOWHEN):
                stamps[name] = stamp
                if value is None:
                    profile.pop(name, None)
                else:
                    profile[name] = value


def _from(facts: Iterable[Brief], since_ms: int) -> list[Brief]:
    """Return the facts from an instant on in time, which is mostly how they came."""
    found: list[Brief] = []
    last_ms, ordered = since_ms, True
    for fact in facts:
        at_ms: int = fact.at_ms
        if at_ms >= since_ms:
            ordered = ordered and at_ms >= last_ms
            last_ms = at_ms
            found.append(fact)
    return found if ordered else sorted(found, key=_AT)


def _in_time(fact: Brief) -> tuple[int, str]:
    return fact.at_ms, fact.event_id
