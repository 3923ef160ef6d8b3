"""`python -m services.ingest`: serve until SIGTERM, then finish what was accepted."""

from __future__ import annotations

import signal

import uvicorn

from services.ingest.app import build_app
from services.ingest.settings import IngestSettings
from services.kit.logs import configure
from services.kit.settings import load


def main() -> None:
    """Run the process."""
    settings = load(IngestSettings, process="ingest")
    configure("ingest", settings.log_level)
    # The server puts the old handler back and raises the signal once more when it has drained; a drained process ends with 0.
    signal.signal(signal.SIGTERM, lambda *_: None)
    uvicorn.run(
        build_app(settings),
        host=settings.ingest_host,
        port=settings.ingest_port,
        loop="uvloop",
        http="httptools",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=75,  # longer than the pools of usual clients and balancers keep an idle connection
        limit_concurrency=settings.ingest_max_connections,
        timeout_graceful_shutdown=int(settings.ingest_drain_timeout_s) + 1,
    )


if __name__ == "__main__":
    main()
