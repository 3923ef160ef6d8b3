"""What every process with an HTTP interface does alike: how it is served, and how it ends when it cannot start."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from services.kit.settings import CommonSettings

log = logging.getLogger(__name__)


class _BoundedHeads(HttpToolsProtocol):
    """HTTP/1.1 with bounds on what comes before a body, of which the server has none: its bytes, and how long it takes."""

    settings: CommonSettings
    _came = 0
    _heads = 0
    _open = False
    _began_s = 0.0
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._begin()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        if not self._open:
            self._begin()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._open = False
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        before = self._heads if self._open else -1
        super().data_received(data)
        # What ends one request and begins another is not counted: it is one piece of what the socket gives.
        if self._open and self._heads == before:
            self._came += len(data)
            if self._came > self.settings.http_head_bytes and not self.transport.is_closing():
                self.send_400_response(f"The request line and headers are longer than {self.settings.http_head_bytes} bytes.")

    def _begin(self) -> None:
        self._came, self._open, self._began_s = 0, True, self.loop.time()
        self._heads += 1
        if self._timer is None:
            self._timer = self.loop.call_later(self.settings.http_head_timeout_s, self._look)

    def _look(self) -> None:
        """End the connection if its head is late. One timer for all its requests: one for each would cost more than the check."""
        self._timer = None
        if self._open:
            left_s = self._began_s + self.settings.http_head_timeout_s - self.loop.time()
            if left_s > 0:
                self._timer = self.loop.call_later(left_s, self._look)
            else:
                self.transport.close()


def configured(app: Any, settings: CommonSettings, *, host: str, port: int, max_connections: int, drain_s: float) -> uvicorn.Config:
    """Return how an ASGI application is served."""
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        loop="uvloop",
        http=type("Bounded", (_BoundedHeads,), {"settings": settings}),
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nothing here looks at the client's address
        timeout_keep_alive=settings.http_idle_s,
        limit_concurrency=max_connections,
        timeout_graceful_shutdown=int(drain_s) + 1,
    )


def serve(app: Any, settings: CommonSettings, *, host: str, port: int, max_connections: int, drain_s: float) -> None:
    """Serve an ASGI application until SIGTERM, then finish what was accepted, within `drain_s` seconds and one."""
    # The server puts the old handler back and raises the signal once more when it has drained; a drained process ends with 0.
    signal.signal(signal.SIGTERM, lambda *_: None)
    server = uvicorn.Server(configured(app, settings, host=host, port=port, max_connections=max_connections, drain_s=drain_s))
    with contextlib.suppress(KeyboardInterrupt):
        server.run()
    if not server.started:
        sys.exit(3)  # the port is taken, or the application did not start: it has said so


def end_if_failed(connecting: asyncio.Task[None]) -> None:
    """End the process when the task that connects it has failed; given to `add_done_callback`."""
    if connecting.cancelled() or (error := connecting.exception()) is None:
        return
    log.critical("cannot start: %s", error)
    logging.shutdown()
    os._exit(1)  # the server would go on answering 503 for ever; a supervisor shall see the end and try again
