# ruff: noqa: SLF001 - a part of the partition in a file of its own: what it sends leaves with the partition's step
"""Posting: what a partition sends to others about people, and the hashes and seals under which it keeps them. Pure.

Whatever concerns somebody else is sent on as a move, in the transaction of the step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas import identity
from schemas.partitions import partition_of, record_key
from services.segmenter.moves import Arriving, Following, Leaving, Move, Origin, encode_move
from services.segmenter.steps import Record

if TYPE_CHECKING:
    from services.segmenter.partition import Partition


class Post:
    """The way from one partition to where people and tenants live."""

    def __init__(self, partition: Partition) -> None:
        self._partition = partition

    def send(self, partition: int, move: Move) -> None:
        """Send a move to a partition, with the step under way."""
        # Keyed by the tenant alone: no key of this topic names anybody.
        self._partition._gathering.send(self._partition._topics.moves, partition, move.tenant.encode(), encode_move(move))

    def send_home(self, move: Following | Leaving | Arriving) -> None:
        """Send a move to where its customer lives."""
        self.send(self.home(move.tenant, move.customer_id), move)

    def origin(self, topic: str, record: Record) -> Origin:
        """Return the record that a move comes from, wherever it first stood."""
        if isinstance(record, Origin):
            return record
        return Origin(topic, self._partition.number, record.offset, record.key, record.value or b"")

    @property
    def read(self) -> int:
        """The catalog offset that has been read here."""
        return self._partition.plans.catalog.offset

    def home(self, tenant: str, customer_id: str) -> int:
        """Return the partition where a customer lives."""
        return partition_of(record_key(tenant, customer_id), self._partition._limits.partitions)

    def home_of(self, tenant: str) -> int:
        """Return the partition where a tenant lives, and its merges and erasures are decided."""
        return partition_of(tenant.encode(), self._partition._limits.partitions)

    def hash(self, tenant: str, text: str) -> bytes:
        """Return the salted hash of an id."""
        return identity.hash_of(self._salt(tenant), tenant, text)

    def name(self, tenant: str, customer_id: str) -> bytes:
        """Return the name under which stones and links are kept."""
        return tenant.encode() + b":" + self.hash(tenant, customer_id)

    def sealed(self, tenant: str, customer_id: str, number: int, into: str) -> bytes:
        """Return whom an id means since a decision, as only the id itself opens it."""
        return identity.sealed(self._salt(tenant), tenant, customer_id, number, into)

    def opened(self, tenant: str, customer_id: str, into: bytes) -> str:
        """Return whom an id means."""
        return identity.opened(self._salt(tenant), tenant, customer_id, into)

    def _salt(self, tenant: str) -> str:
        return self._partition.plans.catalog.tenants[tenant].salt


def tenant_of(name: bytes) -> str:
    """Return the tenant of a stone's or link's name; split at the first colon, for a hash may hold any byte."""
    return name.partition(b":")[0].decode()
