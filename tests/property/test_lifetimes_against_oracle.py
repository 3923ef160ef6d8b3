"""What no time ends, against the judge: over months, with a history that is kept for one or two, whether it is dropped or not."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.instants import Duration
from schemas.questions import Explain, Portray, Timeline, WasMember
from tests.oracle import clock, model
from tests.support import strategies
from tests.support.asking import ask
from tests.support.simulation import Simulation

Json = dict[str, Any]

_LOOKS = int(os.environ.get("ROLLCALL_TEST_WORLDS", "80"))
_KEPT = {"P1M": 1, "P2M": 2}
_NAMES = ["s0", "s1", "s2"]
_CUSTOMERS = ["718", "a:b"]
_IDS = [*_CUSTOMERS, "0718"]
_PEOPLE = ("customer-merge", "customer-erase")


class Twins:
    """Two services told the same, of which one drops what it may and is restarted, and a judge."""

    def __init__(self, tenant: Json, anchor: int, kept: str) -> None:
        history = Duration(_KEPT[kept], 0)
        self.drops, self.keeps = (Simulation(tenant, anchor, history=history) for _ in range(2))
        self.history = model.History(tenant, kept=kept)
        self.live: dict[str, Json] = {}
        self.archived: dict[str, Json] = {}
        self.sent: list[Json] = []

    @property
    def both(self) -> tuple[Simulation, Simulation]:
        """The two services."""
        return self.drops, self.keeps

    @property
    def now(self) -> int:
        """The instant that it is."""
        return self.keeps.now_ms

    def save(self, name: str, rule: Json) -> None:
        """Save a segment, new or edited."""
        for simulation in self.both:
            known = simulation.catalog.segment(simulation.tenant, name)
            simulation.save({"id": name, "rule": rule}, replaces=0 if known is None else known.version)
        self.live[name] = {"id": name, "rule": rule}
        self.history.define(self.live.values(), self.now)

    def archive(self, name: str) -> None:
        """Archive a segment."""
        for simulation in self.both:
            simulation.archive(name)
        self.archived[name] = self.live.pop(name)
        self.history.define(self.live.values(), self.now)

    def bring_back(self, name: str) -> None:
        """Restore a segment."""
        for simulation in self.both:
            simulation.bring_back(name)
        self.live[name] = self.archived.pop(name)
        self.history.define(self.live.values(), self.now)

    def post(self, document: Json) -> None:
        """Post a document; the judge says whether it comes too late, which who is whom never does."""
        late = document["type"] not in _PEOPLE and self.history.too_late(document, self.now)
        counts = not late and self.history.add(document)
        for simulation in self.both:
            before = simulation.outcomes().get("applied", 0)
            simulation.post(document)
            simulation.move()
            assert simulation.outcomes().get("applied", 0) - before == counts, (document, simulation.outcomes())
        self.sent.append(document)

    def pass_to(self, at: int) -> None:
        """Let time pass."""
        for simulation in self.both:
            simulation.pass_to(at)

    def agree(self) -> None:
        """Compare every membership, now."""
        for segment in self.live.values():
            expected = model.members(segment, self.history, self.now, list(self.live.values()))
            for simulation in self.both:
                found = simulation.members(segment["id"])
                assert found == expected, f"at {clock.moment(self.now).isoformat()} {segment}: {found}, judge {expected}"


def _windows(anchor: int) -> st.SearchStrategy[Json | None]:
    starts = [clock.moment(anchor + days * clock.DAY).isoformat() for days in (-40, -20, -1, 30)]
    fixed: list[Json] = [{"from": starts[0], "to": starts[2]}, {"from": starts[1]}, {"to": starts[3]}]
    fixed += [{"calendar": f"{clock.moment(anchor + days * clock.DAY):%Y-%m}"} for days in (-31, 0, 31)]
    moving: list[Json] = [{"last": last} for last in ("P14D", "P1M", "PT2H")] + [{"calendar": "this_month"}]
    return st.sampled_from([None, None, None, *fixed, *moving])


@st.composite
def _metrics(draw: st.DrawFn, anchor: int) -> Json:
    measure = draw(st.sampled_from(["count", "count", "sum", "avg", "min", "max", "distinct", "favourite", "days_since_first", "days_since_last"]))
    metric: Json = {"measure": measure, "event": "checkout"}
    if measure in ("sum", "avg", "min", "max"):
        metric["field"] = "total"
    elif measure in ("distinct", "favourite"):
        metric["field"] = "store_id"
    if draw(st.booleans()):
        metric["where"] = [{"field": "store_id", "op": "eq", "value": "7"}]
    window = draw(_windows(anchor))
    return metric if window is None else metric | {"window": window}


@st.composite
def _rules(draw: st.DrawFn, anchor: int) -> Json:
    kind = draw(st.sampled_from(["metric", "metric", "metric", "ratio", "sequence", "both", "city"]))
    if kind == "city":
        return {"profile": "city", "op": "eq", "value": "Lyon"}
    if kind == "both":
        return {draw(st.sampled_from(["all", "any"])): [draw(_rules(anchor)), {"not": draw(_rules(anchor))}]}
    if kind == "sequence":
        window = draw(_windows(anchor))
        asked: Json = {"first": {"event": "visit"}, "then": {"event": "checkout"}, "within": "P7D", "happens": draw(st.booleans())}
        return {"sequence": asked if window is None else asked | {"window": window}}
    if kind == "ratio":
        parts = [{"measure": "count", "event": event} for event in ("checkout", "visit")]
        windows = [draw(_windows(anchor)) for _ in parts]
        over, under = (part if window is None else part | {"window": window} for part, window in zip(parts, windows, strict=True))
        return {"metric": {"measure": "ratio", "numerator": over, "denominator": under}, "op": "gte", "value": 1}
    metric = draw(_metrics(anchor))
    if metric["measure"] == "favourite":
        return {"metric": metric, "op": "eq", "value": draw(st.sampled_from(["7", "s1"]))}
    return {"metric": metric, "op": draw(st.sampled_from(["gte", "eq", "lte"])), "value": draw(st.sampled_from([1, 2, 3, 10, 25, 40]))}


@st.composite
def _documents(draw: st.DrawFn, twins: Twins, number: int, people: Sequence[str] = _CUSTOMERS) -> Json:
    edge = clock.earlier(twins.now, twins.history.kept or "", twins.history.zone)
    ago = draw(st.sampled_from([0, 0, 1, clock.DAY, 7 * clock.DAY, 20 * clock.DAY, twins.now - edge - 1, twins.now - edge, twins.now - edge + 1]))
    at = clock.moment(twins.now - ago).isoformat()
    base = {"event_id": f"e{number}", "customer_id": draw(st.sampled_from(people)), "occurred_at": at}
    kind = draw(st.sampled_from(["checkout", "checkout", "checkout", "visit", "profile", "checkout-void"]))
    if kind == "profile":
        return base | {"type": kind, "attributes": {"city": draw(st.sampled_from(["Lyon", None]))}}
    if kind == "visit":
        return base | {"type": kind, "store_id": "7"}
    named = {"store_id": draw(st.sampled_from(["7", "s1"])), "receipt_id": draw(st.sampled_from(["r1", "r2", "r3"]))}
    return base | {"type": kind} | named | ({"total": draw(st.sampled_from([10, 25]))} if kind == "checkout" else {})


@st.composite
def _people(draw: st.DrawFn, twins: Twins, number: int, kind: str) -> Json:
    """Who is whom from now on, or is forgotten; as of now, or of before a drop. Ids are few, so that what was joined is joined again."""
    old, into = draw(st.permutations(_IDS))[:2]
    at = clock.moment(twins.now - draw(st.sampled_from([0, 1, clock.DAY, 40 * clock.DAY]))).isoformat()
    told = {"event_id": f"e{number}", "type": f"customer-{kind}", "customer_id": old, "occurred_at": at}
    return told | ({"into": into} if kind == "merge" else {})


def _step(twins: Twins, data: st.DataObject, anchor: int, number: int, *, crossed: bool = False) -> None:
    """Do something at random, merges and erasures only where they are to cross it."""
    does = data.draw(
        st.sampled_from(
            ["post"] * 6
            + ["merge", "merge", "merge", "erase", "pass", "post", "post"] * crossed
            + ["again", "pass", "pass", "pass", "save", "save", "archive", "bring back", "drop", "drop", "restart"]
        )
    )
    if does == "post":
        twins.post(data.draw(_documents(twins, number, _IDS if crossed else _CUSTOMERS)))
    elif does in ("merge", "erase"):
        twins.pass_to(twins.now + 1)  # that of what is told before and after an erasure each has its own millisecond
        twins.post(data.draw(_people(twins, number, does)))
    elif does == "again" and twins.sent:
        twins.post(data.draw(st.sampled_from(twins.sent)))
    elif does == "pass":
        months = data.draw(st.sampled_from(["", "P1M", "P3M"]))
        ahead = clock.later(twins.now, months, twins.history.zone) if months else twins.now
        twins.pass_to(max(twins.now, ahead + data.draw(st.sampled_from([-1, 0, 1, clock.DAY, 8 * clock.DAY, 14 * clock.DAY]))))
    elif does == "save":
        name = data.draw(st.sampled_from(_NAMES))
        if name not in twins.archived:
            twins.save(
                name,
                data.draw(
                    st.sampled_from([one["rule"] for one in twins.live.values()])
                    if twins.live and data.draw(st.integers(0, 3)) == 0
                    else _rules(anchor)
                ),
            )
    elif does == "archive" and twins.live:
        twins.archive(data.draw(st.sampled_from(sorted(twins.live))))
    elif does == "bring back" and twins.archived:
        twins.bring_back(data.draw(st.sampled_from(sorted(twins.archived))))
    elif does == "drop":
        twins.drops.drop()
    elif does == "restart":
        twins.drops.restart()


@settings(max_examples=_LOOKS)
@given(strategies.tenants, strategies.anchors, st.sampled_from(sorted(_KEPT)), st.data())
def test_members_are_the_judges_whether_dropped_or_not(tenant: Json, anchor: int, kept: str, data: st.DataObject) -> None:
    """After each step and on both sides of a drop; and every question has the same answer from both services."""
    twins = Twins(tenant, anchor, kept)
    twins.save("s0", data.draw(_rules(anchor)))
    for number in range(data.draw(st.sampled_from([12, 20, 30]))):
        _step(twins, data, anchor, number)
        twins.agree()
    twins.drops.drop()
    if data.draw(st.booleans()):
        twins.drops.restart()
    twins.agree()
    past = sorted(data.draw(st.lists(st.integers(anchor - 60 * clock.DAY, twins.now), min_size=2, max_size=3, unique=True)))
    for segment_id in twins.live:
        _same(twins, Timeline(segment_id, past))
        for customer in sorted(twins.history.known):
            _same(twins, Explain(customer, segment_id))
            _same(twins, WasMember(customer, segment_id, past[0]))
    for customer in sorted(twins.history.known):
        _same(twins, Portray(customer, 5))


@settings(max_examples=4 * _LOOKS)  # most of what crosses meets nothing that was dropped
@given(strategies.tenants, strategies.anchors, st.sampled_from(sorted(_KEPT)), st.data())
def test_who_is_merged_or_erased_is_the_judges_whether_dropped_or_not(tenant: Json, anchor: int, kept: str, data: st.DataObject) -> None:
    """Histories of which one was thinned and the other was not are joined, and joined ones are thinned; each has all that counts."""
    twins = Twins(tenant, anchor, kept)
    # One that never forgets and sees every checkout that does not arrive, and whatever else may come.
    twins.save("s0", {"metric": {"measure": "count", "event": "checkout"}, "op": "eq", "value": data.draw(st.integers(1, 3))})
    for name in _NAMES[1:]:
        twins.save(name, data.draw(_rules(anchor)))
    for number in range(data.draw(st.sampled_from([30, 20, 12]))):
        _step(twins, data, anchor, number, crossed=True)
        twins.agree()
    twins.drops.drop()
    if data.draw(st.booleans()):
        twins.drops.restart()
    twins.agree()
    for segment_id in twins.live:
        for customer in sorted(twins.history.known):
            _same(twins, Explain(customer, segment_id))


def _same(twins: Twins, question: Any) -> None:
    one, other = (ask(simulation, question, msgspec.Raw) for simulation in twins.both)
    assert bytes(one) == bytes(other), question
