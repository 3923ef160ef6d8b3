"""Redis follows a partition through its owners and steps, and no marker vouches for rows that may be missing."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec.structs import replace
from redis.exceptions import ResponseError

from schemas.projection import FORM, decode_shown, encode
from services.kit.clock import now_ms
from services.segmenter.lanes import BATCH_ROWS
from services.segmenter.projection_scripts import BROKEN, ROWS
from tests.support.counting import CountingPartition
from tests.support.projecting import Owner, View, equals, eventually

_prefixes = (f"proj{time.time_ns()}-{number}:" for number in itertools.count())


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
    await eventually(lambda: equals(view.offset(), 1_000))
    assert (await view.members("odd"), await view.members("even")) == (1_000, 0)
    owner.count("1", "2", "3")
    await eventually(lambda: equals(view.offset(), 1_003))
    assert (await view.members("odd"), await view.members("even")) == (997, 3)
    assert await view.row("2") == "even"


async def test_the_marker_is_renewed_while_nothing_happens(owner: Owner, view: View) -> None:
    """An idle partition still says, several times a second, that nothing has happened."""
    owner.count("1")
    await eventually(lambda: equals(view.offset(), 1))
    for _ in range(4):
        await asyncio.sleep(0.5)
        marker = await view.marker()
        assert marker is not None
        assert now_ms() - marker.as_of_ms < 600


async def test_a_former_owner_changes_nothing(owner: Owner, view: View, valkey_url: str) -> None:
    """After a later owner has claimed the partition, neither rows nor the marker follow the former one."""
    owner.count("1")
    await eventually(lambda: equals(view.offset(), 1))
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
        await view.redis.hset(marker, "b", "call 1")
        head, shown = view.keys.prefix + "m:demo:", encode({segment: (1, 2)})
        await view.redis.eval(ROWS, 2, marker, row, epoch, "call 1", "call 2", ":3", head, "demo:1", version, shown)
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
    await eventually(lambda: equals(view.offset(), 500))
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
    await eventually(lambda: equals(view.offset(), 500))
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
    await eventually(lambda: equals(view.offset(), 500))
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
    await eventually(lambda: equals(view.offset(), 1))
    row = view.keys.customer("demo", "demo:2")
    await view.redis.set(row, "in the way")
    owner.count("1", "2")
    refused = owner.metrics.projection_failures._value
    async with asyncio.timeout(10):
        while refused.get() < 3:
            assert await view.offset() == 1
            await asyncio.sleep(0.01)
    await view.redis.delete(row)
    await eventually(lambda: equals(view.offset(), 3))
    assert [await view.row(name) for name in ("1", "2")] == ["even", "odd"]


class Busy:
    """A pipeline of which the server refuses the first call, without running it, and runs the others."""

    def __init__(self, pipe: Any) -> None:
        self._pipe, self._calls = pipe, list[tuple[Any, ...]]()

    def __len__(self) -> int:
        return len(self._calls)

    def execute_command(self, *call: Any) -> None:
        """Keep a call."""
        self._calls.append(call)

    async def execute(self, *, raise_on_error: bool) -> list[Any]:
        """Send what is kept but the first."""
        for call in self._calls[1:]:
            self._pipe.execute_command(*call)
        return [ResponseError("BUSY a script is running"), *await self._pipe.execute(raise_on_error=raise_on_error)]


async def test_nor_over_rows_that_were_refused_before_their_script_ran(owner: Owner, view: View, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a server that is busy with somebody else's script, or cannot save: what comes behind them in the pipeline is not carried out."""
    owner.count("1")
    await eventually(lambda: equals(view.offset(), 1))
    redis = owner.projector._redis
    pipeline, refusing = redis.pipeline, [True]
    monkeypatch.setattr(redis, "pipeline", lambda **how: Busy(pipeline(**how)) if refusing[0] else pipeline(**how))
    owner.count("1", *(f"n{number}" for number in range(2 * BATCH_ROWS)))
    refused = owner.metrics.projection_failures._value
    async with asyncio.timeout(10):
        while refused.get() < 3:
            assert await view.offset() == 1
            await asyncio.sleep(0.01)
    refusing[0] = False
    await eventually(lambda: equals(view.offset(), 2 + 2 * BATCH_ROWS))
    assert await view.members("odd") == 2 * BATCH_ROWS
    assert await view.row("1") == "even"


async def test_a_call_that_was_given_up_and_arrives_late_writes_nothing(owner: Owner, view: View) -> None:
    """Over its old connection, seconds later: a row that has been removed meanwhile does not come back, nor its places in the sets."""
    key, marker = view.keys.customer("demo", "demo:late"), view.keys.marker(3)
    head = view.keys.members("demo", "\0", 3).partition("\0")[0]
    late: list[Any] = [ROWS, 2, marker, key, owner.lane.epoch, "token1:0", "token1:1", owner.lane.tail, head, "demo:late", 1, encode({"odd": (1, 2)})]
    owner.count("1")
    await eventually(lambda: equals(view.offset(), 1))
    assert await view.redis.eval(*late) == BROKEN
    assert not await view.redis.exists(key)
    assert await view.members("odd") == 1


async def test_a_marker_that_cannot_be_read_is_none(owner: Owner, view: View, valkey_url: str) -> None:
    """Of another version, or written by hand: everything is written, as where there is none."""
    owner.count("1", "2")
    await eventually(lambda: equals(view.offset(), 2))
    await owner.projector.stop(1)
    await view.redis.hset(view.keys.marker(3), "m", b"of another version")
    later = owner.successor(valkey_url, view.keys.prefix)
    await later.projector.start()
    await eventually(lambda: equals(view.offset(), 2))
    assert later.rebuilds == 1
    await later.projector.stop(1)


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
    await eventually(lambda: equals(view.offset(), 10))
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


async def _epoch(view: View, epoch: int) -> bool:
    marker = await view.marker()
    return marker is not None and marker.epoch == epoch


async def _row(view: View, customer: str, wanted: str) -> bool:
    return await view.row(customer) == wanted
