"""Places at which a process can be made to die or to stand still, for tests of what survives that.

There are none unless the setting `failpoints_dir` names a folder. Then `hit` looks in it for a file with the name of the place;
the one process that takes the file away does what it says. A place is never in the path of a single event.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Final

PLACES: Final = (
    "ingest.before_write",
    "ingest.after_write",
    "segmenter.before_transaction",
    "segmenter.in_transaction",
    "segmenter.after_transaction",
    "segmenter.before_projection",
    "segmenter.after_projection",
    "dispatcher.before_attempt",
    "dispatcher.after_attempt",
    "dispatcher.before_transaction",
    "dispatcher.in_transaction",
    "dispatcher.after_transaction",
    "api.before_write",
    "api.after_write",
)
"""Before and after each write of each process, on its way."""

ACTS: Final = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}
"""What a file may say: die as by `kill -9`, or stand still until somebody sends SIGCONT."""

_folder: Path | None = None


def arm(folder: Path | None) -> None:
    """Look into `folder` from now on; None: nowhere."""
    global _folder  # noqa: PLW0603 - a process has one, and `hit` must cost nothing when there is none
    _folder = folder


def hit(place: str) -> None:
    """Do what the file of this place says, if there is one."""
    if _folder is not None:
        _act(_folder / place)


def _act(file: Path) -> None:
    try:
        act = file.read_text().strip()
        file.unlink()
    except FileNotFoundError:
        return  # nobody asked, or another process was here first
    os.kill(os.getpid(), ACTS[act])
