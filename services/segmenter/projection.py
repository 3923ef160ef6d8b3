"""Keeps Redis in step: the task that pays what the lanes owe.

The completeness marker is written only after every row that it vouches for. Redis may be slow, gone, restarted with older data, or
emptied at any time: commits to Kafka never wait for it, what is owed is bounded by the number of customers, and a marker is never
written over rows that may be missing.

How a loss is noticed: taking a partition over puts a token of this process and a number into the marker's hash, and each call that
writes rows says which it follows and leaves its own; one that does not follow writes nothing, nor does a marker. So FLUSHALL shows, and
rows that were refused. The scripts carry the token in their text and are called by their hash, and a server that restarted (perhaps
from an older file) or gave way to its replica does not know them.

A Redis whose policy lets it drop rows when it is full is not written to, and what it was told is not vouched for: a row that is gone
reads as nobody's, and nothing tells that it was there.

In all these cases, and when a partition is gained, it is claimed anew. The marker that is found then, whosever it was and however old,
vouches for the rows as of its place in the changelog, for Redis has lost the end of what it was told and never anything before:
what was written to the changelog since is owed. Where there is none, everything is.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import math
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError, ResponseError

from schemas.projection import Keys, marker_found
from services.kit import failpoints
from services.kit.background import Background, guarded
from services.segmenter.core import PartitionCore
from services.segmenter.lanes import BATCH_ROWS, Gap, Lane
from services.segmenter.metrics import Metrics
from services.segmenter.projection_scripts import BROKEN, CLAIM, MARK, ROWS, SUPERSEDED
from services.segmenter.settings import SegmenterSettings

log = logging.getLogger(__name__)

_BACKOFF_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0)
_ASK_EVERY_S: Final = 5.0
"""The server is asked what it is so often: somebody may set another policy, or make it a replica and a primary again, while it runs."""

Changed = Callable[[int, int, int], Awaitable[Iterable[bytes] | None]]
"""Reads the keys of a partition's changelog records between two offsets; None when they cannot be read."""


class Evicts(RedisError):
    """A Redis that drops keys which are to be kept, when it is full."""


