"""What has left the history leaves the changelog, and nothing else does."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.facts import facts_in
from schemas.instants import DAY_MS, Duration, iso, parse_instant
from schemas.questions import Explain, Explained
from services.segmenter.engine.windows import FixedWindow, Window
from tests.support.asking import ask
from tests.support.simulation import Simulation

Json = dict[str, Any]
NOW = parse_instant("2026-05-15T12:00:00Z")
PARIS = {"id": "demo", "timezone": "Europe/Paris", "currency": "EUR", "country": "FR"}
EVER: Json = {"metric": {"measure": "count", "event": "checkout"}, "op": "gte", "value": 2}


def event(event_id: str, at_ms: int, kind: str = "checkout", **rest: Any) -> Json:
    """An event of the customer."""
    bodies: dict[str, Json] = {"checkout": {"total": "5.00"}, "visit": {"store_id": "7"}, "profile": {"attributes": {"city": "Lyon"}}}
    body = bodies.get(kind, {})
    return {"event_id": event_id, "customer_id": "c", "type": kind, "occurred_at": iso(at_ms)} | body | rest


def written(simulation: Simulation) -> set[str]:
    """The events that the changelog has."""
    return {fact.event_id for key, chunk in simulation.changelog.items() if key[:1] == b"h" for fact in facts_in(chunk)}


@pytest.fixture
def simulation() -> Simulation:
    """A history of one month, and a customer who bought, came by and said where he lives."""
    found = Simulation(PARIS, NOW, history=Duration(1, 0))
    found.post(event("sale", NOW), event("visit", NOW, "visit"), event("profile", NOW, "profile"))
    return found


def test_only_what_nothing_looks_at_goes(simulation: Simulation) -> None:
    """Of events those that no metric without an end sees; never what the profile says, and never before its time with its slack."""
    simulation.save(
        {"id": "ever", "rule": {"metric": EVER["metric"] | {"where": [{"field": "total", "op": "gt", "value": 5}]}, "op": "gte", "value": 1}}
    )
    simulation.save({"id": "visited", "rule": {"metric": {"measure": "count", "event": "visit"}, "op": "gte", "value": 1}})
    simulation.pass_to(parse_instant("2026-06-23T11:59:59Z"))
    simulation.drop()
    assert written(simulation) == {"sale", "visit", "profile"}
    simulation.pass_to(parse_instant("2026-06-23T12:00:01Z"))
    simulation.drop()
    assert written(simulation) == {"visit", "profile"}
    simulation.archive("visited")
    simulation.drop()
    assert written(simulation) == {"profile"}
    simulation.restart()
    assert simulation.partition.customers == 1


def test_a_void_lasts_as_long_as_the_checkout(simulation: Simulation) -> None:
    """A metric that goes on looking at the checkout goes on seeing that it was voided."""
    simulation.save({"id": "bought", "rule": EVER | {"value": 2}})
    receipt = {"store_id": "7", "receipt_id": "r"}
    simulation.post(event("second", NOW, **receipt), event("void", NOW, "checkout-void", **receipt))
    simulation.pass_to(NOW + 100 * DAY_MS)
    simulation.drop()
    simulation.restart()
    simulation.post(event("visit", simulation.now_ms, "visit"))
    assert simulation.members("bought") == set()
    simulation.post(event("third", simulation.now_ms))
    assert simulation.members("bought") == {"c"}


def test_a_new_metric_does_not_count_what_happens_to_be_kept_still(simulation: Simulation) -> None:
    """It counts from where the history began when it was saved, and goes on from there; its answer says so. Another's segment's edit changes nothing."""
    simulation.pass_to(NOW + 33 * DAY_MS)
    simulation.save({"id": "late", "rule": EVER})
    begun = parse_instant("2026-05-17T12:00:00Z")
    simulation.post(event("a", begun + 1000))
    assert simulation.members("late") == set()
    simulation.save({"id": "other", "rule": {"not": EVER}})
    simulation.pass_to(NOW + 200 * DAY_MS)
    simulation.save({"id": "late", "rule": {"all": [EVER, EVER | {"value": 1}]}}, replaces=1)
    simulation.drop()
    assert written(simulation) == {"a", "profile"}
    simulation.post(event("b", simulation.now_ms))
    assert simulation.members("late") == {"c"}
    found: Explained = ask(simulation, Explain("c", "late"), Explained)
    assert [seen.history_from_ms for seen in found.conditions] == [begun, begun]
    assert found.history_from_ms == parse_instant("2026-11-01T12:00:00Z")


def test_a_round_that_finds_nothing_leaves_no_instant_behind(simulation: Simulation) -> None:
    """A late fact is decided when it comes, and not when somebody was last looked at."""
    simulation.save({"id": "often", "rule": EVER})
    simulation.drop()
    simulation.pass_to(NOW + DAY_MS)
    simulation.drop()
    simulation.pass_to(NOW + 8 * DAY_MS)
    assert simulation.partition.drop(simulation.now_ms, 1)
    simulation._write()
    simulation.pass_to(NOW + 9 * DAY_MS)
    simulation.post(event("late", NOW + 7 * DAY_MS))
    assert [(one["change"], one["at"]) for one in simulation.transitions] == [("entered", iso(NOW + 9 * DAY_MS))]


def test_an_id_that_was_dropped_is_free(simulation: Simulation) -> None:
    """What it stood for is too late to come again; another event may have it, at once and after a restart."""
    simulation.pass_to(NOW + 100 * DAY_MS)
    simulation.drop()
    simulation.post(event("sale", NOW), event("sale", simulation.now_ms))
    simulation.restart()
    simulation.post(event("visit", NOW, "visit"), event("visit", simulation.now_ms, "visit"))
    assert simulation.outcomes() == {"applied": 5, "dead_lettered/too_late": 2}


def test_what_was_dropped_makes_room(simulation: Simulation) -> None:
    """The most events that a customer may have are those that are kept."""
    simulation.pass_to(NOW + 100 * DAY_MS)
    simulation.drop()
    person = simulation.partition.person(next(iter(simulation.partition.keys())))
    assert person is not None
    assert person.events == 1


def test_a_round_comes_once_a_week(simulation: Simulation) -> None:
    """Also when the owner changes meanwhile; one that was broken off begins anew."""
    assert simulation.partition.drops_due(simulation.now_ms)
    simulation.drop()
    assert not simulation.partition.drops_due(simulation.now_ms)
    simulation.restart()
    assert not simulation.partition.drops_due(simulation.now_ms + 7 * DAY_MS - 1)
    simulation.pass_to(NOW + 7 * DAY_MS)
    assert simulation.partition.drop(simulation.now_ms, 1)
    simulation.restart()
    assert simulation.partition.drops_due(simulation.now_ms)


_INSTANTS = st.integers(1, 12)


@given(st.lists(_INSTANTS).map(sorted), _INSTANTS, _INSTANTS, _INSTANTS, st.integers(0, 13))
def test_a_window_that_stays_counts_from_an_instant_on(times: list[int], since: int, start: int, end: int, at: int) -> None:
    """At every instant, also before it; and an event counts by itself if and only if it is among those that do."""
    windows: list[tuple[Window, set[int]]] = [
        (Window(since), {time for time in times if since <= time <= at}),
        (FixedWindow(start, end, since), {time for time in times if max(since, start) <= time < end and time <= at}),
    ]
    for window, expected in windows:
        assert set(times[window.left(times, at) : window.entered(times, at)]) == expected
        assert window.entered(times, at) >= window.left(times, at)
        assert {time for time in times if window.counts(time, at)} == expected
        assert all(window.keeps(time) for time in expected)
        assert all(time >= window.reaches(at) for time in expected)
