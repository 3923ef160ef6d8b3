# ruff: noqa: SLF001 - a part of the partition in a file of its own: it writes with the partition's step and numbers its decisions
"""Links: who was merged into whom, decided in one order where the tenant lives. See docs/adr/0012.

What a decision does happens where people live, see `relations`: links only send it there. They are found by the salted hash of the
id, and they have no cycle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from schemas.decoding import decode_event
from schemas.errors import Refusal
from schemas.facts import ERASE, Fact
from services.segmenter.moves import Forgetting, Leaving, Pointing, Proposal
from services.segmenter.posting import Post

if TYPE_CHECKING:
    from services.segmenter.partition import Partition

MAX_IDS: Final = 1_000
"""Ids of one person: every decision about a person is told to each of them."""


class Link(Struct, array_like=True):
    """What the tenant's partition knows of an id: whom it was merged into, or who was merged into it.

    `into` is sealed, empty for one who lives; `event` the hash of the merge's event id; `homes`: partition and hash of every id
    that means this one.
    """

    into: bytes = b""
    event: bytes = b""
    homes: list[tuple[int, bytes]] = []


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Link).decode


class Links:
    """The links of the tenants that live in one partition."""

    def __init__(self, partition: Partition, post: Post) -> None:
        self._partition, self._post = partition, post
        self._links: dict[bytes, Link] = {}

    def restore(self, name: bytes, value: bytes | None) -> None:
        """Take one record of the changelog; None removes the link."""
        if value is None:
            self._links.pop(name, None)
        else:
            self._links[name] = _decode(value)

    def decide(self, move: Proposal, fact: Fact) -> str:
        """Decide on a merge or an erasure, and return its outcome; raises `Refusal` for a merge that cannot be."""
        tenant, customer_id = move.tenant, move.customer_id
        told = self._post.hash(tenant, fact.event_id)
        first = self._links.get(self._post.name(tenant, customer_id))
        if first is not None and first.event == told:
            return "duplicate"
        living = self._survivor(tenant, customer_id)
        link = self._links.get(self._post.name(tenant, living)) or Link()
        if fact.type == ERASE:
            self._tell_all(tenant, living, link, fact)
            return "applied"
        into = self._survivor(tenant, fact.body[0])
        if into == living:
            raise Refusal("both ids mean the same customer already", pointer="/into", reason="cycle")
        self._link(tenant, living, link, into, fact, told, decode_event(move.origin.value).customer_id or "")
        return "applied"

    def _link(self, tenant: str, living: str, link: Link, into: str, fact: Fact, told: bytes, named: str) -> None:
        """Merge `living` into another. `named`: the id that the event is about, which may be one that was merged before."""
        joined = self._links.get(self._post.name(tenant, into)) or Link()
        before = link.homes
        homes = [*joined.homes, *before, (self._post.home(tenant, living), self._post.hash(tenant, living))]
        if len(homes) >= MAX_IDS:
            raise Refusal(f"a customer has at most {MAX_IDS} ids", pointer="/into", reason="merge_limit")
        number = self._next()
        self._keep(tenant, into, Link(homes=homes))
        self._keep(tenant, living, Link(self._post.sealed(tenant, living, number, into), told))
        self._post.send_home(Leaving(self._post.read, tenant, living, into, number, fact))
        for home, hashed in before:
            heard = named if hashed == self._post.hash(tenant, named) else ""
            self._post.send(home, Pointing(self._post.read, tenant, hashed, into, number, heard))

    def _tell_all(self, tenant: str, living: str, link: Link, fact: Fact) -> None:
        number = self._next()
        told = [(home, hashed, "") for home, hashed in link.homes]
        for home, hashed, name in [*told, (self._post.home(tenant, living), self._post.hash(tenant, living), living)]:
            self._post.send(
                home,
                Forgetting(self._post.read, tenant, hashed, name, number, fact.event_id, fact.imported, fact.at_ms, fact.accepted_ms),
            )

    def _survivor(self, tenant: str, customer_id: str) -> str:
        """Return whom an id means by what was decided so far; links have no cycle."""
        while (link := self._links.get(self._post.name(tenant, customer_id))) is not None and link.into:
            customer_id = self._post.opened(tenant, customer_id, link.into)
        return customer_id

    def _keep(self, tenant: str, customer_id: str, link: Link) -> None:
        name = self._post.name(tenant, customer_id)
        self._links[name] = link
        self._partition._gathering.put(b"l" + name, _encode(link))

    def _next(self) -> int:
        self._partition._progress.decisions += 1
        return self._partition._progress.decisions
