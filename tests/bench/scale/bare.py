"""The least that a server in Python can do: `python -m tests.bench.scale.bare` reads a body, or a hash from Redis, and answers.

No key is checked, nothing is judged, written or vouched for. What Rollcall does beside it is the price of what it promises.
"""

from __future__ import annotations

import os

import uvicorn
from fastapi import FastAPI, Request, Response
from redis.asyncio import Redis

from schemas.projection import Keys
from tests.support.services import TENANT


def build() -> FastAPI:
    """Build the app."""
    app, keys = FastAPI(), Keys(os.environ["ROLLCALL_REDIS_PREFIX"])
    redis = Redis.from_url(os.environ["ROLLCALL_REDIS_URL"])

    @app.post("/v1/events")
    async def events(request: Request) -> Response:
        return Response(b'{"bytes":%d}' % len(await request.body()), 202, media_type="application/json")

    @app.get("/v1/customers/{customer_id}/segments")
    async def segments(customer_id: str) -> Response:
        found = await redis.hgetall(keys.customer(TENANT, customer_id))
        return Response(b'{"bytes":%d}' % len(found[b"m"]), media_type="application/json")

    @app.get("/readyz")
    async def readyz() -> dict[str, bool]:
        return {"ready": True}

    return app


if __name__ == "__main__":
    uvicorn.run(build(), port=int(os.environ["ROLLCALL_BARE_PORT"]), loop="uvloop", http="httptools", ws="none", log_config=None, access_log=False)
