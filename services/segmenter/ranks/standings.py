"""The standings of one partition: its customers' scores in order, the cuts in force, and who must be decided anew. Pure.

Each customer with a score has an entry in each of the tenant's rankings. The entries change as the scores do; who is in a rank changes
only when a ruling says where it ends, for one customer's score alone says nothing about the others. So nobody leaves and comes back
while partitions make up their minds.

Invariant: a customer's ranks (`Row.ranks`) are those that the cuts in force say, unless the score has changed since the version that
the last ruling knows of, or the customer is *due*.
"""

from __future__ import annotations

import itertools
from typing import Any

from schemas.partitions import split_key
from schemas.standings import Cut
from services.segmenter.engine.plan import Plan
from services.segmenter.engine.rankings import kept_score, rank_name
from services.segmenter.engine.row import Row
from services.segmenter.lists import Lists
from services.segmenter.ranks.messages import Message, Question, Ruling, Summary, entry_in
from services.segmenter.ranks.table import Table, within

Cuts = dict[str, dict[str, Cut]]
"""The cuts in force: tenant → rank → cut."""


class Standings:
    """All rankings of all tenants in one partition."""

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.lists = Lists(partition)
        self.epoch = 0
        self.cuts: Cuts = {}
        self._moved: dict[str, None] = {}
        """Tenants whose cuts are others than those that were written."""
        self.waiting: dict[bytes, None] = {}
        """Customers with segments that wait for a cut, or for a list."""
        self._plans: dict[str, Plan] = {}
        self._tables: dict[str, dict[str, Table]] = {}
        self._unsettled: dict[str, frozenset[str]] = {}
        self._due: dict[bytes, None] = {}
        self._numbers = itertools.count(1)
        self._talkers: dict[tuple[str, str], Table] = {}
        """Those that have something to say, or are waiting for an answer."""

    def knows(self, tenant: str) -> bool:
        """Whether the tenant has rankings, or cuts of former ones."""
        return tenant in self._tables or bool(self.cuts.get(tenant))

    # ---- customers

    def under(self, plan: Plan) -> None:
        """Keep exactly the rankings of a tenant's plan from now on; one that came before the plan in force changes nothing."""
        tenant = plan.tenant.id
        known = self._plans.get(tenant)
        if known is not None and plan.revision <= known.revision:
            return
        self._plans[tenant] = plan
        before = self._tables.get(tenant, {})
        cuts = self.cuts.get(tenant, {})
        tables: dict[str, Table] = {}
        for name, ranking in plan.rankings.items():
            table = before.get(name)
            if table is None:
                table = Table(tenant, ranking, cuts)
            elif table.ranking.since != ranking.since or table.ranking.bits.keys() != ranking.bits.keys():
                table.changed = True
            if table.changed:
                self._talkers[tenant, name] = table
            table.ranking = ranking
            table.cuts = {size: last for size, last in table.cuts.items() if size in ranking.bits}
            tables[name] = table
        if tables:
            self._tables[tenant] = tables
        else:
            self._tables.pop(tenant, None)
        kept = {name: cut for name, cut in cuts.items() if name in plan.rank_bits}
        if kept != cuts:
            self._force(tenant, kept)
        self._settle(tenant)

    def _force(self, tenant: str, cuts: dict[str, Cut]) -> None:
        self.cuts[tenant] = cuts
        self._moved[tenant] = None

    def take_cuts(self) -> list[tuple[str, dict[str, Cut]]]:
        """Return the cuts of each tenant for whom they have changed since this was last asked."""
        moved, self._moved = self._moved, {}
        return [(tenant, self.cuts[tenant]) for tenant in moved]

    def _settle(self, tenant: str) -> None:
        cuts = self.cuts.get(tenant, {})
        segments = self._plans[tenant].segments.values()
        self._unsettled[tenant] = frozenset([compiled.id for compiled in segments if not compiled.ranks <= cuts.keys()])

    def unsettled(self, plan: Plan) -> frozenset[str]:
        """Return the segments that cannot be decided under their last version yet.

        A rank that they depend on has no cut, or the new entries of their lists are still to come.
        """
        tenant = plan.tenant.id
        self.under(plan)
        self.lists.under(tenant, plan.revision, (compiled.segment for compiled in plan.segments.values()))
        listed = self.lists.of(tenant)
        return self._unsettled[tenant] | listed if listed else self._unsettled[tenant]

    def restored(self, plan: Plan, key: bytes, row: Row) -> None:
        """Take in a customer as the row says; `loaded` follows after the last."""
        if not self.unsettled(plan).issuperset(row.waiting):
            self._due[key] = None
        self.waits(key, row)
        for table in self._tables.get(plan.tenant.id, {}).values():
            score = row.scores.get(table.ranking.score)
            entry = None if score is None else table.entry(score, key)
            if entry is not None:
                table.loading.append(entry)
            # Told or due when the last owner ended: to be looked at with the next ruling.
            if any(within(entry, last) is not (name in row.ranks) for name, last in table.last_by_rank):
                table.fresh[key] = None

    def loaded(self) -> None:
        """End the restoring: entries are put in order all at once."""
        for tables in self._tables.values():
            for table in tables.values():
                table.entries.update(table.loading)
                table.loading.clear()

    def rescored(self, plan: Plan, key: bytes, row: Row, scores: list[Any], *, adopted: bool = False) -> bool:
        """Take note of a customer's scores, in the plan's order; return whether the row has changed.

        When a plan is `adopted`, a ranking may be new that orders by a score which the row has already.
        """
        self.under(plan)
        if plan.revision < self._plans[plan.tenant.id].revision:
            return False  # of a customer who will be decided under the plan in force, and brings the score then
        tables = self._tables.get(plan.tenant.id)
        before, after = row.scores, {}
        for table in tables.values() if tables else ():
            score, place = table.ranking.score, table.ranking.place
            if scores[place] is not None:
                after[score] = kept_score(scores[place])
        if after == before and not adopted:
            return False
        for table in tables.values() if tables else ():
            was, now = before.get(table.ranking.score), after.get(table.ranking.score)
            if was != now or (adopted and now is not None and table.entry(now, key) not in table.entries):
                table.move(key, was, now)
                self._talkers[plan.tenant.id, table.ranking.name] = table
        row.scores = after
        return after != before

    def waits(self, key: bytes, row: Row) -> None:
        """Take note of whether segments of a customer wait for a cut, or for a list."""
        if row.waiting:
            self.waiting[key] = None
        else:
            self.waiting.pop(key, None)

    def release(self, tenant: str) -> None:
        """Have those looked at who wait, for something is there at last."""
        self._due.update(dict.fromkeys([key for key in self.waiting if split_key(key)[0] == tenant]))

    def forget(self, key: bytes, row: Row) -> None:
        """Take a customer out, who is no more."""
        self.waiting.pop(key, None)
        self._due.pop(key, None)
        for table in self._tables.get(split_key(key)[0], {}).values():
            table.move(key, row.scores.get(table.ranking.score), None)
            del table.fresh[key]
            self._talkers[table.tenant, table.ranking.name] = table

    def ranks(self, key: bytes, row: Row) -> list[str]:
        """Return the names of the ranks that hold of a customer: by the cuts in force, but where a score is too new for them."""
        found: list[str] = []
        for table in self._tables.get(split_key(key)[0], {}).values():
            score = row.scores.get(table.ranking.score)
            if key in table.fresh or key in table.told:
                found += [name for name, _ in table.last_by_rank if name in row.ranks]
            elif score is not None:
                entry = table.entry(score, key)
                found += [name for name, last in table.last_by_rank if within(entry, last)]
        return sorted(found)

    @property
    def due(self) -> int:
        """How many customers must be looked at, for a cut has passed over them, or is there at last."""
        return len(self._due)

    def take_due(self, limit: int) -> list[bytes]:
        """Return up to so many of them, each once."""
        taken = list(itertools.islice(self._due, limit))
        for key in taken:
            del self._due[key]
        return taken

    # ---- other partitions

    def hear(self, message: Message) -> bool:
        """Take a message; return whether cuts have changed, so that they must be written."""
        table = self._tables.get(message.tenant, {}).get(message.ranking)
        if table is None or isinstance(message, Summary):
            return False
        if isinstance(message, Question):
            if self.partition in message.partitions:
                self._asked(table)
                # The last question is the one that is still open.
                table.intervals = [(None if low is None else entry_in(low), entry_in(high)) for low, high in message.intervals]
            return False
        return self._ruled(table, message)

    def _asked(self, table: Table) -> None:
        table.asked = True
        self._talkers[table.tenant, table.ranking.name] = table

    def _ruled(self, table: Table, ruling: Ruling) -> bool:
        if ruling.since != table.ranking.since or self.partition >= len(ruling.versions):
            return False
        epoch, version = ruling.versions[self.partition]
        if (epoch, version) < (self.epoch, table.ruled):
            # The referee believes a former owner, or what this one said long ago.
            self._asked(table)
        if epoch != self.epoch or any(now < before for now, before in zip(ruling.versions, table.versions, strict=False)):
            return False
        due, first = table.rule(ruling, version)
        self._due.update(dict.fromkeys(due))
        name = table.ranking.name
        known = self.cuts.get(table.tenant, {})
        after = known | {rank_name(name, size): cut for size, cut in ruling.cuts.items() if size in table.ranking.bits}
        if after != known:
            self._force(table.tenant, after)
        if first:
            self._settle(table.tenant)
            self.release(table.tenant)
        return after != known

    def speak(self, now_ms: int, measured: int, limit: int) -> list[Summary]:
        """Return up to so many summaries that are to be published now; `measured` is the definition that all are decided under."""
        said: list[Summary] = []
        for place, table in list(self._talkers.items()):
            if self._tables.get(table.tenant, {}).get(table.ranking.name) is not table or table.answered:
                del self._talkers[place]
            elif measured > table.ranking.since and table.wants_to_speak(now_ms):
                said.append(self._summary(table, now_ms))
                if len(said) == limit:
                    break
        return said

    def _summary(self, table: Table, now_ms: int) -> Summary:
        if table.changed:
            table.publish(next(self._numbers))
        table.said(now_ms)
        ranking, number = table.ranking, next(self._numbers)
        sizes, total = sorted(ranking.bits), len(table.entries)
        return Summary(table.tenant, ranking.name, self.partition, self.epoch, table.version, number, ranking.since, total, sizes, table.points())
