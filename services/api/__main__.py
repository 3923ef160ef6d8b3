"""`python -m services.api serve | dispatch | keys … | tenants …`: the two processes of this service, and its administration."""

from __future__ import annotations

import argparse
import logging
import sys

from aiokafka.errors import KafkaError

from services.api.commands import Failed, lines
from services.api.settings import ApiSettings
from services.kit.logs import configure
from services.kit.settings import load


def main() -> None:
    """Run a process or a command."""
    arguments = _parser().parse_args()
    # Each process imports what it needs: a command would spend most of its time on a web server that it does not start.
    if arguments.what == "dispatch":
        from services.api.dispatcher import main as dispatcher  # noqa: PLC0415

        dispatcher.main()
        return
    settings = load(ApiSettings, process="api")
    if arguments.what == "serve":
        _serve(settings)
        return
    configure("api", "ERROR" if settings.log_level == "INFO" else settings.log_level)
    # On an empty Kafka the client complains of topics that were created a moment ago; what fails for good is said below.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    try:
        print("\n".join(lines(arguments, settings)))
    except (Failed, KafkaError) as error:
        print(f"api: {error}", file=sys.stderr)
        sys.exit(1)


def _serve(settings: ApiSettings) -> None:
    # Imported here, so that the commands answer without waiting for what only the server needs.
    from services.api.app import build_app  # noqa: PLC0415
    from services.kit.http import serve  # noqa: PLC0415

    configure("api", settings.log_level)
    serve(
        build_app(settings),
        settings,
        host=settings.api_host,
        port=settings.api_port,
        max_connections=settings.api_max_connections,
        drain_s=settings.api_drain_timeout_s,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m services.api", description=__doc__)
    what = parser.add_subparsers(dest="what", required=True)
    what.add_parser("serve", help="answer HTTP")
    what.add_parser("dispatch", help="deliver webhooks")
    tenants = what.add_parser("tenants", help="create and list tenants").add_subparsers(dest="verb", required=True)
    create = tenants.add_parser("create", help="create a tenant; its zone, currency and country stay")
    create.add_argument("--tenant", required=True, help="a-z, 0-9 and -, at most 40")
    create.add_argument("--timezone", required=True, help="IANA name, like Europe/Paris")
    create.add_argument("--currency", required=True, help="ISO 4217, like EUR")
    create.add_argument("--country", required=True, help="ISO 3166, like FR")
    tenants.add_parser("list", help="show all tenants")
    keys = what.add_parser("keys", help="create, list and revoke API keys").add_subparsers(dest="verb", required=True)
    for verb, about in (("create", "create a key; the last line is the key"), ("list", "show the keys in force"), ("revoke", "revoke a key")):
        one = keys.add_parser(verb, help=about)
        one.add_argument("--tenant", required=True)
        if verb == "create":
            one.add_argument("--scopes", required=True, help="all, or scopes separated by commas")
            one.add_argument("--name", required=True, help="what the key is for")
        if verb == "revoke":
            one.add_argument("--id", required=True, help="the key's id, as `keys list` shows it")
    return parser


if __name__ == "__main__":
    main()
