"""The process that keeps the others alive: starts them in order, starts again what dies, and ends them in reverse order.

It holds a lock for as long as it lives, so there is one for each installation. Killed, it leaves the others running; the next one
adopts them. It judges by life and death only: readiness is asked once after each start and shown, never a reason to kill.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import json
import os
import resource
import signal
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from deploy.local import identity
from deploy.local.errors import LaunchError
from deploy.local.layout import Layout
from deploy.local.process import ProcessSpec, Running

NAME = "supervisor"
_TICK_S = 0.1
_OPEN_FILES = 65_536


@dataclass
class Deaths:
    """How often one process has died of late, and how long to wait before it is started again; times in seconds."""

    restarts: int = 0
    last: str = ""
    _times: deque[float] = field(default_factory=lambda: deque(maxlen=10))

    # From 0.2 s, doubling to 2 s: a crash is hardly noticed, and a process that cannot start has failed ten times, which is when
    # it counts as hopeless, within twenty seconds or so.
    FIRST_S = 0.2
    MOST_S = 2.0
    HOPELESS_S = 15.0
    WINDOW_S = 60.0

    def died(self, now_s: float, reason: str) -> float:
        """Count a death and give the pause before the next start."""
        self._times.append(now_s)
        self.restarts += 1
        self.last = reason
        if self.hopeless(now_s):
            return self.HOPELESS_S
        recent = sum(now_s - at < self.WINDOW_S for at in self._times)
        return float(min(self.FIRST_S * 2 ** (recent - 1), self.MOST_S))

    def hopeless(self, now_s: float) -> bool:
        """Tell whether it died ten times within a minute; it is tried further, but slower, and `up` says so."""
        return len(self._times) == self._times.maxlen and now_s - self._times[0] < self.WINDOW_S


class Keeper:
    """One process under supervision: waiting for others → starting → ready, and back over `pausing` when it dies."""

    def __init__(self, running: Running, say: Callable[[str], None]) -> None:
        self.running = running
        self.deaths = Deaths()
        self.state = "waiting"
        self.was_ready = False
        self.why = ""
        self.since_s = 0.0
        self.trying_since_s: float | None = None
        self._say = say
        self._resume_s = 0.0

    @property
    def name(self) -> str:
        """The process's name."""
        return self.running.spec.name

    def adopt(self, now_s: float) -> None:
        """Take over the process when an earlier supervisor has left it running."""
        if self.running.adopt() and self.running.identity is not None:
            self._enter("starting", now_s)
            self._say(f"{self.name}: adopted, pid {self.running.identity.pid}")

    def step(self, now_s: float, ready_once: set[str]) -> None:
        """Look at the process and do what is due; never waits for longer than one probe."""
        if self.state in ("starting", "ready"):
            reason = self.running.exit_reason()
            if reason is not None:
                self._bury(now_s, reason)
            elif self.state == "starting":
                self._ask(now_s)
        elif (self.state == "pausing" and now_s >= self._resume_s) or (self.state == "waiting" and ready_once.issuperset(self.running.spec.after)):
            self._start(now_s)

    def describe(self) -> dict[str, object]:
        """Say how the process is, for `status.json`.

        `trying_since`, in seconds of the system's monotonic clock, is when it was first started without having been ready since.
        """
        found = self.running.identity
        return {
            "state": self.state,
            "pid": found.pid if found is not None and self.state in ("starting", "ready") else None,
            "trying_since": self.trying_since_s,
            "restarts": self.deaths.restarts,
            "why": self.why,
            "hopeless": self.state != "ready" and self.deaths.hopeless(time.monotonic()),
        }

    def _start(self, now_s: float) -> None:
        try:
            started = self.running.start()
        except (LaunchError, OSError) as error:
            self._bury(now_s, str(error))
            return
        self._enter("starting", now_s)
        self._say(f"{self.name}: started, pid {started.pid}")

    def _ask(self, now_s: float) -> None:
        self.why = self.running.spec.ready() or ""
        if not self.why:
            self._say(f"{self.name}: ready after {now_s - self.since_s:.1f} s")
            self._enter("ready", now_s)
            self.was_ready, self.trying_since_s = True, None

    def _bury(self, now_s: float, reason: str) -> None:
        lived = f" after {now_s - self.since_s:.1f} s" if self.state in ("starting", "ready") else ""
        pause_s = self.deaths.died(now_s, reason)
        self._enter("pausing", now_s)
        self._resume_s = now_s + pause_s
        self.why = reason
        self._say(f"{self.name}: {reason}{lived}; restart {self.deaths.restarts} in {pause_s:.1f} s")

    def _enter(self, state: str, now_s: float) -> None:
        self.state, self.since_s = state, now_s
        if self.trying_since_s is None and state != "ready":
            self.trying_since_s = now_s


