"""A pid file means one process and no other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.local import identity
from deploy.local.errors import LaunchError
from deploy.local.process import ProcessSpec, Running, rotate, tail
from tests.support.waiting import wait_until

SLEEP = (sys.executable, "-c", "import time; print('here', flush=True); time.sleep(600)")
STUBBORN = (
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('here', flush=True); time.sleep(600)",
)


def spec(folder: Path, argv: tuple[str, ...] = SLEEP, **changes: object) -> ProcessSpec:
    """Describe a process that is ready once it has written to its log."""
    log = folder / "sleeper.log"
    ready = ProcessSpec("sleeper", argv, dict(os.environ), lambda: None if "here" in "".join(tail(log)) else "quiet", cwd=folder, stop_s=0.5)
    return replace(ready, **changes)  # type: ignore[arg-type]


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    """Start one, and end it whatever the test did."""
    process = Running(spec(tmp_path), tmp_path, tmp_path)
    process.start()
    process.wait_ready()
    yield process
    process.stop()


def test_pid_file_is_the_bare_number(running: Running, tmp_path: Path) -> None:
    """`kill $(cat NAME.pid)` is the process, and the file goes when it is stopped."""
    assert running.identity is not None
    assert (tmp_path / "sleeper.pid").read_text() == f"{running.identity.pid}\n"
    running.stop()
    assert not (tmp_path / "sleeper.pid").exists()


def test_a_stranger_with_the_same_number_is_never_signalled(tmp_path: Path) -> None:
    """A pid file whose process was born at another moment is dead, and stopping it leaves the stranger alone."""
    with subprocess.Popen(SLEEP, stdout=subprocess.DEVNULL) as stranger:
        living = identity.identify(stranger.pid)
        assert living is not None
        stale = replace(living, born="another moment")
        identity.write(tmp_path, "sleeper", stale)
        assert identity.read(tmp_path, "sleeper") is None
        stale.stop(0.1)
        stale.signal(signal.SIGKILL, group=True)
        assert stranger.poll() is None
        stranger.kill()


def test_a_second_start_replaces_the_first(running: Running, tmp_path: Path) -> None:
    """Two copies never run: whatever the pid file means is ended first."""
    first = running.identity
    assert first is not None
    second = Running(spec(tmp_path), tmp_path, tmp_path)
    second.start()
    try:
        assert not first.alive()
        assert second.identity is not None
        assert identity.read(tmp_path, "sleeper") == second.identity
    finally:
        second.stop()


def test_only_a_process_started_the_same_way_is_adopted(running: Running, tmp_path: Path) -> None:
    """A changed setting means another process; the same settings mean the same one."""
    same = Running(spec(tmp_path), tmp_path, tmp_path)
    other = Running(spec(tmp_path, env={**os.environ, "ROLLCALL_LOG_LEVEL": "DEBUG"}), tmp_path, tmp_path)
    assert same.adopt()
    assert same.exit_reason() is None
    assert not other.adopt()
    running.kill9()
    assert same.exit_reason() is not None


def test_how_it_ended_is_told(tmp_path: Path) -> None:
    """An exit code, a signal, a program that is not there and one that never becomes ready each have their words."""
    failing = Running(spec(tmp_path, (sys.executable, "-c", "raise SystemExit(7)")), tmp_path, tmp_path)
    failing.start()
    with pytest.raises(LaunchError, match="exit code 7"):
        failing.wait_ready()
    with pytest.raises(LaunchError, match="cannot be executed"):
        Running(spec(tmp_path, ("/nowhere/program",)), tmp_path, tmp_path).start()
    assert not (tmp_path / "sleeper.pid").exists()
    slow = Running(spec(tmp_path, ready=lambda: "thinking", ready_s=0.2), tmp_path, tmp_path)
    slow.start()
    with pytest.raises(LaunchError, match=r"not ready after .*thinking"):
        slow.wait_ready()
    slow.kill9()
    assert slow.exit_reason() == "killed by signal 9"


def test_the_stubborn_are_killed(tmp_path: Path) -> None:
    """A process that ignores SIGTERM is gone after `stop_s` all the same, and that is told."""
    stubborn = Running(spec(tmp_path, STUBBORN), tmp_path, tmp_path)
    stubborn.start()
    stubborn.wait_ready()
    assert not stubborn.stop()
    assert stubborn.identity is not None
    assert not stubborn.identity.alive()


def test_standard_input_is_empty(tmp_path: Path) -> None:
    """A process that reads its input sees the end of it at once."""
    reader = Running(spec(tmp_path, (sys.executable, "-c", "import sys; sys.stdin.read(); print('here')")), tmp_path, tmp_path)
    reader.start()
    wait_until(lambda: reader.exit_reason() == "exit code 0")


def test_logs_are_put_aside_when_large(tmp_path: Path) -> None:
    """A log beyond the limit becomes .1, the older ones move on, and the fourth is dropped."""
    log = tmp_path / "x.log"
    for number in range(6):
        log.write_text(str(number) * 20)
        rotate(log, limit_bytes=10)
    assert not log.exists()
    assert [(tmp_path / f"x.log.{n}").read_text()[0] for n in (1, 2, 3)] == ["5", "4", "3"]
    assert len(list(tmp_path.iterdir())) == 3
