"""The door lets live records go first, and everything that comes in is bounded."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, ClassVar, cast

import httpx
import pytest
from prometheus_client import CollectorRegistry

from schemas.instants import NEVER
from schemas.questions import PATH, Asked, Population, Tally, declined, decode_answered, encode
from services.kit.health import serve
from services.segmenter.door import Door
from services.segmenter.metrics import Metrics
from services.segmenter.ownership import Ownership
from services.segmenter.settings import SegmenterSettings
from services.segmenter.surroundings import Surroundings


class Turns:
    """Something else that runs on the same loop, and how often it had its turn."""

    taken: ClassVar[int] = 0

    @classmethod
    async def take(cls) -> None:
        """Take one after the other."""
        while True:
            cls.taken += 1
            await asyncio.sleep(0)


class Working:
    """A question of so many units, of a millisecond each."""

    def __init__(self, units: int, unit_s: float = 0.001) -> None:
        self.left, self.spent_s, self.turns, self.worked_s = units, 0.0, 0, 0.0
        self._unit_s = unit_s
        self._seen = Turns.taken

    def work(self, limit: int) -> int:
        """Compute for as long as the units take that are asked for."""
        since_s = time.perf_counter()
        self.worked_s, self.turns = since_s, self.turns + (Turns.taken > self._seen)
        self._seen = Turns.taken
        while time.perf_counter() - since_s < self._unit_s * limit:
            pass
        self.spent_s += time.perf_counter() - since_s
        self.left -= 1
        return 1 if self.left > 0 else 0

    def answer(self) -> Tally:
        """Return something."""
        return Tally(7)


class Core:
    """What a door sees of a partition's core."""

    number, epoch, clock_ms = 0, 3, 0

    def __init__(self, units: int, unit_s: float = 0.001) -> None:
        self.inquiries: list[Working] = []
        self.units, self._unit_s = units, unit_s

    def next_deadline_ms(self) -> int:
        """Return never."""
        return NEVER

    def inquiry(self, asked: Asked, now_ms: int) -> Working:
        """Begin to work on a question."""
        self.inquiries.append(Working(self.units, self._unit_s))
        return self.inquiries[-1]


class Owned:
    """The pump of one partition, and the ownership of a worker that has it."""

    def __init__(self, core: Core) -> None:
        self.core, self.inbox = core, self
        self.waited_for = False
        self.lost = False

    @property
    def pumps(self) -> list[Owned]:
        """The pumps that are there."""
        return [] if self.lost else [self]

    def pump(self, number: int) -> Owned | None:
        """Return the pump of a partition that is owned."""
        return self if number == 0 and not self.lost else None

    def up_to_ms(self, now_ms: int) -> int:
        """Return now: nothing waits."""
        return now_ms


class Definitions:
    """Definitions that are read up to 10."""

    async def reached(self, offset: int, timeout_s: float = 10.0) -> None:
        """Wait for ever for what is not there."""
        if offset > 10:
            await asyncio.sleep(60)


Post = Callable[..., Any]


@asynccontextmanager
async def door(owned: Owned, now_ms: int = 1_000, before: Callable[[Surroundings], object] = lambda _: None, **settings: Any) -> AsyncIterator[Post]:
    """Serve a door; give what posts a question to it."""
    around = Surroundings(SegmenterSettings.model_validate(settings), cast(Any, Definitions()), Metrics(CollectorRegistry()), lambda: now_ms)
    before(around)

    async def nothing() -> tuple[int, dict[str, Any]]:
        return 200, {}

    server = await serve("127.0.0.1", 0, nothing, posts={PATH: Door(around, cast(Ownership, owned)).ask})
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.addresses[0][1]}", timeout=30) as http:

            async def post(**more: Any) -> httpx.Response:
                usual: dict[str, Any] = {"tenant": "demo", "partitions": {0: 3}, "question": Population()}
                return await http.post(PATH, content=encode(Asked(**(usual | more))))

            yield post
    finally:
        await server.cleanup()


def had_much(around: Surroundings) -> float:
    """Have a tenant rest for its questions, because another one is there; return until when."""
    now_s, shares = time.perf_counter(), around.shares
    for tenant in ("quiet", "demo"):
        shares.sent(tenant, now_s)
    while shares.questions_rest_s("demo", now_s) < 0.3:
        shares.answered("demo", 0.01, now_s)
    return now_s + shares.questions_rest_s("demo", now_s)