class Projector:
    """Writes what the lanes owe: one pipeline at a time, for all partitions together."""

    def __init__(self, settings: SegmenterSettings, metrics: Metrics, now_ms: Callable[[], int], token: str, changed: Changed) -> None:
        self._settings, self._metrics, self._now_ms, self._token, self._changed = settings, metrics, now_ms, token, changed
        self._looks: dict[int, asyncio.Task[None]] = {}
        """The last look of each partition at what its rows lack."""
        self._keys = Keys(settings.redis_prefix)
        self._lanes: dict[int, Lane] = {}
        self._wake = asyncio.Event()
        self._writing = Background(log, "projection")
        self._scripts: list[str] = []
        self._asked_s, self._lineage = -math.inf, ""
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

    def open(self, core: PartitionCore, up_to_ms: Callable[[int], int]) -> Lane:
        """Return the lane of a partition that is owned from now on."""
        lane = self._lanes[core.number] = Lane(core, self._keys, self._now_ms, self._wake.set, self.address, up_to_ms)
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
        self._writing.start(self._run)

    async def stop(self, grace_s: float) -> None:
        """Write what is owed, for at most `grace_s`, and end."""
        until = time.monotonic() + grace_s
        while self.reachable and time.monotonic() < until and any(lane.owed and not lane.superseded for lane in self._lanes.values()):
            self._wake.set()
            await asyncio.sleep(0.01)
        await self._writing.stop()  # first, for it begins looks
        for look in self._looks.values():
            look.cancel()
        await asyncio.gather(*self._looks.values(), return_exceptions=True)
        await self._redis.aclose()

    async def _run(self) -> None:
        failures = 0
        heartbeat_s = self._settings.segmenter_heartbeat_ms / 1000
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
                # Its address may lead to another server by now: one that was made a replica keeps connections and refuses writes.
                with contextlib.suppress(RedisError, OSError):
                    await self._redis.connection_pool.disconnect()
                await asyncio.sleep(_BACKOFF_S[min(failures, len(_BACKOFF_S) - 1)])
                failures += 1
                self._wake.set()
            await asyncio.sleep(self._settings.segmenter_projection_pause_ms / 1000)

    async def _flush(self, heartbeat_s: float) -> None:
        if not self._scripts or time.monotonic() - self._asked_s >= _ASK_EVERY_S:
            await self._ask()
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
                pipe.execute_command("EVALSHA", self._scripts[2], 1, lane.marker_key, lane.epoch, *self._calls(lane), marker)
            if len(pipe) > before:
                sent.append((lane, len(pipe) - before, rows, marker is not None))
        if sent:
            failpoints.hit("segmenter.before_projection")
            answers = iter(await pipe.execute(raise_on_error=False))
            failpoints.hit("segmenter.after_projection")
            failed: RedisError | None = None
            for lane, commands, rows, marked in sent:
                try:
                    self._settle(lane, [next(answers) for _ in range(commands)], rows, marked=marked)
                except RedisError as error:
                    failed = failed or error  # of one partition, which is to hold up no other
            if failed is not None:
                raise failed
            self._metrics.projection_seconds.observe(time.perf_counter() - since)
        self.reachable = True

    async def _ask(self) -> None:
        """Make sure that Redis keeps what it is told, and has the data that it had: else what it may lack is written anew."""
        try:
            told = {**await self._redis.info("memory"), **await self._redis.info("replication")}
        except ResponseError as error:
            if not self._scripts:
                log.warning("Redis does not tell of itself (%s): make sure that its maxmemory-policy is noeviction", error)
            told = {}
        policy = str(told.get("maxmemory_policy", "")) if told.get("maxmemory") else ""
        if policy.startswith("allkeys"):
            await self._take_back()
            raise Evicts(f"it drops rows when it is full (maxmemory-policy {policy}), and who has none is in no segment: set it to noeviction")
        lineage = str(told.get("master_replid", ""))
        if self._scripts and lineage != self._lineage:
            # A replica that became the primary, with what it had by then; its scripts may be those of when it was one before.
            self._restarted()
        self._lineage, self._asked_s = lineage, time.monotonic()

    async def _take_back(self) -> None:
        """Have nobody rely on what was written."""
        lanes = [lane for lane in self._lanes.values() if not lane.superseded]
        if lanes:
            await self._redis.delete(*(lane.marker_key for lane in lanes))
        for lane in lanes:
            lane.forget()

    def _add_rows(self, pipe: Any, lane: Lane) -> int:
        for at in range(0, len(lane.rows), BATCH_ROWS):
            batch = lane.rows[at : at + BATCH_ROWS]
            values: list[str | int | bytes] = [lane.epoch, *self._calls(lane), lane.tail]
            for _, head, customer_id, version, memberships in batch:
                values += (head, customer_id, version, memberships)
            keys = [lane.marker_key, *(row[0] for row in batch)]
            pipe.execute_command("EVALSHA", self._scripts[1], len(keys), *keys, *values)
        return len(lane.rows)

    def _calls(self, lane: Lane) -> tuple[str, str]:
        """Name the last call for a lane, and the next, for all time."""
        lane.calls += 1
        return f"{self._token}:{lane.calls - 1}", f"{self._token}:{lane.calls}"

    async def _claim(self, lanes: list[Lane]) -> None:
        for lane in lanes:
            _, this = self._calls(lane)
            answer: Any = await self._redis.evalsha(self._scripts[0], 1, lane.marker_key, str(lane.epoch), this)
            if answer == SUPERSEDED:
                self._supersede(lane)
            else:
                gap = lane.claim(marker_found(answer))
                if gap is None:
                    self._rebuilt(lane)
                else:
                    task = asyncio.create_task(guarded(log, "projection", functools.partial(self._look, lane, gap)), name=f"gap-{lane.number}")
                    if (former := self._looks.get(lane.number)) is not None:
                        former.cancel()  # nobody wants to know any more
                    self._looks[lane.number] = task

    async def _look(self, lane: Lane, gap: Gap) -> None:
        """Find out whose rows Redis may lack; what changes meanwhile is written beside it."""
        changed = await self._changed(lane.number, gap.start, gap.end)
        if lane.owe(gap, changed):
            if changed is None:
                self._rebuilt(lane)
            self._wake.set()

    def _rebuilt(self, lane: Lane) -> None:
        log.info("partition %s: all rows are written anew", lane.number)
        self._metrics.projection_rebuilds.inc()

    def _settle(self, lane: Lane, answers: list[Any], rows: int, *, marked: bool) -> None:
        for answer in answers:
            if isinstance(answer, NoScriptError):
                self._restarted()
                return
            if isinstance(answer, BaseException):
                lane.forget()  # what follows a call that was refused is not carried out
                raise answer
        if SUPERSEDED in answers:
            self._supersede(lane)
            return
        if BROKEN in answers:
            log.warning("partition %s: Redis has lost the claim, or refused rows", lane.number)
            lane.forget()
            self._wake.set()
            return
        lane.paid(rows, marked=marked, now_s=time.monotonic())
        self._metrics.projection_rows.inc(rows)
        if lane.owed or lane.marker is not None or not lane.complete:
            self._wake.set()

    def _restarted(self) -> None:
        if self._scripts:
            log.warning("Redis was restarted: what it may lack is written anew")
        self._scripts = []
        self._wake.set()

    @staticmethod
    def _supersede(lane: Lane) -> None:
        # Kafka will say so to the pump as well, at its next step; until then nothing more is written here.
        log.warning("partition %s: another worker writes its projection", lane.number)
        lane.superseded = True
