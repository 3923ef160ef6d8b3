"""What can go wrong with processes: each fault is a small class that does it and returns when its cause is gone."""

from __future__ import annotations

import contextlib
import signal
import time
from dataclasses import dataclass
from typing import Final, Protocol

from services.kit import failpoints
from tests.chaos.scene import Scene
from tests.support.services import wait_for

_REACHED_S: Final = 30.0
_ENDED_S: Final = 45.0


class Fault(Protocol):
    """One way to go wrong. Raises AssertionError when a promise is seen to be broken meanwhile."""

    @property
    def name(self) -> str:
        """As it is asked for and reported."""

    def make(self, scene: Scene) -> str:
        """Make it under load; return when its cause is gone, with a word on what happened if there is one to say."""


@dataclass(frozen=True)
class End:
    """A process is ended, as by a crash or as by whoever stops machines; the supervisor starts it again."""

    service: str
    signum: signal.Signals

    @property
    def name(self) -> str:
        """`kill-` or `term-`, and whom."""
        return ("kill-" if self.signum is signal.SIGKILL else "term-") + self.service

    def make(self, scene: Scene) -> str:
        """Send the signal and wait until the process is gone."""
        before = scene.stack.pid(self.service)
        scene.crew.signal(self.service, self.signum)
        wait_for(
            lambda: scene.stack.pid(self.service) != before or scene.stack.ended(self.service) is not None,
            what=f"{self.service} to end", timeout_s=_ENDED_S, every_s=0.005,
        )  # fmt: skip
        return ""


@dataclass(frozen=True)
class DieAt:
    """A process dies at a place on the way of a write."""

    place: str

    @property
    def name(self) -> str:
        """`at-` and the place."""
        return f"at-{self.place}"

    def make(self, scene: Scene) -> str:
        """Ask for it and wait until a process has come by."""
        return "" if _asked(scene, self.place, "kill") else "the place was not reached"


@dataclass(frozen=True)
class Sleep:
    """A process stands still in the middle of a write until another has its partitions, and then goes on as if nothing had been."""

    place: str

    @property
    def name(self) -> str:
        """`sleep-` and the place."""
        return f"sleep-{self.place}"

    def make(self, scene: Scene) -> str:
        """Stop it for longer than its session, with a second one there to take over, and wake it."""
        service = self.place.partition(".")[0]
        second = service + "2"
        scene.crew.start(second)
        wait_for(lambda: scene.stack.get(second, "/readyz") is not None, what=f"{second} to be ready")
        if not _asked(scene, self.place, "stop"):
            scene.crew.dismiss(second)
            return "the place was not reached"
        time.sleep(scene.session_s + 4)
        # Whichever it was that came by.
        for name in (service, second):
            scene.crew.signal(name, signal.SIGCONT)
        time.sleep(2)
        scene.crew.dismiss(second)
        return "fenced" if any("ProducerFenced" in scene.stack.log(name).read_text(errors="replace") for name in (service, second)) else ""


@dataclass(frozen=True)
class Joining:
    """Two, then three segmenters share the partitions, joining and leaving every five seconds."""

    name: str = "joining"
    seconds: float = 5.0

    def make(self, scene: Scene) -> str:
        """Join one, another, and have them leave."""
        for step, who in ((scene.crew.start, "segmenter2"), (scene.crew.start, "segmenter3"), (scene.crew.dismiss, "segmenter2"),
                          (scene.crew.start, "segmenter2"), (scene.crew.dismiss, "segmenter3"), (scene.crew.dismiss, "segmenter2")):  # fmt: skip
            step(who)
            time.sleep(self.seconds)
        return ""


def _asked(scene: Scene, place: str, act: str) -> bool:
    """Ask a place to act, once, and say whether it did."""
    file = scene.failpoints / place
    partial = file.with_suffix(".partial")
    partial.write_text(act)
    partial.replace(file)
    try:
        wait_for(lambda: not file.exists(), what=place, timeout_s=_REACHED_S, every_s=0.01)
    except TimeoutError:
        with contextlib.suppress(FileNotFoundError):
            file.unlink()
            return False
    return True


_SERVICES: Final = ("ingest", "segmenter", "api", "dispatcher")
PROCESSES: Final[tuple[Fault, ...]] = (
    *(End(service, signum) for service in _SERVICES for signum in (signal.SIGKILL, signal.SIGTERM)),
    *(DieAt(place) for place in failpoints.PLACES),
    Sleep("segmenter.in_transaction"),
    Sleep("segmenter.before_transaction"),
    Sleep("segmenter.before_projection"),
    Sleep("dispatcher.in_transaction"),
    Joining(),
)
