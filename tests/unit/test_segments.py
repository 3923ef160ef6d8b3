"""Segments in force: what they may refer to, tiers, pauses, restoring, versions, and the order in which they are decided."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import rankings
from schemas import segments as module
from schemas import versions as versions_module
from schemas.catalog import Catalog, Outcome, Segment
from schemas.definitions import (
    AttributePut,
    Definition,
    SegmentArchived,
    SegmentPaused,
    SegmentPut,
    SegmentRestored,
    SegmentResumed,
    TenantPut,
    Tier,
    encode_definition,
)
from schemas.dependencies import ordered
from schemas.instants import Duration
from schemas.vocabulary import Kind
from tests.support.graph import State, depends_on, sound

TENANT = TenantPut(tenant="demo", at_ms=1, timezone="Europe/Paris", currency="EUR", country="FR")


class Desk:
    """Writes definitions as one writer who has always read everything."""

    def __init__(self) -> None:
        self.catalog = Catalog()
        self.at_ms = 1_000
        self.write(TENANT)

    def write(self, record: Definition) -> Outcome:
        """Fold one record, through its bytes."""
        return self.catalog.apply(self.catalog.offset, encode_definition(record))

    def get(self, segment_id: str) -> Segment:
        """Return a segment that exists."""
        found = self.catalog.segment("demo", segment_id)
        assert found is not None
        return found

    def version(self, segment_id: str) -> int:
        """Return the last version of a segment, 0 for none."""
        found = self.catalog.segment("demo", segment_id)
        return 0 if found is None else found.version

    def save(self, segment_id: str, *refers: str, tier: tuple[str, int] | None = None, **more: Any) -> Outcome:
        """Save the next version of a segment that refers to others."""
        self.at_ms += 1_000
        rule = {"any": [{"segment": other} for other in refers]} if refers else None
        record = SegmentPut(
            tenant="demo", at_ms=self.at_ms, segment_id=segment_id, replaces=self.version(segment_id), name=segment_id.upper(),
            tier=None if tier is None else Tier(*tier), **({"rule": rule} | more),
        )  # fmt: skip
        return self.write(record)

    def archive(self, segment_id: str) -> Outcome:
        """Archive a segment."""
        self.at_ms += 1_000
        return self.write(SegmentArchived(tenant="demo", at_ms=self.at_ms, segment_id=segment_id, replaces=self.version(segment_id)))

    def restore(self, segment_id: str) -> Outcome:
        """Restore a segment."""
        self.at_ms += 1_000
        return self.write(SegmentRestored(tenant="demo", at_ms=self.at_ms, segment_id=segment_id, replaces=self.version(segment_id)))

    def pause(self, segment_id: str) -> Outcome:
        """Pause a segment."""
        self.at_ms += 1_000
        return self.write(SegmentPaused(tenant="demo", at_ms=self.at_ms, segment_id=segment_id, version=self.version(segment_id)))

    def resume(self, segment_id: str) -> Outcome:
        """Resume a segment."""
        self.at_ms += 1_000
        return self.write(SegmentResumed(tenant="demo", at_ms=self.at_ms, segment_id=segment_id, version=self.version(segment_id)))

    def order(self) -> list[str]:
        """Return the ids of the live segments in their order."""
        return [segment.id for segment in self.catalog.segments_in_order("demo")]


def said(outcome: Outcome) -> tuple[int, str]:
    """Return the status and the place of a refusal."""
    assert not outcome.accepted
    return outcome.status, outcome.pointer


def test_a_segment_refers_to_live_segments_only() -> None:
    """An unknown or archived one is refused with the place that names it, itself as well."""
    desk = Desk()
    assert desk.save("a").accepted
    assert desk.save("b", "a").accepted
    assert said(desk.save("c", "a", "nobody")) == (422, "/rule/any/1/segment")
    assert said(desk.save("c", "c")) == (422, "/rule/any/0/segment")
    assert desk.catalog.segment("demo", "c") is None
    outcome = desk.archive("a")
    assert said(outcome) == (409, "")
    assert "by b;" in outcome.detail
    assert desk.save("b").accepted, "an edit that no longer names it"
    assert desk.archive("a").accepted
    outcome = desk.save("b", "a")
    assert said(outcome) == (422, "/rule/any/0/segment")
    assert "archived" in outcome.detail


def test_a_cycle_is_refused_with_the_way_around_it() -> None:
    """Whoever closes the circle is told which segments it runs through; what was there before stays."""
    desk = Desk()
    for segment_id, *refers in (("a",), ("b", "a"), ("c", "b")):
        assert desk.save(segment_id, *refers).accepted
    outcome = desk.save("a", "c")
    assert said(outcome) == (422, "/rule/any/0/segment")
    assert "a → c → b → a" in outcome.detail
    assert desk.get("a").rule is None
    assert desk.order() == ["a", "b", "c"]


def test_tiers_and_references_are_one_graph() -> None:
    """A lower level depends on the higher ones, so a higher one that refers to it, also through others, closes a cycle."""
    desk = Desk()
    assert desk.save("bronze", tier=("status", 1)).accepted
    assert desk.save("friends", "bronze").accepted
    assert desk.save("gold", tier=("status", 3)).accepted
    outcome = desk.save("silver", "friends", tier=("status", 2))
    assert said(outcome) == (422, "/rule/any/0/segment")
    assert "silver → friends → bronze → silver" in outcome.detail
    assert desk.save("silver", "gold", tier=("status", 2)).accepted, "to refer to a higher level is what a tier does anyway"
    assert desk.order() == ["gold", "silver", "bronze", "friends"]
    assert desk.save("fans", "gold").accepted
    assert said(desk.save("gold", "fans", tier=("status", 3))) == (422, "/rule/any/0/segment")
    assert said(desk.save("fans", "gold", tier=("status", 4))) == (422, "/rule/any/0/segment")


def test_a_reference_may_close_a_cycle_through_a_tier_that_is_added() -> None:
    """The place is the tier where the tier is what leads around."""
    desk = Desk()
    assert desk.save("top", tier=("status", 2)).accepted
    assert desk.save("base").accepted
    assert desk.save("top", "base", tier=("status", 2)).accepted
    outcome = desk.save("base", tier=("status", 1))
    assert said(outcome) == (422, "/tier")
    assert "base → top → base" in outcome.detail


def test_levels_of_a_family_are_unique() -> None:
    """A level that is taken is refused, until its holder has left it."""
    desk = Desk()
    assert desk.save("gold", tier=("status", 2)).accepted
    outcome = desk.save("vip", tier=("status", 2))
    assert said(outcome) == (409, "/tier/level")
    assert "gold" in outcome.detail
    assert desk.save("vip", tier=("age", 2)).accepted
    assert desk.save("gold", tier=("status", 2)).accepted, "a segment keeps its own level"
    assert desk.save("gold", tier=("status", 5)).accepted
    assert desk.save("vip", tier=("status", 2)).accepted
    assert desk.archive("vip").accepted
    assert desk.save("third", tier=("status", 2)).accepted
    assert said(desk.restore("vip")) == (409, "/tier/level")
    assert desk.archive("third").accepted
    assert desk.restore("vip").accepted


@pytest.mark.parametrize(
    ("more", "pointer"),
    [
        ({"tier": ("Status", 1)}, ""),
        ({"tier": ("line\n", 1)}, "/tier/family"),
        ({"tier": ("status", -1)}, ""),
        ({"tier": ("status", 1_001)}, ""),
        ({"min_stay": "a week"}, "/min_stay"),
        ({"min_stay": "P101Y"}, "/min_stay"),
        ({"starts_at_ms": 5, "ends_at_ms": 5}, "/ends_at"),
        ({"rule": {"all": [{"profile": "shoe_size", "op": "exists"}]}}, "/rule/all/0/profile"),
    ],
)
def test_what_a_segment_carries_is_checked(more: dict[str, Any], pointer: str) -> None:
    """A bad tier, stay, span of life or rule changes nothing and names its place."""
    desk = Desk()
    outcome = desk.save("a", **more)
    assert outcome.status == 422
    if pointer:
        assert outcome.pointer == pointer
    assert desk.catalog.segment("demo", "a") is None
    assert desk.catalog.revisions["demo"] == 0


def test_what_a_segment_carries_is_kept() -> None:
    """Tier, stay and span of life are part of a version."""
    desk = Desk()
    assert desk.save("a", tier=("status", 1), min_stay="P1W", starts_at_ms=5, ends_at_ms=6).accepted
    found = desk.get("a")
    assert (found.tier, found.min_stay, found.starts_at_ms, found.ends_at_ms) == (Tier("status", 1), Duration(0, 7 * 86_400_000), 5, 6)
    assert desk.save("a").accepted
    found = desk.get("a")
    assert (found.tier, found.min_stay, found.starts_at_ms, found.ends_at_ms) == (None, None, None, None)


def test_a_pause_is_no_new_version_and_nobody_is_swept_for_it() -> None:
    """Pausing moves neither version nor revision nor offset; again is the same, and an edit stays paused."""
    desk = Desk()
    assert desk.save("a").accepted
    before, revision = desk.get("a"), desk.catalog.revisions["demo"]
    assert desk.pause("a").accepted
    since = desk.at_ms
    assert desk.get("a").paused_ms == since
    assert desk.pause("a").accepted
    assert desk.get("a").paused_ms == since
    assert (desk.get("a").version, desk.get("a").offset, desk.catalog.revisions["demo"]) == (before.version, before.offset, revision)
    assert desk.save("a", tier=("status", 1)).accepted
    assert desk.get("a").paused_ms == since
    assert desk.resume("a").accepted
    assert (desk.get("a").paused_ms, desk.get("a").last_pause) == (None, (since, desk.at_ms))
    assert desk.resume("a").accepted
    assert desk.get("a").last_pause == (since, desk.at_ms - 1_000)
    assert said(desk.write(SegmentPaused(tenant="demo", at_ms=1, segment_id="a", version=1))) == (412, "")
    assert said(desk.pause("nobody")) == (404, "")
    assert desk.archive("a").accepted
    assert said(desk.pause("a")) == (404, "")


def test_restoring_is_a_new_version_of_an_archived_segment() -> None:
    """It is evaluated anew, its lists begin empty, it is not paused, and only what is archived can be restored."""
    desk = Desk()
    assert desk.save("a", resets=["include", "exclude"]).accepted
    assert said(desk.restore("a")) == (409, "")
    assert said(desk.restore("nobody")) == (404, "")
    assert desk.pause("a").accepted
    assert desk.archive("a").accepted
    assert said(desk.write(SegmentRestored(tenant="demo", at_ms=1, segment_id="a", replaces=1))) == (412, "")
    assert desk.restore("a").accepted
    found, offset = desk.get("a"), desk.catalog.offset - 1
    assert (found.version, found.archived, found.offset, found.include_since, found.exclude_since) == (3, False, offset, offset, offset)
    assert found.paused_ms is None
    assert desk.catalog.revisions["demo"] == offset + 1
    assert said(desk.restore("a")) == (409, "")


def test_nothing_comes_back_that_refers_to_what_is_gone() -> None:
    """A segment whose references were archived waits for them; a cycle that was closed meanwhile is found."""
    desk = Desk()
    assert desk.save("a").accepted
    assert desk.save("b", "a").accepted
    assert desk.archive("b").accepted
    assert desk.archive("a").accepted
    outcome = desk.restore("b")
    assert said(outcome) == (409, "")
    assert "refers to a" in outcome.detail
    assert desk.restore("a").accepted
    assert desk.restore("b").accepted
    assert said(desk.archive("a")) == (409, ""), "it is referred to again"
    # Meanwhile a family has grown around it.
    assert desk.save("top", tier=("status", 2)).accepted
    assert desk.save("low", tier=("status", 1)).accepted
    assert desk.archive("low").accepted
    assert desk.save("c").accepted
    assert desk.save("top", "c", tier=("status", 2)).accepted
    assert desk.restore("low").accepted
    assert said(desk.save("c", "low")) == (422, "/rule/any/0/segment")


def test_a_segment_depends_on_a_bounded_number_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the fold walks through for one record has a limit, through others as well."""
    monkeypatch.setattr(module, "MAX_DEPENDENCIES", 3)
    desk = Desk()
    for before, segment_id in zip(["", *"abc"], "abcd", strict=True):
        assert desk.save(segment_id, *before).accepted
    assert said(desk.save("e", "d")) == (422, "/rule")
    assert desk.save("e", "c").accepted


