"""Explains a membership: every condition with what it sees, and the events that count with the instant at which each leaves.

Series do not keep the ids of events, so those are found in the history, with the extractor and the window that the metric uses.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from typing import Any, Final

from schemas.facts import PROFILE, Fact
from schemas.instants import NEVER
from schemas.questions import Counts, Explained, Seen, encoded
from schemas.rules import Near, ProfileCondition, Rank, Sequence
from schemas.vocabulary import DERIVED_ATTRIBUTES
from services.segmenter.engine.decisions import Customer
from services.segmenter.engine.features import Feature
from services.segmenter.engine.live import Live
from services.segmenter.engine.outlook import HORIZON_MS, by_hand
from services.segmenter.engine.plan import CompiledSegment
from services.segmenter.engine.rankings import ranking_name
from services.segmenter.engine.ratios import RatioReader
from services.segmenter.engine.readers import AverageReader, CountReader, DaysReader, Reader, SumReader
from services.segmenter.engine.reasons import condition_values
from services.segmenter.engine.sequences import FIRST, THEN, SequenceReader
from services.segmenter.engine.tallies import ValuesReader
from services.segmenter.engine.tree import Leaf
from services.segmenter.engine.verdict import Verdict
from services.segmenter.engine.windows import Window
from services.segmenter.questions.inquiry import OfOne, Unknowable
from services.segmenter.questions.person import Person

MOST_EVENTS: Final = 20
"""Events that are named for each condition, the newest first; how many there are is said in any case."""


_OF_SERIES: Final = (CountReader, SumReader, AverageReader, DaysReader, ValuesReader)


class Explaining(OfOne):
    """Answers `Explain`."""

    def look(self, person: Person) -> Generator[int, None, Explained]:
        """Look at a copy of the customer, brought to now."""
        segment = self.segment(self.question.segment_id)
        if person.revision <= segment.answers_from or segment.id in person.row.waiting:
            raise Unknowable(f"segment {segment.id} version {segment.version} is being backfilled; this is not known yet")
        plan = self.people.plans.about(self.tenant, segment)
        customer, now_ms = person.at_work(plan, self.now_ms), self.now_ms
        yield 1 + person.events
        compiled, row = plan.segments[segment.id], customer.row
        history = sorted(person.history(), key=lambda fact: (fact.at_ms, fact.event_id), reverse=True)
        conditions: list[Seen] = []
        for leaf, seen in zip(compiled.leaves, condition_values(compiled, customer.live, now_ms), strict=True):
            events = list(counting(leaf, customer.live, history, now_ms))
            until_ms = flip_ms(leaf, customer, now_ms)
            yield 1 + person.events
            conditions.append(
                Seen(
                    seen.path, encoded(seen.value), seen.op, encoded(seen.threshold), seen.holds, _or_none(until_ms),
                    events[:MOST_EVENTS], len(events), counts_from_ms(leaf, customer.live),
                )
            )  # fmt: skip
        included, excluded = by_hand(row, compiled)
        held_ms = held_until_ms(customer, compiled)
        member = row.members.get(segment.id)
        return Explained(
            version=segment.version,
            member=member is not None,
            since_ms=None if member is None else member[0],
            until_ms=_or_none(customer.until(compiled, now_ms)),
            rule_holds=compiled.holds(customer.live.truth),
            included=included,
            excluded=excluded,
            held_until_ms=held_ms if held_ms > now_ms else None,
            overridden_by=next((other.id for other in compiled.higher if other.id in row.members), None),
            conditions=conditions,
            history_from_ms=self.people.plans.history_from_ms(self.tenant, now_ms),
        )


def counting(leaf: Leaf, live: Live, history: Iterable[Fact], at_ms: int) -> Iterator[Counts]:
    """Yield the events that count for a condition at an instant, in the order of the history that is given.

    Of a profile's condition that is the last event that said something of the attribute; of a sequence both its events.
    """
    condition, feature = leaf.condition, _feature(leaf, live)
    if feature is None or condition is None:
        return
    if isinstance(condition, ProfileCondition | Near):
        yield from _saying(_attribute(condition), history, at_ms)
    elif isinstance(feature.reader, SequenceReader) and isinstance(condition, Sequence):
        yield from _in_sequence(feature.reader, condition, live, list(history), at_ms)
    else:
        parts = _windows(feature.reader)
        for fact in history:
            ends = [
                window.expiry(fact.at_ms, at_ms)
                for series, window in parts
                if _contribution(live, series, fact) is not None and window.counts(fact.at_ms, at_ms)
            ]
            if ends:
                yield Counts(fact.event_id, fact.at_ms, _or_none(max(ends)))


def _windows(reader: Reader) -> list[tuple[int, Window]]:
    """Return the series that a metric reads, each with the window through which it does."""
    if isinstance(reader, RatioReader):
        return _windows(reader.numerator) + _windows(reader.denominator)
    return [(reader.series, reader.window)] if isinstance(reader, _OF_SERIES) else []


def counts_from_ms(leaf: Leaf, live: Live) -> int | None:
    """Return from when on a condition counts, if it looks at more than the clock leaves it; of a ratio, from when on both its metrics do."""
    feature = _feature(leaf, live)
    if feature is None:
        return None
    windows = [feature.reader.window] if isinstance(feature.reader, SequenceReader) else [window for _, window in _windows(feature.reader)]
    since_ms = max([window.since_ms for window in windows], default=-1)
    return since_ms if since_ms >= 0 else None


def _feature(leaf: Leaf, live: Live) -> Feature | None:
    """Return what a condition looks at, also that of a rank."""
    if isinstance(leaf.condition, Rank):
        return live.plan.scored[live.plan.rankings[ranking_name(leaf.condition)].place]
    return leaf.feature


def _contribution(live: Live, series: int, fact: Fact) -> Any:
    """Return what a fact contributes to a series, None for nothing."""
    if fact.type >= PROFILE or live.voided(fact):
        return None
    for feed in live.plan.feeds.only((series,)).of(fact.type, fact.body):
        found = feed.extractor.of(fact.at_ms, fact.body, fact.items)
        if found is not None:
            return found
    return None


def _in_sequence(reader: SequenceReader, condition: Sequence, live: Live, history: list[Fact], at_ms: int) -> Iterator[Counts]:
    """Yield each `first` in the window, and each `then` that follows one of those: it counts as long as they do."""
    roles: dict[int, list[Fact]] = {FIRST: [], THEN: []}
    for fact in history:
        for role in _roles(live, reader.series, fact):
            roles[role].append(fact)
    leaves: dict[str, int] = {}
    for first in roles[FIRST]:
        if not reader.window.counts(first.at_ms, at_ms):
            continue
        end_ms = reader.window.expiry(first.at_ms, at_ms)
        until_ms = live.plan.calendar.plus(first.at_ms, condition.within)
        following = [then for then in roles[THEN] if first.at_ms <= then.at_ms < until_ms and then.at_ms <= at_ms and then is not first]
        for fact in (first, *following):
            leaves[fact.event_id] = max(end_ms, leaves.get(fact.event_id, 0))
    for fact in history:
        if fact.event_id in leaves:
            yield Counts(fact.event_id, fact.at_ms, _or_none(leaves[fact.event_id]))


def _roles(live: Live, series: int, fact: Fact) -> list[int]:
    if fact.type >= PROFILE or live.voided(fact):
        return []
    feeds = live.plan.feeds.only((series,)).of(fact.type, fact.body)
    return [role for feed in feeds if (role := feed.extractor.of(fact.at_ms, fact.body, fact.items)) is not None]


def _saying(attribute: str, history: Iterable[Fact], at_ms: int) -> Iterator[Counts]:
    for fact in history:
        if fact.type == PROFILE and fact.at_ms <= at_ms and (attribute in fact.body[0] or attribute in fact.body[1]):
            yield Counts(fact.event_id, fact.at_ms, None)
            return


def _attribute(condition: ProfileCondition | Near) -> str:
    if isinstance(condition, Near):
        return "location"
    return "birth_date" if condition.attribute in DERIVED_ATTRIBUTES else condition.attribute


def flip_ms(leaf: Leaf, customer: Customer, at_ms: int) -> int:
    """Return the first instant after `at_ms` at which a condition answers otherwise if nothing new happens, `NEVER` beyond the horizon."""
    live, feature = customer.live, leaf.feature
    if leaf.member_of:
        return customer.until(live.plan.segments[leaf.member_of], at_ms)
    if feature is None:
        return NEVER  # what others will do to a rank is not known
    before = found = _verdict(live, leaf, at_ms)
    while (bound_ms := found.until_ms) <= at_ms + HORIZON_MS:
        found = _verdict(live, leaf, bound_ms)
        if found.holds is not before.holds:
            return bound_ms
    return NEVER


def _verdict(live: Live, leaf: Leaf, at_ms: int) -> Verdict:
    state, profile_ms = live.seen_at(at_ms)
    found = leaf.verdict(state, at_ms, {})
    return Verdict(found.holds, min(found.until_ms, profile_ms))


def held_until_ms(customer: Customer, compiled: CompiledSegment) -> int:
    """Return until when the last entry keeps the customer by `min_stay`, -1 without one."""
    since_ms = customer.row.entered.get(compiled.id)
    return -1 if since_ms is None or compiled.min_stay is None else customer.live.plan.calendar.plus(since_ms, compiled.min_stay)


def _or_none(at_ms: int) -> int | None:
    return None if at_ms >= NEVER else at_ms
