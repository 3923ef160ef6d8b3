"""What the demo remembers between runs, so that a second run repeats no event and an interrupted one goes on where it was.

The invariant: a batch is written here as acknowledged only after ingest answered 202, and the replay's `now_ms` never changes
once the first batch was sent, so a batch that is sent again holds the same bytes and counts once.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

Counts = dict[str, int]


class State(msgspec.Struct, kw_only=True):
    """The demo's memory. `positions` maps the number of each acknowledged batch to ingest's opaque token."""

    now_ms: int | None = None
    batch_events: int = 500
    positions: dict[int, str] = {}
    sent: Counts = {}
    """Events sent, by topic; known once all batches are acknowledged."""
    accepted_before: Counts = {}
    """What the segmenter had accepted before the first batch, by topic."""
    replay_s: float = 0.0
    """Time spent until everything was applied, over all runs."""
    replayed: bool = False
    """All batches acknowledged."""
    applied: bool = False
    """All of it in the answers of the API."""
    endpoint_id: str | None = None
    endpoint_url: str | None = None

    def save(self, path: Path) -> None:
        """Replace the file in one step: a reader sees the old or the new, whole."""
        write_private(path, msgspec.json.encode(self))


def load_state(path: Path) -> State:
    """Read the memory, or begin a new one. Raises `msgspec.DecodeError` when the file is not one of the demo's."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=State)
    except FileNotFoundError:
        return State()


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read, in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".new")
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
    beside.replace(path)