def test_a_tenant_ranks_by_a_bounded_number_of_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each holds a place for every customer: more are refused with the place, edits of what is there are not, archived ones count no more."""
    monkeypatch.setattr(rankings, "MAX_RANKINGS", 2)
    monkeypatch.setattr(rankings, "MAX_RANKS", 3)

    def ranked(event: str, top: int = 1, order: str = "desc") -> Any:
        return {"any": [{"rank": {"metric": {"measure": "count", "event": event}, "order": order, "top": top}}]}

    desk = Desk()
    assert desk.save("a", rule=ranked("checkout")).accepted
    assert desk.save("b", rule=ranked("visit")).accepted
    assert desk.save("c", rule=ranked("visit", top=2)).accepted
    assert said(desk.save("d", rule=ranked("points"))) == (422, "/rule/any/0/rank")
    assert said(desk.save("d", rule=ranked("visit", order="asc"))) == (422, "/rule/any/0/rank")
    assert said(desk.save("d", rule=ranked("visit", top=3))) == (422, "/rule/any/0/rank")
    assert desk.save("d", rule=ranked("visit")).accepted, "it is there already"
    assert desk.save("a", rule=ranked("points")).accepted
    assert desk.archive("a").accepted
    assert desk.save("e", rule=ranked("email-open")).accepted
    assert not desk.restore("a").accepted


def test_versions_say_what_was_in_force_when() -> None:
    """Every version that was accepted, in order, with its rule in canonical form; pausing and what was refused make none."""
    desk = Desk()
    near = {"near": {"lat": 43.6, "lon": 1.44, "km": 30}}
    assert desk.save("a", rule=near, description="d").accepted
    assert not desk.save("a", "nobody").accepted
    assert desk.pause("a").accepted
    assert desk.save("a", rule=near, tier=("status", 1), min_stay="P7D").accepted
    assert desk.archive("a").accepted
    assert desk.restore("a").accepted
    found = desk.catalog.versions("demo", "a")
    assert [(v.version, v.change) for v in found] == [(1, "saved"), (2, "saved"), (3, "archived"), (4, "restored")]
    assert [v.offset for v in found] == sorted(v.offset for v in found)
    assert all(json.loads(v.rule or b"null") == near for v in found)
    assert len({id(v.rule) for v in found}) == 1, "a rule that stays is kept once"
    assert (found[0].tier, found[1].tier, found[1].min_stay) == (None, Tier("status", 1), Duration(0, 7 * 86_400_000))
    assert found[-1].at_ms == desk.get("a").updated_ms
    assert desk.catalog.versions("demo", "nobody") == desk.catalog.versions("nobody", "a") == ()


def test_versions_take_a_bounded_amount_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest go first: of one segment beyond a number, of all beyond a size."""
    monkeypatch.setattr(versions_module, "KEPT_OF_ONE", 3)
    desk = Desk()
    for _ in range(10):
        assert desk.save("a").accepted
    assert [v.version for v in desk.catalog.versions("demo", "a")] == [8, 9, 10]
    monkeypatch.setattr(versions_module, "KEPT_BYTES", 4 * 600)
    for _ in range(3):
        assert desk.save("b").accepted
    assert ([v.version for v in desk.catalog.versions("demo", "a")], [v.version for v in desk.catalog.versions("demo", "b")]) == ([10], [1, 2, 3])


