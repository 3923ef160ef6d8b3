"""The dispatcher as a process, on a real Kafka: receivers that fail, redirect, are gone, or must not be reached."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiokafka import AIOKafkaProducer

from deploy.local.ports import free_port
from schemas.catalog import Catalog
from schemas.definitions import EndpointPut, TenantPut, encode_definition
from schemas.instants import iso
from schemas.partitions import partition_of, record_key
from schemas.transitions import Cause, Transition, encode_transition
from services.kit.follower import Follower
from tests.support.services import PARTITIONS, SECRET, Stack, now_ms, wait_for


class Receivers:
    """One server, a path for each temper; keeps what came to each."""

    def __init__(self, port: int | None = None) -> None:
        self.port = port or free_port()
        self.came: dict[str, list[tuple[str, bytes]]] = {}
        self.at_s: dict[str, list[float]] = {}
        self._loop = asyncio.new_event_loop()
        ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(ready,), daemon=True)
        self._thread.start()
        assert ready.wait(10)

    def _serve(self, ready: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        app = web.Application()
        app.router.add_post("/{temper}", self._answer)
        runner = web.AppRunner(app, access_log=None)
        self._loop.run_until_complete(runner.setup())
        self._loop.run_until_complete(web.TCPSite(runner, "0.0.0.0", self.port).start())
        ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.close()

    async def _answer(self, request: web.Request) -> web.Response:
        temper = request.match_info["temper"]
        seen = self.came.setdefault(temper, [])
        self.at_s.setdefault(temper, []).append(time.monotonic())
        seen.append((request.headers["webhook-id"], await request.read()))
        if temper == "slow":
            await asyncio.sleep(3)
        if temper == "busy" and len(seen) == 1:
            return web.Response(status=429, headers={"Retry-After": "2"})
        if temper == "fails-twice" and len(seen) <= 2:
            return web.Response(status=500)
        if temper == "redirects":
            return web.Response(status=307, headers={"Location": "/well"})
        return web.Response(status=410 if temper == "gone" else 204)

    def close(self) -> None:
        """Stop serving."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(20)


@pytest.fixture
def stack(kafka: str, valkey_url: str, tmp_path: Path) -> Iterator[Stack]:
    """A dispatcher's surroundings, with a schedule of tenths of seconds; webhooks may reach 127.0.0.1 and no other private address."""
    stack = Stack(tmp_path, kafka, valkey_url)
    stack.extra = {"ROLLCALL_DISPATCHER_SCHEDULE_S": "0,0.2,0.2,0.2"}
    stack.fresh(f"dispatch-{free_port()}-")
    yield stack
    stack.stop_services()


def produce(stack: Stack, topic: str, records: Sequence[tuple[bytes | None, bytes, int]]) -> None:
    """Write (key, value, partition) records."""

    async def write() -> None:
        producer = AIOKafkaProducer(bootstrap_servers=stack.bootstrap, acks="all")
        await producer.start()
        for key, value, partition in records:
            await producer.send_and_wait(topic, value, key=key, partition=partition)
        await producer.stop()

    asyncio.run(write())


def define(stack: Stack, urls: dict[str, str]) -> None:
    """Write a tenant with one endpoint for each name."""
    at_ms = now_ms()
    records: list[TenantPut | EndpointPut] = [TenantPut(tenant="t", at_ms=at_ms, timezone="UTC", currency="EUR", country="FR")]
    records += [EndpointPut(tenant="t", at_ms=at_ms, endpoint_id=name, replaces=0, url=url, secret=SECRET) for name, url in urls.items()]
    produce(stack, stack.topics.definitions, [(None, encode_definition(record), 0) for record in records])


def announce(stack: Stack, first: int, count: int, customers: int) -> list[str]:
    """Publish transitions of a few customers and return their ids in order."""
    ids, records = [], []
    for number in range(first, first + count):
        customer, at = f"c{number % customers}", iso(now_ms() + 1_000)
        transition = Transition(f"trn_{number:04d}", "t", customer, "s", 1, "entered", at, at, number, Cause("event", "e"), None, [])
        ids.append(transition.id)
        key = record_key("t", customer)
        records.append((key, encode_transition(transition), partition_of(key, PARTITIONS)))
    produce(stack, stack.topics.changes, records)
    return ids


def catalog_of(stack: Stack) -> Catalog:
    """Return what is in force now."""

    async def read() -> Catalog:
        follower = Follower(stack.settings())
        await follower.start()
        await follower.stop()
        return follower.catalog

    return asyncio.run(read())


