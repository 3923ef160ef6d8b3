"""Places at which a process dies on request, and at no other time."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from services.kit import clock, failpoints
from services.kit.settings import CommonSettings, load

_COME_BY = "from pathlib import Path; from services.kit import failpoints; failpoints.arm(Path({!r})); failpoints.hit('api.after_write')"


def come_by(folder: Path) -> int:
    """Have a process come by a place and return how it ended."""
    return subprocess.run((sys.executable, "-c", _COME_BY.format(str(folder))), check=False).returncode


def test_a_process_dies_where_it_was_asked_to_and_only_once(tmp_path: Path) -> None:
    """The one that takes the file away dies as by `kill -9`; the next one comes by unharmed."""
    (tmp_path / "api.after_write").write_text("kill\n")
    assert [come_by(tmp_path), come_by(tmp_path)] == [-signal.SIGKILL, 0]


def test_another_place_is_not_this_one(tmp_path: Path) -> None:
    """What is asked of one place waits for that one."""
    (tmp_path / "api.before_write").write_text("kill")
    assert come_by(tmp_path) == 0
    assert (tmp_path / "api.before_write").exists()


def test_nothing_is_looked_for_unless_a_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the setting no file is ever opened, and the clock is the machine's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ROLLCALL_FAILPOINTS_DIR", raising=False)
    for place in failpoints.PLACES:
        (tmp_path / place).write_text("kill")
    load(CommonSettings, process="test")
    for place in failpoints.PLACES:
        failpoints.hit(place)
    assert abs(clock.now_ms() - time.time() * 1000) < 1_000


def test_every_place_is_in_the_code_once() -> None:
    """The list of places is what the services have, and each is there once or, for two kinds of writes, twice."""
    code = "".join(path.read_text() for path in (Path(__file__).parents[2] / "services").rglob("*.py") if path.name != "failpoints.py")
    for place in failpoints.PLACES:
        assert code.count(f'failpoints.hit("{place}")') in (1, 2), place
    assert code.count("failpoints.hit(") == sum(code.count(f'"{place}"') for place in failpoints.PLACES)
