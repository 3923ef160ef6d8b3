"""The service's core and the judge, told the same things; what either says can be held against the other.

Of the service nothing is asked that it does not put out or project. What the fold of the definitions accepts and what becomes of a document
is foreseen by the plainest models of them. What was done is at rest before anything is compared: who was merged has arrived, and ranks are
agreed on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from schemas.definitions import SegmentArchived, SegmentPaused, SegmentRestored, SegmentResumed
from services.segmenter.engine.live import Live
from services.segmenter.engine.tree import verdict
from services.segmenter.engine.verdict import Verdict
from tests.oracle import clock, model
from tests.oracle.answers import everyone
from tests.oracle.boundaries import under
from tests.oracle.stays import Stays
from tests.support.fleet import Fleet
from tests.support.foreseen import cause_of, outcome_of
from tests.support.graph import graph_of, sound
from tests.support.simulation import Simulation

Json = dict[str, Any]
LISTS = ("include", "exclude")
HORIZON_DAYS = 400
"""No until lies further ahead."""


class Both:
    """A tenant's life, lived twice."""

    def __init__(self, tenant: Json, declared: Mapping[str, str], at: int, live_customers: int = 20_000) -> None:
        self.tenant = tenant
        self._fleet = Fleet(tenant, at, 1, live_customers=live_customers)
        self.simulation = self._fleet.parts[0]
        for name, kind in declared.items():
            self.simulation.declare(name, kind)
        self.history = model.History(tenant, declared)
        self.judge = Stays(self.history, at)
        self.live: dict[str, Json] = {}
        """The segments in force, with the number of their version and the lists as they are by now."""
        self.archived: dict[str, Json] = {}
        self.ranked = False
        """Whether some segment has ever asked for a rank."""
        self._compared = 0
        """How many transitions have been compared for good."""

    @property
    def now(self) -> int:
        """The instant at which both are."""
        return self.simulation.now_ms

    @property
    def accepted(self) -> list[Json]:
        """The documents that count by now."""
        return [document for documents in self.history.documents.values() for document in documents]

    def rest(self, *, dies: bool = False) -> None:
        """Let the service do what one thing led to: who is merged or erased first, then who is in a rank."""
        self.simulation.move(dies=dies)
        if self.ranked:
            self._fleet.rest()

    def restart(self) -> None:
        """The partition changes hands."""
        self.simulation.restart()
        self.rest()

    def finish(self) -> None:
        """Have everybody decided under the definitions in force."""
        self.simulation.sweep()
        self.rest()

    # ---- definitions

    def put(self, segment: Json, *, sweep: bool = True) -> bool:
        """Save a segment, new or the next version of another, and return whether it was accepted."""
        former = self.live.get(segment["id"])
        kept = {} if former is None else {name: former[name] for name in LISTS if name in former and name not in segment}
        version = 1 if former is None else former["version"] + 1
        outcome = self.simulation.put(segment, replaces=version - 1)
        assert outcome.accepted is self.fits(segment), outcome
        if not outcome.accepted:
            return False
        # The lists of a new segment come one by one; those that replace others are waited for.
        lists = {name: segment[name] for name in LISTS if name in segment}
        first = former is None
        self.ranked = self.ranked or any(True for _ in under(segment.get("rule"), "rank"))
        self.live[segment["id"]] = segment | kept | {name: [] if first else listed for name, listed in lists.items()} | {"version": version}
        self._defined(None if first else segment, sweep=sweep)
        for name, listed in lists.items() if first else ():
            for customer in listed:
                self.by_hand(segment["id"], name, customer, present=True)
        return True

    def fits(self, segment: Json) -> bool:
        """Whether a segment can stand beside the others."""
        return sound(graph_of({**self.live, segment["id"]: segment}, self.archived))

    def archive(self, segment_id: str) -> bool:
        """Archive a segment, and return whether that was accepted."""
        segment = self.live[segment_id]
        record = SegmentArchived(tenant=self.simulation.tenant, at_ms=self.now, segment_id=segment_id, replaces=segment["version"])
        outcome = self.simulation.attempt(record)
        live = {name: other for name, other in self.live.items() if name != segment_id}
        assert outcome.accepted is sound(graph_of(live, self.archived | {segment_id: segment})), outcome
        if outcome.accepted:
            self.archived[segment_id] = self.live.pop(segment_id)
            self._defined()
        return outcome.accepted

    def restore(self, segment_id: str) -> bool:
        """Bring an archived segment back with empty lists, and return whether that was accepted."""
        segment = self.archived[segment_id]
        record = SegmentRestored(tenant=self.simulation.tenant, at_ms=self.now, segment_id=segment_id, replaces=segment["version"] + 1)
        outcome = self.simulation.attempt(record)
        archived = {name: other for name, other in self.archived.items() if name != segment_id}
        assert outcome.accepted is sound(graph_of({**self.live, segment_id: segment}, archived)), outcome
        if outcome.accepted:
            self.archived.pop(segment_id)
            self.live[segment_id] = {name: value for name, value in segment.items() if name not in LISTS} | {"version": segment["version"] + 2}
            self._defined()
        return outcome.accepted

    def pause(self, segment_id: str, *, paused: bool) -> None:
        """Hold a segment's webhooks back, or no longer: who is in is not touched."""
        record = SegmentPaused if paused else SegmentResumed
        self.simulation.define(record(tenant=self.simulation.tenant, at_ms=self.now, segment_id=segment_id, version=self.live[segment_id]["version"]))
        self.simulation.sweep()

    def by_hand(self, segment_id: str, name: Any, customer: str, *, present: bool) -> None:
        """Put a customer on a list, or take him off."""
        self.simulation.by_hand(segment_id, name, [customer], present=present)
        self.rest()
        segment = self.live[segment_id]
        listed = [other for other in segment.get(name) or () if self.history.survivor(other) != self.history.survivor(customer)]
        self.live[segment_id] = segment | {name: [*listed, customer] if present else listed}
        if present:
            self.history.name(segment_id, [customer])
        self.judge.define(list(self.live.values()), self.now)

    def _unlist(self, erased: set[str]) -> None:
        """Take whoever was erased off all lists, under every id."""
        for segment_id, segment in self.live.items():
            lists = {name: [other for other in segment[name] if other not in erased] for name in LISTS if name in segment}
            self.live[segment_id] = segment | lists
        self.judge.define(list(self.live.values()), self.now)

    def _defined(self, replaced: Json | None = None, *, sweep: bool = True) -> None:
        """Have everybody decided, each once: what the service puts out is the difference, and for nothing but the definition."""
        started = len(self.simulation.transitions)
        before = self._members()
        if replaced is not None:
            for name in LISTS:
                self.history.name(replaced["id"], replaced.get(name) or ())
        self.judge.define(list(self.live.values()), self.now)
        if sweep:
            self.simulation.sweep()
        if replaced is not None:
            self.simulation.fill(replaced)
        self.rest()
        if sweep:
            told = self.simulation.transitions[started:]
            said = [(t["segment_id"], t["customer_id"], t["change"]) for t in told if t["cause"]["kind"] == "definition"]
            after = self._members()
            changed = [(*one, "entered") for one in after - before] + [(*one, "exited") for one in before - after]
            # Whoever is known by a list has a place in the ranks, and so others may lose theirs.
            if not self.ranked or not any((replaced or {}).get(name) for name in LISTS):
                assert sorted(said) == sorted(changed)
                assert len(said) == len(told)

    def _members(self) -> set[tuple[str, str]]:
        return {(segment_id, customer) for customer, memberships in self.simulation.memberships().items() for segment_id in memberships}

    # ---- facts and time

    def post(self, document: Json, *, dies: bool = False) -> str:
        """Post a document; the service says of it what those before it say, and does it even if it dies in between. Returns the outcome."""
        outcome = outcome_of(document, self.history, self.now)
        before, told = Counter(self.simulation.outcomes()), len(self.simulation.transitions)
        known = self.history.survivor(document["customer_id"]) in self.simulation.memberships()
        self.simulation.post(document)
        self.simulation.move(dies=dies)
        said = Counter(self.simulation.outcomes()) - before
        for carried in ("forwarded", "moved"):
            said.pop(carried, None)
        assert said == Counter([outcome]), f"{said} and not {outcome}: {document}"
        if outcome == "applied":
            erased = self.history.ids_of(document["customer_id"]) if document["type"] == "customer-erase" else set()
            assert self.judge.accept(document, self.now)
            if erased:
                self._unlist(erased)
        causes = [t["cause"] for t in self.simulation.transitions[told:] if t["cause"]["kind"] not in ("clock", "definition")]
        assert all(cause == cause_of(document, known=known) for cause in causes), causes
        self.rest()
        return outcome

    def pass_to(self, at: int) -> None:
        """Let time pass, for both; what an instant does to the ranks is done before the next."""
        while self.ranked and (due := self.simulation.partition.next_deadline_ms()) <= at:
            self.simulation.pass_to(due)
            self.rest()
        self.simulation.pass_to(at)
        self.judge.pass_to(at)

    def oversleep_to(self, at: int) -> None:
        """Let time pass with nobody looking, for the service: in the end it is where it would be, though of ranks it has missed some."""
        self.simulation.oversleep_to(at)
        self.rest()
        self.judge.pass_to(at)
        if self.ranked:
            self.agree_on_members()
            self._compared = len(self.simulation.transitions)
            self.judge.changes.clear()

    def boundaries(self, days: int) -> list[int]:
        """List the instants at which time alone might change an answer, and those a millisecond beside them."""
        segments, end = list(self.live.values()), self.now + days * clock.DAY
        found = {at for who in self.history.known for at in model.boundaries(None, self.history, who, self.now, end, segments)}
        return sorted({at + beside for at in found for beside in (-1, 0, 1) if at + beside > self.now})

    # ---- what must be so after every step

    def agree_on_members(self) -> None:
        """Who is in is who the judge says is in; nobody is known whom the judge does not know."""
        memberships, at = self.simulation.memberships(), clock.moment(self.now).isoformat()
        for segment_id, segment in self.live.items():
            found = {customer for customer, mine in memberships.items() if segment_id in mine}
            assert found == self.judge.members[segment_id], (
                f"at {at} {segment}: engine {sorted(found)}, judge {sorted(self.judge.members[segment_id])}"
            )
        assert {segment_id for mine in memberships.values() for segment_id in mine} <= self.live.keys()
        assert memberships.keys() == everyone(self.judge._world())
        for name, into in self.simulation.merged().items():
            assert self.history.survivor(name) == self.history.survivor(into)

    def agree_on_transitions(self) -> None:
        """What was put out is what the judge decided, at the same instants."""
        said = ((t["at"], t["segment_id"], t["customer_id"], t["change"]) for t in self.simulation.transitions[self._compared :])
        found, expected = netted(said), netted((iso(change.at), *change[1:]) for change in self.judge.changes)
        assert found == expected, f"engine alone {sorted(found.items() - expected.items())}, judge alone {sorted(expected.items() - found.items())}"

    def agree_on_until(self, days: int = HORIZON_DAYS) -> None:
        """Whoever takes the partition over has the same members, and each until is the judge's, as far as is looked."""
        self._agree_on_until(days)
        # What the one at work shows once it came to it, and what its successor need not look at again, is as right.
        self.simulation.refresh()
        self._agree_on_until(days)

    def _agree_on_until(self, days: int) -> None:
        twin, limit = self.simulation.twin(), self.now + days * clock.DAY
        while twin.stale:
            twin.refresh(self.now, 100)
        twin.take()
        memberships = self.simulation.memberships(twin)
        for customer, mine in self.simulation.memberships().items():
            assert {name: since for name, (since, _) in mine.items()} == {name: since for name, (since, _) in memberships[customer].items()}
            found = {name: until if until is not None and until <= limit else None for name, (_, until) in memberships[customer].items()}
            expected = self.judge.outlook(mine, customer, days)
            assert all(until is None or until <= self.now + HORIZON_DAYS * clock.DAY for _, until in memberships[customer].values())
            assert found == expected, f"at {self.now} {customer}: engine {found}, judge {expected}"

    def transitions_knew_until(self, since: int, days: int) -> None:
        """The last word on each membership since a number of transitions said until when it stands. Nothing else has happened after it.

        What is put out before ranks are agreed on is of before, and whoever is no more will not come back.
        """
        if self.ranked:
            return
        present = self.simulation.memberships().keys()
        limit = iso(self.now + days * clock.DAY)
        for transition in {(t["customer_id"], t["segment_id"]): t for t in self.simulation.transitions[since:]}.values():
            customer = transition["customer_id"]
            until = self.judge.until(transition["segment_id"], customer, days) if customer in present else None
            found = transition.get("until")
            assert (found if found and found <= limit else None) == (None if until is None else iso(until)), transition

    def agree_with_the_plain_evaluator(self) -> None:
        """Every bit that is kept for a customer is what evaluating the rule over the whole history says."""
        partition = self.simulation.partition
        plan = partition.plans.of(self.simulation.tenant)
        for key in partition.keys():  # noqa: SIM118 - no mapping
            person = partition.person(key)
            if person is None or person.live is None or person.live.plan is not plan:
                continue
            fresh = Live(plan, person.read, self.now)
            fresh.stand(person.live.standing)
            members = {segment_id: Verdict(segment_id in person.row.members, self.now) for segment_id in plan.segments}
            for compiled in plan.segments.values():
                assert compiled.holds(person.live.truth) is verdict(compiled.tree, fresh, self.now, members).holds, (key, compiled.id)

    def records_add_up(self) -> None:
        """Every record has one outcome."""
        for topic, offset in self.simulation.partition.offsets.items():
            assert sum(self.simulation.partition.outcomes[topic].values()) == offset


