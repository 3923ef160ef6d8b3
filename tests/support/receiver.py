"""A receiver of webhooks, in a thread of its own, that keeps everything that came with a right signature."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from typing import NamedTuple

from aiohttp import web
from standardwebhooks import Webhook

from deploy.local.ports import free_port


class Arrival(NamedTuple):
    """One attempt as it came: the endpoint's name, the delivery's id, its bytes, and what was answered."""

    endpoint: str
    id: str
    body: bytes
    status: int


def _takes_it() -> int:
    return 204


class Receiver:
    """Endpoints by name, each with its secret. `answers` gives the status for each attempt; 204 takes it."""

    def __init__(self, answers: Callable[[], int] = _takes_it) -> None:
        self.port = free_port()
        self.secrets: dict[str, str] = {}
        self.arrivals: list[Arrival] = []
        self.unsigned = 0
        self._answers = answers
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        threading.Thread(target=self._serve, daemon=True, name="receiver").start()
        assert self._ready.wait(10)

    def url(self, endpoint: str) -> str:
        """Return the address of an endpoint."""
        return f"http://127.0.0.1:{self.port}/hook/{endpoint}"

    @property
    def bodies(self) -> dict[str, set[bytes]]:
        """The different bytes that came under each id."""
        found: dict[str, set[bytes]] = {}
        for arrival in list(self.arrivals):
            found.setdefault(arrival.id, set()).add(arrival.body)
        return found

    def transitions(self) -> list[str]:
        """Return the ids of the transitions that came, each once."""
        return [json.loads(next(iter(bodies)))["data"]["id"] for bodies in self.bodies.values()]

    def close(self) -> None:
        """Stop serving."""
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        app = web.Application()
        app.router.add_post("/hook/{name}", self._hook)
        runner = web.AppRunner(app, access_log=None)
        self._loop.run_until_complete(runner.setup())
        self._loop.run_until_complete(web.TCPSite(runner, "127.0.0.1", self.port).start())
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())

    async def _hook(self, request: web.Request) -> web.Response:
        body, name = await request.read(), request.match_info["name"]
        try:
            Webhook(self.secrets[name]).verify(body, dict(request.headers))
        except Exception:  # noqa: BLE001 - whatever is wrong with a signature, the answer is the same
            self.unsigned += 1
            return web.Response(status=401)
        arrival = Arrival(name, request.headers["webhook-id"], body, self._answers())
        self.arrivals.append(arrival)
        return web.Response(status=arrival.status)
