"""What can go wrong around the processes: Kafka, Valkey, the clock, the disk."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import redis

from schemas.instants import HOUR_MS
from tests.chaos.faults import Fault
from tests.chaos.scene import Scene


@dataclass(frozen=True)
class Broker:
    """Kafka is ended, by a crash or gently, and is back after some seconds."""

    name: str
    gently: bool
    absent_s: float

    def make(self, scene: Scene) -> str:
        """End it, wait, start it."""
        (scene.broker.stop if self.gently else scene.broker.kill9)()
        time.sleep(self.absent_s)
        scene.broker.start()
        return ""


@dataclass(frozen=True)
class Cache:
    """Something is done to Valkey through its own door, and undone."""

    name: str
    do: Callable[[redis.Redis], object]
    undo: Callable[[redis.Redis], object]
    lasts_s: float

    def make(self, scene: Scene) -> str:
        """Do it, wait, undo it."""
        client = redis.Redis.from_url(scene.valkey.url)
        self.do(client)
        time.sleep(self.lasts_s)
        self.undo(client)
        client.close()
        return ""


@dataclass(frozen=True)
class CacheEnds:
    """Valkey dies and is back with what its file holds, `emptied` without."""

    name: str
    emptied: bool

    def make(self, scene: Scene) -> str:
        """Kill it, and start it again."""
        scene.valkey.kill9()
        if self.emptied:
            for file in (scene.stack.folder / "valkey" / "data" / "appendonlydir").glob("*"):
                file.unlink()
        scene.valkey.start()
        return ""


@dataclass(frozen=True)
class ClockBehind:
    """A segmenter comes up with its clock an hour behind what was decided: it must wait, and say so, and nobody is told a false no."""

    name: str = "clock-behind"
    lasts_s: float = 8.0

    def make(self, scene: Scene) -> str:
        """Have it be wrong for some seconds."""
        _set(scene, scene.load.ahead_ms - HOUR_MS, "segmenter")
        time.sleep(self.lasts_s)
        ready = scene.stack.get("segmenter", "/readyz") is not None
        _set(scene, scene.load.ahead_ms, "segmenter")
        assert not ready, "a segmenter was ready with a clock an hour behind what it had decided"
        return ""


@dataclass(frozen=True)
class ClockAhead:
    """The clocks jump an hour ahead, for good: what was due in this hour is decided, and time goes on from there.

    The dispatcher's stays right: it signs its clock's time, which receivers with another refuse until it is theirs.
    """

    name: str = "clock-ahead"

    def make(self, scene: Scene) -> str:
        """Set them, the tills' last: what they say happened in an hour is refused by an ingest that is still in this one."""
        ahead_ms = scene.load.ahead_ms + HOUR_MS
        _set(scene, ahead_ms, "ingest", "segmenter", "api")
        scene.load.ahead_ms = ahead_ms
        return ""


def _set(scene: Scene, ahead_ms: int, *services: str) -> None:
    for service in services:
        scene.stack.own[service] = {"ROLLCALL_CLOCK_AHEAD_MS": str(ahead_ms)}
    scene.crew.restart(*services)


@dataclass(frozen=True)
class DiskFull:
    """The disk under the projection's file is full for some seconds. Needs the right to mount a small one; without it nothing is done."""

    name: str = "disk-full"
    lasts_s: float = 8.0
    size_bytes: int = 64 << 20

    def make(self, scene: Scene) -> str:
        """Restart Valkey with its folder on a small disk, fill that up, wait, free it, and go back to the folder as it was before."""
        folder = scene.stack.folder / "valkey" / "data"
        scene.valkey.stop()
        mounted = (
            os.geteuid() == 0
            and not subprocess.run(
                ("mount", "-t", "tmpfs", "-o", f"size={self.size_bytes}", "tmpfs", str(folder)), check=False, capture_output=True
            ).returncode
        )
        try:
            scene.valkey.start()
            if mounted:
                _fill(folder / "full")
                time.sleep(self.lasts_s)
                (folder / "full").unlink()
                time.sleep(2)
        finally:
            if mounted:
                scene.valkey.stop()
                subprocess.run(("umount", str(folder)), check=True)
                scene.valkey.start()
        return "" if mounted else "no disk could be mounted: Valkey was only restarted"


def _fill(file: Path) -> None:
    """Write until nothing more goes on the disk."""
    try:
        with file.open("wb", buffering=0) as full:
            while True:
                full.write(bytes(1 << 16))
    except OSError:
        return


_NOTHING: Final[Callable[[redis.Redis], object]] = lambda _: None  # noqa: E731 - a default is no function to describe

SERVERS: Final[tuple[Fault, ...]] = (
    Broker("kafka-kill", gently=False, absent_s=0.0),
    Broker("kafka-term", gently=True, absent_s=0.0),
    Broker("kafka-absent", gently=False, absent_s=30.0),
    CacheEnds("valkey-kill", emptied=False),
    CacheEnds("valkey-lost", emptied=True),
    Cache("valkey-flush", lambda client: client.flushall(), _NOTHING, 0.0),
    Cache("valkey-full", lambda client: client.config_set("maxmemory", 1), lambda client: client.config_set("maxmemory", 0), 8.0),
    DiskFull(),
    ClockBehind(),
    ClockAhead(),
)
