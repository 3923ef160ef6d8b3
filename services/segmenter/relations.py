# ruff: noqa: SLF001 - a part of the partition in a file of its own: it opens and closes customers as the rest does
"""Who is whom: what merges and erasures do to those who live in one partition. See docs/adr/0012.

A partition keeps a *stone* of each id at home here that has no row because it was merged or erased, see `stones`, and, where a tenant
lives, a *link* of each id that was merged into another or that others were merged into, see `links`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from schemas.decoding import decode_event
from schemas.erasures import Erased, encode_erased
from schemas.errors import Refusal
from schemas.facts import ERASE, MERGE, Fact, chunk_of, facts_in
from schemas.manual import ManualEntry, decode_manual
from schemas.partitions import record_key, split_key
from schemas.transitions import Cause, Transition
from services.segmenter.engine.live import Live
from services.segmenter.engine.row import Erasure
from services.segmenter.links import Links
from services.segmenter.lists import ListOf
from services.segmenter.moves import Arriving, Following, Forgetting, Leaving, Listed, Pointing, Proposal, decode_move
from services.segmenter.posting import Post
from services.segmenter.rows import encode
from services.segmenter.steps import Record
from services.segmenter.stones import Stone, Stones

if TYPE_CHECKING:
    from services.segmenter.partition import Partition
    from services.segmenter.slots import Slot

_CHUNK_FACTS: Final = 4_096
_MOVE_FACTS: Final = 20_000
"""Facts of one arriving record, which stays below the ten megabytes that its topic takes."""
_decode_homes: Final = msgspec.msgpack.Decoder(list[int]).decode


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
        self._post = Post(partition)
        self._links = Links(partition, self._post)
        self.stones = Stones(partition, self._post)
        self.removed: dict[bytes, Slot] = {}
        self.after_ms = 0

    # ---- what is kept

    def restore(self, key: bytes, value: bytes | None) -> None:
        """Take one record of the changelog: `s` a stone, `l` a link, `g` an id that the projection must forget, `f` whence records follow."""
        kind, name = key[:1], key[1:]
        if kind == b"l":
            self._links.restore(name, value)
        elif kind == b"f":
            self._partition._standings.lists.follow(name.decode(), _decode_homes(value or b""))
        else:
            self.stones.restore(kind, name, value)

    def confirmed(self, key: bytes) -> None:
        """Hear that the projection has forgotten an id."""
        if key not in self.removed:
            self.stones.stay(key)

    # ---- facts and entries

    def met(self, topic: str, record: Record, tenant: str, customer_id: str, fact: Fact, sent: int) -> str | None:
        """Say what becomes of a fact about an id without a row; None for the first fact of a new life."""
        stone = self.stones.of(tenant, customer_id)
        if stone is not None:
            if stone.erasure is not None and refused(stone.erasure, fact, sent):
                return "erased"
            if stone.into:
                return self._follow(topic, record, tenant, customer_id, stone, max(sent, stone.number), fact.accepted_ms)
        return self.propose(topic, record, tenant, customer_id, fact) if fact.type >= MERGE else None

    def entry_met(self, topic: str, record: Record, entry: ManualEntry, now_ms: int) -> str | None:
        """Say what becomes of a manual entry of an id that was merged; None for every other."""
        stone = self.stones.of(entry.tenant, entry.customer_id)
        if stone is None or not stone.into:
            return None
        return self._follow(topic, record, entry.tenant, entry.customer_id, stone, stone.number, now_ms)

    def listed(self, entry: ManualEntry) -> None:
        """Say that a list has come here as a whole, to all who may wait for what was sent on of it."""
        if self.stones.lead_on(entry.tenant):
            for number in range(self._partition._limits.partitions):
                self._post.send(number, Listed(self._post.read, entry.tenant, entry.segment_id, entry.entries, entry.since, self._partition.number))

    def propose(self, topic: str, record: Record, tenant: str, customer_id: str, fact: Fact) -> str:
        """Have a merge or an erasure decided where the tenant lives."""
        if fact.type == ERASE:
            self.after_ms = max(self.after_ms, fact.accepted_ms + 1)
        origin = self._post.origin(topic, record)
        self._post.send(self._post.home_of(tenant), Proposal(self._post.read, tenant, customer_id, fact.accepted_ms, origin))
        return "forwarded"

    def _follow(self, topic: str, record: Record, tenant: str, customer_id: str, stone: Stone, number: int, heard_ms: int) -> str:
        into = self._post.opened(tenant, customer_id, stone.into)
        self._post.send_home(Following(self._post.read, tenant, into, number, heard_ms, self._post.origin(topic, record)))
        return "forwarded"

    # ---- moves

    def take(self, record: Record, now_ms: int) -> str:
        """Do what a move says, and return its outcome. A move that comes from a record is judged as that record."""
        move = decode_move(record.value or b"")
        if isinstance(move, Following | Proposal):
            origin = move.origin
            try:
                return self._following(move, now_ms) if isinstance(move, Following) else self._links.decide(move, self._fact(move))
            except Refusal as refusal:
                partition = self._partition
                counted_at = f"{partition._topics.moves}/{partition.number}/{record.offset}"
                partition._gathering.dead_letter(origin.topic, origin.partition, origin, refusal, counted_at)
                return "dead_lettered/" + refusal.reason
        self._partition._moved_to(now_ms)
        if isinstance(move, Leaving):
            self._leave(move, now_ms)
        elif isinstance(move, Arriving):
            self._arrive(move, now_ms)
        elif isinstance(move, Forgetting):
            self._forget(move, now_ms)
        elif isinstance(move, Pointing):
            self._point(move)
        else:
            self._hear(move)
        return "moved"

    def _following(self, move: Following, now_ms: int) -> str:
        origin, tenant, customer_id = move.origin, move.tenant, move.customer_id
        partition, key = self._partition, record_key(tenant, customer_id)
        if origin.topic == partition._topics.manual_entries:
            entry = decode_manual(origin.value)
            told_of, entry.customer_id = entry.customer_id, customer_id
            outcome = self.entry_met(origin.topic, origin, entry, move.heard_ms) or partition._applying.entry(key, entry, now_ms)
        else:
            told_of = decode_event(origin.value).customer_id or ""
            outcome = partition._applying.fact(origin.topic, origin, key, tenant, customer_id, self._fact(move), now_ms, move.number)
        if outcome == "applied":
            self._heard_again(tenant, told_of, customer_id, partition._customers.slots[key].customer.row.erasure)
        return outcome

    def _heard_again(self, tenant: str, told_of: str, customer_id: str, erasure: Erasure | None) -> None:
        """Have an id of a person who was erased lead to the new life, for somebody has named it since."""
        if erasure is not None:
            move = Pointing(self._post.read, tenant, self._post.hash(tenant, told_of), customer_id, erasure.number, told_of)
            self._post.send(self._post.home(tenant, told_of), move)

    def _fact(self, move: Following | Proposal) -> Fact:
        """Return the fact that a move comes from, as it was first heard of."""
        reader = self._partition.plans.facts(move.tenant)
        if reader is None:
            raise LookupError(f"a move speaks of tenant {move.tenant!r}, which the catalog does not know")
        return reader.of(decode_event(move.origin.value), move.heard_ms)

    # ---- what decisions do to those who live here

    def _leave(self, move: Leaving, now_ms: int) -> None:
        tenant, customer_id, partition = move.tenant, move.customer_id, self._partition
        key, name = record_key(tenant, customer_id), self._post.name(tenant, customer_id)
        slot = partition._customers.slots.get(key)
        facts, manual = [move.fact], dict[str, tuple[int, int]]()
        stone = self.stones.named(name) or Stone()
        homes = stone.homes
        if slot is not None:
            out: list[Transition]
            customer, out = partition._customers.open(key, slot, tenant, customer_id, now_ms)
            customer.leave(now_ms, Cause("merge", move.fact.event_id, move.fact.imported), out)
            row = customer.row
            facts, manual, homes = [*partition._gathering.facts(key, slot), move.fact], row.manual, row.homes
            stone = Stone(row.seq, row.last_at_ms, erasure=row.erasure)
            self._drop(key, slot, out)
        stone.number, stone.customer_id = move.number, customer_id
        stone.into = self._post.sealed(tenant, customer_id, move.number, move.into)
        self.stones.stay(key)
        self.stones.keep(name, stone)
        partition._gathering.touch(key)
        homes = sorted({*homes, partition.number})
        for at in range(0, len(facts), _MOVE_FACTS):
            part = facts[at : at + _MOVE_FACTS]
            chunks = [chunk_of(part[i : i + _CHUNK_FACTS]) for i in range(0, len(part), _CHUNK_FACTS)]
            event_id, imported = move.fact.event_id, move.fact.imported
            self._post.send_home(Arriving(self._post.read, tenant, move.into, move.number, event_id, imported, chunks, manual, homes))
            manual = {}

    def _arrive(self, move: Arriving, now_ms: int) -> None:
        tenant, customer_id, partition = move.tenant, move.customer_id, self._partition
        key = record_key(tenant, customer_id)
        slot = partition._customers.slots.get(key)
        self._follow_from(tenant, move.homes)
        facts = [fact for chunk in move.chunks for fact in facts_in(chunk)]
        stone = self.stones.of(tenant, customer_id)
        erasure = stone.erasure if stone is not None else None
        if slot is not None:
            customer, out = partition._customers.open(key, slot, tenant, customer_id, now_ms)
            erasure = customer.row.erasure
            partition._customers.close(key, slot, customer, out, now_ms)
        if erasure is not None and move.number < erasure.number:
            move.manual = {}
            facts = [fact for fact in facts if erasure.outlived_by(fact, move.number)]
            if not facts:
                self._reached_from(move.homes, key, slot, stone)
                return
        if slot is None:
            if stone is not None and stone.into:
                move.customer_id = self._post.opened(tenant, customer_id, stone.into)
                move.number, move.definitions = max(move.number, stone.number), self._post.read
                move.chunks = [chunk_of(facts[at : at + _CHUNK_FACTS]) for at in range(0, len(facts), _CHUNK_FACTS)]
                self._post.send_home(move)
                return
            slot, customer = partition._customers.create(key, partition.plans.of(tenant), tenant, customer_id, now_ms)
        joined = _joined(partition._gathering.facts(key, slot), facts)
        manual = dict(customer.row.manual)
        for segment_id, (include, exclude) in move.manual.items():
            mine = manual.get(segment_id, (-1, -1))
            manual[segment_id] = max(include, mine[0]), max(exclude, mine[1])
        customer.row.manual = manual
        customer.row.homes = sorted({*customer.row.homes, *move.homes})
        self._anew(key, slot, joined, Cause("merge", move.event_id, move.imported), now_ms)

    def _follow_from(self, tenant: str, homes: list[int]) -> None:
        """Know from where entries of lists follow to here."""
        partition, lists = self._partition, self._partition._standings.lists
        if not lists.homes(tenant).issuperset(homes):
            partition._standings.unsettled(partition.plans.of(tenant))  # of lists known by now, this one's entries arrive with it
            lists.follow(tenant, homes)
            partition._gathering.put(b"f" + tenant.encode(), encode(sorted(lists.homes(tenant))))

    def _hear(self, move: Listed) -> None:
        partition = self._partition
        partition._standings.unsettled(partition.plans.of(move.tenant))
        if partition._standings.lists.heard(ListOf(move.tenant, move.segment_id, move.entries), move.since, move.home):
            partition._sweeping.release([move.tenant])

    def _reached_from(self, homes: list[int], key: bytes, slot: Slot | None, stone: Stone | None) -> None:
        """Remember from where facts follow to somebody to whom nothing else was left, for all of it was erased."""
        if slot is not None:
            slot.customer.row.homes = sorted({*slot.customer.row.homes, *homes})
            self._partition._gathering.project(key, slot)
        elif stone is not None:
            stone.homes = sorted({*stone.homes, *homes})
            self.stones.keep(self._post.name(*split_key(key)), stone)

    def _forget(self, move: Forgetting, now_ms: int) -> None:
        tenant, partition = move.tenant, self._partition
        name = tenant.encode() + b":" + move.hashed
        key = record_key(tenant, move.customer_id)
        slot = partition._customers.slots.get(key) if move.customer_id else None
        if slot is None:
            stone = self.stones.named(name) or Stone()
            stone.number, stone.erasure = move.number, _erasure(stone.erasure, move)
            if stone.customer_id:
                self.stones.go(record_key(tenant, stone.customer_id))
                stone.customer_id = ""
            self._tell(move, stone.seq)
            self.stones.keep(name, stone)
            return
        out: list[Transition]
        customer, out = partition._customers.open(key, slot, tenant, move.customer_id, now_ms)
        row, cause = customer.row, Cause("erase", move.event_id, move.imported)
        row.erasure = _erasure(row.erasure, move)
        kept = [fact for fact in partition._gathering.facts(key, slot) if fact.accepted_ms > move.heard_ms and fact.at_ms > move.at_ms]
        if kept:
            partition._customers.close(key, slot, customer, out, now_ms)
            self._tell(move, row.seq)
            row.manual = {}
            self._anew(key, slot, kept, cause, now_ms)
            return
        customer.leave(now_ms, cause, out)
        self._tell(move, row.seq)
        self._drop(key, slot, out)
        self.stones.go(key)
        self.stones.keep(name, Stone(row.seq, row.last_at_ms, move.number, row.erasure, homes=row.homes))

    def _point(self, move: Pointing) -> None:
        name = move.tenant.encode() + b":" + move.hashed
        stone = self.stones.named(name)
        if stone is not None and move.customer_id and (stone.erasure is None or stone.erasure.number <= move.number):
            stone.customer_id = move.customer_id
            self.stones.stay(record_key(move.tenant, move.customer_id))
        # One that was erased cannot be sealed anew without its name, and leads on by way of whom it meant.
        if stone is not None and stone.customer_id:
            stone.number = max(stone.number, move.number)
            stone.into = self._post.sealed(move.tenant, stone.customer_id, move.number, move.into)
            self.stones.keep(name, stone)
            self._partition._gathering.touch(record_key(move.tenant, stone.customer_id))

    def _anew(self, key: bytes, slot: Slot, facts: list[Fact], cause: Cause, now_ms: int) -> None:
        """Give a customer this history, and decide everything by it."""
        partition, customer, out = self._partition, slot.customer, list[Transition]()
        partition._gathering.rewrite(key, slot, facts)
        customer.correct(Live(customer.live.plan, lambda *_: facts, now_ms), now_ms, cause, out)
        partition._gathering.project(key, slot)
        partition._customers.close(key, slot, customer, out, now_ms)
        partition._customers.until_moved(key, customer)

    def _drop(self, key: bytes, slot: Slot, out: list[Transition]) -> None:
        """Remove a customer who has left every segment."""
        partition = self._partition
        partition._gathering.put_out(key, slot, out)
        partition._gathering.drop(key, slot)
        partition._standings.forget(key, slot.customer.row)
        if slot.row is not None:
            self.removed.setdefault(key, slot)
        partition._columns.part(key, slot)
        partition._customers.remove(key)
        partition._applying.pending.pop(key, None)

    def _tell(self, move: Forgetting, seq: int) -> None:
        self._partition._gathering.tell(encode_erased(Erased(move.tenant, move.hashed, seq)))


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
