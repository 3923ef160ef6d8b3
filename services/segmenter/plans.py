"""The plans of a process, one for each tenant, and the bounds of its partitions."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Final

from schemas.catalog import Catalog, Segment
from schemas.dependencies import closure
from schemas.instants import Duration
from schemas.lifetimes import Lifetime
from schemas.reading import Facts
from schemas.rules import references
from services.segmenter.engine.calendar import calendar_of
from services.segmenter.engine.plan import CompiledSegment, Plan

KEPT_HISTORY: Final = Duration(25, 0)
"""How long a customer's events are kept unless the settings say otherwise."""


_ASKED_ABOUT: Final = 100
"""Segments whose own plans are remembered, for questions."""
_NEWS_REMEMBERED: Final = 24
"""Revisions since which the news are told apart, for each tenant: while definitions come in, customers are left at many."""


@dataclass(frozen=True)
class Limits:
    """Bounds of one partition."""

    partitions: int
    live_customers: int = 20_000
    live_facts: int = 1_000_000_000
    events_per_customer: int = 50_000
    column_bytes: int = 64 << 20
    column_customers: int = 200
    """Fewer of a tenant are looked at one by one as quickly."""


class News:
    """What is new since a revision.

    `settled`: the live segments that did not change; `live`: all of them. `moved`: those of whose members the `until` may be another.
    """

    def __init__(
        self, whole: Plan, changed: Iterable[CompiledSegment], moved: Iterable[CompiledSegment], compiled: Callable[[Iterable[Segment]], Plan] | None
    ) -> None:
        self.revision: int = whole.revision
        self.live = frozenset(whole.segments)
        self.settled = self.live.difference([segment.id for segment in changed])
        self.moved = frozenset([segment.id for segment in moved])
        self._changed = changed
        self._compiled = compiled
        self._plan: Plan | None = None
        self._made = False

    @property
    def plan(self) -> Plan | None:
        """The plan for a customer who is in none of the segments that changed, made when a sweep asks for it.

        It holds those, the ones that depend on them, and what all of these depend on; of such a customer no other can have changed by
        definitions. None where everything must be looked at, or a rank.
        """
        if not self._made:
            self._plan, self._made = self._make(), True
        return self._plan

    def _make(self) -> Plan | None:
        found = _with_followers(self._changed)
        if self._compiled is None or any(compiled.ranks for compiled in found):
            return None
        needed = {other.id: other.segment for compiled in found for other in compiled.closure}
        return self._compiled(needed.values())


class Plans:
    """The compiled plan of each tenant, made anew when its segments change. Shared by all partitions of a process."""

    def __init__(self, catalog: Catalog, history: Duration = KEPT_HISTORY) -> None:
        self.catalog = catalog
        self.history = history
        self._plans: dict[str, Plan] = {}
        self._facts: dict[str, Facts] = {}
        self._about: OrderedDict[tuple[str, str], Plan] = OrderedDict()
        self._news: dict[str, tuple[int, dict[int, News]]] = {}

    def of(self, tenant: str) -> Plan:
        """Return the plan in force of a known tenant."""
        plan = self._plans.get(tenant)
        revision = self.catalog.revisions[tenant]
        if plan is None or plan.revision != revision:
            plan = self._plans[tenant] = self._compiled(tenant, self.catalog.segments.get(tenant, {}).values())
        return plan

    def about(self, tenant: str, segment: Segment) -> Plan:
        """Return the plan of one live segment of a known tenant and of those that it depends on: less to look at for a question."""
        key, known = (tenant, segment.id), self._about.pop((tenant, segment.id), None)
        if known is None or known.revision != self.catalog.revisions[tenant]:
            known = self._compiled(tenant, closure(self.catalog.segments[tenant], segment))
        self._about[key] = known
        if len(self._about) > _ASKED_ABOUT:
            self._about.popitem(last=False)
        return known

    def news(self, tenant: str, since: int) -> News:
        """Return what is new since a revision of a known tenant, or since an earlier one where customers are left at many."""
        revision = self.catalog.revisions[tenant]
        asked_at, known = self._news.get(tenant, (-1, {}))
        if asked_at != revision:
            known = {}
            self._news[tenant] = revision, known
        if since not in known and len(known) >= _NEWS_REMEMBERED:
            since = max((earlier for earlier in known if earlier < since), default=0)
        news = known.get(since)
        if news is None:
            news = known[since] = self._new(tenant, since)
        return news

    def _new(self, tenant: str, since: int) -> News:
        whole = self.of(tenant)
        if self.catalog.declared.get(tenant, 0) > since:
            return News(whole, whole.in_order, whole.in_order, None)
        changed = [compiled for compiled in whole.segments.values() if compiled.segment.offset >= since]
        gone = {segment.id for segment in whole.archived.values() if segment.offset >= since}
        moved = [compiled for compiled in changed if compiled.version > 1]
        if gone or moved:
            # Who depended on a former version is not known any more: lower levels may have, and whoever names what is archived.
            moved += [c for c in whole.segments.values() if c.segment.tier is not None or not gone.isdisjoint(references(c.segment.rule))]
        # Whoever enters a new segment is told the `until` then.
        moved += [follower for compiled in changed for follower in compiled.followers]
        return News(whole, changed, _with_followers(moved), partial(self._compiled, tenant))

    def draft(self, segment: Segment, now_ms: int) -> Plan:
        """Return the plan of a segment as it might be saved now, and of those that it depends on."""
        known = self.catalog.segments.get(segment.tenant, {})
        return self._compiled(segment.tenant, closure(known, segment), now_ms)

    def history_from_ms(self, tenant: str, now_ms: int) -> int:
        """Return the instant that a known tenant's history goes back to, as of now."""
        return max(0, calendar_of(self.catalog.tenants[tenant].timezone).ago(now_ms, self.history))

    def _compiled(self, tenant: str, segments: Iterable[Segment], draft_ms: int | None = None) -> Plan:
        """Compile segments: all in force, or drafts as of an instant among them."""
        declared = {attribute.name: attribute.kind for attribute in self.catalog.attributes(tenant)}
        since_ms = self.catalog.lifetimes(tenant)

        def counts_from(asked: Lifetime) -> int:
            return self.history_from_ms(tenant, since_ms[asked] if draft_ms is None else since_ms.get(asked, draft_ms))

        return Plan(self.catalog.tenants[tenant], segments, self.catalog.revisions[tenant], declared, counts_from)

    def facts(self, tenant: str) -> Facts | None:
        """Return the reader of a tenant's events, None for a tenant that is not known."""
        reader = self._facts.get(tenant)
        if reader is None and (known := self.catalog.tenants.get(tenant)) is not None:
            reader = self._facts[tenant] = Facts(known.currency)
        return reader


def _with_followers(segments: Iterable[CompiledSegment]) -> list[CompiledSegment]:
    """Return segments and all that depend on them."""
    found = dict.fromkeys(segments)
    ahead = list(found)
    while ahead:
        for follower in ahead.pop().followers:
            if follower not in found:
                found[follower] = None
                ahead.append(follower)
    return list(found)
