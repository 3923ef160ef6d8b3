"""A jar that is in place is the one that was pinned."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pytest

from deploy.local import jars
from deploy.local.errors import LaunchError
from deploy.local.jars import Jar

GOOD = b"a jar"
JAR = Jar("org.example", "thing", "1.0", hashlib.sha256(GOOD).hexdigest())


class Source:
    """A repository that gives its answers one after the other; an exception is raised."""

    def __init__(self, *answers: bytes | Exception) -> None:
        self.answers = list(answers)

    def __call__(self, jar: Jar, folder: Path) -> Path:
        """Give the next answer as a file."""
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        folder.mkdir(parents=True)
        path = folder / jar.filename
        path.write_bytes(answer)
        return path


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jars, "_PAUSE_S", 0.0)


def ensure(folder: Path, source: Source) -> str:
    """Fetch the one jar; give what was said."""
    said = io.StringIO()
    jars.ensure(folder, [JAR], source, said)
    return said.getvalue()


def test_every_pinned_jar_has_a_version_a_checksum_and_a_name_of_its_own() -> None:
    """The list is complete and unambiguous."""
    pinned = jars.pinned()
    assert len({jar.filename for jar in pinned}) == len(pinned)
    assert all(len(jar.sha256) == 64 and jar.version[0].isdigit() for jar in pinned)
    assert {"kafka_2.13-4.3.1.jar", "kafka-clients-4.3.1.jar"} <= {jar.filename for jar in pinned}


def test_failures_and_wrong_bytes_are_tried_again(tmp_path: Path) -> None:
    """A dropped connection and a truncated download cost a try each, and nothing else."""
    source = Source(OSError("reset"), GOOD[:2], GOOD)
    assert "1 jars" in ensure(tmp_path, source)
    assert (tmp_path / JAR.filename).read_bytes() == GOOD
    assert not source.answers


def test_a_jar_that_is_there_is_not_fetched_again(tmp_path: Path) -> None:
    """The second time nothing is asked for and nothing is said."""
    ensure(tmp_path, Source(GOOD))
    assert ensure(tmp_path, Source()) == ""


def test_another_jar_is_never_put_in_place(tmp_path: Path) -> None:
    """Bytes with another checksum are refused in one line, and leave nothing."""
    with pytest.raises(LaunchError, match=r"thing-1\.0\.jar .*checksum"):
        ensure(tmp_path, Source(*[b"something else"] * 4))
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_an_unreachable_repository_is_named_in_one_line(tmp_path: Path) -> None:
    """The reason and the way out are in the message."""
    with pytest.raises(LaunchError, match=r"no route.*ROLLCALL_MAVEN_URL"):
        ensure(tmp_path, Source(*[OSError("no\nroute")] * 4))
