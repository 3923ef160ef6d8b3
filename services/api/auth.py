"""Who asks: the key of a request, its scopes and its tenant. Only hashes of keys are known here."""

from __future__ import annotations

import base64
from collections.abc import Callable
from hashlib import sha256
from typing import Final

from schemas.catalog import Catalog, Key
from services.api.errors import forbidden, unauthorized

_MAX_KEY_CHARACTERS: Final = 512
_KEY_BYTES: Final = 32

Randomness = Callable[[int], bytes]
"""Gives so many random bytes that nobody can guess (`secrets.token_bytes`)."""


def hash_of(key: str) -> str:
    """Return what is kept of a key. No salt and no stretching: a key is 256 random bits, and every request is hashed."""
    return sha256(key.encode(errors="surrogateescape")).hexdigest()


def new_key(randomness: Randomness) -> str:
    """Return a new key; the prefix lets secret scanners find one that has leaked."""
    return "rollcall_" + base64.urlsafe_b64encode(randomness(_KEY_BYTES)).rstrip(b"=").decode()


def new_id(prefix: str, randomness: Randomness) -> str:
    """Return a new id like `key_5f2a…`."""
    return f"{prefix}_{randomness(10).hex()}"


def authorize(catalog: Catalog, header: str, scope: str) -> Key:
    """Return the key in an Authorization header; raises `Refused` 401 when it is not in force, 403 without the scope."""
    scheme, _, secret = header.partition(" ")
    secret = secret.strip()
    known = scheme.lower() == "bearer" and 0 < len(secret) <= _MAX_KEY_CHARACTERS
    key = catalog.key(hash_of(secret)) if known else None
    if key is None:
        raise unauthorized()
    if scope not in key.scopes:
        raise forbidden(scope)
    return key
