"""up, down and clean over two small processes, with the supervisor as a process of its own, as a person uses them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local import identity
from deploy.local.layout import PROJECT
from deploy.local.ports import HOST, free_port
from tests.support.waiting import wait_until

NAMES = ("first", "second")


class Installation:
    """The commands over one folder."""

    def __init__(self, home: Path) -> None:
        self.home = home
        first = free_port()
        self.ports = {"ROLLCALL_API_PORT": str(first), "ROLLCALL_INGEST_PORT": str(free_port({first}))}

    def __call__(self, command: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        words = (sys.executable, "-m", "deploy.local", "--home", str(self.home), "--table", "tests.support.fake_processes:table", command)
        environ = {**os.environ, **self.ports, **env}
        return subprocess.run(words, env=environ, cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False)

    def pid(self, name: str) -> int | None:
        """Give the living process of this name."""
        found = identity.read(self.home / "run", name)
        return None if found is None else found.pid

    def pids(self) -> list[int | None]:
        """Give both processes."""
        return [self.pid(name) for name in NAMES]

    def log(self) -> str:
        """Give what the supervisor has said."""
        return (self.home / "log" / "supervisor.log").read_text()


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Installation]:
    """Give an installation of which nothing is left afterwards."""
    installation = Installation(tmp_path / ".rollcall")
    yield installation
    installation("down")


def test_what_an_older_version_started_is_not_waited_for(made: Installation) -> None:
    """A supervisor that does not know a process of the table is named, and what to do; `status` does not call it well; `down` ends it."""
    assert made("up", ROLLCALL_FAKE_MISSING="second").returncode == 0
    found = made("up")
    assert found.returncode != 0
    assert "has no second; `make down`" in found.stdout + found.stderr
    assert made("status").returncode != 0
    assert made("down").returncode == 0
    assert made("up").returncode == 0
    assert made("status").returncode == 0


def test_up_twice_is_up_once(made: Installation) -> None:
    """The second `up` changes nothing that runs, whatever it asks for; `down` ends all of it."""
    assert made("up").returncode == 0
    pids, supervisor = made.pids(), made.pid("supervisor")
    assert None not in pids
    assert made("up", ROLLCALL_API_PORT="1").returncode == 0
    assert (made.pids(), made.pid("supervisor")) == (pids, supervisor)
    assert made("status").stdout.count(" ready ") == 2
    assert made("down").stdout == "Stopped: second, first.\n"
    assert [*made.pids(), made.pid("supervisor")] == [None] * 3
    assert not list(made.home.glob("run/*.pid"))
    assert made("down").stdout == "Nothing runs.\n"


def test_what_dies_is_started_again_and_that_is_seen(made: Installation) -> None:
    """After `kill -9` there is another process of the same name, and one line says why."""
    made("up")
    old = made.pid("first")
    assert old is not None
    os.kill(old, signal.SIGKILL)
    wait_until(lambda: made.pid("first") not in (None, old))
    assert "first: killed by signal 9 after " in made.log()
    assert "restart 1 in 0.2 s" in made.log()


def test_a_killed_supervisor_is_replaced_and_its_processes_adopted(made: Installation) -> None:
    """The next `up` starts no second copy, and restarts what died in between."""
    made("up")
    first, second = made.pids()
    supervisor = made.pid("supervisor")
    assert supervisor is not None
    assert second is not None
    os.kill(supervisor, signal.SIGKILL)
    os.kill(second, signal.SIGKILL)
    assert made("up").returncode == 0
    assert made.pid("first") == first
    assert made.pid("second") not in (None, second)
    # Its exit is seen although it is no child of this supervisor.
    assert first is not None
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: made.pid("first") not in (None, first))


def test_down_without_a_supervisor_ends_what_it_left(made: Installation) -> None:
    """Nothing survives `down`, whoever still looks after it."""
    made("up")
    supervisor = made.pid("supervisor")
    assert supervisor is not None
    os.kill(supervisor, signal.SIGKILL)
    assert made("down").stdout == "Stopped: second, first.\n"
    assert made.pids() == [None, None]


def test_a_start_that_fails_says_why(made: Installation) -> None:
    """`up` ends non-zero with the process, how it ended, and the last lines of its log."""
    failed = made("up", ROLLCALL_FAKE_BROKEN="second")
    assert failed.returncode == 1
    assert "rollcall: second dies again and again: exit code 1" in failed.stderr
    assert "the setting is wrong" in failed.stderr
    assert "second.log" in failed.stderr
    made("down")
    assert made("up").returncode == 0


def test_a_start_that_never_succeeds_ends(made: Installation) -> None:
    """A process that dies too slowly to count as hopeless fails `up` all the same, with its last reason."""
    failed = made("up", ROLLCALL_FAKE_SLOW="second")
    assert failed.returncode == 1
    assert "rollcall: second is not ready after 3 s: " in failed.stderr


def test_a_taken_port_is_named(made: Installation) -> None:
    """A port that another program took while we were down is an error that says what to do, and nothing is started."""
    with socket.socket() as other:
        other.bind((HOST, int(made.ports["ROLLCALL_API_PORT"])))
        other.listen()
        failed = made("up")
    assert failed.returncode == 1
    assert "is taken by another program" in failed.stderr
    assert "ROLLCALL_API_PORT=" in failed.stderr
    assert made.pid("supervisor") is None


def test_clean_says_what_it_removes(made: Installation) -> None:
    """Everything is stopped, named and gone; once more, there is nothing to forget."""
    made("up")
    cleaned = made("clean").stdout
    assert "Stopped: second, first." in cleaned
    assert {line.split()[0] for line in cleaned.splitlines()[1:]} == {"Removed"}
    assert not made.home.exists()
    assert "Nothing to forget." in made("clean").stdout


def test_exec_runs_in_the_environment(made: Installation) -> None:
    """What is run by hand finds what the services find, and its exit code is the answer."""
    words = (sys.executable, "-c", "import os, sys; print(os.environ['ROLLCALL_KAFKA']); sys.exit(9)")
    command = (sys.executable, "-m", "deploy.local", "--home", str(made.home), "exec", "--", *words)
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.startswith("127.0.0.1:")) == (9, True)
