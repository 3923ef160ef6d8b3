"""A webhook receiver as a customer of Rollcall would write one: it verifies signatures and keeps what it got.

`python -m demo.receiver` serves `POST /hook`, `GET /` (how many, and the last twenty or `?last=n`) and `GET /readyz`. It must not know the
product's code: the public library `standardwebhooks` does the verifying. Each verified delivery is one line of
`deliveries.ndjson`, written before the answer is given, so a delivery that was answered with 204 survives the process.
"""

from __future__ import annotations

import html
import json
import os
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiohttp import web
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

MAX_BODY_BYTES = 262_144
SHOWN = 20

Json = dict[str, Any]


class Deliveries:
    """What was received: a file of one JSON line per delivery, and its summary in memory.

    Opening it reads the file; a last line torn by a crash is cut off, for its sender was never answered and sends again.
    """

    def __init__(self, path: Path) -> None:
        self.seen: set[str] = set()
        self.repeated = 0
        self.last: deque[Json] = deque(maxlen=SHOWN)
        kept = 0
        if path.exists():
            with path.open("rb") as lines:
                for line in lines:
                    if not line.endswith(b"\n"):
                        break
                    kept += len(line)
                    self._count(json.loads(line))
            os.truncate(path, kept)
        self._file = path.open("ab")

    def add(self, delivery: Json) -> None:
        """Append a verified delivery; when this returns, the end of the process does not lose it."""
        self._file.write(json.dumps(delivery, separators=(",", ":")).encode() + b"\n")
        self._file.flush()
        self._count(delivery)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _count(self, delivery: Json) -> None:
        webhook_id = delivery["headers"]["webhook-id"]
        if webhook_id in self.seen:
            self.repeated += 1
            return
        self.seen.add(webhook_id)
        self.last.append(delivery)


class Secret:
    """The endpoint's secret, read again whenever its file changes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read_at = -1
        self._webhook: Webhook | None = None

    def current(self) -> Webhook | None:
        """Give the verifier, or None as long as nobody has written a usable secret."""
        try:
            changed_at = self._path.stat().st_mtime_ns
            if changed_at != self._read_at:
                self._webhook = Webhook(self._path.read_text().strip())
                self._read_at = changed_at
        except (OSError, ValueError, RuntimeError):
            self._webhook = None
        return self._webhook


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


DELIVERIES = web.AppKey("deliveries", Deliveries)
SECRET = web.AppKey("secret", Secret)
CLOCK: web.AppKey[Callable[[], int]] = web.AppKey("clock")


def build_app(directory: Path, now_ms: Callable[[], int] = _now_ms) -> web.Application:
    """Build the receiver over a directory that holds `secret` and will hold `deliveries.ndjson`."""
    directory.mkdir(parents=True, exist_ok=True)
    app = web.Application(client_max_size=MAX_BODY_BYTES)
    app[DELIVERIES] = Deliveries(directory / "deliveries.ndjson")
    app[SECRET] = Secret(directory / "secret")
    app[CLOCK] = now_ms
    app.add_routes([web.post("/hook", _hook), web.get("/", _show), web.get("/readyz", _ready)])
    app.on_cleanup.append(_close)
    return app


async def _hook(request: web.Request) -> web.Response:
    received_at = request.app[CLOCK]()
    webhook = request.app[SECRET].current()
    if webhook is None:
        # Not the sender's fault: it will try again, and the secret will be there.
        return web.json_response({"detail": "no usable secret in the receiver's directory yet"}, status=503)
    body = await request.read()
    headers = {name.lower(): value for name, value in request.headers.items()}
    try:
        # ValueError: the library lets malformed signatures, numbers and text through as such.
        payload = webhook.verify(body, headers)
    except (WebhookVerificationError, ValueError, RecursionError) as error:
        return web.json_response({"detail": f"signature refused: {error}"}, status=401)
    request.app[DELIVERIES].add({"received_at": received_at, "headers": headers, "payload": payload})
    return web.Response(status=204)


async def _show(request: web.Request) -> web.Response:
    deliveries = request.app[DELIVERIES]
    wanted = request.query.get("last", "")
    newest = list(deliveries.last)[::-1][: int(wanted) if wanted.isdecimal() else SHOWN]
    if "text/html" in request.headers.get("accept", ""):
        return web.Response(text=_page(deliveries, newest), content_type="text/html")
    summary = {"count": len(deliveries.seen), "repeated": deliveries.repeated, "last": newest}
    return web.json_response(summary, dumps=lambda value: json.dumps(value, indent=1) + "\n")


async def _ready(_: web.Request) -> web.Response:
    return web.json_response({"status": "ready"})


async def _close(app: web.Application) -> None:
    app[DELIVERIES].close()


def _page(deliveries: Deliveries, newest: list[Json]) -> str:
    rows = []
    for delivery in newest:
        payload = delivery["payload"] if isinstance(delivery["payload"], dict) else {}
        data = payload.get("data") or {}
        cells = (payload.get("timestamp"), payload.get("type"), data.get("customer_id"), data.get("segment_id"))
        rows.append("<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in cells) + "</tr>")
    return (
        "<!doctype html><meta charset=utf-8><meta http-equiv=refresh content=2><title>Webhook receiver</title>"
        "<style>body{font:15px system-ui;margin:2rem}td,th{padding:.2rem 1rem .2rem 0;text-align:left}</style>"
        f"<h1>{len(deliveries.seen)} deliveries verified</h1><p>{deliveries.repeated} came again; newest first.</p>"
        "<table><tr><th>when<th>what<th>customer<th>segment</tr>" + "".join(rows) + "</table>"
    )


def main() -> None:
    """Serve until stopped, where `ROLLCALL_RECEIVER_HOST`, `_PORT` and `_DIR` say."""
    directory = Path(os.environ.get("ROLLCALL_RECEIVER_DIR", ".rollcall/receiver"))
    host = os.environ.get("ROLLCALL_RECEIVER_HOST", "127.0.0.1")
    port = int(os.environ.get("ROLLCALL_RECEIVER_PORT", "8090"))
    web.run_app(build_app(directory), host=host, port=port, access_log=None, print=None)


if __name__ == "__main__":
    main()
