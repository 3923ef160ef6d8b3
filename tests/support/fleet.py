"""Several partitions in virtual time, and the messages between them: late, doubled or lost, and with owners that change.

At rest nothing is on its way, nobody has anything to say, and nobody is due.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from typing import Any

from schemas.catalog import Catalog
from schemas.partitions import partition_of, record_key
from services.segmenter.ranks.messages import Message, Question, Ruling, Summary, decode, encode
from services.segmenter.ranks.referee import Referee
from tests.support.simulation import Among, Simulation

STEP_MS = 10
"""How far the clock moves from one exchange to the next; time that passes so is none that a window would notice."""


class Fleet:
    """Partitions of one tenant, each a simulation, with a referee. `dice` decides what happens to messages; None: nothing does."""

    def __init__(
        self, tenant: Mapping[str, str], now_ms: int, partitions: int, dice: random.Random | None = None, live_customers: int = 20_000
    ) -> None:
        self.catalog = Catalog()
        self.tenant = tenant["id"]
        shares = [Among(number, partitions, self.catalog) for number in range(partitions)]
        self.parts = [Simulation(tenant, now_ms, live_customers=live_customers, among=share) for share in shares]
        self.sent: list[Message] = []
        self._referee = Referee(partitions)
        self._dice = dice
        self._wire: list[tuple[int, bytes]] = []
        self._spent_ms = 0

    @property
    def now_ms(self) -> int:
        """The clock of the partitions, which stands while they talk."""
        return self.parts[0].now_ms

    def home(self, customer: str) -> Simulation:
        """Return the partition in which a customer lives."""
        return self.parts[partition_of(record_key(self.tenant, customer), len(self.parts))]

    def post(self, *events: Mapping[str, Any]) -> None:
        """Apply each event where its customer lives."""
        for event in events:
            self.home(event["customer_id"]).post(event)

    def save(self, segment: Mapping[str, Any], *, replaces: int = 0) -> None:
        """Save a segment, manual lists included, and decide everyone under it as far as that goes without cuts."""
        self.parts[0].save({**segment, **{name: () for name in ("include", "exclude") if name in segment}}, replaces=replaces)
        for part in self.parts[1:]:
            part.sweep()
        for entries in ("include", "exclude"):
            for customer in segment.get(entries) or ():
                self.home(customer).by_hand(segment["id"], entries, [customer], present=True)

    def declare(self, name: str, kind: str) -> None:
        """Declare an attribute, or a property of custom events."""
        self.parts[0].declare(name, kind)
        for part in self.parts[1:]:
            part.sweep()

    def archive(self, segment_id: str) -> None:
        """Archive a segment."""
        self.parts[0].archive(segment_id)
        for part in self.parts[1:]:
            part.sweep()

    def pass_to(self, now_ms: int) -> None:
        """Let time pass everywhere."""
        for part in self.parts:
            part.pass_to(now_ms)

    def restart(self, number: int) -> None:
        """Give a partition to an owner who knows its changelog alone; the lowest takes the referee with it."""
        self.parts[number].restart()
        self.parts[number].sweep()
        if number == 0:
            self._referee = Referee(len(self.parts))

    # ---- talking

    def talk(self, rounds: int) -> None:
        """Exchange messages for some rounds, and look at who is due after each."""
        for _ in range(rounds):
            self.exchange()
            for part in self.parts:
                part.rank()

    def exchange(self) -> None:
        """Have everybody hear what there is to say, and look at nobody."""
        self._spent_ms += STEP_MS
        spoken: list[Message] = [summary for part in self.parts for summary in part.partition.speak(self._spent_ms, 100)]
        spoken += self._referee.speak(self._spent_ms)
        self.sent += spoken
        for message in spoken:
            self._send(encode(message))
        self._deliver()

    def _send(self, document: bytes) -> None:
        if self._dice is None:
            self._wire.append((self._spent_ms, document))
            return
        for _ in range(self._dice.choices([0, 1, 2], [1, 8, 1])[0]):
            self._wire.append((self._spent_ms + self._dice.choice([0, 0, 0, 20, 100, 3_000]), document))

    def _deliver(self) -> None:
        arrived = [(at_ms, document) for at_ms, document in self._wire if at_ms <= self._spent_ms]
        self._wire = [(at_ms, document) for at_ms, document in self._wire if at_ms > self._spent_ms]
        for _, document in sorted(arrived, key=lambda sent: sent[0]):
            message = decode(document)
            assert message is not None
            assert encode(message) == document
            self._referee.hear(message)
            for part in self.parts:
                part.partition.hear(message)

    def rest(self, most_ms: int = 60_000) -> int:
        """Talk until nobody has anything to say; return how long that took, in milliseconds of talking.

        Where a message may be lost it takes a second until it is said again.
        """
        began_ms, quiet_ms = self._spent_ms, 0
        while quiet_ms < (250 if self._dice is None else 1_250):
            said = len(self.sent)
            self.talk(1)
            quiet_ms = 0 if len(self.sent) > said or self._wire else quiet_ms + STEP_MS
            assert self._spent_ms - began_ms < most_ms, "nothing comes to rest"
        for part in self.parts:
            part.refresh()
            assert not part.partition.ranks_due
        return self._spent_ms - began_ms - quiet_ms

    # ---- looking

    def members(self, segment_id: str) -> set[str]:
        """Return who is in a segment, of all partitions."""
        return {customer for part in self.parts for customer in part.members(segment_id)}

    def memberships(self) -> dict[str, dict[str, tuple[int, int | None]]]:
        """Return every customer's segments with (since, until)."""
        return {customer: found for part in self.parts for customer, found in part.memberships().items()}

    @property
    def transitions(self) -> list[dict[str, Any]]:
        """All transitions, those of a partition in its order."""
        return [transition for part in self.parts for transition in part.transitions]

    def swept(self) -> bool:
        """Whether every partition says that everybody has been decided under the definitions in force."""
        return all(part.partition.marker(part.now_ms).definitions >= self.catalog.offset for part in self.parts)


def counted(messages: Iterable[Message]) -> dict[str, int]:
    """Return how many messages of each kind there are."""
    kinds = {Summary: "summary", Question: "question", Ruling: "ruling"}
    found = dict.fromkeys(kinds.values(), 0)
    for message in messages:
        found[kinds[type(message)]] += 1
    return found
