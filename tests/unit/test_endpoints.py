"""Endpoints in force: what pausing, resuming, disabling and saving make of each other, and what is queued meanwhile."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from schemas.catalog import Catalog, Endpoint
from schemas.definitions import (
    Definition,
    EndpointDeleted,
    EndpointDisabled,
    EndpointPaused,
    EndpointPut,
    EndpointResumed,
    TenantPut,
    encode_definition,
)
from schemas.endpoints import KEPT_DELETED
from schemas.instants import iso
from services.api.dispatcher.desk import Desk
from services.api.dispatcher.queues import Queues
from tests.support.dispatching import around
from tests.unit.test_dispatcher import delivery

PUT = EndpointPut(tenant="t", at_ms=100, endpoint_id="e", replaces=0, url="https://x.example/", secret="whsec_AAAA")


def catalog_with_endpoint() -> Catalog:
    """One tenant with one endpoint, made at 100 ms."""
    catalog = Catalog()
    for offset, record in enumerate((TenantPut(tenant="t", at_ms=1, timezone="UTC", currency="EUR", country="FR"), PUT)):
        assert catalog.apply(offset, encode_definition(record)).accepted
    return catalog


def told(catalog: Catalog, record: Definition) -> int:
    """Fold a record and return the status of what was said of it."""
    return catalog.apply(catalog.offset, encode_definition(record)).status


def act(name: str, at_ms: int, revision: int) -> Definition:
    """A record that does something to the endpoint."""
    usual: dict[str, Any] = {"tenant": "t", "at_ms": at_ms, "endpoint_id": "e"}
    put: dict[str, Any] = usual | {"replaces": revision, "url": PUT.url, "secret": PUT.secret}
    records: dict[str, Definition] = {
        "pause": EndpointPaused(**usual, revision=revision),
        "resume": EndpointResumed(**usual, revision=revision),
        "fail": EndpointDisabled(**usual, revision=revision, reason="failing"),
        "edit": EndpointPut(**put),
        "switch off": EndpointPut(**put, enabled=False),
        "delete": EndpointDeleted(**usual),
    }
    return records[name]


def found(catalog: Catalog) -> Endpoint:
    """The endpoint as it is."""
    return catalog.endpoints["t"]["e"]


@pytest.mark.parametrize(
    ("acts", "status", "reason", "off_ms", "last_off"),
    [
        (["pause"], "paused", "paused", 1_000, None),
        (["pause", "edit"], "paused", "paused", 1_000, None),
        (["pause", "resume"], "enabled", "", None, (1_000, 2_000)),
        (["fail"], "disabled", "failing", 1_000, None),
        (["fail", "resume"], "enabled", "", None, (1_000, 2_000)),
        (["fail", "edit"], "enabled", "", None, (1_000, 2_000)),
        (["switch off"], "disabled", "asked", 1_000, None),
        (["switch off", "switch off"], "disabled", "asked", 1_000, None),
        (["switch off", "edit"], "enabled", "", None, (1_000, 2_000)),
        (["pause", "fail"], "disabled", "failing", 1_000, None),
        (["pause", "fail", "resume"], "enabled", "", None, (1_000, 3_000)),
    ],
)
def test_what_an_endpoint_is_after(acts: list[str], status: str, reason: str, off_ms: int | None, last_off: tuple[int, int] | None) -> None:
    """An edit leaves a pause as it is and says whether it is disabled; who is resumed is on, whatever it was."""
    catalog = catalog_with_endpoint()
    for number, name in enumerate(acts, 1):
        assert told(catalog, act(name, 1_000 * number, number)) == 200
    endpoint = found(catalog)
    assert (endpoint.status, endpoint.off_reason, endpoint.off_ms, endpoint.last_off) == (status, reason, off_ms, last_off)
    assert (endpoint.revision, endpoint.on, endpoint.enabled) == (len(acts) + 1, status == "enabled", status != "disabled")
    assert endpoint.on_since_ms == (100 if last_off is None else last_off[1])


@pytest.mark.parametrize("name", ["pause", "resume", "fail"])
def test_who_has_not_seen_the_last_edit_changes_nothing(name: str) -> None:
    """Not even the service: a receiver that somebody has just moved elsewhere is not disabled for what the former one did."""
    catalog = catalog_with_endpoint()
    assert told(catalog, act("edit", 1_000, 1)) == 200
    before = found(catalog)
    assert told(catalog, act(name, 2_000, 1)) == 412
    assert found(catalog) == before
    assert told(catalog, act("delete", 2_000, 0)) == 200
    assert told(catalog, act(name, 3_000, 3)) == 404
    assert told(catalog_with_endpoint(), EndpointPaused(tenant="t", at_ms=1, endpoint_id="nobody", revision=1)) == 404


def test_a_disabled_endpoint_is_not_paused() -> None:
    """It would seem to wait for no more than a resume, and its reason would be gone."""
    catalog = catalog_with_endpoint()
    assert told(catalog, act("fail", 1_000, 1)) == 200
    assert told(catalog, act("pause", 2_000, 2)) == 409
    assert found(catalog).off_reason == "failing"


@given(st.lists(st.sampled_from(["pause", "resume", "fail", "edit", "switch off"]), max_size=5), st.integers(0, 7_000))
def test_nothing_is_queued_of_a_time_in_which_an_endpoint_was_off(acts: list[str], decided_ms: int) -> None:
    """By a dispatcher that reads it later as little as by one that reads it at once; what was decided while it was on is queued if it is on."""
    catalog, spans, off_ms = catalog_with_endpoint(), [], None
    for number, name in enumerate(acts, 1):
        told(catalog, act(name, 1_000 * number, found(catalog).revision))
        if found(catalog).on and off_ms is not None:
            spans, off_ms = [(off_ms, 1_000 * number)], None
        elif not found(catalog).on and off_ms is None:
            off_ms = 1_000 * number
    desk = Desk(0, around(catalog, now_ms=lambda: 9_000))
    at = iso(decided_ms)
    desk.read(0, json.dumps({
        "id": "trn", "tenant": "t", "customer_id": "718", "segment_id": "s", "change": "entered", "at": at, "decided_at": at, "cause": {"kind": "event"},
    }).encode())  # fmt: skip
    wanted = off_ms is None and decided_ms >= 100 and not any(start <= decided_ms < end for start, end in spans)
    assert (desk.pending, desk.read_to) == (int(wanted), 1)


def test_of_deleted_endpoints_so_many_are_known_and_no_more() -> None:
    """Whoever makes and deletes endpoints for ever fills no memory; those in force stay, and so do the last that were deleted."""
    catalog = catalog_with_endpoint()
    for number in range(KEPT_DELETED + 3):
        assert told(catalog, replace(PUT, endpoint_id=f"e{number}")) == 200
        assert told(catalog, EndpointDeleted(tenant="t", at_ms=1, endpoint_id=f"e{number}")) == 200
    known = catalog.endpoints["t"]
    assert known.keys() == {"e"} | {f"e{number}" for number in range(3, KEPT_DELETED + 3)}
    assert [endpoint.id for endpoint in catalog.endpoints_of("t")] == ["e"]
    assert (
        told(catalog, EndpointDeleted(tenant="t", at_ms=1, endpoint_id="e0"))
        == told(catalog, EndpointDeleted(tenant="t", at_ms=1, endpoint_id="e9"))
        == 404
    )


def test_the_turn_of_an_endpoint_that_is_off_comes_at_once() -> None:
    """All of its lanes and nobody else's, also when it is the second time; then its deliveries are counted no more."""
    queues = Queues(5)
    for number, (customer, endpoint_id) in enumerate([("a", "e"), ("a", "e"), ("b", "e"), ("a", "f")]):
        queues.add(delivery(number, customer, endpoint_id))
    heads = list(queues.ready(0))
    for one in heads:
        queues.landed(one)
        one.next_ms = 1_000
        queues.retry(one)
    for _ in range(2):
        queues.hasten_endpoints(lambda tenant, endpoint_id: (tenant, endpoint_id) == ("t", "e"), 5)
    turned = list(queues.ready(5))
    assert [one.id for one in turned] == ["d0", "d2"]
    for one in turned:
        queues.landed(one)
        queues.done(one)
    for one in (*queues.ready(5), *queues.ready(1_000)):
        queues.landed(one)
        queues.done(one)
    assert not queues.held