async def test_what_is_answered_at_once_waits_as_well_for_whoever_rests() -> None:
    """A question of a single slice, by a tenant who has had more than its share while another one is there."""
    until_s: list[float] = []
    async with door(Owned(Core(1)), before=lambda around: until_s.append(had_much(around))) as post:
        response = await post()
        assert time.perf_counter() >= until_s[0] - 0.01
    assert bytes(decode_answered(response.content).parts[0].answer) == b'{"count":7}'


async def test_questions_that_rest_together_go_on_one_by_one() -> None:
    """Each of them is paid for before the next, a seventh of the time is for them: also where all waited for the same instant, or for a turn."""
    core, until_s, turns = Core(1, unit_s=0.004), list[float](), list[asyncio.Lock]()

    def before(around: Surroundings) -> None:
        until_s.append(had_much(around))
        turns.append(around.background)

    async with door(Owned(core), before=before) as post:
        async with turns[0]:
            asked = [asyncio.create_task(post()) for _ in range(4)]
            while time.perf_counter() < until_s[0] or not core.inquiries:
                await asyncio.sleep(0.005)
        assert [response.status_code for response in await asyncio.gather(*asked)] == [200] * 4
    worked_s = sorted(inquiry.worked_s for inquiry in core.inquiries)
    assert worked_s[-1] - worked_s[0] >= 0.05


async def test_while_live_records_wait_a_question_has_a_fifth_of_the_time() -> None:
    """With records waiting most of the time passes between the slices; without, hardly any."""
    for waited_for in (False, True):
        core = Core(30)
        owned = Owned(core)
        owned.waited_for = waited_for
        async with door(owned) as post:
            since_s = time.perf_counter()
            response = await post()
            elapsed_s = time.perf_counter() - since_s
        assert bytes(decode_answered(response.content).parts[0].answer) == b'{"count":7}'
        if waited_for:
            # The last slice has nothing to wait for.
            assert elapsed_s >= 4.5 * core.inquiries[0].spent_s * 29 / 30


@pytest.mark.parametrize(("units", "unit_s", "turns"), [(100, 0.001, 40), (20, 0.005, 19)])
async def test_others_have_their_turn_between_two_slices(units: int, unit_s: float, turns: int) -> None:
    """Whatever runs on the same loop, however long the question; after each customer who takes longer than a slice, from the first one on."""
    task = asyncio.create_task(Turns.take())
    core = Core(units, unit_s)
    async with door(Owned(core)) as post:
        await post()
    task.cancel()
    assert core.inquiries[0].turns >= turns


async def test_a_slow_question_is_given_up_and_more_than_enough_are_refused() -> None:
    """Both are 503 with the reason, and afterwards questions are taken again."""
    owned = Owned(Core(400))
    async with door(owned, segmenter_question_timeout_s=0.2, segmenter_questions=1) as post:
        first, second = await asyncio.gather(post(), post())
        reasons = sorted(declined(response.content) for response in (first, second))
        assert (first.status_code, second.status_code) == (503, 503)
        assert reasons == ["1 questions are being worked on", "not answered within 0.2 s"]
        owned.core.units = 1
        assert (await post()).status_code == 200


async def test_of_many_questions_a_tenant_has_its_share() -> None:
    """With room for four, two of one tenant's six are worked on and the others told to come again; another tenant's question is answered."""
    async with door(Owned(Core(300)), segmenter_questions=4) as post:
        mine = [asyncio.create_task(post()) for _ in range(6)]
        await asyncio.wait(mine, return_when=asyncio.FIRST_COMPLETED)
        assert (await post(tenant="other")).status_code == 200
        assert sorted([(await one).status_code for one in mine]) == [200] * 2 + [429] * 4


async def test_what_cannot_be_known_is_said() -> None:
    """Definitions that have not been read, a clock that is behind what was decided."""
    async with door(Owned(Core(1)), segmenter_question_timeout_s=0.2) as post:
        assert (await post(definitions=10)).status_code == 200
        assert (await post(definitions=11)).status_code == 503
    owned = Owned(Core(1))
    owned.core.clock_ms = 2_000
    async with door(owned) as post:
        response = await post()
        assert response.status_code == 503
        assert "1000 ms behind" in declined(response.content)


async def test_a_partition_that_is_lost_on_the_way_has_moved() -> None:
    """Its part is not given, for what was read may be a former owner's."""
    owned = Owned(Core(200))
    async with door(owned) as post:
        asking = asyncio.create_task(post())
        while not owned.core.inquiries:
            await asyncio.sleep(0.001)
        owned.lost = True
        answered = decode_answered((await asking).content)
    assert (answered.parts, answered.moved) == ({}, [0])
