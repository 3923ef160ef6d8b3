"""What every process with an HTTP interface does alike: how it is served, and how it ends when it cannot start."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from typing import Any

import uvicorn

log = logging.getLogger(__name__)


def serve(app: Any, *, host: str, port: int, max_connections: int, drain_s: float) -> None:
    """Serve an ASGI application until SIGTERM, then finish what was accepted, within `drain_s` seconds and one."""
    # The server puts the old handler back and raises the signal once more when it has drained; a drained process ends with 0.
    signal.signal(signal.SIGTERM, lambda *_: None)
    uvicorn.run(
        app,
        host=host,
        port=port,
        loop="uvloop",
        http="httptools",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nothing here looks at the client's address
        timeout_keep_alive=75,  # longer than the pools of usual clients and balancers keep an idle connection
        limit_concurrency=max_connections,
        timeout_graceful_shutdown=int(drain_s) + 1,
    )


def end_if_failed(connecting: asyncio.Task[None]) -> None:
    """End the process when the task that connects it has failed; given to `add_done_callback`."""
    if connecting.cancelled() or (error := connecting.exception()) is None:
        return
    log.critical("cannot start: %s", error)
    logging.shutdown()
    os._exit(1)  # the server would go on answering 503 for ever; a supervisor shall see the end and try again
