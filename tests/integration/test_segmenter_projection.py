"""Redis follows the partitions through everything that can happen to it, and never vouches for rows that may be missing."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis
from redis.exceptions import RedisError

from schemas.projection import FORM, Keys, Marker, decode_memberships, decode_shown, encode, marker_found
from services.kit.clock import now_ms
from services.segmenter.lanes import Lane
from services.segmenter.metrics import Metrics
from services.segmenter.projection import Projector
from services.segmenter.projection_scripts import ROWS
from services.segmenter.settings import SegmenterSettings
from services.segmenter.steps import Written
from tests.support.counting import CountingPartition
from tests.support.stack import LocalValkey

_prefixes = (f"proj{time.time_ns()}-{number}:" for number in itertools.count())


class Record:
    """A record of one key."""

    def __init__(self, offset: int, key: bytes) -> None:
        self.offset = offset
        self.key: bytes | None = key
        self.value: bytes | None = b"x"


class Changelog:
    """The changelog of a partition, which outlives its owners: the key of each record. `held`: how often it was asked, and what."""

    def __init__(self) -> None:
        self.keys: list[bytes] = []
        self.asked: list[tuple[int, int]] = []
        self.answers = asyncio.Event()
        self.answers.set()
        self.readable = True

    async def changed(self, _: int, start: int, end: int) -> set[bytes] | None:
        """Return the keys of some records."""
        self.asked.append((start, end))
        await self.answers.wait()
        return set(self.keys[start:end]) if self.readable else None


class Owner:
    """A counting partition with its lane, whose steps are committed by saying so."""

    def __init__(self, url: str, prefix: str, epoch: int = 1, core: CountingPartition | None = None, log: Changelog | None = None) -> None:
        self.core, self.log = core or CountingPartition(3), log or Changelog()
        self.core.epoch = epoch - 1
        settings = SegmenterSettings.model_validate({"redis_url": url, "redis_prefix": prefix})
        self.metrics = Metrics(CollectorRegistry())
        self.projector = Projector(settings, self.metrics, now_ms, f"token{epoch}", self.log.changed)
        self.core.ready(now_ms())
        self.lane: Lane = self.projector.open(self.core)
        self.commit()

    def successor(self, url: str, prefix: str) -> Owner:
        """Return the next owner of the partition, who knows all that was committed."""
        core = CountingPartition(3)
        core.counts.update(self.core.counts)
        core.offsets.update(self.core.offsets)
        return Owner(url, prefix, self.core.epoch + 1, core, self.log)

    @property
    def rebuilds(self) -> int:
        """How often all rows were written."""
        return int(self.metrics.projection_rebuilds._value.get())

    def count(self, *keys: str) -> None:
        """Apply one record for each key and commit."""
        offset = self.core.offsets.get("t", 0)
        self.lane.began()
        self.core.apply("t", [Record(offset + i, f"demo:{key}".encode()) for i, key in enumerate(keys)], now_ms())
        self.commit()

    def commit(self) -> None:
        """Take a step and say that it is in Kafka."""
        step = self.core.take()
        assert step is not None
        self.lane.taken()
        self.log.keys += step.rows
        self.lane.written(Written(len(self.log.keys), {}))
        self.lane.committed(step.touched)


class View:
    """What a reader finds in Redis."""

    def __init__(self, url: str, prefix: str) -> None:
        self.redis: Redis = Redis.from_url(url)
        self.keys = Keys(prefix)

    async def marker(self) -> Marker | None:
        """Return the marker of the partition."""
        blob: Any = await self.redis.hget(self.keys.marker(3), "m")
        return marker_found(blob)

    async def offset(self) -> int:
        """Return how many records the marker vouches for, -1 without a marker."""
        marker = await self.marker()
        return -1 if marker is None else marker.offsets.get("t", 0)

    async def epoch(self, customer: str) -> int:
        """Return whose row of a customer this is."""
        return int(await self.redis.hget(self.keys.customer("demo", f"demo:{customer}"), "e") or -1)

    async def row(self, customer: str) -> str:
        """Return the segments of a customer."""
        blob: Any = await self.redis.hget(self.keys.customer("demo", f"demo:{customer}"), "m")
        return "" if blob is None else ",".join(decode_memberships(blob))

    async def members(self, segment: str) -> int:
        """Return the size of a segment."""
        return int(await self.redis.zcard(self.keys.members("demo", segment, 3)))


async def eventually(holds: Callable[[], Awaitable[bool]], timeout_s: float = 10) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(timeout_s):
        while True:
            with contextlib.suppress(RedisError):  # a server that a test has killed
                if await holds():
                    return
            await asyncio.sleep(0.01)


@pytest.fixture
async def view(valkey_url: str) -> AsyncIterator[View]:
    """Give a reader of keys of its own."""
    found = View(valkey_url, next(_prefixes))
    yield found
    await found.redis.aclose()


@pytest.fixture
async def owner(valkey_url: str, view: View) -> AsyncIterator[Owner]:
    """Give the owner of a partition, writing."""
    made = Owner(valkey_url, view.keys.prefix)
    await made.projector.start()
    yield made
    await made.projector.stop(1)


async def test_row_and_sets_change_together_and_the_marker_follows(owner: Owner, view: View) -> None:
    """A customer leaves the old set and enters the new one; the marker's offsets never run ahead of the rows."""
    owner.count(*(str(i) for i in range(1_000)))
    await eventually(lambda: _is(view.offset(), 1_000))
    assert (await view.members("odd"), await view.members("even")) == (1_000, 0)
    owner.count("1", "2", "3")
    await eventually(lambda: _is(view.offset(), 1_003))
    assert (await view.members("odd"), await view.members("even")) == (997, 3)
    assert await view.row("2") == "even"


