"""What one tenant feels of another's flood: a quiet tenant's delays alone, and again beside `tests.bench.flood`, in one run.

The quiet one posts fifty first checkouts a second and waits for the webhook of each, and for twenty of them asks, with the
position that the post answered, which segments the customer is in. Delays count from when a post was due. What is to be read is
the ratio of the two phases; the mark is 2.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import sys
import time
from typing import Any, Final

import aiohttp

from deploy.local.ports import free_port
from schemas.definitions import SCOPES, EndpointPut, KeyPut, SegmentPut, TenantPut
from schemas.instants import iso
from tests.bench import flood
from tests.bench.latency import BUYERS, Receiver
from tests.bench.lines import Line
from tests.support.services import KEY, SECRET, Stack, now_ms

_EVENTS_A_SECOND: Final = 50
_READ_OF_FIVE: Final = 2
"""Of five posts so many are followed by a read: twenty a second."""
_WARM_S: Final = 5.0
_LOUD: Final = "loud"


class Quiet:
    """The quiet tenant's load and its delays in milliseconds; `failed` are answers other than they should be."""

    def __init__(self, stack: Stack) -> None:
        self._urls = {name: f"http://127.0.0.1:{stack.ports[name]}" for name in ("ingest", "api")}
        self.failed = 0

    async def phase(self, label: str, seconds: float) -> dict[str, Any]:
        """Post and read at a steady rate for so long; return the delays."""
        due_s: dict[str, float] = {}
        reads: list[float] = []
        self.failed = 0
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as session:
            start_s, tasks = time.perf_counter() + 0.1, []
            for number in range(int(_EVENTS_A_SECOND * seconds)):
                customer, due = f"{label}-{number}", start_s + number / _EVENTS_A_SECOND
                await asyncio.sleep(due - time.perf_counter())
                due_s[customer] = due
                tasks.append(asyncio.create_task(self._one(session, customer, due, reads if number % 5 < _READ_OF_FIVE else None)))
            await asyncio.gather(*tasks)
        give_up_s = time.perf_counter() + 60
        while any(customer not in Receiver.arrived for customer in due_s) and time.perf_counter() < give_up_s:
            await asyncio.sleep(0.05)
        pushed = [1000 * (Receiver.arrived[customer] - due) for customer, due in due_s.items() if customer in Receiver.arrived]
        return {"webhook": _summed(pushed), "read": _summed(reads), "failed": self.failed, "lost": len(due_s) - len(pushed)}

    async def _one(self, session: aiohttp.ClientSession, customer: str, due_s: float, reads: list[float] | None) -> None:
        event = {"type": "checkout", "event_id": customer, "customer_id": customer, "occurred_at": iso(now_ms()), "total": "12.50"}
        try:
            async with session.post(self._urls["ingest"] + "/v1/events", json=event) as response:
                posted = await response.json(content_type=None)
                self.failed += response.status != 202
            if reads is None or response.status != 202:
                return
            async with session.get(f"{self._urls['api']}/v1/customers/{customer}/segments", params={"after": posted["position"]}) as response:
                answer = await response.json(content_type=None)
                self.failed += response.status != 200 or [one["id"] for one in answer["segments"]] != [BUYERS["id"]]
            reads.append(1000 * (time.perf_counter() - due_s))
        except (aiohttp.ClientError, OSError, TimeoutError):
            self.failed += 1


def _summed(delays: list[float]) -> dict[str, float]:
    found = sorted(delays) or [float("inf")]
    return {"count": len(delays), "p50_ms": found[len(found) // 2], "p99_ms": found[int(len(found) * 0.99)]}


def measure(stack: Stack, *, seconds: float = 30.0) -> dict[str, Any]:
    """Start every process, measure the quiet tenant alone and beside the flood, and return both with their ratios."""
    ports = {"quiet": free_port(), _LOUD: free_port()}
    stack.fresh("neighbours-")
    stack.define([BUYERS], webhook=f"http://127.0.0.1:{ports['quiet']}/hook")
    services = {"ingest": ("services.ingest",), "segmenter": ("services.segmenter",), "api": ("services.api", "serve")}
    stack.start_all(services | {"dispatcher": ("services.api", "dispatch")})
    try:
        return asyncio.run(_run(stack, ports, seconds))
    finally:
        stack.stop_services()


async def _run(stack: Stack, ports: dict[str, int], seconds: float) -> dict[str, Any]:
    server = await asyncio.get_running_loop().create_server(Receiver, "127.0.0.1", ports["quiet"])
    quiet = Quiet(stack)
    await quiet.phase("warm", _WARM_S)
    alone = await quiet.phase("alone", seconds)
    await asyncio.to_thread(_settle_in, stack, ports[_LOUD])
    where = {name: f"http://127.0.0.1:{stack.ports[name]}" for name in ("ingest", "api")}
    arguments = (
        "--prefix",
        stack.prefix,
        "--ingest",
        where["ingest"],
        "--api",
        where["api"],
        "--hook-port",
        str(ports[_LOUD]),
        "--seconds",
        str(seconds + 3 * _WARM_S),
    )
    loud = await asyncio.create_subprocess_exec(sys.executable, "-m", "tests.bench.flood", *arguments, stdout=asyncio.subprocess.PIPE)
    try:
        await asyncio.sleep(_WARM_S)
        beside = await quiet.phase("beside", seconds)
        said, _ = await loud.communicate()
    finally:
        with contextlib.suppress(ProcessLookupError):
            loud.kill()
    server.close()
    ratios = {f"{what}_{of}": round(beside[what][f"{of}_ms"] / alone[what][f"{of}_ms"], 2) for what in ("webhook", "read") for of in ("p50", "p99")}
    return {"alone": alone, "beside": beside, "ratios": ratios, "flood": json.loads(said or b"{}")}


def _settle_in(stack: Stack, hook_port: int) -> None:
    """Give the loud tenant its keys, its heavy segments and its slow endpoint."""
    at_ms = now_ms()
    stack.write(
        [
            TenantPut(tenant=_LOUD, at_ms=at_ms, timezone="Europe/Paris", currency="EUR", country="FR"),
            *(
                KeyPut(tenant=_LOUD, at_ms=at_ms, key_id=f"loud{n}", name="", scopes=list(SCOPES), sha256=hashlib.sha256(key.encode()).hexdigest())
                for n, key in enumerate(flood.KEYS)
            ),
            *(SegmentPut(tenant=_LOUD, at_ms=at_ms, segment_id=f"heavy-{n}", replaces=0, name="", rule=flood.rule(n)) for n in range(flood.SEGMENTS)),
            EndpointPut(tenant=_LOUD, at_ms=at_ms, endpoint_id="ep_loud", replaces=0, url=f"http://127.0.0.1:{hook_port}/hook", secret=SECRET),
        ]
    )


def lines(found: dict[str, Any]) -> list[Line]:
    """Return what is shown of `measure`'s result: the delays beside the flood, and alone."""
    out = []
    for what, said in (("webhook", "event posted → webhook received"), ("read", "event posted → read with ?after=")):
        beside, alone = (f"p50 {found[phase][what]['p50_ms']:.0f} ms, p99 {found[phase][what]['p99_ms']:.0f} ms" for phase in ("beside", "alone"))
        ratio = f"p50 {found['ratios'][what + '_p50']:.1f}, p99 {found['ratios'][what + '_p99']:.1f} times (at most 2)"
        out.append(Line(f"{said}, beside a flood of another tenant", beside, f"alone: {alone}", ratio))
    return out