def test_a_kind_once_declared_never_changes() -> None:
    """The same declaration again is accepted and moves nothing; another kind, a known name or no name is refused."""
    desk = Desk()

    def declare(name: str, kind: Kind) -> Outcome:
        return desk.write(AttributePut(tenant="demo", at_ms=7, name=name, kind=kind))

    assert declare("shoe_size", Kind.INTEGER).accepted
    revision = desk.catalog.revisions["demo"]
    assert revision == desk.catalog.offset, "stored values have become typed: a rule saved from here on can see them"
    assert declare("shoe_size", Kind.INTEGER).accepted
    assert desk.catalog.revisions["demo"] == revision
    assert said(declare("shoe_size", Kind.NUMBER)) == (409, "/kind")
    assert declare("properties.shoe_size", Kind.TEXT).accepted, "a property is another thing than an attribute"
    for known in ("city", "age", "birth_date"):
        assert said(declare(known, Kind.TEXT)) == (409, "/name")
    for name in ("", "x" * 65, "a\nb", " a", "a ", "properties.", "properties." + "x" * 65):
        assert said(declare(name, Kind.TEXT)) == (422, "/name")
    assert declare("properties." + "x" * 64, Kind.DATE).accepted
    assert declare("pays préféré / 国", Kind.TEXT).accepted
    assert [(a.name, a.kind, a.created_ms) for a in desk.catalog.attributes("demo")][-1] == ("shoe_size", Kind.INTEGER, 7)
    rule = {"profile": "shoe_size", "op": "gte", "value": 45}
    assert desk.save("a", rule=rule).accepted
    assert said(desk.save("b", rule=rule | {"value": "45"})) == (422, "/rule/value")
    assert desk.write(TenantPut(tenant="other", at_ms=1, timezone="UTC", currency="EUR", country="FR")).accepted
    assert desk.catalog.attributes("other") == []
    theirs = SegmentPut(tenant="other", at_ms=1, segment_id="a", replaces=0, name="A", rule=rule)
    assert said(desk.write(theirs)) == (422, "/rule/profile"), "one tenant's declarations are not another's"


