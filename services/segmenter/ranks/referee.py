"""The referee: from the summaries of all partitions to where each rank ends. Pure: messages in, messages out.

Every process has one, which listens. The one beside partition 0 speaks at once, the others only of what has not been ruled on for a
while: because partition 0 has no owner, say. Two that speak do no harm: a ruling is a function of the versions of the summaries that it
follows from, and a partition puts away rulings that follow from lesser versions than the last.

It speaks only when a summary has come. Whoever waits for a ruling repeats its summary, so whatever is lost is asked for again.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Mapping
from typing import Final, NamedTuple

from services.segmenter.engine.rankings import Cut, places
from services.segmenter.ranks.messages import Entry, Interval, Message, Question, Ruling, Summary, cut_at, sortable

ANSWERED_IN_MS: Final = 1_000
"""A question that was not answered by all for so long is asked again."""
_CONTESTS: Final = 20_000
"""Rankings that are remembered; of one that was forgotten all summaries are asked for."""


class Found(NamedTuple):
    """The last entry that is in; None: nobody is."""

    entry: Entry | None


class Unclear(NamedTuple):
    """The last entry that is in lies after `low` and not after `high`; these partitions have entries there that are not known."""

    low: Entry | None
    high: Entry
    partitions: set[int]


class _Table:
    """A partition's summary, ready to be asked how many entries there are up to one."""

    def __init__(self, summary: Summary) -> None:
        self.entries = [point.entry for point in summary.points]
        self.counts = [point.count for point in summary.points]
        self.own = [point.own for point in summary.points]
        self.total = summary.total

    def least(self, entry: Entry) -> int:
        """Return how many entries up to an entry there are at least."""
        place = bisect_right(self.entries, entry)
        return self.counts[place - 1] if place else 0

    def most(self, entry: Entry) -> int:
        """Return how many entries up to an entry there may be."""
        place = bisect_left(self.entries, entry)
        if place == len(self.entries):
            return self.total
        if self.entries[place] == entry:
            return self.counts[place]
        return self.counts[place] - self.own[place]

    def before(self, entry: Entry) -> int:
        """Return how many entries before an entry there may be."""
        place = bisect_left(self.entries, entry)
        return self.total if place == len(self.entries) else self.counts[place] - self.own[place]


def locate(tables: Mapping[int, _Table], candidates: list[Entry], place: int) -> Found | Unclear:
    """Find the entry at a place (from 1, none at 0) of all the partitions' entries together, or between which it lies.

    `candidates` are the known entries of all partitions, sorted.
    """
    if place == 0:
        return Found(None)
    high = candidates[bisect_left(candidates, place, key=lambda entry: sum([table.least(entry) for table in tables.values()]))]
    if sum([table.before(high) for table in tables.values()]) < place:
        return Found(high)
    above = bisect_left(candidates, place, key=lambda entry: sum([table.most(entry) for table in tables.values()]))
    low = candidates[above - 1] if above else None
    unknown = {number for number, table in tables.items() if table.before(high) > (0 if low is None else table.least(low))}
    return Unclear(low, high, unknown)


class _Contest:
    """One ranking of one tenant: the last summary of each partition, and what is being asked."""

    def __init__(self) -> None:
        self.summaries: dict[int, Summary] = {}
        self.asked_ms = -ANSWERED_IN_MS
        self.owing: set[int] = set()
        """Partitions that have not answered the last question."""

    def silent(self, partitions: int) -> list[int]:
        """Return the partitions that have said nothing yet under the last definitions that any has spoken under."""
        since = max([summary.since for summary in self.summaries.values()])
        return [number for number in range(partitions) if number not in self.summaries or self.summaries[number].since < since]

    def hear(self, summary: Summary) -> bool:
        """Take a summary; return whether it is newer than the one before."""
        known = self.summaries.get(summary.partition)
        if known is not None and (summary.epoch, summary.number) <= (known.epoch, known.number):
            return False
        self.summaries[summary.partition] = summary
        self.owing.discard(summary.partition)
        return True

    def settled_by(self, ruling: Ruling) -> bool:
        """Whether a ruling follows from all that has been heard."""
        return all(
            number < len(ruling.versions) and (summary.epoch, summary.version) <= ruling.versions[number]
            for number, summary in self.summaries.items()
        )


class Referee:
    """Finds the cuts of all rankings of all tenants."""

    def __init__(self, partitions: int) -> None:
        self._partitions = partitions
        self._contests: OrderedDict[tuple[str, str], _Contest] = OrderedDict()
        self._news: dict[tuple[str, str], int] = {}
        """Rankings of which something has come that no ruling knows, and since when; -1 until that is looked at."""

    def hear(self, message: Message) -> None:
        """Take a message: summaries to judge, and the rulings of others, which leave nothing to judge."""
        key = (message.tenant, message.ranking)
        if isinstance(message, Ruling) and key in self._news and self._contests[key].settled_by(message):
            del self._news[key]
        if isinstance(message, Summary) and 0 <= message.partition < self._partitions:
            contest = self._contests.setdefault(key, _Contest())
            self._contests.move_to_end(key)
            if contest.hear(message):
                self._news.setdefault(key, -1)
            if len(self._contests) > _CONTESTS:
                self._news.pop(self._contests.popitem(last=False)[0], None)

    def speak(self, now_ms: int, limit: int = 100, *, patience_ms: int = 0) -> list[Message]:
        """Return what there is to say of up to `limit` rankings whose news are `patience_ms` old."""
        said: list[Message] = []
        for key, since_ms in list(self._news.items()):
            if since_ms < 0:
                since_ms = self._news[key] = now_ms  # noqa: PLW2901 - the same instant, now that it is known
            if now_ms - since_ms < patience_ms:
                continue
            contest = self._contests[key]
            asked_lately = now_ms - contest.asked_ms < ANSWERED_IN_MS
            if asked_lately and (contest.owing or contest.silent(self._partitions)):
                continue
            del self._news[key]
            message = self._judge(*key, contest)
            if isinstance(message, Question):
                contest.asked_ms, contest.owing = now_ms, set(message.partitions)
            said.append(message)
            if len(said) == limit:
                break
        return said

    def _judge(self, tenant: str, ranking: str, contest: _Contest) -> Question | Ruling:
        if silent := contest.silent(self._partitions):
            return Question(tenant, ranking, silent, [])
        summaries = contest.summaries
        tables = {number: _Table(summary) for number, summary in summaries.items()}
        candidates = sorted({entry for table in tables.values() for entry in table.entries})
        total = sum([table.total for table in tables.values()])
        cuts: dict[str, Cut] = {}
        intervals: list[Interval] = []
        asked: set[int] = set()
        for size in sorted({size for summary in summaries.values() for size in summary.sizes}):
            found = locate(tables, candidates, places(size, total))
            if isinstance(found, Found):
                cuts[size] = cut_at(found.entry, descending=ranking.endswith("-"))
            else:
                intervals.append((None if found.low is None else sortable(found.low), sortable(found.high)))
                asked |= found.partitions
        if intervals:
            return Question(tenant, ranking, sorted(asked), intervals)
        versions = [(summaries[number].epoch, summaries[number].version) for number in range(self._partitions)]
        return Ruling(tenant, ranking, summaries[0].since, versions, cuts)
