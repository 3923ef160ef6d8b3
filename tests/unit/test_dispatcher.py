"""The dispatcher's pure parts: addresses, schedule, matching, signatures, and who may be tried next."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from standardwebhooks import Webhook, WebhookVerificationError

from schemas.catalog import Catalog, Endpoint
from schemas.definitions import Definition, EndpointPut, SegmentPaused, SegmentPut, SegmentResumed, TenantPut, encode_definition
from schemas.deliveries import Announced, AnnouncedCause, Delivery, decode_delivery, delivery_id, encode
from schemas.erasures import Erased, Erasures, encode_erased
from schemas.identity import hash_of
from schemas.instants import iso
from services.api.dispatcher.addresses import refused
from services.api.dispatcher.attempts import Attempts
from services.api.dispatcher.behind import Room
from services.api.dispatcher.client import signed_headers
from services.api.dispatcher.desk import Desk
from services.api.dispatcher.matching import matching
from services.api.dispatcher.queues import Queues
from services.api.dispatcher.schedule import MOST_RETRY_AFTER_S, SCHEDULE_S, delay_s
from services.api.dispatcher.settings import DispatcherSettings
from tests.support.dispatching import around


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.8.8", "0.0.0.0", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254", "100.64.0.1",
        "192.0.0.8", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "192.88.99.1",
        "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12::1", "fec0::1", "ff02::1", "64:ff9b::7f00:1", "64:ff9b:1::1", "2002:7f00:1::",
        "2001::1", "2001:db8::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "localhost", "2130706433", "",
    ],
)  # fmt: skip
def test_addresses_that_no_webhook_may_reach(address: str) -> None:
    """Nothing but public unicast; a name or a number is no address."""
    assert refused(address, ()) is not None


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946", "::ffff:8.8.8.8"])
def test_public_addresses_may_be_reached(address: str) -> None:
    """Also when written as a mapped one."""
    assert refused(address, ()) is None


def test_the_operator_may_allow_a_network_and_only_that() -> None:
    """A network allowed lets its addresses pass, mapped ones too, and no others."""
    allowed = (ip_network("127.0.0.1/32"), ip_network("fd00::/8"))
    assert refused("127.0.0.1", allowed) is refused("::ffff:127.0.0.1", allowed) is refused("fd12::1", allowed) is None
    assert refused("127.0.0.2", allowed) is not None


@given(st.integers(0, 12), st.floats(0, 1), st.floats(0, 1e7))
def test_the_schedule(attempts: int, draw: float, retry_after_s: float) -> None:
    """Each delay lies within a tenth of what is planned, Retry-After only lengthens it up to a day, and after the last there is none."""
    found = delay_s(attempts, draw, retry_after_s)
    if attempts >= len(SCHEDULE_S):
        assert found is None
        return
    assert found is not None
    planned = SCHEDULE_S[attempts]
    assert found >= planned * 0.9 - 1e-9
    assert found >= min(retry_after_s, MOST_RETRY_AFTER_S)
    assert found <= max(planned * 1.1 + 1e-9, MOST_RETRY_AFTER_S)


def test_the_operator_says_how_long_a_receiver_may_ask_to_be_left_alone() -> None:
    """A Retry-After beyond the limit is cut to it, and never below the schedule."""
    assert delay_s(1, 0.5, 1e6, SCHEDULE_S, 60.0) == 60.0
    assert delay_s(2, 0.5, 1e6, SCHEDULE_S, 60.0) == SCHEDULE_S[2]


def endpoint(**changes: Any) -> Endpoint:
    """An endpoint that wants everything it can get by default."""
    plain: dict[str, Any] = {
        "tenant": "t", "id": "e", "revision": 1, "url": "https://x.example/", "secret": "whsec_AAAA", "segments": None,
        "changes": frozenset({"entered", "exited"}), "causes": None, "imports": False, "enabled": True, "description": "", "created_ms": 0,
    }  # fmt: skip
    return Endpoint(**(plain | changes))


@pytest.mark.parametrize(
    ("changes", "kind", "imported", "wanted"),
    [
        ({}, "event", False, True),
        ({}, "clock", False, True),
        ({}, "definition", False, False),
        ({"causes": frozenset({"definition"})}, "definition", False, True),
        ({"causes": frozenset({"clock"})}, "event", False, False),
        ({}, "event", True, False),
        ({"imports": True}, "event", True, True),
        ({"enabled": False}, "event", False, False),
        ({"segments": frozenset({"other"})}, "event", False, False),
        ({"segments": frozenset({"regulars"})}, "event", False, True),
        ({"changes": frozenset({"exited"})}, "event", False, False),
        ({"created_ms": 4_000_000_000_000}, "event", False, False),
    ],
)
def test_who_asked_for_a_transition(changes: dict[str, Any], kind: str, imported: bool, wanted: bool) -> None:  # noqa: FBT001
    """Definitions and imports only where they were asked for; nothing from before the endpoint was made."""
    at = "2026-11-22T10:15:00.250Z"
    transition = Announced("trn", "t", "718", "regulars", "entered", at, at, AnnouncedCause(kind, imported))
    assert bool(matching(transition, [endpoint(**changes)])) is wanted


@pytest.mark.parametrize(
    ("records", "decided_ms", "pushed"),
    [
        ([], 1_500, True),
        ([SegmentPaused], 500, False),
        ([SegmentPaused], 1_500, False),
        ([SegmentPaused, SegmentResumed], 999, True),
        ([SegmentPaused, SegmentResumed], 1_000, False),
        ([SegmentPaused, SegmentResumed], 1_999, False),
        ([SegmentPaused, SegmentResumed], 2_000, True),
    ],
)
def test_nothing_is_queued_for_a_paused_segment(records: list[Any], decided_ms: int, pushed: bool) -> None:  # noqa: FBT001
    """Neither while it is paused nor, by a dispatcher that is behind, what was decided while it was. Another segment's is."""
    catalog = Catalog()
    written: list[Definition] = [
        TenantPut(tenant="t", at_ms=1, timezone="UTC", currency="EUR", country="FR"),
        EndpointPut(tenant="t", at_ms=1, endpoint_id="e", replaces=0, url="https://x.example/", secret="whsec_AAAA"),
        *(SegmentPut(tenant="t", at_ms=1, segment_id=segment_id, replaces=0, name=segment_id) for segment_id in ("regulars", "others")),
        *(record(tenant="t", at_ms=1_000 * place, segment_id="regulars", version=1) for place, record in enumerate(records, 1)),
    ]
    for offset, record in enumerate(written):
        assert catalog.apply(offset, encode_definition(record)).accepted
    for segment_id, wanted in (("regulars", pushed), ("others", True), ("nobody-knows", True)):
        desk = Desk(0, around(catalog))
        at = iso(decided_ms)
        desk.read(0, json.dumps({
            "id": "trn", "tenant": "t", "customer_id": "718", "segment_id": segment_id, "change": "entered", "at": at, "decided_at": at,
            "cause": {"kind": "event"},
        }).encode())  # fmt: skip
        assert (desk.pending, desk.read_to) == (int(wanted), 1), segment_id


