"""What goes into a partition and what comes out: records, and the steps that they lead to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple, Protocol


class Record(Protocol):
    """A record of an input topic, as Kafka clients give it."""

    @property
    def offset(self) -> int:
        """Its place in the partition of its topic."""

    @property
    def key(self) -> bytes | None:
        """Its key."""

    @property
    def value(self) -> bytes | None:
        """Its value."""


@dataclass
class Step:
    """Everything decided since the last step, to be written in one transaction.

    `rows`: changelog records (None removes one), the progress among them. `changes`: record key and transition. `dead_letters`:
    key, value, headers. `forwards`: topic, partition, key, value of records that belong elsewhere. `erasures`: what
    those who serve transitions are told of erased ids. `touched`: record keys of the customers whose projection must be written
    again.
    """

    rows: dict[bytes, bytes | None] = field(default_factory=dict)
    changes: list[tuple[bytes, bytes]] = field(default_factory=list)
    dead_letters: list[tuple[bytes | None, bytes, list[tuple[str, bytes]]]] = field(default_factory=list)
    forwards: list[tuple[str, int, bytes, bytes]] = field(default_factory=list)
    erasures: list[bytes] = field(default_factory=list)
    touched: list[bytes] = field(default_factory=list)


class Written(NamedTuple):
    """How far a step that is committed reaches: the next offset of the partition's changelog, and of each partition of the moves it sent to."""

    changelog: int
    moves: dict[int, int]
