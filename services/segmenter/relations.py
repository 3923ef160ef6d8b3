# ruff: noqa: SLF001 - a part of the partition in a file of its own: it opens and closes customers as the rest does
"""Who is whom: merges and erasures as one partition sees them. See docs/adr/0012.

A partition keeps a *stone* of each id at home here that has no row because it was merged or erased, and, where a tenant lives,
a *link* of each id that was merged into another or that others were merged into. Stones and links are found by the salted hash
of the id. Whatever concerns somebody else is sent on as a move, in the transaction of the step.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from schemas import projection
from schemas.decoding import decode_event
from schemas.erasures import Erased, encode_erased
from schemas.errors import Refusal
from schemas.facts import ERASE, MERGE, Fact, chunk_of, facts_in
from schemas.identity import hash_of, opened, sealed
from schemas.manual import ManualEntry, decode_manual
from schemas.partitions import partition_of, record_key
from schemas.reading import Facts
from schemas.transitions import Cause, Transition
from services.segmenter.engine.live import Live
from services.segmenter.engine.row import Erasure, Row
from services.segmenter.moves import (
    Arriving,
    Following,
    Forgetting,
    Leaving,
    Move,
    Origin,
    Pointing,
    Proposal,
    decode_move,
    encode_move,
)
from services.segmenter.steps import Record

if TYPE_CHECKING:
    from services.segmenter.partition import Partition
    from services.segmenter.slots import Slot

MAX_IDS: Final = 1_000
"""Ids of one person: every decision about a person is told to each of them."""
_CHUNK_FACTS: Final = 4_096
_MOVE_FACTS: Final = 20_000
"""Facts of one arriving record, which stays below the ten megabytes that its topic takes."""


class Stone(Struct, array_like=True):
    """What is left of an id that has no row: `seq` and `last_at_ms` go on in a new life.

    `into` is the sealed id that it was merged into, empty for none, since decision `number`. `customer_id` is empty once erased.
    """

    seq: int = 0
    last_at_ms: int = 0
    number: int = 0
    erasure: Erasure | None = None
    customer_id: str = ""
    into: bytes = b""


class Link(Struct, array_like=True):
    """What the tenant's partition knows of an id: whom it was merged into, or who was merged into it.

    `into` is sealed, empty for one who lives; `event` the hash of the merge's event id; `homes`: partition and hash of every id
    that means this one.
    """

    into: bytes = b""
    event: bytes = b""
    homes: list[tuple[int, bytes]] = []


_encode: Final = msgspec.msgpack.Encoder().encode
_decode_stone: Final = msgspec.msgpack.Decoder(Stone).decode
_decode_link: Final = msgspec.msgpack.Decoder(Link).decode


def definitions_of(records: Sequence[Record]) -> int:
    """Return the catalog offset that the senders of these moves had read."""
    needed = 0
    for record in records:
        try:
            needed = max(needed, decode_move(record.value or b"").definitions)
        except Refusal:
            continue
    return needed


def refused(erasure: Erasure, fact: Fact, sent: int) -> bool:
    """Whether a fact is from before an erasure: by its instant, or on its way when the erasure was decided. See `Partition._fact`."""
    return fact.at_ms <= erasure.until_ms if sent < 0 else not erasure.outlived_by(fact, sent)


class Relations:
    """The stones and links of one partition, and what its moves do.

    `removed`: slots that the step under way has removed, for those who ask how things were before it. `after_ms`: what is
    accepted from now on counts as accepted then or later, so that it is told apart from what came before an erasure.
    """

    def __init__(self, partition: Partition) -> None:
        self._partition = partition
        self._stones: dict[bytes, Stone] = {}
        self._links: dict[bytes, Link] = {}
        self._leaving: dict[bytes, None] = {}
        self.removed: dict[bytes, Slot] = {}
        self.after_ms = 0

    # ---- what is kept

    def restore(self, key: bytes, value: bytes | None) -> None:
        """Take one record of the changelog: `s` a stone, `l` a link, `g` an id that the projection must forget."""
        kind, name = key[:1], key[1:]
        if value is None:
            {b"s": self._stones, b"l": self._links, b"g": self._leaving}[kind].pop(name, None)  # type: ignore[attr-defined]
        elif kind == b"s":
            self._stones[name] = _decode_stone(value)
        elif kind == b"l":
            self._links[name] = _decode_link(value)
        else:
            self._leaving[name] = None

    def keys(self) -> Iterable[bytes]:
        """Return the record keys of ids without a row that the projection must show, or must be made to forget."""
        stones = [record_key(_tenant(name), stone.customer_id) for name, stone in self._stones.items() if stone.customer_id]
        return [*stones, *self._leaving]

    def shown(self, tenant: str, customer_id: str) -> bytes:
        """Return what the projection shows of an id without a row: whom it means, or nothing."""
        stone = self._stones.get(self._name(tenant, customer_id))
        if stone is None or not stone.customer_id:
            return b""
        return projection.encode(opened(self._salt(tenant), tenant, customer_id, stone.into))

    def confirmed(self, key: bytes) -> None:
        """Hear that the projection has forgotten an id."""
        if key not in self.removed:
            self._stay(key)

    def revived(self, tenant: str, customer_id: str, revision: int) -> Row:
        """Return the first row of an id's life, which goes on where an erased one ended."""
        if not self._stones and not self._leaving:
            return Row(revision)
        self._stay(record_key(tenant, customer_id))
        name = self._name(tenant, customer_id)
        stone = self._stones.pop(name, None)
        if stone is None:
            return Row(revision)
        self._partition._gathering.put(b"s" + name, None)
        return Row(revision, seq=stone.seq, last_at_ms=stone.last_at_ms, erasure=stone.erasure)

    # ---- facts and entries

    def met(self, topic: str, record: Record, tenant: str, customer_id: str, fact: Fact, sent: int) -> str | None:
        """Say what becomes of a fact about an id without a row; None for the first fact of a new life."""
        stone = self._stones.get(self._name(tenant, customer_id)) if self._stones else None
        if stone is not None:
            if stone.erasure is not None and refused(stone.erasure, fact, sent):
                return "erased"
            if stone.into:
                return self._follow(topic, record, tenant, customer_id, stone, max(sent, stone.number), fact.accepted_ms)
        return self.propose(topic, record, tenant, customer_id, fact) if fact.type >= MERGE else None

    def entry_met(self, topic: str, record: Record, entry: ManualEntry, now_ms: int) -> str | None:
        """Say what becomes of a manual entry of an id that was merged; None for every other."""
        stone = self._stones.get(self._name(entry.tenant, entry.customer_id)) if self._stones else None
        if stone is None or not stone.into:
            return None
        return self._follow(topic, record, entry.tenant, entry.customer_id, stone, stone.number, now_ms)

    def propose(self, topic: str, record: Record, tenant: str, customer_id: str, fact: Fact) -> str:
        """Have a merge or an erasure decided where the tenant lives."""
        if fact.type == ERASE:
            self.after_ms = max(self.after_ms, fact.accepted_ms + 1)
        origin = self._origin(topic, record)
        self._send(partition_of(tenant.encode(), self._partitions), Proposal(self._read, tenant, customer_id, fact.accepted_ms, origin))
        return "forwarded"

    def _follow(self, topic: str, record: Record, tenant: str, customer_id: str, stone: Stone, number: int, heard_ms: int) -> str:
        into = opened(self._salt(tenant), tenant, customer_id, stone.into)
        self._send_home(Following(self._read, tenant, into, number, heard_ms, self._origin(topic, record)))
        return "forwarded"

    # ---- moves

    def take(self, record: Record, now_ms: int) -> str:
        """Do what a move says, and return its outcome. A move that comes from a record is judged as that record."""
        move = decode_move(record.value or b"")
        if isinstance(move, Following | Proposal):
            origin = move.origin
            try:
                return self._following(move, now_ms) if isinstance(move, Following) else self._proposal(move)
            except Refusal as refusal:
                self._partition._gathering.dead_letter(origin.topic, origin.partition, origin, refusal)
                return "dead_lettered/" + refusal.reason
        self._partition._moved_to(now_ms)
        if isinstance(move, Leaving):
            self._leave(move, now_ms)
        elif isinstance(move, Arriving):
            self._arrive(move, now_ms)
        elif isinstance(move, Forgetting):
            self._forget(move, now_ms)
        else:
            self._point(move)
        return "moved"

    def _following(self, move: Following, now_ms: int) -> str:
        origin, tenant, customer_id = move.origin, move.tenant, move.customer_id
        partition, key = self._partition, record_key(tenant, customer_id)
        if origin.topic == partition._topics.manual_entries:
            entry = decode_manual(origin.value)
            entry.customer_id = customer_id
            return self.entry_met(origin.topic, origin, entry, move.heard_ms) or partition._entry(key, entry, now_ms)
        fact = self._facts(tenant).of(decode_event(origin.value))
        fact.accept(move.heard_ms)
        return partition._fact(origin.topic, origin, key, tenant, customer_id, fact, now_ms, move.number)

    def _proposal(self, move: Proposal) -> str:
        """Decide on a merge or an erasure, where the tenant lives."""
        tenant, customer_id = move.tenant, move.customer_id
        event = decode_event(move.origin.value)
        fact = self._facts(tenant).of(event)
        fact.accept(move.heard_ms)
        told = hash_of(self._salt(tenant), tenant, fact.event_id)
        first = self._links.get(self._name(tenant, customer_id))
        if first is not None and first.event == told:
            return "duplicate"
        living = self._survivor(tenant, customer_id)
        link = self._links.get(self._name(tenant, living)) or Link()
        if fact.type == ERASE:
            self._tell_all(tenant, living, link, fact)
            return "applied"
        into = self._survivor(tenant, fact.body[0])
        if into == living:
            raise Refusal("both ids mean the same customer already", pointer="/into", reason="cycle")
        self._link(tenant, living, link, into, fact, told)
        return "applied"

    def _link(self, tenant: str, living: str, link: Link, into: str, fact: Fact, told: bytes) -> None:
        joined = self._links.get(self._name(tenant, into)) or Link()
        before = link.homes
        homes = [*joined.homes, *before, (self._home(tenant, living), self._hash(tenant, living))]
        if len(homes) >= MAX_IDS:
            raise Refusal(f"a customer has at most {MAX_IDS} ids", pointer="/into", reason="merge_limit")
        number = self._next()
        self._keep_link(tenant, into, Link(homes=homes))
        self._keep_link(tenant, living, Link(sealed(self._salt(tenant), tenant, living, number, into), told))
        self._send_home(Leaving(self._read, tenant, living, into, number, fact))
        for home, hashed in before:
            self._send(home, Pointing(self._read, tenant, hashed, into, number))

    def _tell_all(self, tenant: str, living: str, link: Link, fact: Fact) -> None:
        number = self._next()
        told = [(home, hashed, "") for home, hashed in link.homes]
        for home, hashed, name in [*told, (self._home(tenant, living), self._hash(tenant, living), living)]:
            self._send(
                home,
                Forgetting(self._read, tenant, hashed, name, number, fact.event_id, fact.imported, fact.at_ms, fact.accepted_ms),
            )

    def _survivor(self, tenant: str, customer_id: str) -> str:
        """Return whom an id means by what was decided so far; links have no cycle."""
        salt = self._salt(tenant)
        while (link := self._links.get(self._name(tenant, customer_id))) is not None and link.into:
            customer_id = opened(salt, tenant, customer_id, link.into)
        return customer_id

    # ---- what decisions do to those who live here

    def _leave(self, move: Leaving, now_ms: int) -> None:
        tenant, customer_id, partition = move.tenant, move.customer_id, self._partition
        key, name = record_key(tenant, customer_id), self._name(tenant, customer_id)
        slot = partition._slots.get(key)
        facts, manual = [move.fact], dict[str, tuple[int, int]]()
        stone = self._stones.get(name) or Stone()
        if slot is not None:
            out: list[Transition]
            customer, out = partition._open(key, slot, tenant, customer_id, now_ms)
            customer.leave(now_ms, Cause("merge", move.fact.event_id, move.fact.imported), out)
            row = customer.row
            facts, manual = [*partition._gathering.facts(key, slot), move.fact], row.manual
            stone = Stone(row.seq, row.last_at_ms, erasure=row.erasure)
            self._drop(key, slot, out)
        stone.number, stone.customer_id = move.number, customer_id
        stone.into = sealed(self._salt(tenant), tenant, customer_id, move.number, move.into)
        self._stay(key)
        self._keep_stone(name, stone)
        partition._gathering.touch(key)
        for at in range(0, len(facts), _MOVE_FACTS):
            part = facts[at : at + _MOVE_FACTS]
            chunks = [chunk_of(part[i : i + _CHUNK_FACTS]) for i in range(0, len(part), _CHUNK_FACTS)]
            self._send_home(Arriving(self._read, tenant, move.into, move.number, move.fact.event_id, move.fact.imported, chunks, manual))
            manual = {}

    def _arrive(self, move: Arriving, now_ms: int) -> None:
        tenant, customer_id, partition = move.tenant, move.customer_id, self._partition
        key = record_key(tenant, customer_id)
        slot = partition._slots.get(key)
        facts = [fact for chunk in move.chunks for fact in facts_in(chunk)]
        stone = self._stones.get(self._name(tenant, customer_id))
        erasure = stone.erasure if stone is not None else None
        if slot is not None:
            customer, out = partition._open(key, slot, tenant, customer_id, now_ms)
            erasure = customer.row.erasure
            partition._close(key, slot, customer, out, now_ms)
        if erasure is not None and move.number < erasure.number:
            move.manual = {}
            facts = [fact for fact in facts if erasure.outlived_by(fact, move.number)]
            if not facts:
                return
        if slot is None:
            if stone is not None and stone.into:
                move.customer_id = opened(self._salt(tenant), tenant, customer_id, stone.into)
                move.number, move.definitions = max(move.number, stone.number), self._read
                move.chunks = [chunk_of(facts[at : at + _CHUNK_FACTS]) for at in range(0, len(facts), _CHUNK_FACTS)]
                self._send_home(move)
                return
            slot, customer = partition._create(key, partition.plans.of(tenant), tenant, customer_id, now_ms)
        joined = _joined(partition._gathering.facts(key, slot), facts)
        manual = dict(customer.row.manual)
        for segment_id, (include, exclude) in move.manual.items():
            mine = manual.get(segment_id, (-1, -1))
            manual[segment_id] = max(include, mine[0]), max(exclude, mine[1])
        customer.row.manual = manual
        self._anew(key, slot, joined, Cause("merge", move.event_id, move.imported), now_ms)

    def _forget(self, move: Forgetting, now_ms: int) -> None:
        tenant, partition = move.tenant, self._partition
        name = tenant.encode() + b":" + move.hashed
        key = record_key(tenant, move.customer_id)
        slot = partition._slots.get(key) if move.customer_id else None
        if slot is None:
            stone = self._stones.get(name) or Stone()
            stone.number, stone.erasure = move.number, _erasure(stone.erasure, move)
            if stone.customer_id:
                self._go(record_key(tenant, stone.customer_id))
                stone.customer_id = ""
            self._tell(move, stone.seq)
            self._keep_stone(name, stone)
            return
        out: list[Transition]
        customer, out = partition._open(key, slot, tenant, move.customer_id, now_ms)
        row, cause = customer.row, Cause("erase", move.event_id, move.imported)
        row.erasure = _erasure(row.erasure, move)
        kept = [fact for fact in partition._gathering.facts(key, slot) if fact.accepted_ms > move.heard_ms and fact.at_ms > move.at_ms]
        if kept:
            partition._close(key, slot, customer, out, now_ms)
            self._tell(move, row.seq)
            row.manual = {}
            self._anew(key, slot, kept, cause, now_ms)
            return
        customer.leave(now_ms, cause, out)
        self._tell(move, row.seq)
        self._drop(key, slot, out)
        self._go(key)
        self._keep_stone(name, Stone(row.seq, row.last_at_ms, move.number, row.erasure))

    def _point(self, move: Pointing) -> None:
        name = move.tenant.encode() + b":" + move.hashed
        stone = self._stones.get(name)
        # One that was erased cannot be sealed anew without its name, and leads on by way of whom it meant.
        if stone is not None and stone.customer_id:
            stone.number = move.number
            stone.into = sealed(self._salt(move.tenant), move.tenant, stone.customer_id, move.number, move.into)
            self._keep_stone(name, stone)
            self._partition._gathering.touch(record_key(move.tenant, stone.customer_id))

    def _anew(self, key: bytes, slot: Slot, facts: list[Fact], cause: Cause, now_ms: int) -> None:
        """Give a customer this history, and decide everything by it."""
        partition, customer, out = self._partition, slot.customer, list[Transition]()
        partition._gathering.rewrite(key, slot, facts)
        customer.correct(Live(customer.live.plan, lambda *_: facts, now_ms), now_ms, cause, out)
        partition._gathering.project(key, slot)
        partition._close(key, slot, customer, out, now_ms)
        partition._until_moved(key, customer)

    def _drop(self, key: bytes, slot: Slot, out: list[Transition]) -> None:
        """Remove a customer who has left every segment."""
        partition = self._partition
        partition._gathering.put_out(key, slot, out)
        partition._gathering.drop(key, slot)
        partition._standings.forget(key, slot.customer.row)
        if slot.row is not None:
            self.removed.setdefault(key, slot)
        for held in (partition._slots, partition._pending, partition._lives, partition._stale):
            held.pop(key, None)

    # ---- small things

    def _go(self, key: bytes) -> None:
        """Have the projection forget an id, and remember that until it has."""
        self._leaving[key] = None
        self._partition._gathering.put(b"g" + key, b"1")
        self._partition._gathering.touch(key)

    def _stay(self, key: bytes) -> None:
        if key in self._leaving:
            del self._leaving[key]
            self._partition._gathering.put(b"g" + key, None)

    def _tell(self, move: Forgetting, seq: int) -> None:
        self._partition._gathering.tell(encode_erased(Erased(move.tenant, move.hashed, seq)))

    def _keep_stone(self, name: bytes, stone: Stone) -> None:
        self._stones[name] = stone
        self._partition._gathering.put(b"s" + name, _encode(stone))

    def _keep_link(self, tenant: str, customer_id: str, link: Link) -> None:
        name = self._name(tenant, customer_id)
        self._links[name] = link
        self._partition._gathering.put(b"l" + name, _encode(link))

    def _send_home(self, move: Following | Leaving | Arriving) -> None:
        self._send(self._home(move.tenant, move.customer_id), move)

    def _send(self, partition: int, move: Move) -> None:
        # Keyed by the tenant alone: no key of this topic names anybody.
        self._partition._gathering.send(self._partition._topics.moves, partition, move.tenant.encode(), encode_move(move))

    def _origin(self, topic: str, record: Record) -> Origin:
        if isinstance(record, Origin):
            return record
        return Origin(topic, self._partition.number, record.offset, record.key, record.value or b"")

    def _next(self) -> int:
        self._partition._progress.decisions += 1
        return self._partition._progress.decisions

    @property
    def _read(self) -> int:
        return self._partition.plans.catalog.offset

    @property
    def _partitions(self) -> int:
        return self._partition._limits.partitions

    def _home(self, tenant: str, customer_id: str) -> int:
        return partition_of(record_key(tenant, customer_id), self._partitions)

    def _salt(self, tenant: str) -> str:
        return self._partition.plans.catalog.tenants[tenant].salt

    def _hash(self, tenant: str, customer_id: str) -> bytes:
        return hash_of(self._salt(tenant), tenant, customer_id)

    def _name(self, tenant: str, customer_id: str) -> bytes:
        return tenant.encode() + b":" + self._hash(tenant, customer_id)

    def _facts(self, tenant: str) -> Facts:
        reader = self._partition.plans.facts(tenant)
        if reader is None:
            raise LookupError(f"a move speaks of tenant {tenant!r}, which the catalog does not know")
        return reader


def _tenant(name: bytes) -> str:
    """Return the tenant of a stone's or link's name; split at the first colon, for a hash may hold any byte."""
    return name.partition(b":")[0].decode()


def _erasure(before: Erasure | None, move: Forgetting) -> Erasure:
    until_ms = move.at_ms if before is None else max(before.until_ms, move.at_ms)
    return Erasure(until_ms, move.number, move.at_ms, move.heard_ms)


def _joined(mine: Iterable[Fact], theirs: Iterable[Fact]) -> list[Fact]:
    """Join two histories: of two facts with one id the first accepted counts."""
    joined = {fact.event_id: fact for fact in mine}
    for fact in theirs:
        known = joined.get(fact.event_id)
        if known is None or fact.accepted_ms < known.accepted_ms:
            joined[fact.event_id] = fact
    return list(joined.values())
