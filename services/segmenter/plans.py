"""The plans of a process, one for each tenant, and the bounds of its partitions."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from schemas.catalog import Catalog, Segment
from schemas.dependencies import closure
from schemas.instants import Duration
from schemas.reading import Facts
from services.segmenter.engine.plan import Plan

KEPT_HISTORY: Final = Duration(25, 0)
"""How long a customer's events are kept unless the settings say otherwise."""


_ASKED_ABOUT: Final = 100
"""Segments whose own plans are remembered, for questions."""


@dataclass(frozen=True)
class Limits:
    """Bounds of one partition."""

    partitions: int
    live_customers: int = 20_000
    events_per_customer: int = 50_000
    history: Duration = KEPT_HISTORY


class Plans:
    """The compiled plan of each tenant, made anew when its segments change. Shared by all partitions of a process."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self._plans: dict[str, Plan] = {}
        self._facts: dict[str, Facts] = {}
        self._about: OrderedDict[tuple[str, str], Plan] = OrderedDict()

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

    def draft(self, segment: Segment) -> Plan:
        """Return the plan of a segment as it may be saved one day, and of those that it depends on."""
        known = self.catalog.segments.get(segment.tenant, {})
        return self._compiled(segment.tenant, closure(known, segment))

    def _compiled(self, tenant: str, segments: Iterable[Segment]) -> Plan:
        declared = {attribute.name: attribute.kind for attribute in self.catalog.attributes(tenant)}
        return Plan(self.catalog.tenants[tenant], segments, self.catalog.revisions[tenant], declared)

    def facts(self, tenant: str) -> Facts | None:
        """Return the reader of a tenant's events, None for a tenant that is not known."""
        reader = self._facts.get(tenant)
        if reader is None and (known := self.catalog.tenants.get(tenant)) is not None:
            reader = self._facts[tenant] = Facts(known.currency)
        return reader
