"""The small HTTP server of processes that have no other: /healthz, /readyz, /metrics and what they add."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

Answer = Callable[[], Awaitable[tuple[int, Mapping[str, Any]]]]
Handler = Callable[[web.Request], Awaitable[web.Response]]


async def serve(
    host: str,
    port: int,
    readyz: Answer,
    extra: Mapping[str, Answer] | None = None,
    *,
    posts: Mapping[str, Handler] | None = None,
    most_bytes: int = 1 << 20,
) -> web.AppRunner:
    """Start serving; `readyz` and each extra path answer (status, JSON), `posts` take bodies of up to `most_bytes`.

    The caller cleans the runner up.
    """
    app = web.Application(client_max_size=most_bytes)
    app.router.add_get("/healthz", _json(_alive))
    app.router.add_get("/readyz", _json(readyz))
    app.router.add_get("/metrics", _metrics)
    for path, answer in (extra or {}).items():
        app.router.add_get(path, _json(answer))
    for path, handler in (posts or {}).items():
        app.router.add_post(path, handler)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    return runner


async def _alive() -> tuple[int, Mapping[str, Any]]:
    return 200, {"status": "alive"}


async def _metrics(_: web.Request) -> web.Response:
    return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})


def _json(answer: Answer) -> Handler:
    async def handler(_: web.Request) -> web.Response:
        status, body = await answer()
        return web.json_response(body, status=status)

    return handler
