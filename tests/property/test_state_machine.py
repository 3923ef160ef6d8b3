"""One life of a tenant after another, lived by the service's core and by the judge: whatever is done, in whatever order, they agree.

Each rule of the machine is something that a till, a marketer, an operator or time does. After each, everything that the service promises
is looked at. What is new in the service's life is a new rule here.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from schemas.questions import Preview, Previewed
from tests.oracle import clock
from tests.support import language, strategies
from tests.support.asking import ask
from tests.support.both import LISTS, Both, sequences_are_whole
from tests.support.simulation import exact_json

Json = dict[str, Any]

_LOOKS = int(os.environ.get("ROLLCALL_TEST_WORLDS", "45"))
_SEGMENTS = 5
"""So few that they depend on each other and documents meet their rules."""
_DAYS = 40
"""Time passes so far at once; a month ends in it."""
_PEOPLE = [*strategies.CUSTOMERS, "stranger", "nobody"]
"""The last two are known by a list, a merge or now and then a fact alone."""
_TOLD = [0, 1, 3_600_000, 3 * clock.DAY, -200_000]
"""How long ago a merge or an erasure says that it was."""


class Machine(RuleBasedStateMachine):
    """A tenant with segments, customers and a clock."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.swept = True
        """Whether everybody was decided under the definitions in force; until then only those who were looked at agree."""

    @initialize(data=st.data(), zone=st.sampled_from(sorted(language._ZONES)), anchor=strategies.anchors | st.sampled_from(language._MORE_ANCHORS))
    def begin(self, data: st.DataObject, zone: str, anchor: int) -> None:
        """A tenant somewhere, at an instant at which calendars go wrong, with segments that depend on each other."""
        # Nothing has both: a stay lasts from the instant of an entry, and a rank promises none.
        self.apart = data.draw(st.sampled_from([("rank",), ("stay",)]))
        self.tenant = {"id": "demo", "timezone": zone, "currency": language._ZONES[zone], "country": "FR"}
        self.both = Both(self.tenant, language.DECLARED, anchor, data.draw(st.sampled_from([20_000, 1])))
        for _ in range(data.draw(st.sampled_from([3, 2, 1]))):
            self.save(data)
        if "rank" not in self.apart:
            self.count += 1
            spans = language._windows(zone, anchor, ())
            self.both.put({"id": f"s{self.count}", "rule": data.draw(language._ranks(self.tenant["currency"], spans))})

    # ---- what a marketer does

    def drawn(self, data: st.DataObject, segment_id: str, apart: Collection[str] = ()) -> Json:
        """A segment with anything that one can carry, or without some parts of the language."""
        others = [segment for name, segment in self.both.live.items() if name != segment_id]
        fresh = data.draw(language._segments(segment_id, self.tenant, self.both.now, others, {*self.apart, *apart}))
        segment = data.draw(strategies.met([fresh], self.both.history, self.both.now))[0]
        shape = data.draw(st.sampled_from(["plain"] * 5 + ["tier", "tier", "manual"]))
        if shape == "tier":
            segment["tier"] = {"family": "f", "level": data.draw(st.integers(1, 3))}
        return segment | ({"rule": None} if shape == "manual" else {})

    def finished(self) -> None:
        """End a sweep that waits."""
        self.both.finish()
        self.swept = True

    @precondition(lambda self: len(self.both.live) < _SEGMENTS)
    @rule(data=st.data())
    def save(self, data: st.DataObject) -> None:
        """A new segment."""
        self.finished()
        self.count += 1
        self.both.put(self.drawn(data, f"s{self.count}"))

    @precondition(lambda self: self.both.live)
    @rule(data=st.data(), part=st.sampled_from(["rule", "rule", "all", "nothing", "min_stay", "tier", "starts_at", "ends_at", *LISTS]))
    def edit(self, data: st.DataObject, part: str) -> None:
        """The next version of a segment: another rule, other lists, another life; or the same again, which is an edit as well."""
        self.finished()
        segment_id = data.draw(st.sampled_from(sorted(self.both.live)))
        before = {name: value for name, value in self.both.live[segment_id].items() if name not in (*LISTS, "version")}
        other = self.drawn(data, segment_id)
        if part in LISTS:
            after = before | {part: data.draw(st.lists(st.sampled_from(_PEOPLE), max_size=2, unique=True))}
        elif part == "all":
            after = other
        else:
            after = {name: value for name, value in before.items() if name != part} | ({part: other[part]} if part in other else {})
        starts, ends = (after.get(name) for name in ("starts_at", "ends_at"))
        if starts and ends and clock.instant(starts) >= clock.instant(ends):
            after.pop("starts_at")
        # An entry is waited for where the id lives that it names; one of an id that was merged comes to the survivor after that.
        survivor = self.both.history.survivor
        after |= {name: list(dict.fromkeys(map(survivor, after[name]))) for name in LISTS if name in after}
        late = part not in (*LISTS, "all") and data.draw(st.integers(0, 3)) == 3
        if self.both.put(after, sweep=not late):
            self.swept = not late

    @precondition(lambda self: not self.swept)
    @rule(restart=st.booleans())
    def sweep(self, restart: bool) -> None:  # noqa: FBT001 - drawn
        """Some of those who wait for a definition are decided; or the partition changes hands in the middle, and then all."""
        self.both.simulation.partition.sweep(self.both.now, 1)
        if restart:
            self.both.restart()
            self.finished()

    @precondition(lambda self: self.both.live)
    @rule(data=st.data(), paused=st.booleans())
    def pause(self, data: st.DataObject, paused: bool) -> None:  # noqa: FBT001 - drawn
        """Webhooks are held back, or no longer; nobody comes or goes for that."""
        self.finished()
        told = len(self.both.simulation.transitions)
        self.both.pause(data.draw(st.sampled_from(sorted(self.both.live))), paused=paused)
        assert len(self.both.simulation.transitions) == told

    @precondition(lambda self: len(self.both.live) > 1)
    @rule(data=st.data())
    def archive(self, data: st.DataObject) -> None:
        """All members of a segment leave, unless others refer to it."""
        self.finished()
        self.both.archive(data.draw(st.sampled_from(sorted(self.both.live))))

    @precondition(lambda self: self.both.archived)
    @rule(data=st.data())
    def restore(self, data: st.DataObject) -> None:
        """It is evaluated anew."""
        self.finished()
        self.both.restore(data.draw(st.sampled_from(sorted(self.both.archived))))

    @precondition(lambda self: self.both.live)
    @rule(data=st.data(), name=st.sampled_from(LISTS), customer=st.sampled_from(_PEOPLE), present=st.sampled_from([True, True, False]))
    def by_hand(self, data: st.DataObject, name: str, customer: str, present: bool) -> None:  # noqa: FBT001 - drawn
        """Somebody is put on a list or taken off it, known or not."""
        self.finished()
        self.both.by_hand(data.draw(st.sampled_from(sorted(self.both.live))), name, customer, present=present)

    @precondition(lambda self: self.both.live)
    @rule(data=st.data(), new=st.booleans())
    def preview(self, data: st.DataObject, new: bool) -> None:  # noqa: FBT001 - drawn
        """A preview says what saving then does."""
        self.finished()
        replaced = None if new else data.draw(st.sampled_from(sorted(self.both.live)))
        self.count += 1
        segment_id = replaced or f"s{self.count}"
        shown = {"id": segment_id, "rule": self.drawn(data, segment_id, ["rank"])["rule"]}
        if shown["rule"] is None:
            return
        if replaced is not None:
            shown = {name: value for name, value in self.both.live[replaced].items() if name not in (*LISTS, "version")} | shown
        simulation = self.both.simulation
        if not self.both.fits(shown):
            return
        # Values of some, of everybody or of nobody are kept side by side.
        simulation.partition.keep(simulation.now_ms, (1, 3, 1_000)[self.count % 3])
        found: Previewed = ask(simulation, Preview(exact_json(shown["rule"]), replaced), Previewed)
        before, known = simulation.members(segment_id), len(simulation.memberships())
        assert self.both.put(shown)
        after = simulation.members(segment_id)
        assert (found.count, found.of, found.enters, found.leaves) == (len(after), known, len(after - before), len(before - after))
        assert set(found.sample) <= after

    # ---- what tills and apps send

    def named(self, data: st.DataObject, document: Json) -> Json:
        """The document under an id that is its own, which comes anywhere among the others'."""
        self.count += 1
        return document | {"event_id": f"e{data.draw(st.integers(0, 9))}-{self.count}"}

    def posted(self, document: Json, *, dies: bool = False) -> str:
        """Post one; what it changed said until when it stands."""
        told = len(self.both.simulation.transitions)
        outcome = self.both.post(document, dies=dies)
        if self.swept:
            self.both.transitions_knew_until(told, _DAYS)
        return outcome

    @rule(data=st.data(), back=st.sampled_from([0, 0, 1, 3_600_000, clock.DAY, 31 * clock.DAY]))
    def events(self, data: st.DataObject, back: int) -> None:
        """Facts as they happen or late (a till was offline), about what segments ask, at and beside the edges of what they ask."""
        about = data.draw(st.sampled_from([None] * 5 + [_PEOPLE])) and {"customer_id": data.draw(st.sampled_from(_PEOPLE))}
        for document in data.draw(language.some(self.tenant, self.both.now - back, list(self.both.live.values()))):
            self.posted(self.named(data, document | (about or {})))

    @rule(data=st.data())
    def events_and_time(self, data: st.DataObject) -> None:
        """Facts, and then the next instants at which they might change something."""
        self.finished()
        self.events(data, 0)
        for at in self.both.boundaries(_DAYS)[:4]:
            self.both.pass_to(at)
            self.everything_that_was_promised()

    @rule(data=st.data())
    def attributes(self, data: st.DataObject) -> None:
        """Words on a profile, of few instants and so in any order."""
        document = data.draw(strategies.documents(self.tenant, self.both.now, kinds=["profile"]))
        at = self.both.now - data.draw(st.sampled_from([0, 1, 3_600_000, clock.DAY, -200_000]))
        self.posted(self.named(data, document | {"occurred_at": clock.moment(at).isoformat()}))

    @precondition(lambda self: self.both.accepted)
    @rule(data=st.data(), another=st.booleans(), beyond=st.sampled_from([300_001, 300_000, -770 * clock.DAY]))
    def in_vain(self, data: st.DataObject, another: bool, beyond: int) -> None:  # noqa: FBT001 - drawn
        """The same document, or another under the same id; one from before the kept history, and one as far ahead as is accepted, or further."""
        document = data.draw(st.sampled_from(self.both.accepted))
        earlier = clock.moment(clock.instant(document["occurred_at"]) - 60_000).isoformat()
        told = len(self.both.simulation.transitions)
        outcome = self.both.post(document | ({"occurred_at": earlier} if another else {}))
        assert outcome in ("dead_lettered/conflict" if another else "duplicate", "erased")
        assert not self.swept or len(self.both.simulation.transitions) == told
        self.posted(self.named(data, document | {"occurred_at": clock.moment(self.both.now + beyond).isoformat()}))

    @rule(data=st.data(), order=st.sampled_from(["after", "after", "before", "long after"]))
    def void(self, data: st.DataObject, order: str) -> None:
        """A checkout counts as if it had never been; also when the void comes first."""
        known = [one for one in self.both.accepted if one["type"] == "checkout" and {"store_id", "receipt_id"} <= one.keys()]
        if order == "long after" and known:
            self.posted(self.named(data, data.draw(language._voids(data.draw(st.sampled_from(known)), self.both.now))))
            return
        for document in data.draw(language.some(self.tenant, self.both.now, list(self.both.live.values()))):
            self.count += 1
            one = self.named(data, document | ({"store_id": "7", "receipt_id": f"r{self.count}"} if document["type"] == "checkout" else {}))
            void = self.named(data, data.draw(language._voids(one, self.both.now))) if document["type"] == "checkout" else one
            for each in (void, one) if order == "before" else (one, void):
                self.both.post(each)

    @rule(data=st.data(), old=st.sampled_from(_PEOPLE), into=st.sampled_from(_PEOPLE), back=st.sampled_from(_TOLD), dies=st.booleans())
    def merge(self, data: st.DataObject, old: str, into: str, back: int, dies: bool) -> None:  # noqa: FBT001 - drawn
        """Two ids are one person from now on: known or not, merged before or erased, the same already."""
        at = clock.moment(self.both.now - back).isoformat()
        self.posted(self.named(data, {"type": "customer-merge", "customer_id": old, "into": into, "occurred_at": at}), dies=dies)

    @rule(data=st.data(), customer=st.sampled_from(_PEOPLE), back=st.sampled_from(_TOLD), dies=st.booleans())
    def erase(self, data: st.DataObject, customer: str, back: int, dies: bool) -> None:  # noqa: FBT001 - drawn
        """A person is forgotten under every id; of what is told later, what came after counts."""
        self.finished()
        # No owner comes back in the millisecond of the erasure before: what came between is told apart in memory.
        self.both.pass_to(self.both.now + 1)
        at = clock.moment(self.both.now - back).isoformat()
        self.posted(self.named(data, {"type": "customer-erase", "customer_id": customer, "occurred_at": at}), dies=dies)

    @precondition(lambda self: self.both.accepted)
    @rule(data=st.data(), customer=st.sampled_from(_PEOPLE), earlier=st.sampled_from([0, clock.DAY]), meet=st.sampled_from(["", "old", "into"]))
    def of_another(self, data: st.DataObject, customer: str, earlier: int, meet: str) -> None:
        """The same id of another person's document, who may turn out to be the same person: the first that was told counts."""
        self.finished()
        self.both.pass_to(self.both.now + 1_000)  # that one of them is the first
        document = data.draw(st.sampled_from(self.both.accepted))
        at = clock.moment(clock.instant(document["occurred_at"]) - earlier).isoformat()
        self.posted(document | {"customer_id": customer} | ({"occurred_at": at} if earlier else {}))
        if meet:
            old, into = (customer, document["customer_id"]) if meet == "old" else (document["customer_id"], customer)
            self.merge(data, old, into, 0, dies=False)

    # ---- what time and operators do

    def later(self, data: st.DataObject) -> int:
        """An instant to come, most often one at which something might change or one beside it."""
        near = self.both.boundaries(_DAYS)
        some = st.sampled_from([1, 3_600_000, clock.DAY, 31 * clock.DAY]).map(lambda ms: self.both.now + ms)
        return data.draw(st.sampled_from(near) | st.sampled_from(near[:6]) | some if near else some)

    @rule(data=st.data(), asleep=st.booleans())
    def time(self, data: st.DataObject, asleep: bool) -> None:  # noqa: FBT001 - drawn
        """Time passes, with or without somebody who looks."""
        self.finished()
        at = self.later(data)
        if asleep:
            self.both.oversleep_to(at)
        else:
            self.both.pass_to(at)

    @rule(data=st.data())
    def event_after_sleep(self, data: st.DataObject) -> None:
        """The first that is heard after a pause is a fact, before anybody has looked at what fell due."""
        self.finished()
        at = self.both.simulation.now_ms = self.later(data)
        self.both.post(self.named(data, data.draw(language.some(self.tenant, at, list(self.both.live.values())))[0]))
        self.both.oversleep_to(at)

    @rule(data=st.data(), asleep=st.booleans())
    def restart(self, data: st.DataObject, asleep: bool) -> None:  # noqa: FBT001 - drawn
        """The partition changes hands: the next owner has what was written, at once or after a pause."""
        if asleep:
            self.finished()
            self.both.simulation.now_ms = self.later(data)
        self.both.restart()
        if asleep:
            self.both.oversleep_to(self.both.now)

    # ---- what is always so

    @invariant()
    def everything_that_was_promised(self) -> None:
        """Members, transitions, their order, until, the plain evaluator, outcomes."""
        self.both.records_add_up()
        sequences_are_whole(self.both.simulation)
        if self.swept:
            self.both.agree_on_members()
            self.both.agree_on_transitions()
            self.both.agree_with_the_plain_evaluator()
            self.both.agree_on_until(_DAYS)

    def teardown(self) -> None:
        """In the end everybody has been decided."""
        if hasattr(self, "both"):
            self.finished()
            self.everything_that_was_promised()
            self.both.agree_on_until()


TestStateMachine = Machine.TestCase
TestStateMachine.settings = settings(max_examples=_LOOKS, stateful_step_count=25)
