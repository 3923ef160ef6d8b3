"""Questions read what was applied, and leave everything as it was."""

from __future__ import annotations

import json
from typing import Any

import pytest

from schemas.instants import DAY_MS, iso, parse_instant
from schemas.questions import Asked, Explain, Explained, Population, Portrait, Portray, Tally, Timeline, WasMember, WithCard
from services.segmenter.questions.inquiry import Unknowable
from tests.support.asking import ask, ask_of
from tests.support.simulation import Simulation, Written

Json = dict[str, Any]
NOW = parse_instant("2026-05-15T12:00:00Z")
PARIS = {"id": "demo", "timezone": "Europe/Paris", "currency": "EUR", "country": "FR"}
TWICE: Json = {"metric": {"measure": "count", "event": "checkout", "window": {"last": "P30D"}}, "op": "gte", "value": 2}


def sale(number: int, customer: str = "c", days: int = 1) -> Json:
    """A checkout some days ago."""
    return {
        "event_id": f"e{number}",
        "customer_id": customer,
        "type": "checkout",
        "occurred_at": iso(NOW - days * DAY_MS),
        "total": "5.00",
        "tenant": "demo",
    }


@pytest.fixture
def simulation() -> Simulation:
    """A tenant with a segment and a customer who bought once."""
    found = Simulation(PARIS, NOW)
    found.save({"id": "twice", "rule": TWICE, "min_stay": "P1D"})
    found.post(sale(0))
    return found


def explained(simulation: Simulation) -> Explained:
    """Ask why."""
    found: Explained = ask(simulation, Explain("c", "twice"), Explained)
    return found


def test_what_was_applied_and_not_written_yet_is_in_the_answer(simulation: Simulation) -> None:
    """In the middle of a step the answer is the one that the step will write."""
    assert explained(simulation).member is False
    simulation.partition.apply("checkouts", [Written(1, None, json.dumps(sale(1)).encode())], NOW)
    found = explained(simulation)
    assert (found.member, found.since_ms, found.conditions[0].total) == (True, NOW, 2)
    assert found.held_until_ms == NOW + DAY_MS
    assert simulation.transitions == []
    simulation._write()
    assert simulation.memberships()["c"]["twice"] == (NOW, found.until_ms)
    assert explained(simulation) == found


QUESTIONS = (
    Explain("c", "twice"),
    WasMember("c", "twice", NOW - DAY_MS),
    Timeline("twice", [NOW - DAY_MS, NOW]),
    Portray("c", 5),
    WithCard("x"),
    Population(),
)


def test_a_question_changes_nothing(simulation: Simulation) -> None:
    """After every question, asked when deadlines are due and nobody has looked, the partition writes what its twin writes."""
    twin = Simulation(PARIS, NOW)
    twin.save({"id": "twice", "rule": TWICE, "min_stay": "P1D"})
    twin.post(sale(0))
    for one in (simulation, twin):
        one.post(sale(1, days=29))
        one.now_ms += 40 * DAY_MS
    for question in QUESTIONS:
        ask(simulation, question, Any)
    for one in (simulation, twin):
        one.oversleep_to(one.now_ms)
        one.refresh()
    assert simulation.transitions == twin.transitions
    assert [change["change"] for change in twin.transitions] == ["entered", "exited"]
    assert simulation.changelog == twin.changelog


def test_who_and_what_is_not_known(simulation: Simulation) -> None:
    """A customer who is not known is no answer; a tenant or segment that is not, or a version that has not come so far, cannot be told."""
    for question in (Explain("x", "twice"), WasMember("x", "twice", NOW), Portray("x", 1)):
        assert ask(simulation, question, Any) is None
    for wrong in (Explain("c", "none"), Timeline("none", [NOW])):
        with pytest.raises(Unknowable, match="none"):
            ask(simulation, wrong, Any)
    with pytest.raises(Unknowable, match="other"):
        ask_of(simulation.partition, Asked("other", {0: 1}, Population()), NOW, Tally)
    simulation.save({"id": "twice", "rule": TWICE}, replaces=1, sweep=False)
    with pytest.raises(Unknowable, match="version 2 is being backfilled"):
        explained(simulation)
    assert ask(simulation, WasMember("c", "twice", NOW), Any)["version"] == 2
    simulation.sweep()
    assert explained(simulation).version == 2
    simulation.archive("twice")
    with pytest.raises(Unknowable, match="not live"):
        explained(simulation)


def test_everyone_is_counted_once_while_customers_come_and_go(simulation: Simulation) -> None:
    """Those who are there when the question begins, and none of another tenant."""
    simulation.post(*(sale(n, f"p{n}") for n in range(200)))
    inquiry = simulation.partition.inquiry(Asked("demo", {0: 1}, Population()), NOW)
    assert inquiry.work(50) == 50
    simulation.post(*(sale(n, f"later{n}") for n in range(100)))
    while inquiry.work(50):
        pass
    assert inquiry.answer() == Tally(201)


def test_the_newest_events_come_first_and_bounded(simulation: Simulation) -> None:
    """However many there are."""
    simulation.post(*(sale(n, days=n + 1) for n in range(1, 60)))
    found: Portrait = ask(simulation, Portray("c", 3), Portrait)
    assert [json.loads(bytes(event))["event_id"] for event in found.events] == ["e0", "e1", "e2"]
    assert found.event_counts == {"checkout": 60}
    told = explained(simulation)
    assert [one.event_id for one in told.conditions[0].events] == [f"e{n}" for n in range(20)]
    assert told.conditions[0].total == 29, "those of the last thirty days; the one of the thirtieth has just left"