async def test_the_marker_is_renewed_while_nothing_happens(owner: Owner, view: View) -> None:
    """An idle partition still says, several times a second, that nothing has happened."""
    owner.count("1")
    await eventually(lambda: _is(view.offset(), 1))
    for _ in range(4):
        await asyncio.sleep(0.5)
        marker = await view.marker()
        assert marker is not None
        assert now_ms() - marker.as_of_ms < 600


async def test_a_former_owner_changes_nothing(owner: Owner, view: View, valkey_url: str) -> None:
    """After a later owner has claimed the partition, neither rows nor the marker follow the former one."""
    owner.count("1")
    await eventually(lambda: _is(view.offset(), 1))
    later = owner.successor(valkey_url, view.keys.prefix)
    await later.projector.start()
    await eventually(lambda: _epoch(view, 2))
    owner.count("1", "2")
    await asyncio.sleep(0.5)
    assert await view.row("1") == "odd"
    assert await view.row("2") == ""
    assert await _epoch(view, 2)
    later.count("1")
    await eventually(lambda: _row(view, "1", "even"))
    await later.projector.stop(1)


async def test_the_later_version_of_a_row_stays(view: View) -> None:
    """Of one owner's rows the greater version wins, of two owners' the later owner's, in whatever order they are written."""
    row, marker = view.keys.customer("demo", "demo:1"), view.keys.marker(3)

    async def write(epoch: int, version: int, segment: str) -> str:
        await view.redis.eval(ROWS, 2, marker, row, epoch, ":3", view.keys.prefix + "m:demo:", "demo:1", version, encode({segment: (1, 2)}))
        return await view.row("1")

    assert await write(1, 2, "odd") == "odd"
    assert await write(1, 1, "even") == "odd"
    assert await write(1, 2, "even") == "odd"
    assert await write(2, 1, "even") == "even"
    assert await write(1, 3, "odd") == "even"
    assert (await view.members("odd"), await view.members("even")) == (0, 1)