def sequences_are_whole(simulation: Simulation) -> None:
    """For each customer `seq` has no gap and `at` never falls; each segment's transitions alternate, beginning with an entry."""
    for customer in {transition["customer_id"] for transition in simulation.transitions}:
        mine = [transition for transition in simulation.transitions if transition["customer_id"] == customer]
        assert [transition["seq"] for transition in mine] == list(range(1, len(mine) + 1))
        assert [transition["at"] for transition in mine] == sorted(transition["at"] for transition in mine)
        for segment in {transition["segment_id"] for transition in mine}:
            changes = [transition["change"] for transition in mine if transition["segment_id"] == segment]
            assert changes == ["entered", "exited"] * (len(changes) // 2) + ["entered"] * (len(changes) % 2)


def netted(changes: Iterable[tuple[str, str, str, str]]) -> dict[tuple[str, str, str], str]:
    """Return what changed at each instant (instant, segment, customer): facts and list entries may come and go at one."""
    found: dict[tuple[str, str, str], str] = {}
    for at, segment_id, customer, change in changes:
        if found.pop((at, segment_id, customer), None) is None:
            found[at, segment_id, customer] = change
    return found


def iso(at: int) -> str:
    """An instant as transitions write it."""
    return clock.moment(at).isoformat(timespec="milliseconds").replace("+00:00", "Z")
