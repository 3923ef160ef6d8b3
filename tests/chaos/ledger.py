"""Every transition as a `read_committed` reader saw it, held to promise 3 record by record. Pure: it is told records.

Violations are sentences; a run without any leaves the list empty.
"""

from __future__ import annotations

import json
from collections import Counter
from hashlib import blake2b
from typing import Final, NamedTuple

from schemas.partitions import partition_of, record_key

Customer = tuple[str, str]
_MOST: Final = 20_000
"""Violations that are kept: what broke once may break for everybody, and another law as well, which is looked at after that."""


class Told(NamedTuple):
    """What is remembered of a transition: whose, which number, and a digest of its bytes."""

    customer: Customer
    seq: int
    digest: bytes


def digest(document: bytes) -> bytes:
    """Return a digest that tells bytes apart."""
    return blake2b(document, digest_size=12).digest()


class Violations:
    """Sentences, the first of them, and how many there were."""

    def __init__(self) -> None:
        self.total = 0
        self.sentences: list[str] = []

    def note(self, sentence: str) -> None:
        """Add a violation."""
        self.total += 1
        if len(self.sentences) < _MOST:
            self.sentences.append(sentence)


class Ledger:
    """Takes the records of `membership-changes` in the order of each partition."""

    def __init__(self, partitions: int, violations: Violations) -> None:
        self._partitions, self.violations = partitions, violations
        self.told: dict[str, Told] = {}
        self.members: dict[Customer, set[str]] = {}
        self.repeated = 0
        self.causes: Counter[str] = Counter()
        self.erased: set[Customer] = set()
        """Who was erased at some time: told by whoever knows."""
        self._ended: dict[Customer, int] = {}
        self._last: dict[Customer, tuple[int, str]] = {}

    def take(self, partition: int, key: bytes, value: bytes) -> None:
        """Take a record and note what it breaks."""
        change = json.loads(value)
        customer = (change["tenant"], change["customer_id"])
        known = self.told.get(change["id"])
        if known is not None:
            self.repeated += 1
            same = known.digest == digest(value)
            self.violations.note(f"{change['id']} of {customer} came a second time, with {'the same' if same else 'other'} bytes")
            return
        self.told[change["id"]] = Told(customer, change["seq"], digest(value))
        if key != record_key(*customer) or partition != partition_of(key, self._partitions):
            self.violations.note(f"{change['id']} of {customer} stands in partition {partition} under {key!r}")
        seq, at = self._last.get(customer, (0, ""))
        if change["seq"] != seq + 1:
            self.violations.note(f"{customer}: seq {change['seq']} follows {seq}")
        if change["at"] < at:
            self.violations.note(f"{customer}: seq {change['seq']} is of {change['at']}, the one before of {at}")
        self._last[customer] = (change["seq"], change["at"])
        self.causes[kind := change["cause"]["kind"]] += 1
        if kind == "erase":
            self._ended[customer] = change["seq"]
        members, segment = self.members.setdefault(customer, set()), change["segment_id"]
        if (segment in members) is (change["change"] == "entered"):
            self.violations.note(f"{customer}: {change['change']} {segment} (seq {change['seq']}) follows the same")
        (members.add if change["change"] == "entered" else members.discard)(segment)

    def is_over(self, told: Told) -> bool:
        """Whether a transition is of a life that was erased: it may be pushed no more, and the feed does not tell it."""
        if told.customer not in self.erased:
            return False
        # Of an id that was merged before, no exit tells of the erasure, and it has no other life.
        return told.seq <= self._ended.get(told.customer, told.seq)


class Deliveries:
    """What an endpoint of each tenant received, held to the ledger, which must have read at least as far.

    Every transition must be taken at least once, unless its customer was erased; the same id has the same bytes; a customer's first attempts are in the order of
    `seq`; nobody is told of another tenant's.
    """

    def __init__(self, ledger: Ledger, violations: Violations) -> None:
        self._ledger, self.violations = ledger, violations
        self.attempts = 0
        self.repeats = 0
        self._taken: set[str] = set()
        self._bodies: dict[str, bytes] = {}
        self._last: dict[Customer, int] = {}

    def take(self, tenant: str, delivery: str, body: bytes, *, taken: bool) -> None:
        """Take one attempt, in the order in which they came, and note what it breaks."""
        self.attempts += 1
        data = body[body.index(b'"data":') + len(b'"data":') : -1]
        identifier = json.loads(data)["id"]
        if taken:
            self._taken.add(identifier)
        if delivery in self._bodies:
            self.repeats += 1
            if self._bodies[delivery] != digest(body):
                self.violations.note(f"{delivery} came with different bytes")
            return
        self._bodies[delivery] = digest(body)
        known = self._ledger.told.get(identifier)
        if known is None:
            self.violations.note(f"{delivery} tells of {identifier}, which nobody has published")
            return
        customer = known.customer
        if customer[0] != tenant:
            self.violations.note(f"the endpoint of {tenant} was told of {customer}")
        if known.digest != digest(data):
            self.violations.note(f"{delivery} tells of {identifier} in other bytes than were published")
        last = self._last.get(customer, 0)
        # What was pending of a life that was erased is cancelled.
        if known.seq <= last if customer in self._ledger.erased else known.seq != last + 1:
            self.violations.note(f"{customer}: seq {known.seq} was pushed after {last}")
        self._last[customer] = max(known.seq, self._last.get(customer, 0))

    def missing(self) -> set[str]:
        """Return the transitions that no endpoint has taken."""
        return {identifier for identifier in self._ledger.told.keys() - self._taken if not self._ledger.is_over(self._ledger.told[identifier])}
