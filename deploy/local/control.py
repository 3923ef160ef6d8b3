"""What a person asks for: up, down, forget. Each does nothing when it is done already."""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.local import identity, supervisor
from deploy.local.errors import LaunchError
from deploy.local.layout import PROJECT, contained
from deploy.local.ports import is_free
from deploy.local.process import rotate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deploy.local.layout import Layout
    from deploy.local.process import ProcessSpec

_POLL_S = 0.05
_SUPERVISOR_START_S = 30.0
# More than the longest orderly stop: three levels of at most 20 s each.
_SUPERVISOR_STOP_S = 90.0


@dataclass(frozen=True)
class Control:
    """The commands over one installation; `supervise` is the command line of its supervisor."""

    layout: Layout
    specs: Sequence[ProcessSpec]
    supervise: Sequence[str]

    def up(self, environ: Mapping[str, str]) -> None:
        """Start what does not run, and return when everything is ready.

        Raises `LaunchError` with the reason and the log to read when something cannot be started or does not become ready.
        """
        with self._alone():
            found = identity.read(self.layout.run, supervisor.NAME)
            child = None
            if found is None:
                self._check_ports()
                child = self._start_supervisor(environ)
        self._wait(child)

    def down(self) -> None:
        """Stop everything, Kafka last, by force what does not stop in time."""
        if not self.layout.run.exists():
            print("Nothing runs.")
            return
        with self._alone():
            found = identity.read(self.layout.run, supervisor.NAME)
            ran = [spec.name for spec in self.specs if identity.read(self.layout.run, spec.name) is not None]
            if found is not None:
                found.stop(_SUPERVISOR_STOP_S)
                identity.forget(self.layout.run, supervisor.NAME)
            # Whatever a killed supervisor has left.
            supervisor.stop_all(self.specs, self.layout, lambda _: None)
            self.layout.status.unlink(missing_ok=True)
        print(f"Stopped: {', '.join(reversed(ran))}." if ran else "Nothing runs.")

    def clean(self) -> None:
        """Stop everything and remove all that was written, saying what."""
        self.down()
        if not self.layout.home.exists():
            print("Nothing to forget.")
            return
        for entry in sorted(self.layout.home.iterdir()):
            print(f"Removed {_shown(entry)} ({_size_mb(entry):,.1f} MB)")
        shutil.rmtree(self.layout.home)

    def status(self) -> int:
        """Print one line for each process; give 0 when all are ready, else 1."""
        processes = self._status()
        if not self.specs:
            print("Nothing runs.")
        for spec in self.specs:
            known = processes.get(spec.name)
            found = identity.read(self.layout.run, spec.name)
            if known is None:
                print(f"{spec.name:<12} {'not supervised' if found else 'stopped'}")
            else:
                pid = f"pid {known['pid']}" if known["pid"] else ""
                print(f"{spec.name:<12} {known['state']:<9} {pid:<12} restarts {known['restarts']}  {known['why']}".rstrip())
        return 0 if self._all_ready(processes) else 1

    def _all_ready(self, processes: Mapping[str, Any]) -> bool:
        return bool(processes) and not self._missing(processes) and all(known["state"] == "ready" for known in processes.values())

    def _missing(self, processes: Mapping[str, Any]) -> str:
        """Return the names of those whom a living supervisor does not know, as text."""
        return ", ".join(spec.name for spec in self.specs if spec.name not in processes)

    def _check_ports(self) -> None:
        for spec in self.specs:
            if identity.read(self.layout.run, spec.name) is None:
                for setting, port in spec.ports.items():
                    if not is_free(port):
                        raise LaunchError(
                            f"port {port} of {spec.name} is taken by another program; stop that, or choose another: {setting}=… make up"
                        )

    def _start_supervisor(self, environ: Mapping[str, str]) -> subprocess.Popen[bytes]:
        self.layout.status.unlink(missing_ok=True)
        log = self.layout.log(supervisor.NAME)
        rotate(log)
        with log.open("ab") as output:
            return subprocess.Popen(
                self.supervise,
                env=contained(environ, self.layout),
                cwd=PROJECT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _wait(self, child: subprocess.Popen[bytes] | None) -> None:
        """Wait until everything is ready, printing each process as it becomes so."""
        started, shown, log = time.monotonic(), set[str](), self.layout.log(supervisor.NAME)
        while True:
            processes = self._status()
            if child is not None and child.poll() is not None:
                raise LaunchError(f"the supervisor ended with exit code {child.returncode}", log)
            if not processes and time.monotonic() - started > _SUPERVISOR_START_S:
                raise LaunchError("the supervisor does not say anything", log)
            if processes and (missing := self._missing(processes)):
                raise LaunchError(f"what runs was started by another version and has no {missing}; `make down`, then the same again")
            for name, known in processes.items():
                if known["state"] == "ready" and name not in shown and child is not None:
                    print(f"  {name} is ready", flush=True)
                    shown.add(name)
            self._raise_on_failure(processes)
            if self._all_ready(processes) and self._all_answer():
                return
            time.sleep(_POLL_S)

    def _raise_on_failure(self, processes: Mapping[str, Any]) -> None:
        for spec in self.specs:
            known = processes.get(spec.name)
            if known is None:
                continue
            log = self.layout.log(spec.name)
            if known["hopeless"]:
                raise LaunchError(f"{spec.name} dies again and again: {known['why']}", log)
            # Over all its restarts: a process that lives for a few seconds each time never counts as hopeless.
            trying_since = known["trying_since"]
            if trying_since is not None and time.monotonic() - trying_since > spec.ready_s:
                raise LaunchError(f"{spec.name} is not ready after {spec.ready_s:.0f} s: {known['why']}", log)

    def _all_answer(self) -> bool:
        # What the supervisor saw may be long ago: a process that runs can have lost its readiness since.
        return all(spec.ready() is None for spec in self.specs)

    def _status(self) -> dict[str, Any]:
        """Read what the living supervisor says; nothing when there is none, or it has not said anything yet."""
        found = identity.read(self.layout.run, supervisor.NAME)
        try:
            told = json.loads(self.layout.status.read_text())
        except (FileNotFoundError, ValueError):
            return {}
        processes: dict[str, Any] = told["processes"]
        return processes if found is not None and told["supervisor"] == found.pid else {}

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Let one command at a time start or stop things."""
        self.layout.make()
        with (self.layout.run / "command.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print("Waiting for another `make` command to finish…", file=sys.stderr)
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _shown(path: Path) -> str:
    return str(path.relative_to(PROJECT) if path.is_relative_to(PROJECT) else path)


def _size_mb(path: Path) -> float:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file() and not file.is_symlink()]
    return sum(file.stat().st_size for file in files) / 1e6
