"""Keeps Redis in step: what each partition still owes to it, coalesced by customer, and the task that pays.

Rows come from the core as of its last committed step, and the completeness marker is written only after every row that it
vouches for. Redis may be slow, gone, restarted with older data, or emptied at any time: commits to Kafka never wait for it,
what is owed is bounded by the number of customers, and a marker is never written over rows that may be missing.

How a loss is noticed: taking a partition over puts a token of this ownership into the marker's hash, and a marker is accepted
only beside it, so FLUSHALL shows. The scripts carry the token in their text and are called by their hash, and a server that
restarted (perhaps from an older file) or gave way to its replica does not know them. In both cases everything is written anew.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from msgspec.structs import replace
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from schemas.projection import Keys, encode
from services.kit import failpoints
from services.kit.logs import die
from services.segmenter.core import PartitionCore
from services.segmenter.metrics import Metrics
from services.segmenter.projection_scripts import CLAIM, MARK, ROWS, SUPERSEDED
from services.segmenter.settings import SegmenterSettings

log = logging.getLogger(__name__)

_BATCH_ROWS: Final = 200
"""Rows of one script call: a few hundred microseconds during which Redis answers nobody else."""

_BATCHES: Final = 4
_BACKOFF_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0)

Row = tuple[str, str, str, int, bytes]
"""Redis key, head of its member sets' keys, customer id, version, what is shown; empty removes the row."""


