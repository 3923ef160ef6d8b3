"""What runs on one machine, as data: Kafka, Valkey, the services and the demo's receiver, with the environment they share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from deploy.local.broker import kafka_spec
from deploy.local.layout import PROJECT, Layout, contained
from deploy.local.ports import HOST, settle
from deploy.local.probes import http_ready
from deploy.local.process import ProcessSpec
from deploy.local.valkey import valkey_spec

Table = Callable[[Layout, Mapping[str, str]], Sequence[ProcessSpec]]
"""Gives the processes of an installation, in the order in which they start."""


class _Service(NamedTuple):
    """The name, which is also that of the setting of its port, and what follows `python -m`; `kind`: whose settings it has, else its own."""

    name: str
    module: tuple[str, ...]
    kind: str = ""

    @property
    def port(self) -> str:
        """The name of the setting under which its port is kept."""
        return f"ROLLCALL_{self.name.upper().replace('-', '_')}_PORT"

    @property
    def head(self) -> str:
        """What the names of the settings begin with that it reads."""
        return f"ROLLCALL_{(self.kind or self.name).upper()}_"

    def own(self, env: Mapping[str, str]) -> dict[str, str]:
        """Return what it reads that others of its kind do not: its port, and nothing that was said of the first one's address."""
        mine = {f"{self.head}PORT": env[self.port]}
        return mine | {f"{self.head}ADVERTISED_PORT": "0"} if self.kind else mine


# Two segmenters: partitions are shared among them, and a question about everybody is worked on by two cores.
_SERVICES: tuple[_Service, ...] = (
    _Service("ingest", ("services.ingest",)),
    _Service("segmenter", ("services.segmenter",)),
    _Service("segmenter-2", ("services.segmenter",), "segmenter"),
    _Service("api", ("services.api", "serve")),
    _Service("dispatcher", ("services.api", "dispatch")),
    _Service("receiver", ("demo.receiver",)),
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
        **{f"{service.head}HOST": HOST for service in _SERVICES},
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
    port = {name: int(env[f"ROLLCALL_{name.upper()}_PORT"]) for name in ("kafka", "kafka_controller", "redis")}
    servers = [
        kafka_spec(layout.home / "kafka", port["kafka"], port["kafka_controller"], layout, environ=env),
        valkey_spec(layout.home / "valkey", port["redis"], layout, environ=env),
    ]
    services = [
        ProcessSpec(
            name=service.name,
            argv=(sys.executable, "-m", *service.module),
            env=env | service.own(env),
            ready=http_ready(HOST, int(env[service.port])),
            after=_SERVERS,
            ports={service.port: int(env[service.port])},
            cwd=PROJECT,
            ready_s=_SERVICE_READY_S,
        )
        for service in _SERVICES
    ]
    return servers + services
