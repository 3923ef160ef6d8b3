"""Reads of the projection. Every read takes what it asks for and the markers that vouch for it in one step of Redis.

Without a marker nothing is known: the answer is 503, never "not a member". The same when Redis is gone.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from hashlib import sha1
from typing import Any, Final

import msgspec
from msgspec import Struct
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError

from schemas.catalog import Segment
from schemas.instants import iso
from schemas.partitions import partition_of, record_key
from schemas.projection import Keys, Marker, Memberships, decode_homes, decode_shown, marker_found
from services.api.errors import Refused, unavailable
from services.api.metrics import Metrics
from services.api.scripts import BLOBS, COUNTS, MEMBERS
from services.api.settings import ApiSettings

_MOST_TOGETHER: Final = 200
"""Keys of one call: some 100 microseconds during which Redis answers nobody else."""
_MOST_SETS: Final = 10_000
"""Member sets counted in one call: about two milliseconds."""
_MOST_IDS: Final = 16
"""How far an id that was merged is followed. A person's ids all name the survivor a moment after each merge."""
_GONE: Final = (RedisError, OSError, TimeoutError)


class Known(Struct, frozen=True):
    """A marker, and its instant as answers write it."""

    marker: Marker
    as_of: str


class Member(Struct, frozen=True):
    """A member of a segment: since when, and until when if nothing new happens (`instants.NEVER` for no known end)."""

    partition: int
    customer_id: str
    since_ms: int
    until_ms: int


class Person(Struct, frozen=True):
    """Whom an id means: the survivor, its memberships (None: unknown), and its partition's marker (None: nothing is known).

    `homes`: the partitions where facts arrive about those who were merged into it.
    """

    customer_id: str
    memberships: Memberships | None
    known: Known | None
    homes: list[int] = []


