"""Redis goes away, forgets, fills up, goes back or is another one, and no marker vouches for rows that may be missing."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from pathlib import Path

import pytest

from tests.support.projecting import Owner, View, absent, equals, eventually, served, there
from tests.support.stack import LocalValkey


async def test_flushall_is_noticed_and_everything_is_written_anew(tmp_path: Path) -> None:
    """Without its marker nothing is known; the marker comes back only after the last row."""
    async with served(tmp_path, "flush:") as (_, owner, view):
        owner.count(*(str(i) for i in range(5_000)))
        await eventually(lambda: equals(view.offset(), 5_000))
        for _ in range(3):
            await view.redis.flushall()
            await eventually(lambda: there(view))
            assert await view.members("odd") == 5_000


async def test_changes_go_on_while_redis_is_gone_and_after_it_forgot_the_newest(tmp_path: Path) -> None:
    """Nothing is lost while Redis is away, and one that comes back with older data is written anew before it is vouched for."""
    async with served(tmp_path, "gone:") as (valkey, owner, view):
        owner.count(*(str(i) for i in range(2_000)))
        await eventually(lambda: equals(view.offset(), 2_000))
        await asyncio.to_thread(valkey.kill9)
        for _ in range(5):
            owner.count(*(str(i) for i in range(1_000)))
            await asyncio.sleep(0.05)
        assert not owner.projector.reachable
        assert owner.projector.owed(3) <= 3_000
        await asyncio.to_thread(valkey.start)
        await eventually(lambda: equals(view.offset(), 7_000), 20)
        assert (await view.members("odd"), await view.members("even")) == (1_000, 1_000)
        assert owner.projector.reachable


@pytest.mark.parametrize("owned", ["on", "anew"])
async def test_a_server_that_comes_back_as_it_was_lacks_what_came_since(tmp_path: Path, owned: str) -> None:
    """With older data, its owner living on or another taking over: whoever changed since its marker is written, and nobody else."""
    folder, kept = tmp_path / "valkey", tmp_path / "kept"
    async with served(folder, "older:") as (valkey, owner, view):
        owner.count(*(str(i) for i in range(2_000)))
        await eventually(lambda: equals(view.offset(), 2_000))
        await asyncio.to_thread(valkey.kill9)
        shutil.copytree(folder, kept)
        await asyncio.to_thread(valkey.start)
        for _ in range(3):
            owner.count(*(str(i) for i in range(500)))
        await eventually(lambda: equals(view.offset(), 3_500))
        if owned == "anew":
            await owner.projector.stop(1)
        await asyncio.to_thread(valkey.kill9)
        shutil.rmtree(folder)
        shutil.copytree(kept, folder)
        await asyncio.to_thread(valkey.start)
        later = owner
        if owned == "anew":
            await eventually(lambda: equals(view.offset(), 2_000))
            later = owner.successor(valkey.url, "older:")
            await later.projector.start()
        await eventually(lambda: equals(view.offset(), 3_500), 20)
        assert (await view.members("odd"), await view.members("even")) == (1_500, 500)
        assert [await view.row(name) for name in ("1", "499", "500")] == ["even", "even", "odd"]
        assert later.rebuilds == (1 if owned == "on" else 0)
        await later.projector.stop(1)


async def test_a_server_that_restarts_again_before_partitions_are_claimed_is_noticed(tmp_path: Path) -> None:
    """It refuses writes, as one whose disk is full does, and comes back without what it was told meanwhile."""
    async with served(tmp_path, "again:") as (_, owner, view):
        owner.count("1")
        await eventually(lambda: equals(view.offset(), 1))
        await view.redis.config_set("maxmemory", 1)
        await view.redis.script_flush()
        async with asyncio.timeout(10):
            while owner.projector.reachable:
                await asyncio.sleep(0.01)
        await view.redis.script_flush()
        await view.redis.config_set("maxmemory", 0)
        owner.count("1")
        await eventually(lambda: equals(view.offset(), 2))


async def test_a_server_that_drops_rows_when_it_is_full_is_not_relied_on(tmp_path: Path) -> None:
    """While its policy is to, no marker vouches for what it was told; afterwards everything is there, whatever it has dropped meanwhile."""
    async with served(tmp_path, "evicts:") as (_, owner, view):
        owner.count(*(str(i) for i in range(50)))
        await eventually(lambda: equals(view.offset(), 50))
        for policy, most in (("volatile-lru", "1gb"), ("allkeys-lru", "0"), ("allkeys-lru", "1gb")):
            await view.redis.config_set("maxmemory-policy", policy)
            await view.redis.config_set("maxmemory", most)
            if (policy, most) != ("allkeys-lru", "1gb"):
                await view.redis.script_flush()
                owner.count("1")
                await eventually(lambda: equals(view.offset(), owner.core.offsets["t"]))
        await eventually(lambda: absent(view), 20)
        assert not owner.projector.reachable
        assert not owner.projector.complete(3)
        row = view.keys.customer("demo", "demo:7")
        assert await view.redis.delete(row)
        owner.count("2")
        await view.redis.config_set("maxmemory-policy", "noeviction")
        await eventually(lambda: equals(view.offset(), owner.core.offsets["t"]), 20)
        assert await view.redis.exists(row)
        assert owner.projector.complete(3)


async def test_an_address_that_leads_to_another_server(tmp_path: Path) -> None:
    """The one before was made a replica of it, keeps its connections and refuses writes: the next attempt is made over a new one."""
    with LocalValkey(tmp_path / "one") as one, LocalValkey(tmp_path / "another") as another:
        first, second = View(one.url, "moved:"), View(another.url, "moved:")
        to = one

        async def carry(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            while data := await source.read(1 << 16):
                target.write(data)
            target.close()

        async def come(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            back, there = await asyncio.open_connection("127.0.0.1", to.port)
            with contextlib.suppress(OSError):
                await asyncio.gather(carry(reader, there), carry(back, writer))

        server = await asyncio.start_server(come, "127.0.0.1", 0)
        owner = Owner(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0", "moved:")
        await owner.projector.start()
        owner.count("1")
        await eventually(lambda: equals(first.offset(), 1))
        to = another
        await first.redis.replicaof("127.0.0.1", to.port)
        owner.count("1", "2")
        await eventually(lambda: equals(second.offset(), 3), 20)
        await owner.projector.stop(1)
        server.close()
        await first.redis.aclose()
        await second.redis.aclose()


async def test_a_server_that_was_a_replica_of_one_with_older_data(tmp_path: Path) -> None:
    """It lives on all the time, knows our scripts, and has lost the end of what it was told: who changed since then is written again."""
    with LocalValkey(tmp_path / "another") as another:
        async with served(tmp_path / "one", "lineage:") as (one, owner, view):
            older = View(another.url, "lineage:")
            owner.count(*(str(i) for i in range(10)))
            await older.redis.replicaof("127.0.0.1", one.port)
            await eventually(lambda: equals(older.offset(), 10), 20)
            await older.redis.replicaof("NO", "ONE")
            owner.count("1", "2", "3")
            await eventually(lambda: equals(view.offset(), 13))
            await view.redis.replicaof("127.0.0.1", another.port)
            await eventually(lambda: equals(view.offset(), 10), 20)
            await view.redis.replicaof("NO", "ONE")
            await eventually(lambda: equals(view.offset(), 13), 20)
            assert [await view.row(name) for name in ("1", "2", "3", "4")] == ["even", "even", "even", "odd"]
            await older.redis.aclose()
