"""Which partition a customer lives in: Kafka's own partitioner (murmur2), so that every honest client agrees with us."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

_MASK: Final = 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """Return the unsigned 32-bit murmur2 of `data` with Kafka's seed (org.apache.kafka.common.utils.Utils.murmur2)."""
    length, m = len(data), 0x5BD1E995
    h = 0x9747B28C ^ length
    whole = length & ~3
    for i in range(0, whole, 4):
        k = int.from_bytes(data[i : i + 4], "little") * m & _MASK
        k = (k ^ k >> 24) * m & _MASK
        h = h * m & _MASK ^ k
    if tail := data[whole:]:
        h = (h ^ int.from_bytes(tail, "little")) * m & _MASK
    h = (h ^ h >> 13) * m & _MASK
    return h ^ h >> 15


def record_key(tenant: str, customer_id: str) -> bytes:
    """Return the key of every record about a customer: `tenant:customer_id` in UTF-8."""
    return f"{tenant}:{customer_id}".encode()


def split_key(key: bytes) -> tuple[str, str]:
    """Return tenant and customer of a record key; a tenant has no colon, so the first one divides them."""
    tenant, _, customer_id = key.decode().partition(":")
    return tenant, customer_id


def tenant_of(key: bytes | None) -> str:
    """Return the tenant that a record's key names, nothing where it names none; only the record itself says whether it is true."""
    tenant, colon, _ = (key or b"").partition(b":")
    return tenant.decode(errors="replace") if colon else ""


@lru_cache(maxsize=262_144)
def partition_of(key: bytes, partitions: int) -> int:
    """Return the partition of a record key, as Kafka's default partitioner does (toPositive(murmur2) % partitions)."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions
