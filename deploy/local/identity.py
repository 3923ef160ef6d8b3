"""Which process a pid file means: a pid alone may belong to a stranger by now.

Beside `NAME.pid`, which holds the bare number, `NAME.json` holds when that process was born and what it was started as.
A number whose process was born at another moment is treated as dead, so nothing but our own is ever signalled.
"""

from __future__ import annotations

import json
import os
import signal
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

_POLL_S = 0.02


@dataclass(frozen=True)
class Identity:
    """One process that cannot be confused with a later one of the same number."""

    pid: int
    born: str
    fingerprint: str = ""

    def alive(self) -> bool:
        """Tell whether this very process still runs; a zombie does not."""
        return _born(self.pid) == self.born

    def signal(self, number: int, *, group: bool = False) -> None:
        """Send a signal to the process, or to the session it leads; nothing happens when it is gone."""
        if self.alive():
            with suppress(ProcessLookupError):
                os.killpg(self.pid, number) if group else os.kill(self.pid, number)

    def stop(self, patience_s: float) -> bool:
        """Ask the process to end, wait, then force it and all that it started; false when force was needed."""
        self.signal(signal.SIGTERM)
        if self.wait(patience_s):
            return True
        self.signal(signal.SIGKILL, group=True)
        self.wait(5)
        return False

    def wait(self, timeout_s: float) -> bool:
        """Wait until the process is gone; false when it is still there after `timeout_s`."""
        until = time.monotonic() + timeout_s
        while self.alive():
            if time.monotonic() > until:
                return False
            time.sleep(_POLL_S)
        return True


def identify(pid: int, fingerprint: str = "") -> Identity | None:
    """Give the identity of a living process, or None."""
    born = _born(pid)
    return None if born is None else Identity(pid, born, fingerprint)


def write(folder: Path, name: str, identity: Identity) -> None:
    """Write the pid file and the identity beside it; the identity first, so that no pid is ever without one."""
    for suffix, text in ((".json", json.dumps(asdict(identity))), (".pid", f"{identity.pid}\n")):
        partial = folder / f".{name}{suffix}"
        partial.write_text(text)
        partial.replace(folder / f"{name}{suffix}")


def read(folder: Path, name: str) -> Identity | None:
    """Give the living process that the pid file means, or None when there is none, whatever the file says."""
    try:
        identity = Identity(**json.loads((folder / f"{name}.json").read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None
    return identity if identity.alive() else None


def forget(folder: Path, name: str) -> None:
    """Remove the pid file."""
    for suffix in (".pid", ".json"):
        (folder / f"{name}{suffix}").unlink(missing_ok=True)


def _born(pid: int) -> str | None:
    # The kernel's count of ticks since boot does not move when the wall clock is set; psutil's create_time() does.
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None if Path("/proc/self/stat").exists() else _born_elsewhere(pid)
    # The command's name, in parentheses, may hold anything; the state is the third field and the start the twenty-second.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else f"{boot}:{fields[19]}"


def _born_elsewhere(pid: int) -> str | None:
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else str(process.create_time())
    except psutil.Error:
        return None
