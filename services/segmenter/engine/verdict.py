"""The verdict algebra: whether a rule holds, and until when that answer stands if nothing new happens.

    not   keeps `until`.
    all   if any member is false, the latest `until` of the false ones: as long as one of them stands, so does the answer;
          else the earliest of all.
    any   is its mirror.

`until_ms` is exclusive and a lower bound: the answer may in truth stand longer, never shorter.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from schemas.instants import NEVER


class Verdict(NamedTuple):
    """What a rule answers at an instant."""

    holds: bool
    until_ms: int


def negated(verdict: Verdict) -> Verdict:
    """Return the verdict of `not`."""
    return Verdict(not verdict.holds, verdict.until_ms)


def conjunction(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the verdict of `all`."""
    return _group(verdicts, decisive=False)


def disjunction(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the verdict of `any`."""
    return _group(verdicts, decisive=True)


def _group(verdicts: Iterable[Verdict], *, decisive: bool) -> Verdict:
    """Combine members of which one with the answer `decisive` settles the whole."""
    settled_ms, earliest_ms = -1, NEVER
    for holds, until_ms in verdicts:
        if holds is decisive:
            settled_ms = max(settled_ms, until_ms)
        elif until_ms < earliest_ms:
            earliest_ms = until_ms
    return Verdict(decisive, settled_ms) if settled_ms >= 0 else Verdict(not decisive, earliest_ms)
