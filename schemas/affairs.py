"""What the API and the dispatchers tell each other about endpoints, on a topic of one partition that each of them folds.

Who has taken nothing since when, which several dispatchers only know together; and replays: what was asked for, and how far each
partition is. A step of a replay is written in the transaction of the deliveries that it queued.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec
from msgspec import Struct

from schemas.catalog import Endpoint

MOST_OPEN: Final = 10
"""Replays of one endpoint that are under way at once; a further one is not accepted."""

_Name = tuple[str, str]
"""Tenant and endpoint."""


class Failing(Struct, tag="failing", array_like=True):
    """Said at `at_ms`: in one partition no attempt has been taken since an instant, and some have failed."""

    tenant: str
    endpoint_id: str
    partition: int
    since_ms: int
    at_ms: int


class Took(Struct, tag="took", array_like=True):
    """An attempt was taken: who said before that it was failing since an earlier instant is answered."""

    tenant: str
    endpoint_id: str
    at_ms: int


class ReplayAsked(Struct, tag="replay", array_like=True):
    """Push again what was decided from `from_ms` to `to_ms` (exclusive): what the endpoint is for, or with `ids` these transitions."""

    tenant: str
    endpoint_id: str
    replay_id: str
    at_ms: int
    from_ms: int
    to_ms: int
    ids: list[str] | None = None
    definitions: int = 0
    """The offset of the definitions that whoever asked knew."""
    on_since_ms: int = 0
    """Since when the endpoint was on then, 0 where that is not known."""


class ReplayStep(Struct, tag="step", array_like=True):
    """How far a partition is: the next offset to look at, how many deliveries were queued so far, and whether that is all.

    `reason` says why it ended early: the endpoint is paused, disabled or gone, or was off meanwhile.
    """

    tenant: str
    endpoint_id: str
    replay_id: str
    partition: int
    offset: int
    queued: int
    done: bool = False
    reason: str = ""


Affair = Failing | Took | ReplayAsked | ReplayStep
encode_affair: Final = msgspec.msgpack.Encoder().encode
decode_affair: Final = msgspec.msgpack.Decoder(Affair).decode


class Replay:
    """A replay and the last step of each partition."""

    def __init__(self, asked: ReplayAsked, partitions: int) -> None:
        self.asked, self.partitions = asked, partitions
        self.named = None if asked.ids is None else len(asked.ids)
        """How many transitions it names."""
        self.steps: dict[int, ReplayStep] = {}

    @property
    def done(self) -> bool:
        """Whether every partition has queued all that there is."""
        return len(self.steps) == self.partitions and all(step.done for step in self.steps.values())

    @property
    def queued(self) -> int:
        """How many deliveries were queued so far."""
        return sum(step.queued for step in self.steps.values())

    @property
    def share(self) -> float:
        """The share of the partitions that are done."""
        return sum(step.done for step in self.steps.values()) / self.partitions


class Affairs:
    """A pure fold of the topic. Endpoints are those of a tenant: no other's replays are found under them.

    Of each endpoint `kept` replays are known; what is done may be forgotten, and forgets at once which transitions it named.
    """

    def __init__(self, partitions: int, kept: int = 100) -> None:
        self._partitions, self._kept = partitions, kept
        self._claims: dict[_Name, dict[int, Failing]] = {}
        self._took_ms: dict[_Name, int] = {}
        self._replays: dict[_Name, dict[str, Replay]] = {}

    def apply(self, document: bytes) -> None:
        """Take note of a record."""
        affair = decode_affair(document)
        name = affair.tenant, affair.endpoint_id
        if isinstance(affair, Failing):
            if affair.since_ms > self._took_ms.get(name, -1):
                self._claims.setdefault(name, {})[affair.partition] = affair
        elif isinstance(affair, Took):
            self._took_ms[name] = max(affair.at_ms, self._took_ms.get(name, 0))
            left = {number: claim for number, claim in self._claims.pop(name, {}).items() if claim.since_ms > affair.at_ms}
            if left:
                self._claims[name] = left
        elif isinstance(affair, ReplayAsked):
            self._ask(name, affair)
        elif (replay := self.replay(*name, affair.replay_id)) is not None:
            replay.steps[affair.partition] = affair
            if replay.done and replay.asked.ids:
                replay.asked = msgspec.structs.replace(replay.asked, ids=[])

    @property
    def claimed(self) -> list[_Name]:
        """The endpoints of which somebody says that they take nothing, by tenant and id."""
        return list(self._claims)

    def failing_since(self, endpoint: Endpoint, said_by_ms: int | None = None) -> int | None:
        """Return since when an endpoint takes nothing, as was said (by an instant) and not contradicted; None when nobody says so.

        What was said of the time before it was last turned on does not count.
        """
        claims = self._claims.get((endpoint.tenant, endpoint.id), {}).values()
        since = [claim.since_ms for claim in claims if claim.since_ms >= endpoint.on_since_ms and (said_by_ms is None or claim.at_ms <= said_by_ms)]
        return min(since, default=None)

    def took_ms(self, endpoint: Endpoint) -> int:
        """Return the last instant at which an attempt is known to have been taken, -1 for none. Not all are told."""
        return self._took_ms.get((endpoint.tenant, endpoint.id), -1)

    def replay(self, tenant: str, endpoint_id: str, replay_id: str) -> Replay | None:
        """Return a replay that was accepted, if it is still known."""
        return self._replays.get((tenant, endpoint_id), {}).get(replay_id)

    def replays(self, tenant: str, endpoint_id: str) -> list[Replay]:
        """Return an endpoint's replays, the newest first."""
        return list(reversed(self._replays.get((tenant, endpoint_id), {}).values()))

    def open_of(self, tenant: str) -> int:
        """Return how many replays of a tenant are under way."""
        return sum(not replay.done for (whose, _), known in self._replays.items() if whose == tenant for replay in known.values())

    def open_in(self, partition: int) -> Iterator[Replay]:
        """Yield the replays that a partition is not done with, the oldest of each endpoint first."""
        for known in list(self._replays.values()):
            for replay in list(known.values()):
                if (step := replay.steps.get(partition)) is None or not step.done:
                    yield replay

    def _ask(self, name: _Name, asked: ReplayAsked) -> None:
        known = self._replays.setdefault(name, {})
        if asked.replay_id in known or sum(not replay.done for replay in known.values()) >= MOST_OPEN:
            return
        known[asked.replay_id] = Replay(asked, self._partitions)
        for former in [replay_id for replay_id, replay in known.items() if replay.done][: max(0, len(known) - self._kept)]:
            del known[former]
