"""Where customers stand in a ranking, as partitions tell it: scores, points and cuts."""

from __future__ import annotations

from msgspec import Struct

KeptScore = int | str
"""A score as it is kept and sent: a small integer as it is, any other number as the text of a fraction."""


class Cut(Struct, array_like=True, frozen=True):
    """Where a rank ends: the last one in, by score and record key; None for both when nobody is."""

    score: KeptScore | None = None
    key: bytes = b""


class Point(Struct, array_like=True):
    """How many entries of a partition there are up to an entry and with it; `own`: it is one of the partition's.

    Scores are as they sort, the foremost first.
    """

    score: KeptScore
    key: bytes
    count: int
    own: bool


Interval = tuple[tuple[KeptScore, bytes] | None, tuple[KeptScore, bytes]]
"""After one entry (None: from the first) and up to another; scores are as they sort."""