async def test_a_new_owner_writes_what_the_marker_does_not_vouch_for_and_nothing_else(owner: Owner, view: View, valkey_url: str) -> None:
    """Rows that came after its predecessor's marker are right once its own is there; all others are as their writer left them."""
    names = [str(i) for i in range(500)]
    owner.count(*names)
    await eventually(lambda: _is(view.offset(), 500))
    await owner.projector.stop(1)
    owner.count("7", "new")
    owner.count("8")
    later = owner.successor(valkey_url, view.keys.prefix)
    assert await view.offset() == 500  # a gain does not take away what was known
    await later.projector.start()
    await eventually(lambda: _epoch(view, 2))
    assert await view.offset() == 503
    assert [await view.row(name) for name in ("6", "7", "8", "new")] == ["odd", "even", "even", "odd"]
    assert (await view.members("odd"), await view.members("even")) == (499, 2)
    assert {name for name in [*names, "new"] if await view.epoch(name) == 2} == {"7", "8", "new"}
    assert later.rebuilds == 0
    await later.projector.stop(1)


async def test_whoever_takes_over_from_one_who_never_vouched_begins_at_the_same_marker(owner: Owner, view: View, valkey_url: str) -> None:
    """An owner that ends between its claim and its marker leaves the older one, and what that does not vouch for is written again."""
    owner.count(*(str(i) for i in range(500)))
    await eventually(lambda: _is(view.offset(), 500))
    await owner.projector.stop(1)
    owner.count("7")
    second = owner.successor(valkey_url, view.keys.prefix)
    owner.log.answers.clear()
    await second.projector.start()
    second.count("8")
    await eventually(lambda: _row(view, "8", "even"))  # live changes do not wait for what was there before
    assert (await view.row("7"), await view.offset()) == ("odd", 500)
    await second.projector.stop(0)
    owner.log.answers.set()
    third = second.successor(valkey_url, view.keys.prefix)
    third.count("10")
    await third.projector.start()
    await eventually(lambda: _epoch(view, 3))
    assert [await view.row(name) for name in ("7", "8", "10")] == ["even"] * 3
    assert owner.log.asked[0][0] == owner.log.asked[1][0] < owner.log.asked[0][1] < owner.log.asked[1][1]
    assert third.rebuilds == 0
    await third.projector.stop(1)


@pytest.mark.parametrize("lacks", ["marker", "place", "form", "changelog", "records"])
async def test_everything_is_written_where_nothing_vouches_for_it(owner: Owner, view: View, valkey_url: str, lacks: str) -> None:
    """No marker, one that says no place or another form, one from beyond the changelog's end, or a changelog that cannot be read."""
    owner.count(*(str(i) for i in range(500)))
    await eventually(lambda: _is(view.offset(), 500))
    await owner.projector.stop(1)
    keys, marker = view.keys, await view.marker()
    assert marker is not None
    assert marker.changelog == len(owner.log.keys)
    owner.log.readable = lacks != "records"
    told = {"place": {"changelog": 0}, "form": {"form": FORM - 1}, "changelog": {"changelog": 1 << 40}}.get(lacks, {})
    await view.redis.hset(keys.marker(3), "m", encode(replace(marker, **told)))
    if lacks == "marker":
        await view.redis.delete(keys.marker(3))
    await view.redis.zrem(keys.members("demo", "odd", 3), "demo:7")
    await view.redis.delete(keys.customer("demo", "demo:8"))
    later = owner.successor(valkey_url, keys.prefix)
    await later.projector.start()
    await eventually(lambda: _epoch(view, 2))
    assert await view.members("odd") == 500
    assert [await view.row(name) for name in ("7", "8")] == ["odd", "odd"]
    assert later.rebuilds == 1
    await later.projector.stop(1)


