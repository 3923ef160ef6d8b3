"""The one error of the launcher."""

from __future__ import annotations

from pathlib import Path


class LaunchError(Exception):
    """Something could not be started or stopped; the message is one line for a person, `log` the file in which to read more."""

    def __init__(self, reason: str, log: Path | None = None) -> None:
        super().__init__(reason)
        self.log = log
