"""The log of deliveries over HTTP, from what dispatchers write on a real Kafka: complete, in pages, and nobody else's."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any
from urllib.parse import quote

import pytest

from schemas import deliveries
from schemas.deliveries import Attempt, Delivery, DispatchProgress, delivery_key
from schemas.erasures import Erased, encode_erased
from schemas.identity import hash_of
from schemas.instants import iso
from tests.support.api import PARTITIONS, Api, fails, installed
from tests.support.sending import sender
from tests.support.waiting import wait_until

NOW_MS = 1_764_000_000_000


@pytest.fixture(scope="module")
def api(kafka: str, valkey_url: str) -> Iterator[Api]:
    """An API whose reads look at few records at a time."""
    with installed(kafka, valkey_url, api_feed_scan=40) as found:
        yield found


def endpoint(api: Api, key: str = "all") -> str:
    """Make an endpoint and return its id."""
    made = api.call("POST", "/v1/webhooks", {"url": "https://example.com/"}, key=key)
    return str(made.json()["id"])


def one(endpoint_id: str, number: int, state: deliveries.State = "pending", *, tenant: str = "demo", customer: str = "718", **more: Any) -> Delivery:
    """A delivery; its number is its transition's place."""
    usual: dict[str, Any] = {
        "id": f"msg_{number}_{endpoint_id}", "tenant": tenant, "endpoint_id": endpoint_id, "customer_id": customer, "change": "entered", "at": iso(NOW_MS),
        "transition": b"{}" if state == "pending" else b"", "created_ms": NOW_MS, "next_ms": NOW_MS + number, "state": state, "offset": number,
        "transition_id": f"trn_{number}", "segment_id": "gold", "seq": number,
    }  # fmt: skip
    return Delivery(**(usual | more))


def write(api: Api, partition: int, *states: Delivery, since: int = 0) -> None:
    """Write states and behind them the progress, as a dispatcher does."""
    producer = sender(api.settings.kafka)
    topic = api.settings.topics.deliveries
    for state in states:
        producer.produce(topic, deliveries.encode(state), delivery_key(state.key), partition=partition)
    producer.produce(topic, deliveries.encode(DispatchProgress(1, since)), deliveries.PROGRESS, partition=partition)
    assert producer.flush(20) == 0


def pages(api: Api, path: str, **query: str) -> list[dict[str, Any]]:
    """Read all pages."""
    found: list[dict[str, Any]] = []
    cursor = ""
    while True:
        parts = [f"{name}={value}" for name, value in query.items()] + ([f"cursor={cursor}"] if cursor else [])
        page = api.get(f"{path}?{'&'.join(parts)}")
        assert page.status_code == 200, page.text
        found += page.json()["deliveries"]
        cursor = page.json()["next"]
        if cursor is None:
            return found


@pytest.mark.parametrize("limit", [1, 3, 1_000])
def test_every_delivery_is_there_once_as_it_was_written_last(api: Api, limit: int) -> None:
    """Pending ones first, each customer's in order; then the ended ones. Among thousands of others' records, with pages of any size."""
    mine, other = endpoint(api), endpoint(api)
    path = f"/v1/webhooks/{mine}/deliveries"
    for partition in range(PARTITIONS):
        write(api, partition, *(one(other, number) for number in range(60)))
        failed = [Attempt(NOW_MS, 500, 12, "answered 500")]
        write(api, partition, one(mine, 1), one(mine, 2), one(mine, 3), one(mine, 4))
        write(api, partition, one(mine, 1, "delivered", attempts=[Attempt(NOW_MS, 204, 3, None)]), one(mine, 3, attempts=failed))
        write(api, partition, *(one(other, number, "delivered") for number in range(60)))
        write(api, partition, one(mine, 2, "cancelled", reason="endpoint_paused", attempts=failed))
    found = pages(api, path, limit=str(limit))
    seen = [(view["id"][:5], view["state"], view["reason"], [attempt["status"] for attempt in view["attempts"]]) for view in found]
    pending = [("msg_3", "pending", None, [500]), ("msg_4", "pending", None, [])] * PARTITIONS
    ended = [("msg_2", "cancelled", "endpoint_paused", [500])] * PARTITIONS + [("msg_1", "delivered", None, [204])] * PARTITIONS
    assert seen[: len(pending)] == pending
    assert sorted(seen[len(pending) :]) == sorted(ended)
    for state, expected in (("pending", pending), ("cancelled", ended[:PARTITIONS]), ("delivered", ended[PARTITIONS:]), ("exhausted", [])):
        assert [(view["id"][:5], view["state"]) for view in pages(api, path, limit=str(limit), state=state)] == [one[:2] for one in expected]
    view = found[0]
    assert (view["transition_id"], view["customer_id"], view["segment_id"], view["change"]) == ("trn_3", "718", "gold", "entered")
    assert (view["created_at"], view["next_attempt_at"], view["ended_at"], view["replay"]) == (iso(NOW_MS), iso(NOW_MS + 3), None, None)
    assert view["attempts"] == [{"at": iso(NOW_MS), "status": 500, "duration_ms": 12, "error": "answered 500"}]
    assert (found[-1]["next_attempt_at"], found[-1]["ended_at"]) == (None, iso(NOW_MS + 1))


