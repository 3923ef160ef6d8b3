"""`python -m services.ingest`: serve until SIGTERM, then finish what was accepted."""

from __future__ import annotations

from services.ingest.app import build_app
from services.ingest.settings import IngestSettings
from services.kit.http import serve
from services.kit.logs import configure
from services.kit.settings import load


def main() -> None:
    """Run the process."""
    settings = load(IngestSettings, process="ingest")
    configure("ingest", settings.log_level)
    serve(
        build_app(settings),
        settings,
        host=settings.ingest_host,
        port=settings.ingest_port,
        max_connections=settings.ingest_max_connections,
        drain_s=settings.ingest_drain_timeout_s,
    )


if __name__ == "__main__":
    main()