class Reads:
    """The questions that Redis answers for one installation."""

    def __init__(self, settings: ApiSettings, metrics: Metrics) -> None:
        self._settings, self._metrics = settings, metrics
        self.partitions = settings.partitions
        self._keys = Keys(settings.redis_prefix)
        self.marker_keys = [self._keys.marker(number) for number in range(settings.partitions)]
        pool: BlockingConnectionPool = BlockingConnectionPool.from_url(
            settings.redis_url,
            **settings.redis_options(),
            max_connections=settings.api_redis_connections,
            timeout=settings.api_redis_timeout_s,
            socket_timeout=settings.api_redis_timeout_s,
            socket_connect_timeout=settings.api_redis_timeout_s,
            retry=Retry(NoBackoff(), 0),  # a stale connection is tried again below; a client that is told 503 tries again itself
        )
        self._redis: Any = Redis.from_pool(pool)
        self._waiting: deque[tuple[Sequence[str], asyncio.Future[list[bytes | None]]]] = deque()
        self._asking: asyncio.Task[None] | None = None
        self._seen: dict[bytes, Known] = {}

    async def close(self) -> None:
        """Disconnect."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)
        await self._redis.aclose()

    async def reachable(self) -> bool:
        """Whether Redis answers."""
        try:
            await self._redis.ping()
        except _GONE:
            return False
        return True

    # ---- one customer

    def home(self, tenant: str, customer_id: str) -> int:
        """Return the partition that an id lives in."""
        return partition_of(record_key(tenant, customer_id), self.partitions)

    async def person(self, tenant: str, customer_id: str) -> tuple[Person, Known | None]:
        """Return whom an id means, and the marker of the id's own partition, of the same moment as what was read there.

        Raises `Refused` (503) while a merge is under way and the survivor is not there yet.
        """
        name, first = customer_id, None
        for hop in range(_MOST_IDS):
            row, blob = await self._blobs((self._keys.customer(tenant, name), self.marker_keys[self.home(tenant, name)]))
            known, shown = self._known(blob), None if row is None else decode_shown(row)
            first = known if hop == 0 else first
            if not isinstance(shown, str) or known is None:
                if shown is None and known is not None and hop:
                    break
                homes = [] if row is None else decode_homes(row)
                return Person(name, None if isinstance(shown, str) else shown, known, homes), first
            name = shown
        raise unavailable(f"customer {customer_id} is being merged; ask again")

    async def markers(self) -> list[Known | None]:
        """Return the markers of all partitions."""
        return [self._known(blob) for blob in await self._blobs(self.marker_keys)]

    # ---- a segment

    async def counts(self, segments: Sequence[Segment]) -> tuple[list[Known | None], list[int]]:
        """Return the markers of all partitions, and how many members each segment has so far."""
        markers: list[Known | None] = []
        counts: list[int] = []
        step = max(1, _MOST_SETS // self.partitions)
        for at in range(0, len(segments), step):
            sets = [self._keys.members(s.tenant, s.id, number) for s in segments[at : at + step] for number in range(self.partitions)]
            blobs, found = await self._eval(COUNTS, [*self.marker_keys, *sets], self.partitions)
            markers = [self._known(blob) for blob in blobs]
            counts += found
        return markers or await self.markers(), counts

    async def members(self, segment: Segment, partition: int, after: str | None, limit: int) -> tuple[list[Known | None], list[Member]]:
        """Return all markers and up to `limit` members, by partition and then by the id's bytes, from behind `after` in `partition`."""
        sets = [self._keys.members(segment.tenant, segment.id, number) for number in range(self.partitions)]
        head = self._keys.customer(segment.tenant, "")
        start = "-" if after is None else f"({after}"
        blobs, flat = await self._eval(MEMBERS, [*self.marker_keys, *sets], head, partition, start, limit)
        members = []
        for number, customer_id, row in zip(flat[0::3], flat[1::3], flat[2::3], strict=True):
            # The row is the truth; a set that names someone whose row does not is an older write's leftover.
            shown = None if row is None else decode_shown(row)
            if isinstance(shown, dict) and (found := shown.get(segment.id)) is not None:
                members.append(Member(number, customer_id.decode(), *found))
        return [self._known(blob) for blob in blobs], members

    # ---- Redis

    def _known(self, blob: bytes | None) -> Known | None:
        """Read a marker; the few that are in force are asked for again and again, and read once."""
        if blob is None:
            return None
        known = self._seen.get(blob)
        if known is None:
            if len(self._seen) > 4 * self.partitions:
                self._seen.clear()
            marker = marker_found(blob)
            if marker is None:
                return None
            known = self._seen[blob] = Known(marker, iso(marker.as_of_ms))
        return known

    def _blobs(self, keys: Sequence[str]) -> asyncio.Future[list[bytes | None]]:
        """Ask for fields `m`, together with whoever else asks meanwhile: groups form by themselves, a lone question leaves at once."""
        if len(self._waiting) >= self._settings.api_max_waiting:
            raise unavailable("too many reads wait for Redis")
        answer: asyncio.Future[list[bytes | None]] = asyncio.get_running_loop().create_future()
        self._waiting.append((keys, answer))
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask(), name="reads")
        return answer

    async def _ask(self) -> None:
        asked: list[tuple[Sequence[str], asyncio.Future[list[bytes | None]]]] = []
        try:
            while self._waiting:
                asked = []
                keys: list[str] = []
                while self._waiting and (not asked or len(keys) + len(self._waiting[0][0]) <= _MOST_TOGETHER):
                    asked.append(self._waiting.popleft())
                    keys += asked[-1][0]
                self._metrics.rows_together.observe(len(asked))
                try:
                    found = await self._eval(BLOBS, keys)
                except Refused as error:
                    # Who waits behind them would wait as long again, one batch after the other.
                    _fail([*asked, *self._waiting], error)
                    self._waiting.clear()
                    continue
                at = 0
                for wanted, answer in asked:
                    if not answer.done():  # a client that has gone away has cancelled its question
                        answer.set_result(found[at : at + len(wanted)])
                    at += len(wanted)
        finally:
            self._asking = None
            _fail([*asked, *self._waiting], unavailable("the read was given up"))
            self._waiting.clear()

    async def _eval(self, script: str, keys: Sequence[str], *values: str | int) -> Any:
        try:
            try:
                return await self._run(script, keys, values)
            except RedisConnectionError:
                # Connections that Redis closed while they were idle (a restart, a time limit) say so when used; a new one tells.
                await self._redis.connection_pool.disconnect(inuse_connections=False)
                return await self._run(script, keys, values)
        except _GONE as error:
            self._metrics.redis_failures.inc()
            raise unavailable(f"the projection cannot be read: {type(error).__name__}") from None

    async def _run(self, script: str, keys: Sequence[str], values: Sequence[str | int]) -> Any:
        try:
            return await self._redis.execute_command("EVALSHA", _SHA[script], len(keys), *keys, *values)
        except NoScriptError:
            return await self._redis.execute_command("EVAL", script, len(keys), *keys, *values)


_SHA: Final = {script: sha1(script.encode()).hexdigest() for script in (BLOBS, COUNTS, MEMBERS)}  # noqa: S324 - how Redis names scripts


def _fail(asked: Sequence[tuple[Any, asyncio.Future[Any]]], error: Refused) -> None:
    for _, answer in asked:
        if not answer.done():
            answer.set_exception(error)


class Progress(msgspec.Struct, frozen=True):
    """How far a segment's last definition has come: whether all partitions are past it, and the share of customers that are."""

    live: bool
    share: float


def progress(segment: Segment, markers: Sequence[Known | None]) -> Progress:
    """Return how far the partitions have been swept past a segment's last definition."""
    done = total = 0
    live = True
    for known in markers:
        if known is None:
            live = False
            continue
        marker = known.marker
        total += marker.customers
        if marker.definitions > segment.answers_from:
            done += marker.customers
        else:
            live = False
            if marker.sweep is not None and marker.sweep.offset > segment.answers_from:
                done += min(marker.sweep.done, marker.customers)
    if live:
        return Progress(live=True, share=1.0)
    # Never 1 before it is live: the last digits wait for the last partition.
    return Progress(live=False, share=min(0.999, round(done / total, 3)) if total else 0.0)