def test_an_erased_life_is_told_to_nobody_who_did_not_ask() -> None:
    """Neither what was decided before, nor, unless the cause is named, that the person was erased; a new life is told again."""
    catalog = Catalog()
    written: list[Definition] = [
        TenantPut(tenant="t", at_ms=1, timezone="UTC", currency="EUR", country="FR", salt="s"),
        EndpointPut(tenant="t", at_ms=1, endpoint_id="all", replaces=0, url="https://x.example/", secret="whsec_AAAA"),
        EndpointPut(tenant="t", at_ms=1, endpoint_id="erased", replaces=0, url="https://x.example/", secret="whsec_AAAA", causes=["erase"]),
    ]
    for offset, record in enumerate(written):
        assert catalog.apply(offset, encode_definition(record)).accepted
    erasures = Erasures(catalog)
    erasures.apply(encode_erased(Erased("t", hash_of("s", "t", "718"), 5)))
    for customer, seq, kind, wanted in (("718", 5, "event", 0), ("718", 6, "event", 1), ("9", 5, "event", 1), ("718", 5, "erase", 1)):
        desk = Desk(0, around(catalog, erasures))
        at = iso(1_500)
        desk.read(0, json.dumps({
            "id": "trn", "tenant": "t", "customer_id": customer, "segment_id": "s", "change": "exited", "at": at, "decided_at": at,
            "seq": seq, "cause": {"kind": kind},
        }).encode())  # fmt: skip
        assert desk.pending == wanted, (customer, seq, kind)


async def test_a_desk_that_is_woken_and_told_to_end_at_once_ends() -> None:
    """A transition that comes in the very moment at which a partition is given up must not keep its desk, and the group, waiting."""
    catalog = Catalog()
    desk = Desk(0, around(catalog))
    trying = asyncio.create_task(desk._try())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    desk._wake.set()
    trying.cancel()
    done, _ = await asyncio.wait([trying], timeout=2)
    assert done == {trying}