def test_nothing_before_since_is_looked_at_for_what_is_pending(api: Api) -> None:
    """The progress says from where on pending deliveries lie, so that pages stay cheap however much has ended."""
    mine = endpoint(api)
    write(api, 0, one(mine, 1))
    before = pages(api, f"/v1/webhooks/{mine}/deliveries", state="pending")
    write(api, 0, one(mine, 2), since=1 << 40)
    assert (len(before), pages(api, f"/v1/webhooks/{mine}/deliveries", state="pending")) == (1, [])


def test_whoever_was_erased_is_named_by_no_delivery(api: Api) -> None:
    """Neither by an old one nor by one that is pending; what he was told of in a new life is."""
    mine = endpoint(api)
    write(api, 0, one(mine, 1, "cancelled", customer="rosa"), one(mine, 2, customer="rosa"), one(mine, 3, customer="rosa"))
    producer = sender(api.settings.kafka)
    salt = api.desk.follower.catalog.tenants["demo"].salt
    producer.produce(api.settings.topics.erasures, encode_erased(Erased("demo", hash_of(salt, "demo", "rosa"), 2)), partition=0)
    assert producer.flush(20) == 0
    wait_until(lambda: api.desk.erasures.erasures.last_seq("demo", "rosa") == 2)
    named = {view["id"][:5]: view["customer_id"] for view in pages(api, f"/v1/webhooks/{mine}/deliveries")}
    assert named == {"msg_1": None, "msg_2": None, "msg_3": "rosa"}


def test_anothers_log_and_cursors_tell_nothing(api: Api) -> None:
    """Another's endpoint is one that is not there; another's cursor, whole or bent, opens one's own log or is refused."""
    ours, theirs = endpoint(api), endpoint(api, "theirs")
    for partition in range(PARTITIONS):
        write(api, partition, *(one(ours, number, state, customer="rosa-7231") for number in range(3) for state in ("pending", "delivered")))
        write(api, partition, *(one(ours, number, customer="rosa-7231") for number in range(7, 10)))
        write(api, partition, one(theirs, 5, tenant="other", customer="mine"), one(theirs, 6, "exhausted", tenant="other", customer="mine"))
    for verb in ("", "?state=pending", "?state=ended", "?cursor=p"):
        absent = api.get(f"/v1/webhooks/whk_absent/deliveries{verb}", key="theirs")
        assert fails(api.get(f"/v1/webhooks/{ours}/deliveries{verb}", key="theirs"), 404) == fails(absent, 404)
    fails(api.get(f"/v1/webhooks/{ours}/deliveries", key="only-webhooks:write"), 403)
    fails(api.get(f"/v1/webhooks/{ours}/deliveries?state=ended"), 422, "/state")
    random = Random(5)
    tokens = [api.get(f"/v1/webhooks/{ours}/deliveries?limit=1{more}").json()["next"] for more in ("", "&state=delivered")]
    assert [token[0] for token in tokens] == ["p", "e"]
    for token in tokens:
        for _ in range(25):
            place = random.randrange(len(token))
            bent = random.choice(
                [token, token[:place] + random.choice("ABCxyz019-_pe") + token[place + 1 :], token[:place], token * 2, "é", "p", "e", ""]
            )
            for state in ("", "&state=pending", "&state=exhausted"):
                found = api.get(f"/v1/webhooks/{theirs}/deliveries?cursor={quote(bent)}{state}", key="theirs")
                assert found.status_code in (200, 422), (bent, found.text)
                assert "rosa" not in found.text
                assert ours not in found.text
