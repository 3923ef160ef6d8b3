"""What the runtime asks of the pure core: the verbs of one partition, and the step that they lead to.

The runtime knows the core through these protocols only, so that its tests can drive it with a partition that merely counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from schemas.projection import Marker
from schemas.questions import Asked
from services.segmenter.ranks.messages import Message, Summary
from services.segmenter.steps import Record, Step


class Inquiry(Protocol):
    """A question being worked on. Between two calls the partition may have changed; nothing of it is changed here."""

    def work(self, limit: int) -> int:
        """Do about `limit` units of work (a fact read is about one); return how many that were, 0 when there is nothing left to do."""

    def answer(self) -> Any:
        """Return the answer, for JSON; None for a customer who is not known. Raises `Unknowable` where it cannot be known now."""


class PartitionCore(Protocol):
    """One partition of customers. Pure: no method waits, reads a clock, or knows of Kafka or Redis.

    Life: `restore` of each changelog record in order, `ready` once, then any mix of `apply`, `tick`, `sweep`, `rank`, `refresh`,
    `drop`, `keep`, `take`, `hear` and `speak`. What is read between two steps (`offsets`, `outcomes`, `marker`) includes what has not been
    taken yet, except `projected`, which answers as of the last step taken.
    """

    number: int

    @property
    def epoch(self) -> int:
        """The number of this ownership; `ready` raises it by one."""

    @property
    def customers(self) -> int:
        """How many customers are known."""

    @property
    def offsets(self) -> dict[str, int]:
        """The next offset to apply of each input topic; a topic that is absent starts at its earliest."""

    @property
    def outcomes(self) -> dict[str, dict[str, int]]:
        """What became of the records: topic → outcome → count; `gap` counts offsets without a record."""

    @property
    def clock_ms(self) -> int:
        """The latest instant decided at; no later call may name an earlier one."""

    @property
    def stale(self) -> int:
        """How many customers `refresh` would look at."""

    def restore(self, key: bytes, value: bytes | None) -> None:
        """Take one changelog record."""

    def ready(self, now_ms: int) -> None:
        """End the restoring and begin a new epoch."""

    def close(self) -> None:
        """Let go of all customers; nothing else is called afterwards."""

    def definitions_needed(self) -> int:
        """Return the catalog offset that must have been read before `apply`, `tick` or `sweep` is called."""

    def waits_for(self, topic: str, records: Sequence[Record]) -> int:
        """Return the catalog offset that these records need, 0 for most."""

    def apply(self, topic: str, records: Sequence[Record], now_ms: int) -> None:
        """Apply a contiguous run of a topic's records."""

    def apply_ahead(self, topic: str, tenant: str, records: Sequence[Record], now_ms: int) -> None:
        """Apply records of one tenant, in order, before others of the same run; `pass_to` must follow when none of these is left."""

    def pass_to(self, topic: str, end: int, sizes: Mapping[str, int]) -> None:
        """Note that all before `end` have their outcomes, so many of each tenant's having been applied ahead."""

    def ahead(self, topic: str) -> Mapping[str, int]:
        """Return the next offset of those tenants who have come further in a topic than everybody has."""

    @property
    def undecided(self) -> int:
        """How many customers have facts that were applied and not decided yet; `take` decides what is left."""

    def settle(self, now_ms: int) -> None:
        """Decide what was applied before the step ends, unless its instant has not come yet."""

    def next_deadline_ms(self) -> int:
        """Return the next instant at which a customer must be looked at, `instants.NEVER` if none."""

    def tick(self, now_ms: int, limit: int) -> int:
        """Take up to `limit` due customers through their deadlines; return how many."""

    def sweep(self, now_ms: int, limit: int) -> bool:
        """Decide up to `limit` customers under new definitions; return whether more are left."""

    def refresh(self, now_ms: int, limit: int) -> list[bytes]:
        """Find the `until` of up to `limit` customers anew; return those to project again."""

    def drops_due(self, now_ms: int) -> bool:
        """Whether `drop` has something to look at."""

    def drop(self, now_ms: int, limit: int) -> bool:
        """Let go of what has left the history of up to `limit` customers; return whether more are left."""

    def keeps_due(self, now_ms: int) -> bool:
        """Whether `keep` has something to look at."""

    def keep(self, now_ms: int, limit: int) -> bool:
        """Keep what questions about everybody ask for of about `limit` customers; return whether more are left. Nothing is written."""

    def take(self) -> Step | None:
        """Return what was decided since the last step, None when nothing was and no offset moved."""

    @property
    def ranks_due(self) -> int:
        """How many customers `rank` would look at."""

    def rank(self, now_ms: int, limit: int) -> None:
        """Decide up to `limit` customers over whom a cut has passed."""

    def hear(self, message: Message) -> bool:
        """Take what another partition or the referee says about ranks; return whether there is something to do or to write."""

    def speak(self, now_ms: int, limit: int) -> list[Summary]:
        """Return up to `limit` summaries of rankings that others must be told now, by a clock that only times repetitions."""

    def projected(self, key: bytes) -> tuple[str, str, int, bytes]:
        """Return tenant, customer, version (grows within an epoch) and what is shown; nothing (empty) removes what is shown."""

    def removed(self, key: bytes) -> None:
        """Hear that nothing is shown any more of a key that `projected` had nothing of."""

    def keys(self) -> Iterable[bytes]:
        """Return the record keys of all customers."""

    def marker(self, now_ms: int) -> Marker:
        """Return how far the partition has come."""

    def inquiry(self, asked: Asked, now_ms: int) -> Inquiry:
        """Return a question ready to be worked on, as of an instant not before `clock_ms`. It reads what was applied, taken or not."""


MakePartition = Callable[[int], PartitionCore]
"""Makes the empty core of a partition."""