class Lane:
    """What one partition owes to Redis. The pump says what it does through `began`, `taken` and `committed`."""

    def __init__(self, core: PartitionCore, keys: Keys, now_ms: Callable[[], int], wake: Callable[[], None], address: str = "") -> None:
        self._core, self._keys, self._now_ms, self._wake, self._address = core, keys, now_ms, wake, address
        self._touched: OrderedDict[bytes, int] = OrderedDict()  # a dict searches all that were taken off its front
        self._seq = 0
        self._rebuild: Iterator[bytes] | None = None
        self._clean = False
        self._settled = False
        self._marked_s = 0.0
        self.number = core.number
        self.marker_key = keys.marker(core.number)
        self.tail = keys.members("", "\0", core.number).partition("\0")[2]
        self.sent: dict[int, int] = {}
        """What the partition has sent to others: the next offset of `customer-moves` for each."""
        self._going: dict[str, bytes] = {}
        self.rows: list[Row] = []
        self.marker: tuple[int, bytes] | None = None
        self.begun = False
        self.claimed = False
        self.superseded = False

    # ---- what the pump says

    def began(self) -> None:
        """The core is changing: until the next commit its marker would vouch for more than Kafka has."""
        self._clean = False

    def taken(self) -> None:
        """A step is on its way: until it is committed no row may be read from the core."""
        self._settled = False

    def committed(self, touched: Iterable[bytes]) -> None:
        """Everything up to now is in Kafka; `touched` are the customers whose rows have changed."""
        self._clean = self._settled = self.begun = True
        for key in touched:
            if key not in self._touched:
                self._seq += 1
                self._touched[key] = self._seq
        self.collect()
        self._vouch()
        if self.rows or self.marker or not self.claimed:
            self._wake()

    # ---- what the projector does

    @property
    def epoch(self) -> int:
        """The number of this ownership."""
        return self._core.epoch

    @property
    def owed(self) -> int:
        """How many rows are known to be older than Kafka (those still to be listed by a rebuild not counted)."""
        return len(self._touched) + len(self.rows)

    @property
    def complete(self) -> bool:
        """Whether all rows have been handed out since the partition was claimed."""
        return self.claimed and self._rebuild is None

    def claim(self) -> None:
        """Begin to write all rows, for it is not known what Redis holds."""
        self.claimed = True
        self.marker = None
        self._rebuild = iter(self._core.keys())

    def forget(self) -> None:
        """Redis has lost something: everything must be claimed and written anew."""
        self.claimed = False
        self.marker = None
        self._rebuild = None

    def collect(self) -> None:
        """Gather rows, live changes first, as long as no step is on its way and the last ones were written."""
        if not (self._settled and self.claimed):
            return
        room = _BATCH_ROWS * _BATCHES - len(self.rows)
        # A quarter is kept for the rebuild, which would otherwise never end under a steady stream of changes.
        live = min(len(self._touched), room if self._rebuild is None else room - room // 4)
        for _ in range(live):
            self.rows.append(self._row(self._touched.popitem(last=False)[0]))
        if self._rebuild is not None:
            listed = list(itertools.islice(self._rebuild, max(0, room - live)))
            self.rows.extend(map(self._row, listed))
            if len(listed) < room - live:
                self._rebuild = None
                self._vouch()

    def heartbeat(self, now_s: float, every_s: float) -> None:
        """Renew the marker of a partition in which nothing happens."""
        if now_s - self._marked_s >= every_s:
            self._vouch()

    def markable(self) -> bytes | None:
        """Return the marker when the rows gathered so far, once written, complete what it vouches for."""
        if self.marker is None or not self.complete:
            return None
        oldest = next(iter(self._touched.values()), None)
        return None if oldest is not None and oldest <= self.marker[0] else self.marker[1]

    def paid(self, rows: int, *, marked: bool, now_s: float) -> None:
        """The first `rows` rows, and the marker when `marked`, are in Redis."""
        paid = [row[0] for row in self.rows[:rows] if not row[4]]
        del self.rows[:rows]
        if paid:
            self._gone(paid)
        if marked:
            self.marker = None
            self._marked_s = now_s

    def _gone(self, paid: list[str]) -> None:
        """Tell the core which ids Redis shows no more, but of those that have changed since."""
        later = {row[0] for row in self.rows}
        for row_key in paid:
            if row_key not in later and (key := self._going.pop(row_key, None)) is not None and key not in self._touched:
                self._core.removed(key)

    def _vouch(self) -> None:
        # A marker on its way is kept: it may be waiting for rows, and replacing it for ever would never let one through.
        if self._clean and self.complete and self.marker is None:
            marker = replace(self._core.marker(self._now_ms()), address=self._address, sent=self.sent)
            self.marker = (self._seq, encode(marker))

    def _row(self, key: bytes) -> Row:
        tenant, customer_id, version, shown = self._core.projected(key)
        head = self._keys.members(tenant, "\0", self.number).partition("\0")[0]
        row_key = self._keys.customer(tenant, customer_id)
        if not shown:
            self._going[row_key] = key
        return row_key, head, customer_id, version, shown


class Projector:
    """Writes what the lanes owe: one pipeline at a time, for all partitions together."""

    def __init__(self, settings: SegmenterSettings, metrics: Metrics, now_ms: Callable[[], int], token: str) -> None:
        self._settings, self._metrics, self._now_ms, self._token = settings, metrics, now_ms, token
        self._keys = Keys(settings.redis_prefix)
        self._lanes: dict[int, Lane] = {}
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._scripts: list[str] = []
        self._redis: Redis = Redis.from_url(
            settings.redis_url,
            **settings.redis_options(),
            socket_timeout=settings.segmenter_redis_timeout_s,
            socket_connect_timeout=min(3.0, settings.segmenter_redis_timeout_s),
            max_connections=2,
            retry=Retry(NoBackoff(), 0),  # we try again ourselves, after looking at what is left
        )
        self.reachable = False
        self.address = ""
        """Where this worker answers questions, for the markers of partitions that are opened from now on."""

    def open(self, core: PartitionCore) -> Lane:
        """Return the lane of a partition that is owned from now on."""
        lane = self._lanes[core.number] = Lane(core, self._keys, self._now_ms, self._wake.set, self.address)
        return lane

    def close(self, number: int) -> None:
        """Owe nothing for a partition any more."""
        self._lanes.pop(number, None)

    def owed(self, number: int) -> int:
        """Return how many rows of a partition are older than Kafka."""
        lane = self._lanes.get(number)
        return lane.owed if lane else 0

    def complete(self, number: int) -> bool:
        """Return whether all rows of a partition have been written since it is owned."""
        lane = self._lanes.get(number)
        return lane is not None and lane.complete and self.reachable

    async def start(self) -> None:
        """Begin to write. Redis need not be there yet."""
        self._task = asyncio.create_task(self._run(), name="projector")

    async def stop(self, grace_s: float) -> None:
        """Write what is owed, for at most `grace_s`, and end."""
        until = time.monotonic() + grace_s
        while self.reachable and time.monotonic() < until and any(lane.owed and not lane.superseded for lane in self._lanes.values()):
            self._wake.set()
            await asyncio.sleep(0.01)
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._redis.aclose()

    async def _run(self) -> None:
        failures = 0
        heartbeat_s = self._settings.segmenter_heartbeat_ms / 1000
        try:
            while True:
                timer = asyncio.get_running_loop().call_later(heartbeat_s, self._wake.set)
                await self._wake.wait()
                timer.cancel()
                self._wake.clear()
                try:
                    await self._flush(heartbeat_s)
                    failures = 0
                except NoScriptError:
                    self._restarted()
                except (RedisError, OSError, TimeoutError) as error:
                    self.reachable = False
                    self._metrics.projection_failures.inc()
                    if failures == 0 or failures % 30 == 0:
                        log.warning("Redis: %s; trying on", error)
                    await asyncio.sleep(_BACKOFF_S[min(failures, len(_BACKOFF_S) - 1)])
                    failures += 1
                    self._wake.set()
                await asyncio.sleep(self._settings.segmenter_projection_pause_ms / 1000)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - a programmer's error: better to start again than to go stale in silence
            die(log, f"projection: {error!r}")

    async def _flush(self, heartbeat_s: float) -> None:
        if not self._scripts:
            self._scripts = [await self._redis.script_load(f"-- {self._token}\n{text}") for text in (CLAIM, ROWS, MARK)]
            for lane in self._lanes.values():
                lane.forget()
        elif not self._lanes:
            await self._redis.ping()
        lanes = [lane for lane in self._lanes.values() if not lane.superseded]
        await self._claim([lane for lane in lanes if lane.begun and not lane.claimed])
        since = time.perf_counter()
        pipe = self._redis.pipeline(transaction=False)
        sent: list[tuple[Lane, int, int, bool]] = []
        for lane in lanes:
            lane.collect()
            lane.heartbeat(time.monotonic(), heartbeat_s)
            before = len(pipe)
            rows = self._add_rows(pipe, lane)
            marker = lane.markable()
            if marker is not None:
                pipe.execute_command("EVALSHA", self._scripts[2], 1, lane.marker_key, lane.epoch, self._token, marker)
            if len(pipe) > before:
                sent.append((lane, len(pipe) - before, rows, marker is not None))
        if sent:
            failpoints.hit("segmenter.before_projection")
            answers = iter(await pipe.execute(raise_on_error=False))
            failpoints.hit("segmenter.after_projection")
            for lane, commands, rows, marked in sent:
                self._settle(lane, [next(answers) for _ in range(commands)], rows, marked=marked)
            self._metrics.projection_seconds.observe(time.perf_counter() - since)
        self.reachable = True

    def _add_rows(self, pipe: Any, lane: Lane) -> int:
        for at in range(0, len(lane.rows), _BATCH_ROWS):
            batch = lane.rows[at : at + _BATCH_ROWS]
            values: list[str | int | bytes] = [lane.epoch, lane.tail]
            for _, head, customer_id, version, memberships in batch:
                values += (head, customer_id, version, memberships)
            keys = [lane.marker_key, *(row[0] for row in batch)]
            pipe.execute_command("EVALSHA", self._scripts[1], len(keys), *keys, *values)
        return len(lane.rows)

    async def _claim(self, lanes: list[Lane]) -> None:
        for lane in lanes:
            answer: Any = await self._redis.evalsha(self._scripts[0], 1, lane.marker_key, str(lane.epoch), self._token)
            if answer == SUPERSEDED:
                self._supersede(lane)
            else:
                lane.claim()
                self._metrics.projection_rebuilds.inc()

    def _settle(self, lane: Lane, answers: list[Any], rows: int, *, marked: bool) -> None:
        for answer in answers:
            if isinstance(answer, NoScriptError):
                self._restarted()
                return
            if isinstance(answer, BaseException):
                raise answer
        if SUPERSEDED in answers:
            self._supersede(lane)
            return
        lost = marked and answers[-1] == 0
        lane.paid(rows, marked=marked and not lost, now_s=time.monotonic())
        self._metrics.projection_rows.inc(rows)
        if lost:
            log.warning("partition %s: Redis has lost its marker: all rows are written anew", lane.number)
            lane.forget()
        if lost or lane.owed or not lane.complete:
            self._wake.set()

    def _restarted(self) -> None:
        if self._scripts:
            log.warning("Redis was restarted: all rows are written anew")
        self._scripts = []
        self._wake.set()

    @staticmethod
    def _supersede(lane: Lane) -> None:
        # Kafka will say so to the pump as well, at its next step; until then nothing more is written here.
        log.warning("partition %s: another worker writes its projection", lane.number)
        lane.superseded = True