def test_declarations_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenant declares so many and no more; the same again is none more."""
    monkeypatch.setattr("schemas.declarations.MAX_DECLARED", 2)
    desk = Desk()
    outcomes = [desk.write(AttributePut(tenant="demo", at_ms=7, name=name, kind=Kind.TEXT)) for name in "abca"]
    assert [outcome.status for outcome in outcomes] == [200, 200, 422, 200]


# ---- against the plainest model of the graph

IDS = "abcdef"
TIERS = st.none() | st.tuples(st.sampled_from(["f", "g"]), st.integers(1, 3))
ACTS = st.tuples(st.just("save"), st.sampled_from(IDS), st.sets(st.sampled_from([*IDS, "zz"]), max_size=2), TIERS)
ACTS |= st.tuples(st.sampled_from(["archive", "restore"]), st.sampled_from(IDS), st.just(set()), st.none())


@given(st.lists(ACTS, max_size=40))
def test_the_fold_accepts_exactly_what_keeps_the_graph_sound(acts: list[Any]) -> None:
    """Record by record: accepted if and only if the whole would stay sound, and then every segment comes after what it depends on."""
    desk = Desk()
    state: State = {}
    for verb, name, refers, tier in acts:
        former = state.get(name, (frozenset(), None, True))
        if verb == "save":
            allowed, after = name not in state or not former[2], (frozenset(refers), tier, False)
            outcome = desk.save(name, *sorted(refers), tier=tier)
        else:
            allowed, after = name in state and former[2] == (verb == "restore"), (*former[:2], verb == "archive")
            outcome = desk.archive(name) if verb == "archive" else desk.restore(name)
        wanted = {**state, name: after}
        assert outcome.accepted == (allowed and sound(wanted)), outcome
        if outcome.accepted:
            state = wanted
        live = {n: (r, t) for n, (r, t, archived) in state.items() if not archived}
        order = desk.order()
        assert sorted(order) == sorted(live)
        for place, segment_id in enumerate(order):
            assert depends_on(segment_id, live) <= set(order[:place])
        assert [s.id for s in ordered(reversed(desk.catalog.live_segments("demo")))] == order, "the order is the segments' own"


def test_who_depends_on_what_was_edited_answers_anew_as_well() -> None:
    """A referrer, a referrer of that, and a lower level wait for the sweep of the edit; who depends on none of them does not."""
    desk = Desk()
    for name, refers, tier in (
        ("gold", (), ("status", 2)),
        ("bronze", (), ("status", 1)),
        ("a", ("gold",), None),
        ("b", ("a",), None),
        ("apart", (), None),
    ):
        assert desk.save(name, *refers, tier=tier).accepted
    before = desk.get("apart").answers_from
    assert desk.save("gold", tier=("status", 2)).accepted
    now = desk.catalog.offset - 1
    assert [desk.get(name).answers_from for name in ("gold", "bronze", "a", "b")] == [now] * 4
    assert desk.get("apart").answers_from == before
