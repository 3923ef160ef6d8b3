"""Every honest client agrees with us on where a customer lives: the partitioner is Kafka's own, bit for bit."""

from __future__ import annotations

import ctypes

import pytest
from aiokafka.partitioner import murmur2 as aiokafka_murmur2
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.partitions import murmur2, partition_of, record_key, split_key

# From org.apache.kafka.common.utils.UtilsTest.testMurmur2; signed there, as Java has it.
VECTORS = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}


@pytest.mark.parametrize(("key", "signed"), VECTORS.items())
def test_murmur2_gives_kafkas_own_vectors(key: bytes, signed: int) -> None:
    """The hash is the one that Kafka's own tests state."""
    assert ctypes.c_int32(murmur2(key)).value == signed


@given(st.binary(max_size=200))
@example(b"")
@example(bytes(range(256)))
def test_murmur2_agrees_with_another_implementation(key: bytes) -> None:
    """The hash of any bytes of any length is the one that aiokafka computes."""
    assert murmur2(key) == aiokafka_murmur2(key) & 0xFFFFFFFF


@given(st.binary(max_size=60), st.integers(1, 1000))
def test_a_partition_exists_and_is_javas(key: bytes, partitions: int) -> None:
    """ToPositive clears the sign bit before the remainder, as Java's partitioner does; the result is always a partition."""
    assert partition_of(key, partitions) == (ctypes.c_int32(murmur2(key)).value & 0x7FFFFFFF) % partitions
    assert 0 <= partition_of(key, partitions) < partitions


@given(st.from_regex(r"[a-z0-9-]{1,40}", fullmatch=True), st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=128))
@example("demo", "a:b")
@example("demo", ":")
def test_a_key_names_one_tenant_and_one_customer(tenant: str, customer_id: str) -> None:
    """A record key can be taken apart again, also when the customer's id holds colons: no two customers share a key."""
    assert split_key(record_key(tenant, customer_id)) == (tenant, customer_id)
