"""What runs on one machine, as data: Kafka, Valkey, the services and the demo's receiver, with the environment they share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence

from deploy.local.broker import kafka_spec
from deploy.local.layout import PROJECT, Layout, contained
from deploy.local.ports import HOST, settle
from deploy.local.probes import http_ready
from deploy.local.process import ProcessSpec
from deploy.local.valkey import valkey_spec

Table = Callable[[Layout, Mapping[str, str]], Sequence[ProcessSpec]]
"""Gives the processes of an installation, in the order in which they start."""

# The name, which is also that of the setting of its port, and what follows `python -m`.
_SERVICES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("ingest", ("services.ingest",)),
    ("segmenter", ("services.segmenter",)),
    ("api", ("services.api", "serve")),
    ("dispatcher", ("services.api", "dispatch")),
    ("receiver", ("demo.receiver",)),
)
_SERVERS = ("kafka", "valkey")
# A segmenter reads its rows back before it is ready.
_SERVICE_READY_S = 120.0


def environment(layout: Layout, environ: Mapping[str, str]) -> dict[str, str]:
    """Give the environment of every process and of the demo: the caller's, with where everything is.

    Choosing the ports is part of it, so they are kept from the first call on.
    """
    settled = settle(layout.ports, environ)
    where = {
        **{name: str(value) for name, value in settled.items()},
        **{f"ROLLCALL_{name.upper()}_HOST": HOST for name, _ in _SERVICES},
        "ROLLCALL_KAFKA": f"{HOST}:{settled['ROLLCALL_KAFKA_PORT']}",
        "ROLLCALL_REDIS_URL": f"redis://{HOST}:{settled['ROLLCALL_REDIS_PORT']}/0",
        "ROLLCALL_RECEIVER_DIR": str(layout.home / "receiver"),
        "ROLLCALL_DATA_DIR": str(layout.home / "data"),
        "ROLLCALL_LOG_DIR": str(layout.logs),
    }
    # The demo's receiver listens on this machine, where webhooks may not go unless the operator says so.
    allowed = {"ROLLCALL_WEBHOOK_ALLOW": f"{HOST}/32"}
    return contained({**allowed, **environ, **where}, layout)


def table(layout: Layout, environ: Mapping[str, str]) -> list[ProcessSpec]:
    """Give every process of `make up`; the services start once Kafka and Valkey are ready."""
    env = environment(layout, environ)
    port = {name: int(env[f"ROLLCALL_{name.upper()}_PORT"]) for name in ("kafka", "kafka_controller", "redis", *dict(_SERVICES))}
    servers = [
        kafka_spec(layout.home / "kafka", port["kafka"], port["kafka_controller"], layout, environ=env),
        valkey_spec(layout.home / "valkey", port["redis"], layout, environ=env),
    ]
    services = [
        ProcessSpec(
            name=name,
            argv=(sys.executable, "-m", *module),
            env=env,
            ready=http_ready(HOST, port[name]),
            after=_SERVERS,
            ports={f"ROLLCALL_{name.upper()}_PORT": port[name]},
            cwd=PROJECT,
            ready_s=_SERVICE_READY_S,
        )
        for name, module in _SERVICES
    ]
    return servers + services
