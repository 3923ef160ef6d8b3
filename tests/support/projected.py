"""A tiny writer of the projection: rows, member sets and markers, written as `schemas.projection` says and in no other way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis import Redis

from schemas.instants import NEVER
from schemas.partitions import partition_of, record_key
from schemas.projection import Keys, Marker, Sweep, encode, encode_memberships

FAR = 1 << 40
"""A definition offset behind every other."""


class Projected:
    """Writes the projection of one installation."""

    def __init__(self, url: str, prefix: str, partitions: int) -> None:
        self.redis: Any = Redis.from_url(url)
        self.keys, self.partitions, self.prefix = Keys(prefix), partitions, prefix
        self._version = 0

    def partition(self, tenant: str, customer_id: str) -> int:
        """Return where a customer lives."""
        return partition_of(record_key(tenant, customer_id), self.partitions)

    def row(self, tenant: str, customer_id: str, segments: dict[str, tuple[int, int]] | list[str], homes: Sequence[int] = ()) -> int:
        """Write a customer, with the sets of the segments it is in and the homes of those merged into it; return the partition."""
        members = segments if isinstance(segments, dict) else dict.fromkeys(segments, (1000, NEVER))
        number = self.partition(tenant, customer_id)
        self._version += 1
        with self.redis.pipeline(transaction=True) as pipe:
            pipe.hset(self.keys.customer(tenant, customer_id), mapping={"e": 1, "v": self._version, "m": encode_memberships(members, [*homes])})
            for segment in members:
                pipe.zadd(self.keys.members(tenant, segment, number), {customer_id: 0})
            pipe.execute()
        return number

    def merged(self, tenant: str, customer_id: str, into: str) -> int:
        """Write an id that was merged into another; return its partition."""
        self.redis.hset(self.keys.customer(tenant, customer_id), mapping={"e": 1, "v": self._version, "m": encode(into)})
        return self.partition(tenant, customer_id)

    def mark(
        self,
        *numbers: int,
        definitions: int = FAR,
        offsets: dict[str, int] | None = None,
        as_of_ms: int = 1_700_000_000_000,
        customers: int = 10,
        sweep: Sweep | None = None,
        sent: dict[int, int] | None = None,
        address: str = "",
        ahead: dict[str, dict[str, int]] | None = None,
    ) -> None:
        """Write markers, of all partitions unless some are named."""
        for number in numbers or range(self.partitions):
            told: dict[str, Any] = {"sent": sent or {}, "address": address, "ahead": ahead or {}}
            marker = Marker(1, as_of_ms + number, offsets or {}, definitions, customers, sweep, **told)
            self.redis.hset(self.keys.marker(number), mapping={"e": 1, "m": encode(marker)})

    def unmark(self, *numbers: int) -> None:
        """Take markers away."""
        for number in numbers or range(self.partitions):
            self.redis.delete(self.keys.marker(number))

    def forget(self) -> None:
        """Remove everything of this installation."""
        found = list(self.redis.scan_iter(self.prefix + "*", count=1_000))
        if found:
            self.redis.delete(*found)
