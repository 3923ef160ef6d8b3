"""How far a partition has come in its topics, and how far single tenants have beyond that.

Invariant: the outcomes of a topic, gaps included, add up to its offset and the records that were applied ahead of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from schemas.partitions import tenant_of
from services.segmenter.rows import Progress
from services.segmenter.steps import Record


def in_order(progress: Progress, topic: str, records: Sequence[Record]) -> None:
    """Note that a run of a topic is applied as it lies, and that all before it has its outcome."""
    _pass_to(progress, topic, records[-1].offset + 1, {}, len(records))


def ran_ahead(progress: Progress, topic: str, tenant: str, records: Sequence[Record]) -> None:
    """Note that records of one tenant are applied, in order, before others that lie between them."""
    ahead = progress.ahead.setdefault(topic, {})
    ahead[tenant] = (records[-1].offset + 1, ahead.get(tenant, (0, 0))[1] + len(records))


def pass_to(progress: Progress, topic: str, end: int, sizes: Mapping[str, int]) -> None:
    """Note that all before `end` have their outcomes, so many of each tenant's having been applied ahead."""
    _pass_to(progress, topic, end, sizes, sum(sizes.values()))


def _pass_to(progress: Progress, topic: str, end: int, sizes: Mapping[str, int], records: int) -> None:
    gap = end - progress.offsets.get(topic, 0) - records
    progress.offsets[topic] = end
    if topic in progress.ahead:
        left: dict[str, tuple[int, int]] = {}
        for tenant, (reached, count) in progress.ahead.pop(topic).items():
            beyond = count - sizes.get(tenant, 0)
            if reached > end:
                left[tenant] = (reached, beyond)
            else:
                gap -= beyond  # nothing, unless records have expired that had been applied
        if left:
            progress.ahead[topic] = left
    if gap:
        outcomes = progress.outcomes.setdefault(topic, {})
        outcomes["gap"] = outcomes.get("gap", 0) + gap


def reached(progress: Progress, topic: str, key: bytes | None) -> int:
    """Return the next offset of a topic that may still bring a record with a key like this."""
    known = progress.ahead.get(topic, {}).get(tenant_of(key))
    return max(progress.offsets.get(topic, 0), known[0] if known is not None else 0)


def ahead(progress: Progress, topic: str) -> dict[str, int]:
    """Return the next offset of those tenants who have come further in a topic than everybody has."""
    return {tenant: reached for tenant, (reached, _) in progress.ahead.get(topic, {}).items()}
