"""One process as data, and as something that runs: started detached, with a pid file and a log, found again by whoever asks.

The supervisor and the tests start everything through here, so what the tests kill is what `make run` runs.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from deploy.local import identity
from deploy.local.errors import LaunchError
from deploy.local.identity import Identity

# A log is put aside when its process starts and it is larger than this; with three old ones a process keeps at most 40 MB
# between two starts.
ROTATE_BYTES = 10_000_000
_OLD_LOGS = 3
_PROBE_EVERY_S = 0.05

Probe = Callable[[], str | None]
"""Answers None when the process is ready, else why not, in a few words; never raises."""


def _nothing() -> None:
    """Prepare nothing."""


@dataclass(frozen=True)
class ProcessSpec:
    """What to run and how to tell that it is ready.

    `after` names the processes that must have been ready once before this one is started; `prepare` runs before every start and
    must be idempotent; `ports` are those that must be free, by the name of their setting.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    ready: Probe
    after: tuple[str, ...] = ()
    prepare: Callable[[], None] = _nothing
    ports: Mapping[str, int] = field(default_factory=dict)
    cwd: Path = field(default_factory=Path.cwd)
    ready_s: float = 60.0
    stop_s: float = 15.0

    @property
    def fingerprint(self) -> str:
        """Changes when the process would be started in another way, so that an old one is replaced and not adopted."""
        ours = sorted(item for item in self.env.items() if item[0].startswith("ROLLCALL_"))
        return hashlib.sha256(repr((self.argv, ours, str(self.cwd))).encode()).hexdigest()[:16]


class Running:
    """A process that was started, or found alive, under a spec; `run` and `logs` are folders that exist."""

    def __init__(self, spec: ProcessSpec, run: Path, logs: Path) -> None:
        self.spec = spec
        self.log = logs / f"{spec.name}.log"
        self._run = run
        self._child: subprocess.Popen[bytes] | None = None
        self.identity: Identity | None = None

    def adopt(self) -> bool:
        """Take over the living process of an earlier supervisor; false when there is none or it was started differently."""
        found = identity.read(self._run, self.spec.name)
        if found is not None and found.fingerprint == self.spec.fingerprint:
            self._child, self.identity = None, found
        return self.identity is not None

    def start(self) -> Identity:
        """Start the process in a session of its own, after ending whatever the pid file still means.

        Raises `LaunchError` when it cannot be prepared or executed.
        """
        old = identity.read(self._run, self.spec.name)
        if old is not None:
            old.stop(self.spec.stop_s)
        self.spec.prepare()
        rotate(self.log)
        with self.log.open("ab") as log:
            try:
                # The child writes its own pid file before it becomes the program: were it left to the parent, one killed in
                # between would leave a process that nobody knows.
                self._child = subprocess.Popen(
                    self.spec.argv,
                    env=dict(self.spec.env),
                    cwd=self.spec.cwd,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    preexec_fn=self._write_pid,  # noqa: PLW1509 - the launcher has no threads, and it only writes two files
                )
            except (OSError, subprocess.SubprocessError) as error:
                identity.forget(self._run, self.spec.name)
                raise LaunchError(f"{self.spec.name} cannot be executed: {error}", self.log) from error
        self.identity = identity.identify(self._child.pid, self.spec.fingerprint)
        # One that is gone already is reported by `exit_reason`, like one that dies later.
        return self.identity or Identity(self._child.pid, "gone", self.spec.fingerprint)

    def exit_reason(self) -> str | None:
        """Say how the process ended, or None while it runs."""
        if self._child is None:
            return None if self.identity is not None and self.identity.alive() else "ended, exit code unknown"
        code = self._child.poll()
        if code is None:
            return None
        return f"killed by signal {-code}" if code < 0 else f"exit code {code}"

    def stop(self) -> bool:
        """End the process, by force after `stop_s`, and remove its pid file; false when force was needed."""
        gentle = self.identity is None or self.identity.stop(self.spec.stop_s)
        self._reap()
        identity.forget(self._run, self.spec.name)
        return gentle

    def kill9(self) -> None:
        """End the process as a crash would, and wait until it is gone."""
        if self.identity is not None:
            self.identity.signal(9)
            self.identity.wait(5)
        self._reap()

    def wait_ready(self) -> None:
        """Wait until the process is ready; raise `LaunchError` when it dies or `ready_s` passes."""
        until = time.monotonic() + self.spec.ready_s
        while (reason := self.spec.ready()) is not None:
            if (end := self.exit_reason()) is not None:
                raise LaunchError(f"{self.spec.name} did not start: {end}", self.log)
            if time.monotonic() > until:
                raise LaunchError(f"{self.spec.name} is not ready after {self.spec.ready_s:.0f} s: {reason}", self.log)
            time.sleep(_PROBE_EVERY_S)

    def _write_pid(self) -> None:
        me = identity.identify(os.getpid(), self.spec.fingerprint)
        if me is not None:
            identity.write(self._run, self.spec.name, me)

    def _reap(self) -> None:
        if self._child is not None:
            self._child.wait()


def rotate(log: Path, limit_bytes: int = ROTATE_BYTES) -> None:
    """Put a log aside as `NAME.log.1` when it has outgrown `limit_bytes`; the oldest of four is dropped."""
    if not log.exists() or log.stat().st_size <= limit_bytes:
        return
    for number in range(_OLD_LOGS, 0, -1):
        newer = log if number == 1 else log.with_name(f"{log.name}.{number - 1}")
        if newer.exists():
            newer.replace(log.with_name(f"{log.name}.{number}"))


def tail(log: Path, lines: int = 8) -> list[str]:
    """Give the last lines of a log, for a person who must find out what went wrong."""
    if not log.exists():
        return []
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 16_384))
        text = file.read().decode(errors="replace")
    return [line[:400] for line in text.splitlines() if line.strip()][-lines:]
