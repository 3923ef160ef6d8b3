"""Gathering: what was decided since the last step, and how it becomes the records of one transaction."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from schemas.errors import Refusal
from schemas.facts import Brief, Fact, chunk_of, joined
from schemas.instants import NEVER
from schemas.transitions import Transition, encode_transition
from services.segmenter.engine.live import History, Live, whole
from services.segmenter.engine.plan import Plan
from services.segmenter.engine.row import Row
from services.segmenter.rows import PROGRESS, Progress, chunk_key, encode, row_key
from services.segmenter.slots import JOIN_AT, Slot, facts_of, newest
from services.segmenter.steps import Record, Step

_CHUNK_FACTS: Final = 4_096
"""Facts of one chunk of a history that is written anew: well below a megabyte for most."""


class Gathering:
    """The step under way. `moved`: an offset, the epoch or a sweep has moved, so there is something to write in any case."""

    def __init__(self) -> None:
        self.moved = False
        self._step = Step()
        self._dirty: dict[bytes, Slot] = {}
        self._added: dict[bytes, list[Fact]] = {}
        self._touched: dict[bytes, None] = {}

    def keep(self, key: bytes, slot: Slot, fact: Fact) -> None:
        """Add a fact to a customer's history."""
        slot.events += 1
        slot.touch()
        added = self._added.get(key)
        if added is None:
            self._added[key] = [fact]
        else:
            added.append(fact)

    def history(self, key: bytes, slot: Slot) -> History:
        """Return what reads a customer's facts, written or not."""
        return lambda since_ms, items: self._read(key, slot, since_ms, items)

    def passing(self, key: bytes, slot: Slot, plan: Plan, now_ms: int) -> Live:
        """Return a live state that nobody keeps, nor what was learnt of the history for it: a quarter of a kilobyte of everybody."""
        searched = bool(slot.newest)
        live = Live(plan, self.history(key, slot), now_ms)
        if not searched:
            slot.newest.clear()
        return live

    def facts(self, key: bytes, slot: Slot) -> list[Fact]:
        """Return all facts of a customer, with their line items."""
        return whole(self.history(key, slot))

    def _read(self, key: bytes, slot: Slot, since_ms: int, items: bool) -> list[Brief]:  # noqa: FBT001 - as `History` has it
        found = slot.history(since_ms, items=items)
        found += self._added.get(key, ())
        return found

    def put(self, changelog_key: bytes, value: bytes | None) -> None:
        """Write a record of another kind; None removes it."""
        self._step.rows[changelog_key] = value
        self.moved = True

    def rewrite(self, key: bytes, slot: Slot, facts: list[Fact]) -> None:
        """Put these facts in place of a customer's history."""
        self._remove_chunks(key, slot)
        for at in range(0, len(facts), _CHUNK_FACTS):
            part, number = facts[at : at + _CHUNK_FACTS], slot.next_chunk
            slot.next_chunk += 1
            slot.newest[number] = newest(part)
            slot.chunks[number] = self._step.rows[chunk_key(key, number)] = chunk_of(part)
        slot.events = len(facts)
        slot.touch()
        self._dirty[key] = slot

    def drop(self, key: bytes, slot: Slot) -> None:
        """Remove a customer's row and history, and show it to those who read."""
        self._remove_chunks(key, slot)
        self._dirty.pop(key, None)
        self._step.rows[row_key(key)] = None
        self._touched[key] = None

    def touch(self, key: bytes) -> None:
        """Show an id anew to those who read."""
        self._touched[key] = None

    def tell(self, erasure: bytes) -> None:
        """Tell those who serve transitions of an erased id."""
        self._step.erasures.append(erasure)

    def _remove_chunks(self, key: bytes, slot: Slot) -> None:
        for number in slot.chunks:
            self._step.rows[chunk_key(key, number)] = None
        slot.chunks.clear()
        slot.newest.clear()
        slot.loose.clear()
        self._added.pop(key, None)

    def write_row(self, key: bytes, slot: Slot) -> None:
        """Write a customer's row with this step."""
        self._dirty[key] = slot

    def project(self, key: bytes, slot: Slot) -> None:
        """Write a customer's row, and show it anew to those who read."""
        slot.touch()
        self._dirty[key] = slot
        self._touched[key] = None

    def put_out(self, key: bytes, slot: Slot, transitions: Iterable[Transition]) -> None:
        """Publish a customer's transitions."""
        self._step.changes.extend([(key, encode_transition(transition)) for transition in transitions])
        self.project(key, slot)

    def send_on(self, topic: str, partition: int, key: bytes, record: Record) -> None:
        """Send a record on to the partition that it belongs to."""
        self.send(topic, partition, key, record.value or b"")

    def send(self, topic: str, partition: int, key: bytes, value: bytes) -> None:
        """Send bytes to a partition of an input topic."""
        self._step.forwards.append((topic, partition, key, value))

    def dead_letter(self, topic: str, partition: int, record: Record, refusal: Refusal, counted_at: str = "") -> None:
        """Set a record aside with where it stood and why it was refused; `counted_at`: the place of its outcome, if that is another."""
        headers = [
            ("topic", topic.encode()),
            ("partition", str(partition).encode()),
            ("offset", str(record.offset).encode()),
            ("reason", refusal.reason.encode()),
            ("detail", str(refusal).encode()[:1000]),
            *([("counted_at", counted_at.encode())] if counted_at else []),
        ]
        self._step.dead_letters.append((record.key, record.value or b"", headers))

    @property
    def empty(self) -> bool:
        """Whether there is nothing to write."""
        return not (self.moved or self._dirty or self._added or self._step.changes)

    def finished(self, progress: Progress, slots: dict[bytes, Slot]) -> Step:
        """Return the step, with the rows, the chunks of history and the progress in it."""
        rows = self._step.rows
        for key, facts in self._added.items():
            _write_chunk(rows, key, slots[key], facts)
        for key, slot in self._dirty.items():
            encoded = slot.decided if slot.customer is None else encode_row(slot, slot.customer.row)
            if encoded is None:
                raise AssertionError(f"nothing was decided of {key!r}")
            slot.row = rows[row_key(key)] = encoded
            slot.decided = None
        rows[PROGRESS] = encode(progress)
        self._step.touched = list(self._touched)
        return self._step


def encode_row(slot: Slot, row: Row) -> bytes:
    """Return what is written of a customer."""
    row.deadline_ms = slot.deadline_ms
    return encode(row)


def _write_chunk(rows: dict[bytes, bytes | None], key: bytes, slot: Slot, facts: list[Fact]) -> None:
    """Write a customer's new facts as a chunk, joined with the loose ones before it once they are many."""
    chunk, latest_ms = chunk_of(facts), newest(facts)
    if len(slot.loose) + 1 >= JOIN_AT:
        for number in slot.loose:
            rows[chunk_key(key, number)] = None
        chunk = joined([*[slot.chunks.pop(number) for number in slot.loose], chunk])
        latest_ms = max([latest_ms, *[slot.newest.pop(number, NEVER) for number in slot.loose]])
        slot.loose.clear()
    number = slot.next_chunk
    slot.next_chunk += 1
    slot.chunks[number] = chunk
    slot.newest[number] = latest_ms
    if facts_of(chunk) < JOIN_AT:
        slot.loose.append(number)
    rows[chunk_key(key, number)] = chunk
