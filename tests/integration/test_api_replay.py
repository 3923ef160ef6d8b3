"""Pausing and replaying over HTTP, with a dispatcher that dies, on a real Kafka and Valkey; and what cannot be asked for."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from schemas.affairs import MOST_OPEN
from schemas.instants import iso
from schemas.partitions import partition_of, record_key
from schemas.transitions import Cause, Transition, encode_transition
from tests.support.api import PARTITIONS, Api, fails, installed, patiently
from tests.support.receiver import Receiver
from tests.support.sending import sender
from tests.support.services import Stack, wait_for
from tests.support.waiting import wait_until

HOOK = {"url": "https://example.com/"}


@pytest.fixture(scope="module")
def api(kafka: str, valkey_url: str) -> Iterator[Api]:
    """An API that lets webhooks go to this machine."""
    with installed(kafka, valkey_url, webhook_allow="127.0.0.1/32", api_replay_ids=20, api_replays=MOST_OPEN + 4) as found:
        yield found


@pytest.fixture
def stack(api: Api, valkey_url: str, tmp_path: Path) -> Iterator[Stack]:
    """Room for a dispatcher beside that API."""
    stack = Stack(tmp_path, api.settings.kafka, valkey_url)
    stack.prefix = api.settings.topic_prefix
    yield stack
    stack.stop_services()


def announce(api: Api, first: int, count: int, customers: int) -> dict[str, bytes]:
    """Publish transitions of a few customers and return their bytes by id, in order."""
    producer, written = sender(api.settings.kafka), {}
    for number in range(first, first + count):
        customer, at = f"c{number % customers}", iso(time.time_ns() // 1_000_000)
        transition = Transition(f"trn_{number:04d}", "demo", customer, "s", 1, "entered", at, at, number + 1, Cause("event", "e"), None, [])
        key = record_key("demo", customer)
        written[transition.id] = encode_transition(transition)
        producer.produce(api.settings.topics.changes, written[transition.id], key, partition=partition_of(key, PARTITIONS))
    assert producer.flush(20) == 0
    return written


def log_of(api: Api, path: str) -> list[dict[str, Any]]:
    """Read the whole log."""
    found, cursor = [], ""
    while cursor is not None:
        page = api.get(f"{path}/deliveries?limit=1000{cursor and '&cursor=' + cursor}").json()
        found += page["deliveries"]
        cursor = page["next"]
    return found


def test_what_was_missed_in_a_pause_is_replayed_although_the_dispatcher_dies(api: Api, stack: Stack) -> None:
    """Nothing comes while it is paused, nor when it is resumed; asked for, everything comes, each customer's in order, and the log says so."""
    receiver = Receiver()
    paths = {}
    for name in ("campaign", "other"):
        made = api.call("POST", "/v1/webhooks", {"url": receiver.url(name)}).json()
        receiver.secrets[name], paths[name] = made["secret"], f"/v1/webhooks/{made['id']}"
    stack.start("dispatcher", "services.api", "dispatch")

    def came(name: str) -> dict[str, bytes]:
        bodies = [arrival.body for arrival in list(receiver.arrivals) if arrival.endpoint == name]
        return {json.loads(body)["data"]["id"]: body for body in bodies}

    before = announce(api, 0, 5, 5)
    wait_until(lambda: came("campaign").keys() == came("other").keys() == before.keys(), 30)
    paused = api.call("POST", paths["campaign"] + "/pause").json()
    assert paused["status"] == "paused"
    missed = announce(api, 5, 40, 7)
    wait_until(lambda: len(came("other")) == 45, 30)
    fails(api.call("POST", paths["campaign"] + "/replay", {"from": paused["status_since"]}), 409)
    resumed = api.call("POST", paths["campaign"] + "/resume").json()
    assert resumed["status"] == "enabled"
    stack.end("dispatcher", gently=False)
    asked = api.call("POST", paths["campaign"] + "/replay", {"from": paused["status_since"]})
    assert (asked.status_code, asked.json()["status"], asked.json()["queued"]) == (202, "running", 0)
    stack.start("dispatcher", "services.api", "dispatch", wait=False)
    wait_until(lambda: api.get(paths["campaign"] + "/replays").json()["replays"][0]["status"] == "done", 60)
    wait_until(lambda: len(came("campaign")) == 45, 30)
    arrived = came("campaign")
    assert all(document in arrived[identifier] for identifier, document in (before | missed).items())
    for customer in range(7):
        mine = [identifier for identifier in arrived if identifier in missed and int(identifier[4:]) % 7 == customer]
        assert mine == sorted(mine)
    (replay,) = api.get(paths["campaign"] + "/replays").json()["replays"]
    assert (replay["queued"], replay["progress"], replay["reason"], replay["ids"]) == (40, 1.0, None, None)
    wait_until(lambda: all(view["state"] == "delivered" for view in log_of(api, paths["campaign"])), 30)
    found = log_of(api, paths["campaign"])
    assert sorted((view["transition_id"], view["replay"]) for view in found) == sorted(
        [(identifier, None) for identifier in before] + [(identifier, replay["id"]) for identifier in missed]
    )
    # What the dispatcher had sent when it died, and not written down, comes again as well.
    wait_until(lambda: all(view["state"] == "delivered" for view in log_of(api, paths["other"])), 30)
    heard = len([one for one in receiver.arrivals if one.endpoint == "other"])
    named = api.call("POST", paths["other"] + "/replay", {"ids": [*list(before)[:2], "trn_absent"]}).json()
    assert (named["ids"], named["status"]) == (3, "running")
    wait_until(lambda: len([one for one in receiver.arrivals if one.endpoint == "other"]) == heard + 2, 30)
    assert len(receiver.bodies) == 90, "the same ids have the same bytes"
    wait_until(lambda: api.get(paths["other"] + "/replays").json()["replays"][0]["status"] == "done", 30)
    assert api.get(paths["other"] + "/replays").json()["replays"][0]["queued"] == 2
    assert receiver.unsigned == 0
    receiver.close()


