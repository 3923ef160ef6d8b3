"""A customer in memory, ready to be evaluated: series, profile, and what every feature answered last.

`truth` holds a bit for each condition of the plan, as of the customer's last evaluation; `bounds` says for each feature until
when its bits stand by themselves. Everything here is derived from the history and can be dropped at any time.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from schemas.facts import PROFILE, Fact
from schemas.instants import NEVER
from services.segmenter.engine.features import Feature
from services.segmenter.engine.plan import Plan, SeriesSpec
from services.segmenter.engine.readers import State

_NOWHEN: Final = (-1, "")


class Live(State):
    """One customer's series and profile under one plan."""

    __slots__ = ("_stamps", "ahead", "bounds", "ids", "masks", "plan", "soonest_ms", "truth")

    def __init__(self, plan: Plan, facts: Iterable[Fact], at_ms: int) -> None:
        """Build from the whole history and observe every feature at an instant."""
        super().__init__(list(plan.blank))
        self.plan = plan
        self.ids: set[str] = set()
        self._stamps: dict[str, tuple[int, str]] = {}
        self.ahead: list[Fact] = []
        history = sorted(facts, key=_in_time)
        for fact in history:
            self.ids.add(fact.event_id)
            if fact.type == PROFILE:
                self._profile_fact(fact, at_ms)
            else:
                for spec in plan.touched_by(fact):
                    contribution = spec.extract(fact)
                    if contribution is not None:
                        self._contribute(spec, fact, contribution)
        if history or plan.blank_masks is None:
            self.masks = [0] * len(plan.features)
            self.bounds = [NEVER] * len(plan.features)
            self.truth = 0
            for feature in plan.features:
                self._observe(feature, at_ms)
            if not history:
                # Nothing known is the same at every instant, and every newcomer begins so.
                plan.blank_masks = list(self.masks)
        else:
            self.masks = list(plan.blank_masks)
            self.bounds = [NEVER] * len(plan.features)
            self.truth = sum(self.masks)
        self.soonest_ms = NEVER
        self._find_soonest()

    def add(self, fact: Fact, now_ms: int) -> int:
        """Take in a new fact and observe what it touches at `now_ms`; return the bits that flipped.

        The caller has brought the customer to `now_ms` first (`pass_to`), so that what is not touched is as of now already.
        """
        self.ids.add(fact.event_id)
        before = self.truth
        if fact.type == PROFILE:
            if self._profile_fact(fact, now_ms):
                for feature in self.plan.profile_features:
                    self._observe(feature, now_ms)
            self._find_soonest()
            return before ^ self.truth
        at_ms = fact.at_ms
        on_time = at_ms <= now_ms
        masks, bounds = self.masks, self.bounds
        for spec in self.plan.touched_by(fact):
            contribution = spec.extract(fact)
            if contribution is None:
                continue
            self._contribute(spec, fact, contribution)
            for feature in spec.features:
                index = feature.index
                if on_time and feature.stays(self, now_ms, masks[index]):
                    continue
                mask, bound_ms = feature.observe(self, now_ms)
                bounds[index] = bound_ms
                if bound_ms < self.soonest_ms:
                    self.soonest_ms = bound_ms
                self.truth ^= masks[index] ^ mask
                masks[index] = mask
        return before ^ self.truth

    def pass_to(self, at_ms: int) -> int:
        """Let time pass to an instant, no later than `soonest_ms`; return the bits that flipped."""
        before = self.truth
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

    def _find_soonest(self) -> None:
        soonest_ms = min(self.bounds, default=NEVER)
        self.soonest_ms = min(soonest_ms, self.ahead[0].at_ms) if self.ahead else soonest_ms

    def _contribute(self, spec: SeriesSpec, fact: Fact, contribution: Any) -> None:
        series = self.series[spec.index]
        if series is spec.blank:
            series = self.series[spec.index] = spec.make(spec.expiries)
        series.add(fact.at_ms, contribution, fact.event_id, spec.expiries)

    def _observe(self, feature: Feature, at_ms: int) -> None:
        index = feature.index
        mask, self.bounds[index] = feature.observe(self, at_ms)
        self.truth ^= self.masks[index] ^ mask
        self.masks[index] = mask

    def seen_at(self, at_ms: int) -> tuple[State, int]:
        """Return the customer as of an instant from now on, and until when nothing that is known already changes the profile."""
        due = [fact for fact in self.ahead if fact.at_ms <= at_ms]
        next_ms = self.ahead[len(due)].at_ms if len(due) < len(self.ahead) else NEVER
        if not due:
            return self, next_ms
        then = State(self.series)
        then.profile, stamps = dict(self.profile), dict(self._stamps)
        for fact in due:
            _merge(then.profile, stamps, fact)
        return then, next_ms

    def _profile_fact(self, fact: Fact, now_ms: int) -> bool:
        """Merge a profile fact, or keep it until its instant; return whether anything changed now."""
        if fact.at_ms > now_ms:
            self.ahead = sorted([*self.ahead, fact], key=_in_time)
            return False
        _merge(self.profile, self._stamps, fact)
        return True


def _merge(profile: dict[str, Any], stamps: dict[str, tuple[int, str]], fact: Fact) -> None:
    """Merge a profile fact: of each attribute the later instant wins, then the greater id; None removes."""
    stamp = _in_time(fact)
    declared: dict[str, Any] = fact.body[0]
    for name, value in declared.items():
        if stamp > stamps.get(name, _NOWHEN):
            stamps[name] = stamp
            if value is None:
                profile.pop(name, None)
            else:
                profile[name] = value


def _in_time(fact: Fact) -> tuple[int, str]:
    return fact.at_ms, fact.event_id