def test_signatures_are_those_of_the_standard() -> None:
    """HMAC-SHA256 over id, timestamp and body, as the public specification spells it; the reference library accepts it."""
    secret, body = "whsec_" + base64.b64encode(b"thirty-two bytes of good secret!").decode(), b'{"type":"segment.entered"}'
    headers = signed_headers([secret], "msg_1", 1_674_087_231_999, body)
    expected = hmac.new(b"thirty-two bytes of good secret!", b"msg_1.1674087231." + body, hashlib.sha256).digest()
    assert headers["webhook-signature"] == "v1," + base64.b64encode(expected).decode()
    assert headers["webhook-timestamp"] == "1674087231"
    # The library compares with its own clock.
    fresh = signed_headers([secret], "msg_1", int(time.time() * 1000), body)
    assert Webhook(secret).verify(body, fresh) == {"type": "segment.entered"}


def test_for_a_day_after_a_rotation_two_secrets_sign() -> None:
    """The reference library accepts a delivery with either; then the former one is nobody's, and at once after a second rotation."""
    first, second, third = ("whsec_" + base64.b64encode(letter * 32).decode() for letter in (b"1", b"2", b"3"))
    catalog, day_ms, now_ms = Catalog(), 24 * 3_600_000, int(time.time() * 1000)
    put = EndpointPut(tenant="t", at_ms=now_ms, endpoint_id="e", replaces=0, url="https://x.example/", secret=first)
    written: list[Definition] = [
        TenantPut(tenant="t", at_ms=1, timezone="UTC", currency="EUR", country="FR"),
        put,
        replace(put, replaces=1, secret=second, at_ms=now_ms),
        replace(put, replaces=2, secret=second, at_ms=now_ms + 5, description="edited"),
        replace(put, replaces=3, secret=third, at_ms=now_ms + 10),
    ]
    accepted: list[set[str]] = []
    for offset, record in enumerate(written):
        assert catalog.apply(offset, encode_definition(record)).accepted
        if offset:
            made = catalog.endpoints["t"]["e"]
            headers = signed_headers(made.secrets(now_ms + 10), "msg_1", now_ms, b"{}")
            accepted.append({secret for secret in (first, second, third) if verified(secret, headers)})
    assert accepted == [{first}, {second, first}, {second, first}, {third, second}]
    made = catalog.endpoints["t"]["e"]
    assert made.secrets(now_ms + 9 + day_ms) == [third, second]
    assert made.secrets(now_ms + 10 + day_ms) == [third]
    assert replace(made.record(now_ms), replaces=3, at_ms=now_ms + 10) == written[-1]


def verified(secret: str, headers: dict[str, str]) -> bool:
    """Whether the reference library takes a delivery of `{}`."""
    try:
        return bool(Webhook(secret).verify(b"{}", headers) == {})
    except WebhookVerificationError:
        return False


def delivery(number: int, customer: str, endpoint_id: str = "e", tenant: str = "t") -> Delivery:
    """A pending delivery."""
    return Delivery(f"d{number}", tenant, endpoint_id, customer, "entered", "now", b"{}", number, 0)


def test_a_delivery_keeps_its_id_and_its_bytes() -> None:
    """Through storage, and whatever else is known of it."""
    one = delivery(1, "718")
    assert decode_delivery(encode(one)).body == one.body == b'{"type":"segment.entered","timestamp":"now","data":{}}'
    assert delivery_id("trn_1", "e") == delivery_id("trn_1", "e") != delivery_id("trn_1", "f")


def test_the_turn_of_those_who_are_erased_comes_at_once() -> None:
    """Of one customer only, and once; others wait for their time, and so does what comes later for the one."""
    queues = Queues(5)
    for number, customer in enumerate("aabc"):
        queues.add(delivery(number, customer))
    heads = list(queues.ready(0))
    for one in heads:
        queues.landed(one)
        one.next_ms = 1_000
        queues.retry(one)
    assert [one.id for one in heads] == ["d0", "d2", "d3"]
    for _ in range(2):
        queues.hasten(lambda tenant, customer: (tenant, customer) == ("t", "a"), 5)
    assert [one.id for one in queues.ready(5)] == ["d0"]
    queues.landed(heads[0])
    queues.done(heads[0])
    assert [one.id for one in queues.ready(5)] == ["d1"]
    assert [one.id for one in queues.ready(1_000)] == ["d2", "d3"]


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("ef")), min_size=1, max_size=25),
    st.integers(1, 3),
    st.lists(st.integers(0, 4), min_size=200, max_size=200),
)
def test_every_delivery_ends_in_its_customers_order(added: list[tuple[str, str]], in_flight: int, luck: list[int]) -> None:
    """Whatever fails and waits: heads only, never more under way than allowed, each customer's order kept, all ended at last."""
    queues = Queues(in_flight)
    for number, (customer, endpoint_id) in enumerate(added):
        queues.add(delivery(number, customer, endpoint_id))
    ended: list[Delivery] = []
    flying: list[Delivery] = []
    now = 0
    fates = iter(luck)
    while queues.pending:
        flying.extend(queues.ready(now))
        for endpoint_id in "ef":
            assert sum(one.endpoint_id == endpoint_id for one in flying) <= in_flight
        if not flying:
            due = queues.next_ms()
            assert due is not None, "deliveries are pending and nothing will ever try them"
            now = max(now, due)
            continue
        fate = next(fates, 0)
        one = flying.pop(fate % len(flying))
        if fate == 1:
            one.next_ms = now + 50
            queues.retry(one)
        else:
            ended.append(one)
            queues.done(one)
        queues.landed(one)
    assert len(ended) == len(added)
    for lane in set(added):
        mine = [int(one.id[1:]) for one in ended if (one.customer_id, one.endpoint_id) == lane]
        assert mine == sorted(mine)


