"""Rankings: what a tenant's ranks have in common, as far as one customer is concerned.

A *ranking* puts customers in the order of a metric, one way or the other; a *rank* takes so many of the first of them. A *score* is
the exact value of a ranking's metric for a customer. How customers are compared is none of the engine's business: it keeps the
scores, and is told which ranks hold (`services.segmenter.standings`).
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from fractions import Fraction
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final

from schemas.amounts import short_text
from schemas.catalog import Segment
from schemas.instants import NEVER
from schemas.rules import Metric, Rank, canonical_metric, conditions, encode
from schemas.standings import KeptScore

Score = int | Fraction
"""A score as it is compared."""

_REMEMBERED: Final = 4_096
_SMALL: Final = 1 << 62
_DIGEST_BYTES: Final = 9
"""Rankings of one tenant are told apart by 72 bits."""


class Ranking:
    """A ranking of a plan.

    `score` is the name of its metric's score and `place` the score's place among those that the plan keeps. `since` is the offset of
    the oldest definition with one of its ranks: whoever has been decided under that definition has a score. `bits`: the bit of each
    rank, by its size.
    """

    def __init__(self, name: str, score: str, *, descending: bool) -> None:
        self.name = name
        self.score = score
        self.place = -1
        self.descending = descending
        self.since: int = NEVER
        self.bits: dict[str, int] = {}


def asks_for_ranks(segment: Segment) -> bool:
    """Whether a segment in force has a rank in its rule."""
    return segment.rule is not None and not segment.archived and any([isinstance(one, Rank) for _, one in conditions(segment.rule)])


def score_name(metric: Metric) -> str:
    """Return the name of a metric's scores, the same for equal metrics in any plan."""
    digest = blake2b(encode(canonical_metric(metric)), digest_size=_DIGEST_BYTES).digest()
    return urlsafe_b64encode(digest).decode()


def ranking_name(rank: Rank) -> str:
    """Return the name of the ranking that a rank takes the first of."""
    return score_name(rank.metric) + ("+" if rank.order == "asc" else "-")


def size_of(rank: Rank) -> str:
    """Return how many a rank takes, as text: a number of customers, or of percents."""
    return str(rank.top) if rank.percent is None else short_text(rank.percent) + "%"


@lru_cache(_REMEMBERED)
def places(size: str, total: int) -> int:
    """Return how many of so many customers a rank of a size takes; a part of one counts as one."""
    if not size.endswith("%"):
        return min(int(size), total)
    part = Fraction(size[:-1]) * total / 100
    return -(-part.numerator // part.denominator)


def rank_name(ranking: str, size: str) -> str:
    """Return the name of a rank."""
    return ranking + size


def score_of(value: Any) -> Score:
    """Return a metric's value as it is compared; a fraction comes as `(numerator, denominator)`."""
    return Fraction(*value) if isinstance(value, tuple) else int(value)


def kept_score(value: Any) -> KeptScore:
    """Return a metric's value as it is kept."""
    return kept(score_of(value))


def kept(score: Score) -> KeptScore:
    """Return a score as it is kept."""
    if isinstance(score, Fraction):
        return str(score)
    return score if -_SMALL < score < _SMALL else str(score)


def compared(score: KeptScore) -> Score:
    """Return a kept score as it is compared."""
    return score if isinstance(score, int) else Fraction(score)
