"""Kafka's jars, fetched once for each checkout with every coordinate and every checksum pinned.

`jgo` downloads; what comes is compared with `kafka-jars.txt` before it is put in place, so a jar that is there is a jar that is
right. Nothing is resolved transitively: the list is the class path.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import requests
from jgo.constants import MAVEN_CENTRAL_URL
from jgo.maven import MavenContext

from deploy.local.errors import LaunchError

LIST = Path(__file__).with_name("kafka-jars.txt")
REPOSITORY_VARIABLE = "ROLLCALL_MAVEN_URL"
_TRIES = 4
_PAUSE_S = 1.0
_AT_ONCE = 4
_TIMEOUT_S = 30


@dataclass(frozen=True)
class Jar:
    """One pinned jar."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def filename(self) -> str:
        """The name in Maven's layout, which no two jars of the list share."""
        return f"{self.artifact}-{self.version}.jar"


def pinned(text: str | None = None) -> list[Jar]:
    """Read the list: `group:artifact:version sha256:…`, one jar a line."""
    lines = (LIST.read_text() if text is None else text).splitlines()
    jars = []
    for line in lines:
        if line.strip() and not line.startswith("#"):
            coordinate, checksum = line.split()
            group, artifact, version = coordinate.split(":")
            jars.append(Jar(group, artifact, version, checksum.removeprefix("sha256:")))
    return jars


Fetch = Callable[[Jar, Path], Path]
"""Downloads a jar somewhere under a folder and gives its path; raises OSError or RuntimeError."""


def fetch_with_jgo(jar: Jar, folder: Path) -> Path:
    """Download one jar from Maven Central, or from the repository that ROLLCALL_MAVEN_URL names."""
    repository = os.environ.get(REPOSITORY_VARIABLE, MAVEN_CENTRAL_URL).rstrip("/")
    context = MavenContext(repo_cache=folder, remote_repos={"central": repository}, timeout=_TIMEOUT_S)
    path = context.project(jar.group, jar.artifact).at_version(jar.version).artifact().resolve()
    if path is None:
        raise RuntimeError(f"{jar.filename} was not found")
    return Path(path)


def class_path(folder: Path) -> str:
    """Give Kafka's class path under `folder`, whether its jars are there yet or not."""
    return os.pathsep.join(str(folder / jar.filename) for jar in pinned())


def ensure(folder: Path, jars: list[Jar] | None = None, fetch: Fetch = fetch_with_jgo, say: TextIO | None = None) -> None:
    """Fetch the jars that are missing in `folder`, telling so on `say`; several processes may ask at once.

    Raises `LaunchError` when a jar cannot be had after four tries, or is not the one that was pinned.
    """
    jars = pinned() if jars is None else jars
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        missing = [jar for jar in jars if not (folder / jar.filename).exists()]
        if missing:
            for leftover in folder.glob(".partial-*"):
                shutil.rmtree(leftover, ignore_errors=True)
            _fetch_all(missing, folder, fetch, say or sys.stderr)


def _fetch_all(missing: list[Jar], folder: Path, fetch: Fetch, say: TextIO) -> None:
    started = time.monotonic()
    with tempfile.TemporaryDirectory(dir=folder, prefix=".partial-") as partial, ThreadPoolExecutor(_AT_ONCE) as pool:
        done = pool.map(lambda jar: _fetch_one(jar, folder, Path(partial), fetch), missing)
        for number, _ in enumerate(done, 1):
            if say.isatty():
                print(f"\rFetching Apache Kafka: {number} of {len(missing)} jars", end="", file=say, flush=True)
    start = "\r" if say.isatty() else ""
    print(f"{start}Fetched Apache Kafka: {len(missing)} jars in {time.monotonic() - started:.1f} s", file=say, flush=True)


def _fetch_one(jar: Jar, folder: Path, partial: Path, fetch: Fetch) -> None:
    problem = ""
    for attempt in range(_TRIES):
        # Each try has a folder of its own: what an interrupted download left is never taken for the jar.
        place = partial / f"{jar.artifact}-{attempt}"
        try:
            found = fetch(jar, place)
        except (OSError, RuntimeError, requests.RequestException) as error:
            problem = " ".join(str(error).split())[:200]
            time.sleep(_PAUSE_S * attempt)
            continue
        checksum = hashlib.sha256(found.read_bytes()).hexdigest()
        if checksum != jar.sha256:
            problem = f"its checksum is {checksum}, not the pinned {jar.sha256}"
            continue
        shutil.move(found, folder / f".{jar.filename}")
        (folder / f".{jar.filename}").replace(folder / jar.filename)
        return
    raise LaunchError(f"{jar.filename} cannot be fetched ({problem}); is the network reachable? {REPOSITORY_VARIABLE} names another Maven repository")