async def test_a_marker_does_not_pass_over_rows_that_were_refused(owner: Owner, view: View) -> None:
    """Rows that Redis does not take keep the marker where it was, though it is in the same pipeline; once they are taken it follows."""
    owner.count("1")
    await eventually(lambda: _is(view.offset(), 1))
    row = view.keys.customer("demo", "demo:2")
    await view.redis.set(row, "in the way")
    owner.count("1", "2")
    refused = owner.metrics.projection_failures._value
    async with asyncio.timeout(10):
        while refused.get() < 3:
            assert await view.offset() == 1
            await asyncio.sleep(0.01)
    await view.redis.delete(row)
    await eventually(lambda: _is(view.offset(), 3))
    assert [await view.row(name) for name in ("1", "2")] == ["even", "odd"]


async def test_flushall_is_noticed_and_everything_is_written_anew(tmp_path: Path) -> None:
    """Without its marker nothing is known; the marker comes back only after the last row."""
    with LocalValkey(tmp_path) as valkey:
        owner, view = Owner(valkey.url, "flush:"), View(valkey.url, "flush:")
        await owner.projector.start()
        owner.count(*(str(i) for i in range(5_000)))
        await eventually(lambda: _is(view.offset(), 5_000))
        for _ in range(3):
            await view.redis.flushall()
            await eventually(lambda: _there(view))
            assert await view.members("odd") == 5_000
        await owner.projector.stop(1)
        await view.redis.aclose()


async def test_changes_go_on_while_redis_is_gone_and_after_it_forgot_the_newest(tmp_path: Path) -> None:
    """Nothing is lost while Redis is away, and one that comes back with older data is written anew before it is vouched for."""
    with LocalValkey(tmp_path) as valkey:
        owner, view = Owner(valkey.url, "gone:"), View(valkey.url, "gone:")
        await owner.projector.start()
        owner.count(*(str(i) for i in range(2_000)))
        await eventually(lambda: _is(view.offset(), 2_000))
        await asyncio.to_thread(valkey.kill9)
        for _ in range(5):
            owner.count(*(str(i) for i in range(1_000)))
            await asyncio.sleep(0.05)
        assert not owner.projector.reachable
        assert owner.projector.owed(3) <= 3_000
        await asyncio.to_thread(valkey.start)
        await eventually(lambda: _is(view.offset(), 7_000), 20)
        assert (await view.members("odd"), await view.members("even")) == (1_000, 1_000)
        assert owner.projector.reachable
        await owner.projector.stop(1)
        await view.redis.aclose()


@pytest.mark.parametrize("owned", ["on", "anew"])
async def test_a_server_that_comes_back_as_it_was_lacks_what_came_since(tmp_path: Path, owned: str) -> None:
    """With older data, its owner living on or another taking over: whoever changed since its marker is written, and nobody else."""
    folder, kept = tmp_path / "valkey", tmp_path / "kept"
    with LocalValkey(folder) as valkey:
        owner, view = Owner(valkey.url, "older:"), View(valkey.url, "older:")
        await owner.projector.start()
        owner.count(*(str(i) for i in range(2_000)))
        await eventually(lambda: _is(view.offset(), 2_000))
        await asyncio.to_thread(valkey.kill9)
        shutil.copytree(folder, kept)
        await asyncio.to_thread(valkey.start)
        for _ in range(3):
            owner.count(*(str(i) for i in range(500)))
        await eventually(lambda: _is(view.offset(), 3_500))
        if owned == "anew":
            await owner.projector.stop(1)
        await asyncio.to_thread(valkey.kill9)
        shutil.rmtree(folder)
        shutil.copytree(kept, folder)
        await asyncio.to_thread(valkey.start)
        later = owner
        if owned == "anew":
            await eventually(lambda: _is(view.offset(), 2_000))
            later = owner.successor(valkey.url, "older:")
            await later.projector.start()
        await eventually(lambda: _is(view.offset(), 3_500), 20)
        assert (await view.members("odd"), await view.members("even")) == (1_500, 500)
        assert [await view.row(name) for name in ("1", "499", "500")] == ["even", "even", "odd"]
        assert later.rebuilds == (1 if owned == "on" else 0)
        await later.projector.stop(1)
        await view.redis.aclose()


