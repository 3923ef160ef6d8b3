"""What an operator does from the command line: tenants, and keys of any tenant. Keys made here need no other key."""

from __future__ import annotations

import asyncio
import re
import secrets
from argparse import Namespace
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from schemas.amounts import currency_exponent
from schemas.definitions import SCOPES, KeyPut, KeyRevoked, Scope, TenantPut
from schemas.errors import RollcallError
from schemas.instants import iso
from services.api.auth import hash_of, new_id, new_key
from services.api.errors import Refused
from services.api.metrics import Metrics
from services.api.settings import ApiSettings
from services.api.writer import Writer
from services.kit.clock import now_ms
from services.kit.follower import Follower
from services.kit.kafka import WrongPartitions, ensure_topics, when_reachable

_TENANT: Final = re.compile(r"[a-z0-9-]{1,40}", re.ASCII)
_CURRENCY: Final = re.compile(r"[A-Z]{3}", re.ASCII)
_COUNTRY: Final = re.compile(r"[A-Z]{2}", re.ASCII)
_REACHABLE_S: Final = 30.0


class Failed(RollcallError):
    """A command that could not do what it was asked."""


async def run(arguments: Namespace, settings: ApiSettings) -> list[str]:
    """Run a command and return the lines to print; raises `Failed` with the reason."""
    _check(arguments)
    async with _connected(settings) as (follower, writer):
        name = f"{arguments.what} {arguments.verb}"
        try:
            if name == "tenants create":
                return await _create_tenant(arguments, follower, writer)
            if name == "tenants list":
                return [f"{t.id}\t{t.timezone}\t{t.currency}\t{t.country}" for _, t in sorted(follower.catalog.tenants.items())]
            if arguments.tenant not in follower.catalog.tenants:
                raise Failed(f"there is no tenant {arguments.tenant!r}; `tenants create` makes one")
            if name == "keys create":
                return await _create_key(arguments, writer)
            if name == "keys revoke":
                await writer.define(KeyRevoked(tenant=arguments.tenant, at_ms=now_ms(), key_id=arguments.id))
                return [f"revoked {arguments.id}"]
            keys = sorted((key for key in follower.catalog.keys.values() if key.tenant == arguments.tenant), key=lambda key: key.id)
            return [f"{key.id}\t{key.name}\t{iso(key.created_ms)}\t{','.join(sorted(key.scopes))}" for key in keys]
        except Refused as error:
            raise Failed(error.detail) from None


def scopes_of(text: str) -> list[Scope]:
    """Read `all` or scopes separated by commas; raises `Failed` for an unknown one."""
    named = {part.strip() for part in text.split(",") if part.strip()}
    unknown = sorted(named - {"all", *SCOPES})
    if unknown or not named:
        raise Failed(f"unknown scopes {unknown}; use all, or some of {', '.join(SCOPES)}")
    return [scope for scope in SCOPES if scope in named or "all" in named]


def _check(arguments: Namespace) -> None:
    """Refuse what can be seen to be wrong without asking Kafka."""
    for name, pattern in (("tenant", _TENANT), ("currency", _CURRENCY), ("country", _COUNTRY)):
        if name in arguments and not pattern.fullmatch(value := getattr(arguments, name)):
            raise Failed(f"{value!r} is no {name}; it matches {pattern.pattern}")
    if "scopes" in arguments:
        scopes_of(arguments.scopes)


async def _create_tenant(arguments: Namespace, follower: Follower, writer: Writer) -> list[str]:
    wanted = TenantPut(
        tenant=arguments.tenant,
        at_ms=now_ms(),
        timezone=arguments.timezone,
        currency=arguments.currency,
        country=arguments.country,
        salt=secrets.token_hex(16),
    )
    try:
        await writer.define(wanted)
    except Refused as error:
        if error.status != 409:
            raise
        known = follower.catalog.tenants[wanted.tenant]
        said = f"tenant {known.id} exists already: {known.timezone}, {known.currency}, {known.country}"
        different = (known.timezone, known.currency, known.country) != (wanted.timezone, wanted.currency, wanted.country)
        return [said + ("; these cannot change, and stay as they are" if different else "")]
    return [f"created tenant {wanted.tenant}: {wanted.timezone}, {wanted.currency} ({currency_exponent(wanted.currency)} decimals), {wanted.country}"]


async def _create_key(arguments: Namespace, writer: Writer) -> list[str]:
    scopes, secret, key_id = scopes_of(arguments.scopes), new_key(secrets.token_bytes), new_id("key", secrets.token_bytes)
    put = KeyPut(tenant=arguments.tenant, at_ms=now_ms(), key_id=key_id, name=arguments.name, scopes=scopes, sha256=hash_of(secret))
    await writer.define(put)
    return [f"created key {key_id} of tenant {arguments.tenant}: {', '.join(scopes)}", "it is shown once:", secret]


@asynccontextmanager
async def _connected(settings: ApiSettings) -> AsyncIterator[tuple[Follower, Writer]]:
    follower = Follower(settings)
    writer = Writer(settings, follower, Metrics())
    try:
        await when_reachable(lambda: ensure_topics(settings), what="topics", timeout_s=_REACHABLE_S)
        await writer.start()
        await follower.start()
        yield follower, writer
    finally:
        await asyncio.gather(writer.close(), follower.stop())


def lines(arguments: Namespace, settings: ApiSettings) -> Sequence[str]:
    """Run a command to its end; raises `Failed`, also when Kafka is not there."""
    try:
        return asyncio.run(run(arguments, settings))
    except (OSError, TimeoutError) as error:
        raise Failed(f"Kafka at {settings.kafka} does not answer: {error}") from None
    except WrongPartitions as error:
        raise Failed(str(error)) from None
