"""What partitions tell each other about ranks, over a topic that everybody reads.

A partition publishes a `Summary` of its entries of a ranking; the referee asks for finer ones (`Question`) until it can tell where
each rank ends, and says so (`Ruling`). Any message may come late, twice or never.

An *entry* is a customer's score and record key, as a pair that sorts the foremost first.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct

from schemas.standings import Cut, Interval, KeptScore, Point
from services.segmenter.engine.rankings import Score, compared, kept

Entry = tuple[Score, bytes]


def entry_of(score: KeptScore, key: bytes, *, descending: bool) -> Entry:
    """Return the entry of a score."""
    return placed(compared(score), key, descending=descending)


def placed(score: Score, key: bytes, *, descending: bool) -> Entry:
    """Return the same of a score as it is compared."""
    return (-score if descending else score), key


def cut_at(entry: Entry | None, *, descending: bool) -> Cut:
    """Return the cut after an entry, None for none."""
    return Cut() if entry is None else Cut(kept(-entry[0] if descending else entry[0]), entry[1])


def entry_at(cut: Cut, *, descending: bool) -> Entry | None:
    """Return the last entry of a cut, None when nobody is in."""
    return None if cut.score is None else entry_of(cut.score, cut.key, descending=descending)


class Summary(Struct, array_like=True, tag="summary"):
    """What a partition has of a ranking: how many customers with a score, and where some of them stand.

    `epoch` and `version`: of which owner, and which state of its entries; `number` grows with every message of that owner. `since`:
    the definition that all of the tenant's customers have been decided under. `sizes`: the ranks whose cuts are wanted. `points` are
    sorted, and the last entry is among them.
    """

    tenant: str
    ranking: str
    partition: int
    epoch: int
    version: int
    number: int
    since: int
    total: int
    sizes: list[str]
    points: list[Point]


class Question(Struct, array_like=True, tag="question"):
    """Asks partitions for a summary, with more of what lies in some intervals."""

    tenant: str
    ranking: str
    partitions: list[int]
    intervals: list[Interval]


class Ruling(Struct, array_like=True, tag="ruling"):
    """Where each rank ends, by size, and the (epoch, version) of each partition that this follows from.

    It is a function of those versions, whoever finds it and whenever it arrives.
    """

    tenant: str
    ranking: str
    since: int
    versions: list[tuple[int, int]]
    cuts: dict[str, Cut]


Message = Summary | Question | Ruling

encode: Final = msgspec.msgpack.Encoder().encode
_decoder: Final[msgspec.msgpack.Decoder[Message]] = msgspec.msgpack.Decoder(Message)


def decode(document: bytes) -> Message | None:
    """Read a message; None for one that this version does not understand."""
    try:
        return _decoder.decode(document)
    except msgspec.DecodeError:
        return None


def sortable(entry: Entry) -> tuple[KeptScore, bytes]:
    """Return an entry as it travels."""
    return kept(entry[0]), entry[1]


def entry_in(sent: tuple[KeptScore, bytes]) -> Entry:
    """Return an entry that has travelled."""
    return compared(sent[0]), sent[1]
