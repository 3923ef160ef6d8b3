"""Ids as they are kept when nobody may be named: hashes, and names that only who knows the id can open.

Both are made with the tenant's salt, which its definition holds. A tenant made before there were salts has an empty one.
"""

from __future__ import annotations

from hashlib import blake2b, shake_256
from typing import Final

HASH_BYTES: Final = 16
_NUMBER_BYTES: Final = 8


def hash_of(salt: str, tenant: str, customer_id: str) -> bytes:
    """Return the hash under which a customer is remembered. NUL separates the parts: no id has one."""
    return blake2b(f"{salt}\0{tenant}\0{customer_id}".encode(), digest_size=HASH_BYTES).digest()


def sealed(salt: str, tenant: str, customer_id: str, number: int, name: str) -> bytes:
    """Return a name that can be read with `customer_id` only. `number` is never used twice with one id."""
    nonce, text = number.to_bytes(_NUMBER_BYTES, "big"), name.encode()
    return nonce + _mixed(salt, tenant, customer_id, nonce, text)


def opened(salt: str, tenant: str, customer_id: str, seal: bytes) -> str:
    """Return the name that was sealed with this id."""
    nonce, text = seal[:_NUMBER_BYTES], seal[_NUMBER_BYTES:]
    return _mixed(salt, tenant, customer_id, nonce, text).decode()


def _mixed(salt: str, tenant: str, customer_id: str, nonce: bytes, text: bytes) -> bytes:
    stream = shake_256(f"{salt}\0{tenant}\0{customer_id}\0".encode() + nonce).digest(len(text))
    return bytes(one ^ other for one, other in zip(text, stream, strict=True))