@pytest.mark.parametrize("place", ["api.before_write", "api.after_write"])
def test_a_replay_that_was_asked_for_when_the_api_died_is_there_or_is_not(api: Api, stack: Stack, place: str, tmp_path: Path) -> None:
    """Whoever got no answer reads whether it was taken down, and asks again where it was not: it is done once, and whole."""
    receiver, failpoints = Receiver(), tmp_path / "failpoints"
    failpoints.mkdir()
    made = api.call("POST", "/v1/webhooks", {"url": receiver.url("campaign")}).json()
    receiver.secrets["campaign"], path = made["secret"], f"/v1/webhooks/{made['id']}"
    stack.extra["ROLLCALL_FAILPOINTS_DIR"] = str(failpoints)

    def begin() -> None:
        # Not ready, for no segmenter is there; what it says of replays is right as soon as it says anything.
        stack.start("api", "services.api", "serve", wait=False)
        wait_for(lambda: stack.get("api", "/healthz") is not None, what="the api to answer")

    stack.start("dispatcher", "services.api", "dispatch")
    begin()
    told = announce(api, {"api.before_write": 100, "api.after_write": 200}[place], 20, 3)
    wait_until(lambda: len(receiver.arrivals) == 20, 30)
    (failpoints / place).write_text("kill")
    url = f"http://127.0.0.1:{stack.ports['api']}{path}"
    with pytest.raises(httpx.TransportError):
        httpx.post(url + "/replay", json={"ids": list(told)}, headers={"Authorization": "Bearer all"}, timeout=30)
    wait_until(lambda: stack.ended("api") == "killed by signal 9", 30)
    stack.end("api", gently=False)
    begin()
    known = patiently(lambda: httpx.get(url + "/replays", headers={"Authorization": "Bearer all"}), timeout_s=30).json()["replays"]
    assert len(known) == (place == "api.after_write")
    if not known:
        assert httpx.post(url + "/replay", json={"ids": list(told)}, headers={"Authorization": "Bearer all"}).status_code == 202
    # This API is another process, which hears of the replay in its own time.
    wait_until(lambda: [one["status"] for one in api.get(path + "/replays").json()["replays"]] == ["done"], 30)
    wait_until(lambda: len(receiver.arrivals) == 40, 30)
    (replay,) = api.get(path + "/replays").json()["replays"]
    assert replay["queued"] == 20
    wait_until(lambda: [view["state"] for view in log_of(api, path)] == ["delivered"] * 40, 30)
    assert (len(receiver.bodies), {len(bodies) for bodies in receiver.bodies.values()}) == (20, {1}), "each came twice, with the same bytes"
    receiver.close()


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/from"),
        ({"ids": []}, "/ids"),
        ({"ids": [f"trn_{number}" for number in range(21)]}, "/ids"),
        ({"ids": ["a"], "from": "2026-01-01T00:00:00Z"}, "/ids"),
        ({"ids": [1]}, "/ids/0"),
        ({"to": "2026-01-01T00:00:00Z"}, "/from"),
        ({"from": "yesterday"}, "/from"),
        ({"from": "2001-01-01T00:00:00Z"}, "/from"),
        ({"from": "2999-01-01T00:00:00Z"}, "/from"),
        ({"from": iso(time.time_ns() // 1_000_000 - 60_000), "to": "2999-01-01T00:00:00Z"}, "/to"),
        ({"from": iso(time.time_ns() // 1_000_000 - 60_000), "to": iso(time.time_ns() // 1_000_000 - 60_000)}, "/to"),
        ({"since": "x"}, "/since"),
    ],
)
def test_what_cannot_be_replayed_is_refused_with_its_place(api: Api, body: dict[str, Any], pointer: str) -> None:
    """Nothing to replay, too much, both ways at once, too long ago, to come, an empty span."""
    path = api.call("POST", "/v1/webhooks", HOOK).headers["location"]
    fails(api.call("POST", path + "/replay", body), 422, pointer)
    assert api.get(path + "/replays").json() == {"replays": [], "next": None}


def test_replays_are_ones_own_and_not_too_many(api: Api) -> None:
    """Another's endpoint has none and takes none; one endpoint has so many under way and no more; who may only read asks for none."""
    path = api.call("POST", "/v1/webhooks", HOOK).headers["location"]
    body = {"ids": ["trn_1"]}
    for number in range(MOST_OPEN):
        assert api.call("POST", path + "/replay", body).status_code == 202, number
    fails(api.call("POST", path + "/replay", body), 409)
    assert len(api.get(path + "/replays").json()["replays"]) == MOST_OPEN
    many = [api.call("POST", api.call("POST", "/v1/webhooks", HOOK).headers["location"] + "/replay", body) for _ in range(6)]
    assert [answer.status_code for answer in many if answer.status_code != 202] == [409, 409], "all of a tenant's, of those before as well"
    absent = "/v1/webhooks/whk_absent"
    assert fails(api.call("POST", path + "/replay", body, key="theirs"), 404) == fails(api.call("POST", absent + "/replay", body), 404)
    assert fails(api.get(path + "/replays", key="theirs"), 404) == fails(api.get(absent + "/replays"), 404)
    fails(api.call("POST", path + "/replay", body, key="only-webhooks:read"), 403)
    fails(api.get(path + "/replays", key="only-segments:read"), 403)
