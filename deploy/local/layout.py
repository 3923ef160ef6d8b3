"""Where everything lies under `.rollcall/`, and the environment that keeps programs from writing elsewhere."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Layout:
    """The places of one installation; two installations in two folders share nothing."""

    home: Path

    @classmethod
    def of_project(cls) -> Layout:
        """Give the layout of this checkout."""
        return cls(PROJECT / ".rollcall")

    @property
    def run(self) -> Path:
        """Pid files, locks and the supervisor's status."""
        return self.home / "run"

    @property
    def logs(self) -> Path:
        """One log for each process."""
        return self.home / "log"

    @property
    def jars(self) -> Path:
        """Kafka's jars, shared by `make run` and `make test`."""
        return self.home / "jars"

    @property
    def tmp(self) -> Path:
        """Temporary files of everything that is started from here."""
        return self.home / "tmp"

    @property
    def ports(self) -> Path:
        """The ports that were chosen at the first start."""
        return self.home / "ports.env"

    @property
    def status(self) -> Path:
        """What the supervisor last said about every process."""
        return self.run / "status.json"

    def log(self, name: str) -> Path:
        """Give the log file of a process."""
        return self.logs / f"{name}.log"

    def make(self) -> None:
        """Create the folders; private, because demo.env and the logs may hold keys."""
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in (self.run, self.logs, self.tmp):
            folder.mkdir(exist_ok=True)


def contained(environ: Mapping[str, str], layout: Layout) -> dict[str, str]:
    """Give `environ` with every place where a library might leave files outside the project turned inward."""
    cache = layout.home / "cache"
    return {
        **environ,
        "TMPDIR": str(layout.tmp),
        "XDG_CACHE_HOME": str(cache),
        "XDG_CONFIG_HOME": str(cache / "config"),
        "XDG_DATA_HOME": str(cache / "data"),
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(PROJECT), environ.get("PYTHONPATH", "")])),
    }
