"""The service's core and the judge, told the same things; what either says can be held against the other.

Of the service nothing is asked that it does not put out or project. What the fold of the definitions accepts is foreseen by the plainest
model of it, what becomes of a document by the documents that came before.
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
from tests.support.graph import State, sound
from tests.support.simulation import Simulation

Json = dict[str, Any]
LISTS = ("include", "exclude")
HORIZON_DAYS = 400
"""No until lies further ahead."""
_KEPT = "P25M"
_AHEAD_MS = 300_000


class Both:
    """A tenant's life, lived twice."""

    def __init__(self, tenant: Json, declared: Mapping[str, str], at: int) -> None:
        self.tenant = tenant
        self.simulation = Simulation(tenant, at)
        for name, kind in declared.items():
            self.simulation.declare(name, kind)
        self.history = model.History(tenant, declared)
        self.judge = Stays(self.history, at)
        self.live: dict[str, Json] = {}
        """The segments in force, with the number of their version and the lists as they are by now."""
        self.archived: dict[str, Json] = {}
        self.accepted: dict[tuple[str, str], Json] = {}
        """The documents that counted, by customer and id."""

    @property
    def now(self) -> int:
        """The instant at which both are."""
        return self.simulation.now_ms

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
        self.live[segment["id"]] = segment | kept | {name: [] if first else listed for name, listed in lists.items()} | {"version": version}
        self._defined(None if first else segment, sweep=sweep)
        for name, listed in lists.items() if first else ():
            for customer in listed:
                self.by_hand(segment["id"], name, customer, present=True)
        return True

    def fits(self, segment: Json) -> bool:
        """Whether a segment can stand beside the others."""
        return sound(_graph({**self.live, segment["id"]: segment}, self.archived))

    def archive(self, segment_id: str) -> bool:
        """Archive a segment, and return whether that was accepted."""
        segment = self.live[segment_id]
        record = SegmentArchived(tenant=self.simulation.tenant, at_ms=self.now, segment_id=segment_id, replaces=segment["version"])
        outcome = self.simulation.attempt(record)
        live = {name: other for name, other in self.live.items() if name != segment_id}
        assert outcome.accepted is sound(_graph(live, self.archived | {segment_id: segment})), outcome
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
        assert outcome.accepted is sound(_graph({**self.live, segment_id: segment}, archived)), outcome
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
        segment = self.live[segment_id]
        listed = [other for other in segment.get(name) or () if other != customer]
        self.live[segment_id] = segment | {name: [*listed, customer] if present else listed}
        if present:
            self.history.name(segment_id, [customer])
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
        if sweep:
            said = [(t["segment_id"], t["customer_id"], t["change"]) for t in self.simulation.transitions[started:]]
            after = self._members()
            assert sorted(said) == sorted([(*one, "entered") for one in after - before] + [(*one, "exited") for one in before - after])
            assert {t["cause"]["kind"] for t in self.simulation.transitions[started:]} <= {"definition"}

    def _members(self) -> set[tuple[str, str]]:
        return {(segment_id, customer) for customer, memberships in self.simulation.memberships().items() for segment_id in memberships}

    # ---- facts and time

    def post(self, document: Json) -> str:
        """Post a document; the service says of it what those before it say. Returns the outcome."""
        known = self.accepted.get((document["customer_id"], document["event_id"]))
        happened = clock.instant(document["occurred_at"])
        if happened > self.now + _AHEAD_MS:
            outcome = "dead_lettered/future"
        elif known is not None:
            outcome = "duplicate" if known == document else "dead_lettered/conflict"
        elif why := refused(document):
            outcome = f"dead_lettered/{why}"
        elif clock.later(happened, _KEPT, self.history.zone) <= self.now:
            outcome = "dead_lettered/too_late"
        else:
            outcome = "applied"
        before, told, known_before = Counter(self.simulation.outcomes()), len(self.simulation.transitions), self.simulation.memberships().keys()
        self.simulation.post(document)
        said = Counter(self.simulation.outcomes()) - before
        assert said == Counter([outcome]), f"{said} and not {outcome}: {document}"
        if outcome == "applied":
            self.accepted[document["customer_id"], document["event_id"]] = document
            assert self.judge.accept(document, self.now)
        # A void corrects what is known; where nothing is, it is an event like another.
        kind = {"profile": "profile", "checkout-void": "correction"}.get(document["type"], "event")
        kind = kind if document["customer_id"] in known_before or kind == "profile" else "event"
        causes = [t["cause"] for t in self.simulation.transitions[told:] if t["cause"]["kind"] not in ("clock", "definition")]
        assert all(cause == {"kind": kind, "event_id": document["event_id"]} for cause in causes), causes
        return outcome

    def pass_to(self, at: int) -> None:
        """Let time pass, for both."""
        self.simulation.pass_to(at)
        self.judge.pass_to(at)

    def oversleep_to(self, at: int) -> None:
        """Let time pass with nobody looking, for the service."""
        self.simulation.oversleep_to(at)
        self.judge.pass_to(at)

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

    def agree_on_transitions(self) -> None:
        """What was put out is what the judge decided, at the same instants."""
        said = ((t["at"], t["segment_id"], t["customer_id"], t["change"]) for t in self.simulation.transitions)
        found, expected = netted(said), netted((iso(change.at), *change[1:]) for change in self.judge.changes)
        assert found == expected, f"engine alone {sorted(found.items() - expected.items())}, judge alone {sorted(expected.items() - found.items())}"

    def agree_on_until(self, days: int = HORIZON_DAYS) -> None:
        """Whoever takes the partition over has the same members, and each until is the judge's, as far as is looked."""
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
        """The last word on each membership since a number of transitions said until when it stands. Nothing else has happened after it."""
        limit = iso(self.now + days * clock.DAY)
        for transition in {(t["customer_id"], t["segment_id"]): t for t in self.simulation.transitions[since:]}.values():
            until = self.judge.until(transition["segment_id"], transition["customer_id"], days)
            found = transition.get("until")
            assert (found if found and found <= limit else None) == (None if until is None else iso(until)), transition

    def agree_with_the_plain_evaluator(self) -> None:
        """Every bit that is kept for a customer is what evaluating the rule over the whole history says."""
        partition = self.simulation.partition
        plan = partition.plans.of(self.simulation.tenant)
        for key in partition.keys():  # noqa: SIM118 - no mapping
            person = partition.person(key)
            assert person is not None
            if person.live is None or person.live.plan is not plan:
                continue
            fresh = Live(plan, person.read, self.now)
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


def refused(document: Json) -> str | None:
    """Why no customer's history could hold a document that else is as it should be."""
    if document["type"] == "points" and not {"collected", "spent"} & document.keys():
        return "missing_field"
    values = [value for held in ("attributes", "properties") for value in (document.get(held) or {}).values()]
    return None if all(map(_may_be_kept, values)) else "invalid"


def _may_be_kept(value: Any) -> bool:
    """Whether a value of a name that nobody has declared is of a kind that it may be declared as one day."""
    return all(isinstance(one, str) for one in value) if isinstance(value, list) else not isinstance(value, dict) or {"lat", "lon"} <= value.keys()


def _graph(live: Mapping[str, Json], archived: Mapping[str, Json]) -> State:
    return {
        segment["id"]: (frozenset(under(segment.get("rule"), "segment")), _tier(segment), gone)
        for segments, gone in ((archived, True), (live, False))
        for segment in segments.values()
    }


def _tier(segment: Json) -> tuple[str, int] | None:
    tier = segment.get("tier")
    return None if tier is None else (tier["family"], tier["level"])