async def test_a_server_that_restarts_again_before_partitions_are_claimed_is_noticed(tmp_path: Path) -> None:
    """It refuses writes, as one whose disk is full does, and comes back without what it was told meanwhile."""
    with LocalValkey(tmp_path) as valkey:
        owner, view = Owner(valkey.url, "again:"), View(valkey.url, "again:")
        await owner.projector.start()
        owner.count("1")
        await eventually(lambda: _is(view.offset(), 1))
        await view.redis.config_set("maxmemory", 1)
        await view.redis.script_flush()
        async with asyncio.timeout(10):
            while owner.projector.reachable:
                await asyncio.sleep(0.01)
        await view.redis.script_flush()
        await view.redis.config_set("maxmemory", 0)
        owner.count("1")
        await eventually(lambda: _is(view.offset(), 2))
        await owner.projector.stop(1)
        await view.redis.aclose()


async def test_a_server_that_drops_rows_when_it_is_full_is_not_relied_on(tmp_path: Path) -> None:
    """While its policy is to, no marker vouches for what it was told; afterwards everything is there, whatever it has dropped meanwhile."""
    with LocalValkey(tmp_path) as valkey:
        owner, view = Owner(valkey.url, "evicts:"), View(valkey.url, "evicts:")
        await owner.projector.start()
        owner.count(*(str(i) for i in range(50)))
        await eventually(lambda: _is(view.offset(), 50))
        for policy, most in (("volatile-lru", "1gb"), ("allkeys-lru", "0"), ("allkeys-lru", "1gb")):
            await view.redis.config_set("maxmemory-policy", policy)
            await view.redis.config_set("maxmemory", most)
            if (policy, most) != ("allkeys-lru", "1gb"):
                await view.redis.script_flush()
                owner.count("1")
                await eventually(lambda: _is(view.offset(), owner.core.offsets["t"]))
        await eventually(lambda: _absent(view), 20)
        assert not owner.projector.reachable
        assert not owner.projector.complete(3)
        row = view.keys.customer("demo", "demo:7")
        assert await view.redis.delete(row)
        owner.count("2")
        await view.redis.config_set("maxmemory-policy", "noeviction")
        await eventually(lambda: _is(view.offset(), owner.core.offsets["t"]), 20)
        assert await view.redis.exists(row)
        assert owner.projector.complete(3)
        await owner.projector.stop(1)
        await view.redis.aclose()


