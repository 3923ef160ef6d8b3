"""What a local Kafka and a local Valkey have in common: start, stop, kill, start again on the same data."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from deploy.local.process import ProcessSpec, Running


class LocalServer:
    """One server in a folder of its own: `data/`, its log and its pid file.

    A context manager: started and ready on entry, stopped on exit. Every method is synchronous and returns when it is done.
    """

    def __init__(self, folder: Path, spec: ProcessSpec) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._running = Running(spec, folder, folder)

    @property
    def log(self) -> Path:
        """Where the server logs."""
        return self._running.log

    @property
    def pid(self) -> int | None:
        """The process, or None while there is none."""
        found = self._running.identity
        return found.pid if found is not None and found.alive() else None

    def start(self) -> None:
        """Start the server and wait until it is ready; raise `LaunchError` when it does not become so."""
        self._running.start()
        self._running.wait_ready()

    def stop(self) -> None:
        """End the server gently, by force if need be; nothing happens when it does not run."""
        self._running.stop()

    def kill9(self) -> None:
        """End the server as a crash would; `start` brings it back on the same data."""
        self._running.kill9()

    def restart(self) -> None:
        """Stop gently and start again."""
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            # `__exit__` is not called when entering fails, and a server half started must not be left behind.
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
