"""A tenant who means no good: everything that its keys let it do, and what they do not, as fast as it may be tried.

Run as a process of its own beside what is measured. It sends events in the largest batches that are taken, over several
connections and keys, and does not wait when it is told to; half of its events are new customers, each of whom enters every segment.
It asks for previews of rules that nobody keeps, reads pages of the change feed from the beginning and answers that cannot come yet,
keeps saving a segment, and takes its webhooks seconds after they came.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Final

import aiohttp
from aiohttp import web

from schemas.instants import iso
from schemas.positions import encode_position
from schemas.topics import Topics
from tests.support.services import now_ms

KEYS: Final = tuple(f"rk_flood_{number}_0123456789abcdef0123456789abcdef" for number in range(3))
SEGMENTS: Final = 200
_CATEGORIES: Final = ("COFFEE", "BREAD", "CHEESE", "FRUIT", "SOAP", "PASTA", "FISH", "TEA")
_BATCH: Final = 2_000
_SMALL: Final = 50
_SLOW_S: Final = 5.0
_PAUSE_S: Final = 0.05
"""Between two tries of one kind: twenty a second each, so that what makes the load takes no core from what is measured."""

_Kind = Callable[[aiohttp.ClientSession], Coroutine[Any, Any, None]]


def rule(number: int) -> dict[str, Any]:
    """Return a rule that shares little with the others and that every first checkout fulfils."""
    where = [{"field": "items.category", "op": "in", "value": list(_CATEGORIES[: 1 + number % 8])}]
    window = {"last": f"P{7 + number}D"}
    wide = [
        {
            "metric": {"measure": "distinct", "event": "checkout", "field": "items.product_id", "where": where, "window": window},
            "op": "gte",
            "value": 1,
        },
        {"metric": {"measure": "sum", "event": "checkout", "field": "items.amount", "where": where, "window": window}, "op": "gt", "value": "0.00"},
        {"metric": {"measure": "count", "event": "checkout", "window": window}, "op": "gte", "value": 1},
        {
            "sequence": {
                "first": {"event": "email-open"},
                "then": {"event": "checkout"},
                "within": f"P{1 + number % 30}D",
                "happens": True,
                "window": window,
            }
        },
    ]
    return {"any": wide}


def events(count: int, draw: random.Random, stamp: str) -> bytes:
    """Return a body: half new customers, half of a few who have many events."""
    at, lines = iso(now_ms()), []
    for number in range(count):
        name = f"{stamp}-{number}"
        customer = name if number % 2 else f"busy{draw.randrange(200)}"
        items = [{"product_id": f"p{draw.randrange(2000)}", "category": draw.choice(_CATEGORIES), "quantity": 1, "amount": "3.50"} for _ in range(3)]
        event = {"type": "checkout", "event_id": name, "customer_id": customer, "occurred_at": at, "total": "10.50", "items": items}
        lines.append(json.dumps(event))
    return "\n".join(lines).encode()


class Flood:
    """The load, and how its requests were answered."""

    def __init__(self, ingest: str, api: str, topics: Topics) -> None:
        self.ingest, self.api, self._topics = ingest, api, topics
        self.answers: Counter[str] = Counter()
        self.accepted = 0
        self._draw = random.Random(7)
        self._sent = 0
        self._refused: dict[int, list[bytes]] = {_BATCH: [], _SMALL: []}
        """Bodies that were not taken, by how many events they hold: what makes the load is not to take a core by making these anew."""

    async def run(self, seconds: float, hook_port: int) -> None:
        """Do everything at once for so long."""
        async with _slow_receiver(hook_port), aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            kinds: list[_Kind] = [self._save]
            kinds.extend([self._post, self._preview] * 4)
            kinds.extend([self._feed, self._wait, self._read] * 2)
            tasks = [asyncio.create_task(self._again(kind, session)) for kind in kinds]
            await asyncio.sleep(seconds)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _again(self, kind: _Kind, session: aiohttp.ClientSession) -> None:
        while True:
            with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
                await kind(session)
            await asyncio.sleep(_PAUSE_S)

    async def _ask(self, session: aiohttp.ClientSession, what: str, method: str, url: str, **more: Any) -> Any:
        headers = {"Authorization": f"Bearer {self._draw.choice(KEYS)}", **more.pop("headers", {})}
        async with session.request(method, url, headers=headers, **more) as response:
            self.answers[f"{what} {response.status}"] += 1
            return await response.json(content_type=None)

    async def _post(self, session: aiohttp.ClientSession) -> None:
        self._sent += 1
        size = _BATCH if self._sent % 4 == 0 else _SMALL
        refused = self._refused[size]
        body = refused.pop() if refused else events(size, self._draw, f"f{self._sent}")
        found = await self._ask(session, "events", "POST", self.ingest + "/v1/events", data=body, headers={"Content-Type": "application/x-ndjson"})
        self.accepted += found.get("accepted", 0)
        if "accepted" not in found:
            refused.append(body)

    async def _preview(self, session: aiohttp.ClientSession) -> None:
        asked = {"rule": {"all": [rule(300 + self._draw.randrange(100)), {"not": rule(300 + self._draw.randrange(100))}]}}
        await self._ask(session, "preview", "POST", self.api + "/v1/segments/preview", json=asked)

    async def _feed(self, session: aiohttp.ClientSession) -> None:
        await self._ask(session, "changes", "GET", self.api + "/v1/changes?limit=1000")

    async def _wait(self, session: aiohttp.ClientSession) -> None:
        after = encode_position({self._topics.family("checkout"): dict.fromkeys(range(4), 1 << 40)})
        asks = (self._ask(session, "after", "GET", f"{self.api}/v1/customers/busy1/segments?after={after}") for _ in range(20))
        await asyncio.gather(*asks)

    async def _save(self, session: aiohttp.ClientSession) -> None:
        saved = {"name": "again", "rule": rule(300 + self._draw.randrange(300))}
        await self._ask(session, "save", "PUT", self.api + "/v1/segments/heavy-0", json=saved, headers={"If-Match": "*"})

    async def _read(self, session: aiohttp.ClientSession) -> None:
        await self._ask(session, "members", "GET", self.api + "/v1/segments/heavy-1/members?limit=1000")


@contextlib.asynccontextmanager
async def _slow_receiver(port: int) -> AsyncIterator[None]:
    async def hook(_: web.Request) -> web.Response:
        await asyncio.sleep(_SLOW_S)
        return web.Response(status=204)

    app = web.Application()
    app.router.add_post("/hook", hook)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    yield
    await runner.cleanup()


def main() -> None:
    """Flood and print how it was answered."""
    parser = argparse.ArgumentParser()
    for name in ("ingest", "api", "prefix"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--hook-port", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    arguments = parser.parse_args()
    flood, since_s = Flood(arguments.ingest, arguments.api, Topics(arguments.prefix)), time.perf_counter()
    asyncio.run(flood.run(arguments.seconds, arguments.hook_port))
    took_s = time.perf_counter() - since_s
    json.dump({"accepted_a_second": round(flood.accepted / took_s), "answers": dict(sorted(flood.answers.items()))}, sys.stdout)


if __name__ == "__main__":
    main()
