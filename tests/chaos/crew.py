"""The services as processes that are started again when they die, with the pauses of the supervisor behind `make run`."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Final

import psutil

from deploy.local.supervisor import Deaths
from tests.support.services import Stack

MODULES: Final = {
    "ingest": ("services.ingest",),
    "segmenter": ("services.segmenter",),
    "api": ("services.api", "serve"),
    "dispatcher": ("services.api", "dispatch"),
}
_TICK_S: Final = 0.05
_WEIGHED_EVERY, _NOTED_EVERY = 20, 100
"""Ticks: once a second, and every five."""


class Crew:
    """Keeps alive whom it was told to, until `close`. A number after a service's name tells several of one kind apart."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._wanted: dict[str, Deaths] = {}
        self._resume_s: dict[str, float] = {}
        self._lock = threading.RLock()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="crew")
        self._thread.start()
        self.largest_bytes: dict[str, int] = {}
        """The most memory that each process was seen to hold."""
        self.held_mb: dict[str, list[tuple[float, int]]] = {}
        """What each held over time: seconds since `began_s`, and megabytes."""
        self.began_s = time.monotonic()
        self.stood_s = 0.0
        """The longest that this process itself stood still: seconds that were measured meanwhile say nothing of the services."""

    @property
    def names(self) -> list[str]:
        """Who shall be alive."""
        return sorted(self._wanted)

    def start(self, *names: str) -> None:
        """Start processes; does not wait until they are ready."""
        with self._lock:
            for name in names:
                self._stack.start(name, *MODULES[name.rstrip("0123456789")], wait=False)
                self._wanted[name] = Deaths()

    def dismiss(self, name: str) -> None:
        """End a process gently, for good."""
        with self._lock:
            del self._wanted[name]
        self._stack.end(name, gently=True)

    def signal(self, name: str, signum: signal.Signals) -> None:
        """Send a signal to a process."""
        with self._lock:
            if self._stack.ended(name) is None:
                os.kill(self._stack.pid(name), signum)

    def restart(self, *names: str) -> None:
        """End processes gently and start them anew, with whatever the environment says now."""
        for name in names:
            self.dismiss(name)
        self.start(*names)

    def ready(self) -> bool:
        """Whether everybody says so."""
        return all(self._stack.get(name, "/readyz") is not None for name in self.names)

    def restarts(self) -> dict[str, int]:
        """How often each was started again."""
        return {name: deaths.restarts for name, deaths in sorted(self._wanted.items()) if deaths.restarts}

    def close(self) -> None:
        """Keep nobody alive any more."""
        self._closing.set()
        self._thread.join(10)
        for name in self.names:
            self.signal(name, signal.SIGCONT)

    def _watch(self) -> None:
        ticks, last_s = 0, time.monotonic()
        while not self._closing.wait(_TICK_S):
            now_s, ticks = time.monotonic(), ticks + 1
            self.stood_s, last_s = max(self.stood_s, now_s - last_s - _TICK_S), now_s
            with self._lock:
                for name, deaths in self._wanted.items():
                    self._look(name, deaths)
                    if ticks % _WEIGHED_EVERY == 0:
                        self._weigh(name, noted=ticks % _NOTED_EVERY == 0)

    def _look(self, name: str, deaths: Deaths) -> None:
        now_s = time.monotonic()
        reason = self._stack.ended(name)
        if reason is None:
            return
        if name not in self._resume_s:
            self._resume_s[name] = now_s + deaths.died(now_s, reason)
        elif now_s >= self._resume_s[name]:
            del self._resume_s[name]
            self._stack.start(name, *MODULES[name.rstrip("0123456789")], wait=False)

    def _weigh(self, name: str, *, noted: bool) -> None:
        try:
            held = psutil.Process(self._stack.pid(name)).memory_info().rss
        except psutil.Error:
            return
        self.largest_bytes[name] = max(held, self.largest_bytes.get(name, 0))
        if noted:
            self.held_mb.setdefault(name, []).append((round(time.monotonic() - self.began_s, 1), held >> 20))
