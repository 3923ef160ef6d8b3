# ruff: noqa: SLF001 - a part of the partition in a file of its own: it looks at customers as the rest does
"""Applying: what becomes of each record, and the instant at which the facts of a step are decided.

The facts of a step are decided as of the instant at which it began, or of a later one where a fact lies beyond it: so that those of one
customer are decided together, and nobody is in and out at an instant.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from schemas.decoding import decode_event
from schemas.errors import Refusal, shown
from schemas.facts import MERGE, VOID, Fact
from schemas.instants import DAY_MS
from schemas.manual import ManualEntry, decode_manual
from schemas.partitions import partition_of, record_key
from schemas.reading import check_admission
from schemas.transitions import Cause, Transition
from services.segmenter.engine.decisions import DEFINITION, Customer
from services.segmenter.engine.live import Live
from services.segmenter.engine.plan import Plan
from services.segmenter.engine.row import listed
from services.segmenter.relations import refused
from services.segmenter.slots import Slot
from services.segmenter.steps import Record

if TYPE_CHECKING:
    from services.segmenter.partition import Partition

_SHORTEST_MONTH_MS: Final = 27 * DAY_MS
"""Less than any month, also where clocks are set forward: an event younger than the history's months of these spares the calendar."""


class Applying:
    """The records of one partition's step. `instant_ms`: the instant at which its facts are decided, 0 before there is any.

    `pending`: the customers with facts that were applied and not decided yet.
    """

    def __init__(self, partition: Partition) -> None:
        self._partition = partition
        self.pending: dict[bytes, Slot] = {}
        self._settled_ms = -1
        self.instant_ms = 0

    # ---- the instant of a step

    def moved_to(self, now_ms: int) -> None:
        """Decide from now on as of an instant that others may see: no fact of this step is decided at an earlier one."""
        self.instant_ms = max(self.instant_ms, now_ms, self._settled_ms + 1)

    def settle(self, now_ms: int) -> None:
        """Decide what is pending, unless its instant has not come yet; what is applied then has a later one."""
        if self.pending and self.instant_ms <= now_ms:
            self._settle()
            self._settled_ms, self.instant_ms = self.instant_ms, 0

    def end(self) -> None:
        """Decide whatever is pending: the step ends."""
        self._settle()
        self.instant_ms, self._settled_ms = 0, -1

    def _settle(self) -> None:
        pending, self.pending = self.pending, {}
        for key, slot in pending.items():
            customer: Customer = slot.customer
            if customer.pending is not None:
                out: list[Transition] = []
                customer.settle(out)
                self._partition._customers.close(key, slot, customer, out, customer.pending_ms)
                self._partition._customers.until_moved(key, customer)

    # ---- records

    def apply(self, topic: str, records: Sequence[Record], now_ms: int) -> None:
        """Apply records of a topic at an instant, and count what became of them."""
        partition = self._partition
        progress, gathering, topics = partition._progress, partition._gathering, partition._topics
        self.instant_ms = self.instant_ms or max(now_ms, self._settled_ms + 1)
        progress.clock_ms = max(progress.clock_ms, now_ms, self.instant_ms)
        manual, moved = topic == topics.manual_entries, topic == topics.moves
        outcomes = progress.outcomes.setdefault(topic, {})
        for record in records:
            try:
                if moved:
                    outcome = partition._relations.take(record, now_ms)
                else:
                    outcome = self._manual(topic, record, now_ms) if manual else self._event(topic, record, now_ms)
            except Refusal as refusal:
                outcome = "dead_lettered/" + refusal.reason
                gathering.dead_letter(topic, partition.number, record, refusal)
            outcomes[outcome] = outcomes.get(outcome, 0) + 1
        gathering.moved = True

    def _event(self, topic: str, record: Record, now_ms: int) -> str:
        partition = self._partition
        event = decode_event(record.value or b"")
        tenant: str | None = event.tenant
        if tenant is None:
            raise Refusal("tenant is missing", pointer="/tenant", reason="missing_field")
        reader = partition.plans.facts(tenant)
        if reader is None:
            raise Refusal(f"no tenant {shown(tenant)}", pointer="/tenant", reason="unknown_tenant")
        customer_id: str | None = event.customer_id
        if customer_id is None:
            check_admission(event, reader.of(event).at_ms, now_ms)
            return "anonymous"
        key = record_key(tenant, customer_id)
        slot = partition._customers.slots.get(key)
        if slot is None and (home := partition_of(key, partition._limits.partitions)) != partition.number:
            partition._gathering.send_on(topic, home, key, record)
            return "forwarded"
        fact = reader.of(event, max(now_ms, partition._relations.after_ms))
        check_admission(event, fact.at_ms, now_ms)
        return self.fact(topic, record, key, tenant, customer_id, fact, now_ms)

    def fact(self, topic: str, record: Record, key: bytes, tenant: str, customer_id: str, fact: Fact, now_ms: int, sent: int = -1) -> str:
        """Take a fact in for an id at home here; return its outcome, or raise `Refusal`.

        `sent`: after which decision, if it was told about an id that was merged into this.
        """
        partition = self._partition
        if fact.at_ms > self.instant_ms:
            self.instant_ms = max(self.instant_ms, now_ms)
        instant_ms = self.instant_ms
        slot = partition._customers.slots.get(key)
        first = slot is None
        if slot is None:
            elsewhere = partition._relations.met(topic, record, tenant, customer_id, fact, sent)
            if elsewhere is not None:
                return elsewhere
            plan = partition.plans.of(tenant)
            self._admit(None, plan, fact, now_ms)
            slot, customer = partition._customers.create(key, plan, tenant, customer_id, instant_ms)
            customer.fresh = True
        else:
            customer = self._at(key, slot, tenant, customer_id, instant_ms)
            if customer.row.erasure is not None and refused(customer.row.erasure, fact, sent):
                return "erased"
            if fact.event_id in customer.live.ids:
                return self._seen(key, slot, fact)
            if fact.type >= MERGE:
                return partition._relations.propose(topic, record, tenant, customer_id, fact)
            self._admit(slot, customer.live.plan, fact, now_ms)
        partition._gathering.keep(key, slot, fact)
        if fact.type == VOID and not first:
            self._correct(key, slot, fact, instant_ms)
        else:
            customer.add(fact, instant_ms)
            self.pending[key] = slot
        return "applied"

    def _correct(self, key: bytes, slot: Slot, fact: Fact, now_ms: int) -> None:
        """Decide a customer by the history with the void in it."""
        partition = self._partition
        customer: Customer = slot.customer
        out: list[Transition] = []
        customer.settle(out)
        live = Live(customer.live.plan, partition._gathering.history(key, slot), now_ms)
        customer.correct(live, now_ms, Cause("correction", fact.event_id, fact.imported), out)
        partition._gathering.write_row(key, slot)
        partition._customers.close(key, slot, customer, out, now_ms)
        partition._customers.until_moved(key, customer)

    def _at(self, key: bytes, slot: Slot, tenant: str, customer_id: str, now_ms: int) -> Customer:
        """Return a customer brought to an instant, with what is pending of that instant left pending."""
        partition = self._partition
        customer: Customer | None = slot.customer
        if customer is not None and customer.stands_at(now_ms) and customer.live.plan is partition.plans.of(tenant):
            return customer
        customer, out = partition._customers.open(key, slot, tenant, customer_id, now_ms)
        partition._customers.close(key, slot, customer, out, now_ms)
        return customer

    def _admit(self, slot: Slot | None, plan: Plan, fact: Fact, now_ms: int) -> None:
        limits, history = self._partition._limits, self._partition.plans.history
        if fact.at_ms < now_ms - history.months * _SHORTEST_MONTH_MS and plan.calendar.plus(fact.at_ms, history) <= now_ms:
            raise Refusal(f"older than the kept history of {history}", pointer="/occurred_at", reason="too_late")
        if slot is not None and slot.events >= limits.events_per_customer:
            raise Refusal(f"the customer has {slot.events} kept events, the most there may be", pointer="/customer_id", reason="customer_limit")

    def _seen(self, key: bytes, slot: Slot, fact: Fact) -> str:
        first = next(known for known in self._partition._gathering.facts(key, slot) if known.event_id == fact.event_id)
        if first.same_as(fact):
            return "duplicate"
        raise Refusal("another event of this customer has this event_id and says something else", pointer="/event_id", reason="conflict")

    def _manual(self, topic: str, record: Record, now_ms: int) -> str:
        partition = self._partition
        standings = partition._standings
        entry = decode_manual(record.value or b"")
        key = record_key(entry.tenant, entry.customer_id)
        home = partition_of(key, partition._limits.partitions)
        if home != partition.number:
            partition._gathering.send_on(topic, home, key, record)
            return "forwarded"
        if entry.tenant not in partition.plans.catalog.tenants:
            raise Refusal(f"no tenant {shown(entry.tenant)}", pointer="/tenant", reason="unknown_tenant")
        outcome = partition._relations.entry_met(topic, record, entry, now_ms) or self.entry(key, entry, now_ms)
        if entry.announced:
            standings.unsettled(partition.plans.of(entry.tenant))
            if standings.lists.count(entry):
                partition._sweeping.release([entry.tenant])
            if standings.lists.complete(entry):
                partition._relations.listed(entry)
        return outcome

    def entry(self, key: bytes, entry: ManualEntry, now_ms: int) -> str:
        """Take in a manual entry of a customer who lives here; return its outcome, or raise `Refusal`."""
        partition = self._partition
        partition._moved_to(now_ms)
        plan = partition.plans.of(entry.tenant)
        compiled = plan.segments.get(entry.segment_id)
        if compiled is None:
            raise Refusal(f"no segment {shown(entry.segment_id)}", pointer="/segment_id", reason="unknown_segment")
        cause = Cause("manual", entry.event_id)
        slot = partition._customers.slots.get(key)
        if slot is None and not entry.present:
            return "duplicate"  # who is taken off a list without ever having been on one is not known for that
        if slot is None:
            slot, customer = partition._customers.create(key, plan, entry.tenant, entry.customer_id, now_ms)
            out: list[Transition] = []
            listed(customer.row, entry)
            # Known from now on, and by nothing but this entry: what else holds of someone without facts holds by definition.
            customer.decide_all(now_ms, now_ms, DEFINITION, out, {compiled.id: cause})
            outcome = "applied"
        else:
            customer, out = partition._customers.open(key, slot, entry.tenant, entry.customer_id, now_ms)
            outcome = "applied" if listed(customer.row, entry) else "duplicate"
            slot.touch()
            if outcome == "applied":
                customer.decide([compiled], now_ms, now_ms, cause, out)
        if outcome == "applied":
            partition._gathering.write_row(key, slot)
            partition._customers.stale[key] = None
        partition._customers.close(key, slot, customer, out, now_ms)
        return outcome