def test_receivers_of_every_temper(stack: Stack) -> None:
    """Failures are tried again, when the schedule or Retry-After says, with the same id and bytes; a redirect is one, 410 disables.

    A slow one holds up nobody else, and a private address sees no connection.
    """
    receivers = Receivers()
    names = ("well", "fails-twice", "redirects", "gone", "busy", "slow")
    urls = {name: f"http://127.0.0.1:{receivers.port}/{name}" for name in names} | {"canary": f"http://127.0.0.2:{receivers.port}/canary"}
    define(stack, urls)
    stack.start("dispatcher", "services.api", "dispatch")
    announce(stack, 0, 1, 1)
    wait_for(lambda: len(receivers.came.get("fails-twice", [])) == 3, what="the third attempt")
    wait_for(lambda: len(receivers.came.get("redirects", [])) == 4, what="the redirecting one to be exhausted")
    wait_for(lambda: not catalog_of(stack).endpoints["t"]["gone"].enabled, what="the endpoint that answered 410 to be disabled")
    wait_for(lambda: len(receivers.came["busy"]) == 2, what="the receiver that asked for time")
    gaps_s = [after - before for temper in ("fails-twice", "redirects") for before, after in pairwise(receivers.at_s[temper])]
    # Within a tenth of what is planned; later by what it takes to write an attempt down, and by a busy machine.
    assert all(0.17 < gap_s < 2.0 for gap_s in gaps_s), gaps_s
    assert 1.9 < receivers.at_s["busy"][1] - receivers.at_s["busy"][0] < 5.0
    assert len(set(receivers.came["fails-twice"])) == 1
    assert len(set(receivers.came["redirects"])) == 1
    assert len(receivers.came["well"]) == len(receivers.came["gone"]) == 1
    assert "canary" not in receivers.came
    wait_for(lambda: stack.get("dispatcher", "/readyz")["pending"] == 0, what="every delivery to end")
    announce(stack, 1, 2, 1)
    wait_for(lambda: len(receivers.came["well"]) == 3, what="the next transitions")
    assert len(receivers.came["slow"]) == 2, "it still thinks about the first of these two"
    assert len(receivers.came["gone"]) == 1
    receivers.close()


def test_dispatchers_share_the_work_and_take_over_from_a_dead_one(stack: Stack) -> None:
    """Two have every partition once between them; 15 s after one died, the other has pushed what the dead one had to push."""
    port = free_port()
    stack.extra |= {"ROLLCALL_DISPATCHER_SCHEDULE_S": ",".join(["0"] + ["0.5"] * 90)}
    define(stack, {"late": f"http://127.0.0.1:{port}/well"})
    for name in ("dispatcher1", "dispatcher2"):
        stack.start(name, "services.api", "dispatch")

    def held(name: str, what: str) -> Any:
        return (stack.get(name, "/readyz") or {}).get(what)

    def shared() -> bool:
        first, second = (held(name, "partitions") or [] for name in ("dispatcher1", "dispatcher2"))
        return bool(first) and bool(second) and sorted(first + second) == list(range(PARTITIONS))

    wait_for(shared, what="each to have its share")
    ids = announce(stack, 0, 60, 30)
    wait_for(lambda: (held("dispatcher1", "pending") or 0) + (held("dispatcher2", "pending") or 0) == 60, what="all deliveries to be pending")
    assert held("dispatcher1", "pending")
    stack.end("dispatcher1", gently=False)
    died_s = time.monotonic()
    receivers = Receivers(port)
    wait_for(lambda: len({one for one, _ in receivers.came.get("well", [])}) == 60, what="every delivery", every_s=0.2)
    assert time.monotonic() - died_s < 15
    assert sorted(body.split(b'"id":"')[1][:8].decode() for _, body in dict(receivers.came["well"]).items()) == ids
    receivers.close()


@pytest.mark.parametrize("gently", [False, True])
def test_pending_deliveries_survive_and_keep_their_customers_order(stack: Stack, gently: bool) -> None:  # noqa: FBT001
    """Kill -9, or SIGTERM, while retries wait for a receiver that is not there; when it is, everything comes once, each customer in order."""
    port = free_port()
    stack.extra |= {"ROLLCALL_DISPATCHER_SCHEDULE_S": ",".join(["0"] + ["0.5"] * 60)}
    define(stack, {"late": f"http://127.0.0.1:{port}/well"})
    stack.start("dispatcher", "services.api", "dispatch")
    ids = announce(stack, 0, 60, 7)
    wait_for(lambda: stack.get("dispatcher", "/readyz")["pending"] == 60, what="all deliveries to be pending")
    stack.end("dispatcher", gently=gently)
    stack.start("dispatcher", "services.api", "dispatch")
    receivers = Receivers(port)
    wait_for(lambda: len({one for one, _ in receivers.came.get("well", [])}) == 60, what="every delivery")
    order = [body.split(b'"id":"')[1][:8].decode() for _, body in dict(receivers.came["well"]).items()]
    assert sorted(order) == ids
    for customer in range(7):
        mine = [int(text[4:]) for text in order if int(text[4:]) % 7 == customer]
        assert mine == sorted(mine)
    receivers.close()