def levels(specs: Sequence[ProcessSpec]) -> list[list[ProcessSpec]]:
    """Group the processes so that each comes after all that it must wait for; reversed, the order of stopping.

    Raises `LaunchError` when they wait for each other in a circle, or for one that is not there.
    """
    left, done, groups = list(specs), set[str](), list[list[ProcessSpec]]()
    while left:
        group = [spec for spec in left if done.issuperset(spec.after)]
        if not group:
            raise LaunchError(f"these processes can never start: {', '.join(spec.name for spec in left)}")
        groups.append(group)
        done.update(spec.name for spec in group)
        left = [spec for spec in left if spec not in group]
    return groups


def stop_all(specs: Sequence[ProcessSpec], layout: Layout, say: Callable[[str], None]) -> list[str]:
    """End everything that the pid files mean, those that wait for others first; give the names of what ran.

    What does not end within its `stop_s` is ended by force.
    """
    stopped = []
    for group in reversed(levels(specs)):
        alive = [(spec, found) for spec in group if (found := identity.read(layout.run, spec.name)) is not None]
        for _, found in alive:
            found.signal(signal.SIGTERM)
        until = time.monotonic() + max((spec.stop_s for spec in group), default=0)
        for spec, found in alive:
            gentle = found.wait(max(0.0, until - time.monotonic()))
            if not gentle:
                found.signal(signal.SIGKILL, group=True)
                found.wait(5)
            say(f"{spec.name}: {'stopped' if gentle else f'did not stop within {spec.stop_s:.0f} s, killed'}")
            stopped.append(spec.name)
        for spec in group:
            identity.forget(layout.run, spec.name)
    return stopped


class Supervisor:
    """Keeps the processes of a table alive until it is told to stop."""

    def __init__(self, specs: Sequence[ProcessSpec], layout: Layout) -> None:
        levels(specs)
        self._specs = specs
        self._layout = layout
        self._keepers = [Keeper(Running(spec, layout.run, layout.logs), say) for spec in specs]
        self._stopping = False
        self._told = ""

    def run(self) -> int:
        """Supervise until SIGTERM, then end everything; give the exit code. The processes' parent is the caller."""
        with (self._layout.run / f"{NAME}.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say("another supervisor runs")
                return 3
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, self._stop)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            _raise_limits()
            me = identity.identify(os.getpid())
            if me is not None:
                identity.write(self._layout.run, NAME, me)
            self._supervise()
            stop_all(self._specs, self._layout, say)
            self._layout.status.unlink(missing_ok=True)
            identity.forget(self._layout.run, NAME)
        return 0

    def _supervise(self) -> None:
        for keeper in self._keepers:
            keeper.adopt(time.monotonic())
        while not self._stopping:
            for keeper in self._keepers:
                ready_once = {other.name for other in self._keepers if other.was_ready}
                if not self._stopping:
                    keeper.step(time.monotonic(), ready_once)
            self._tell()
            time.sleep(_TICK_S)
        for keeper in self._keepers:
            # Reaped here, or a dead child would be a zombie until the end.
            keeper.running.exit_reason()

    def _tell(self) -> None:
        text = json.dumps({"supervisor": os.getpid(), "processes": {keeper.name: keeper.describe() for keeper in self._keepers}})
        if text != self._told:
            # On a full disk it is told later; who keeps others alive does not die of it.
            with suppress(OSError):
                partial = self._layout.status.with_suffix(".partial")
                partial.write_text(text)
                partial.replace(self._layout.status)
                self._told = text

    def _stop(self, *_: object) -> None:
        self._stopping = True


def say(line: str) -> None:
    """Write one line with the time to standard output, which is `supervisor.log`."""
    with suppress(OSError):  # a full disk
        print(f"{dt.datetime.now().astimezone().isoformat(timespec='milliseconds')} {line}", flush=True)


def _raise_limits() -> None:
    # Kafka keeps files open for each partition and every connection is one; desktops often start at 256 or 1,024.
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
