"""The referee: from the summaries of all partitions to where each rank ends. Pure: messages in, messages out.

Every process has one, which listens. The one beside partition 0 speaks at once, the others only of what has not been ruled on for a
while: because partition 0 has no owner, say. Two that speak do no harm: a ruling is a function of the versions of the summaries that it
follows from, and a partition puts away rulings that follow from lesser versions than the last.

It speaks only when a summary has come. Whoever waits for a ruling repeats its summary, so whatever is lost is asked for again.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from services.segmenter.ranks.messages import Message, Question, Ruling, Summary
from services.segmenter.ranks.search import Known, search

ANSWERED_IN_MS: Final = 1_000
"""A question that was not answered by all for so long is asked again."""
_CONTESTS: Final = 20_000
"""Rankings that are remembered; of one that was forgotten all summaries are asked for."""


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
        tables = {number: Known(summary.points, summary.total) for number, summary in summaries.items()}
        sizes = {size for summary in summaries.values() for size in summary.sizes}
        found = search(tables, sizes, descending=ranking.endswith("-"))
        if found.intervals:
            return Question(tenant, ranking, sorted(found.partitions), found.intervals)
        versions = [(summaries[number].epoch, summaries[number].version) for number in range(self._partitions)]
        return Ruling(tenant, ranking, summaries[0].since, versions, found.cuts)