def test_a_failing_customer_holds_up_nobody_else() -> None:
    """While the head of one customer waits for its retry, the others go."""
    queues = Queues(1)
    for number, customer in enumerate(["a", "a", "b"]):
        queues.add(delivery(number, customer))
    (first,) = queues.ready(0)
    first.next_ms = 1_000
    queues.retry(first)
    queues.landed(first)
    (other,) = queues.ready(0)
    assert other.customer_id == "b"


@given(
    st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["loud", "quiet"]), st.sampled_from("efgh")), min_size=1, max_size=40),
    st.integers(1, 6),
    st.lists(st.integers(0, 40), min_size=100, max_size=100),
)
def test_attempts_over_all_endpoints_and_partitions_are_bounded(added: list[tuple[int, str, str]], limit: int, luck: list[int]) -> None:
    """Whatever is pending where: never more under way than allowed, who was refused is told when one is over, and everything ends."""
    attempts, told = Attempts(DispatcherSettings(dispatcher_attempts=limit, tenant_share=0.5)), {0, 1, 2}

    def looking(number: int) -> Queues:
        def look() -> None:
            told.add(number)

        return Queues(5, lambda tenant: attempts.begin(tenant, look), attempts.over)

    desks = [looking(number) for number in range(3)]
    for number, (partition, tenant, endpoint_id) in enumerate(added):
        desks[partition].add(delivery(number, f"c{number}", endpoint_id, tenant))
    flying: list[tuple[Queues, Delivery]] = []
    fates = iter(luck)
    while any(desk.pending for desk in desks):
        for number in sorted(told):
            told.discard(number)
            flying += [(desks[number], one) for one in desks[number].ready(0)]
        assert attempts.under_way == len(flying) <= limit
        assert flying, "deliveries are pending and nobody will ever try them"
        desk, one = flying.pop(next(fates, 0) % len(flying))
        desk.done(one)
        desk.landed(one)
        told.add(desks.index(desk))
    assert attempts.under_way == 0


def test_a_tenants_slow_endpoints_take_turns_and_leave_others_theirs() -> None:
    """Its many endpoints share what a tenant may have under way; another tenant's attempt begins at once; all is given back by who ends."""
    attempts = Attempts(DispatcherSettings(dispatcher_attempts=8, tenant_share=0.5))
    queues = Queues(5, lambda tenant: attempts.begin(tenant, lambda: None), attempts.over)
    for number in range(40):
        queues.add(delivery(number, f"c{number}", "efgh"[number % 4], "loud"))
    first = list(queues.ready(0))
    assert [one.endpoint_id for one in first] == ["e", "e", "e", "e"]
    queues.add(delivery(40, "c", "e", "quiet"))
    assert [one.tenant for one in queues.ready(0)] == ["quiet"]
    for one in first:
        queues.done(one)
        queues.landed(one)
    assert {one.endpoint_id for one in queues.ready(0)} == {"f"}
    queues.ground()
    assert attempts.under_way == 0


def test_a_tenants_many_endpoints_leave_room_for_anothers() -> None:
    """One endpoint has a quarter of the room, all of a tenant a half, and another tenant's finds room; what is given back is there again."""
    room = Room(DispatcherSettings(dispatcher_pending=1_000, tenant_share=0.5))
    loud = [("loud", f"e{number}") for number in range(20)]
    held = dict.fromkeys([*loud, ("quiet", "e")], 0)
    for name in [loud[0], *loud, ("quiet", "e")]:
        while room.take(name):
            held[name] += 1
    assert 240 <= held[loud[0]] <= 250
    assert 490 <= sum(held[name] for name in loud) <= 500
    assert held["quiet", "e"] >= 120
    assert room.held == sum(held.values())
    for name, count in held.items():
        room.give_back(name, count)
    assert room.held == 0
    assert room.take(loud[1])