async def test_an_address_that_leads_to_another_server(tmp_path: Path) -> None:
    """The one before was made a replica of it, keeps its connections and refuses writes: the next attempt is made over a new one."""
    with LocalValkey(tmp_path / "one") as one, LocalValkey(tmp_path / "another") as another:
        first, second = View(one.url, "moved:"), View(another.url, "moved:")
        to = {"port": int(one.url.rsplit(":", 1)[1].partition("/")[0])}

        async def carry(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            while data := await source.read(1 << 16):
                target.write(data)
            target.close()

        async def come(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            back, there = await asyncio.open_connection("127.0.0.1", to["port"])
            with contextlib.suppress(OSError):
                await asyncio.gather(carry(reader, there), carry(back, writer))

        server = await asyncio.start_server(come, "127.0.0.1", 0)
        owner = Owner(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0", "moved:")
        await owner.projector.start()
        owner.count("1")
        await eventually(lambda: _is(first.offset(), 1))
        to["port"] = int(another.url.rsplit(":", 1)[1].partition("/")[0])
        await first.redis.replicaof("127.0.0.1", to["port"])
        owner.count("1", "2")
        await eventually(lambda: _is(second.offset(), 3), 20)
        await owner.projector.stop(1)
        server.close()
        await first.redis.aclose()
        await second.redis.aclose()


async def test_a_server_that_was_a_replica_of_one_with_older_data(tmp_path: Path) -> None:
    """It lives on all the time, knows our scripts, and has lost the end of what it was told: who changed since then is written again."""
    with LocalValkey(tmp_path / "one") as one, LocalValkey(tmp_path / "another") as another:
        owner, view, older = Owner(one.url, "lineage:"), View(one.url, "lineage:"), View(another.url, "lineage:")
        port = {server: int(server.url.rsplit(":", 1)[1].partition("/")[0]) for server in (one, another)}
        await owner.projector.start()
        owner.count(*(str(i) for i in range(10)))
        await older.redis.replicaof("127.0.0.1", port[one])
        await eventually(lambda: _is(older.offset(), 10), 20)
        await older.redis.replicaof("NO", "ONE")
        owner.count("1", "2", "3")
        await eventually(lambda: _is(view.offset(), 13))
        await view.redis.replicaof("127.0.0.1", port[another])
        await eventually(lambda: _is(view.offset(), 10), 20)
        await view.redis.replicaof("NO", "ONE")
        await eventually(lambda: _is(view.offset(), 13), 20)
        assert [await view.row(name) for name in ("1", "2", "3", "4")] == ["even", "even", "even", "odd"]
        await owner.projector.stop(1)
        await view.redis.aclose()
        await older.redis.aclose()


async def test_a_marker_that_cannot_be_read_is_none(owner: Owner, view: View, valkey_url: str) -> None:
    """Of another version, or written by hand: everything is written, as where there is none."""
    owner.count("1", "2")
    await eventually(lambda: _is(view.offset(), 2))
    await owner.projector.stop(1)
    await view.redis.hset(view.keys.marker(3), "m", b"of another version")
    later = owner.successor(valkey_url, view.keys.prefix)
    await later.projector.start()
    await eventually(lambda: _is(view.offset(), 2))
    assert later.rebuilds == 1
    await later.projector.stop(1)


async def _there(view: View) -> bool:
    return await view.marker() is not None


async def _absent(view: View) -> bool:
    return not await _there(view)


class Forgetful(CountingPartition):
    """A counting partition in which some ids are gone, and some mean another."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.blobs: dict[bytes, bytes] = {}
        self.confirmed: list[bytes] = []

    def projected(self, key: bytes) -> tuple[str, str, int, bytes]:
        """Return what a test says of a key, else what the count is."""
        tenant, customer, version, shown = super().projected(key)
        return tenant, customer, version, self.blobs.get(key, shown)

    def removed(self, key: bytes) -> None:
        """Take notice."""
        self.confirmed.append(key)


async def test_ids_that_are_gone_or_mean_another(owner: Owner, view: View, valkey_url: str) -> None:
    """A later owner removes a row that its predecessor left, takes both out of the sets, and hears that it is done."""
    owner.count(*(str(i) for i in range(10)))
    await eventually(lambda: _is(view.offset(), 10))
    core, gone, merged = Forgetful(3), b"demo:3", b"demo:4"
    core.counts.update(owner.core.counts)
    core.blobs = {gone: b"", merged: encode("demo:5")}
    owner.log.keys += [b"r" + gone, b"r" + merged]
    later = Owner(valkey_url, view.keys.prefix, 2, core, owner.log)
    await later.projector.start()
    await eventually(lambda: _epoch(view, 2))
    assert await view.members("odd") == 8
    assert not await view.redis.exists(view.keys.customer("demo", "demo:3"))
    blob: Any = await view.redis.hget(view.keys.customer("demo", "demo:4"), "m")
    assert decode_shown(blob) == "demo:5"
    assert core.confirmed == [gone]
    await later.projector.stop(1)


async def _is(found: Awaitable[int], wanted: int) -> bool:
    return await found == wanted


async def _epoch(view: View, epoch: int) -> bool:
    marker = await view.marker()
    return marker is not None and marker.epoch == epoch


async def _row(view: View, customer: str, wanted: str) -> bool:
    return await view.row(customer) == wanted
