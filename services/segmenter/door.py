"""The door: questions of the API come in here, and are worked on in slices between which live records have their turn.

A worker answers only for partitions that it owns in the epoch that the asker knows, so that the asker notices when one has moved.
Everything is bounded: the body, the questions at work, the time that each may take.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from aiohttp import web

from schemas.errors import Refusal
from schemas.questions import Answered, Asked, Declined, Part, decode_asked, encode, encoded
from services.kit.limits import Budget, Full
from services.kit.resting import Rests
from services.segmenter.ownership import Ownership
from services.segmenter.pump import Pump
from services.segmenter.questions.inquiry import Unknowable
from services.segmenter.settings import SegmenterSettings
from services.segmenter.surroundings import Surroundings

log = logging.getLogger(__name__)

MOST_BYTES: Final = 2 << 20
"""A question with the longest rule that the API accepts is far below."""

_RESTS: Final = 4.0
"""While live records or deadlines wait, a question computes for a fifth of the time at most."""

_ANYWHERE: Final = ("", "0.0.0.0", "::")  # noqa: S104 - what is listened on, to be told from an address


class Door:
    """Answers for the partitions that this worker owns at the moment."""

    def __init__(self, around: Surroundings, ownership: Ownership) -> None:
        self._around, self._ownership = around, ownership
        settings = around.settings
        self._rests = Rests()
        self._at_work = Budget(settings.segmenter_questions, settings.tenant_share, "questions are being worked on")

    async def ask(self, request: web.Request) -> web.Response:
        """Answer one question; 400 for what is none, 429 and 503 with the reason where it cannot be known or not now."""
        since_s = time.perf_counter()
        settings, metrics = self._around.settings, self._around.metrics
        try:
            asked = decode_asked(await request.read())
        except Refusal as refusal:
            return _json(400, Declined(str(refusal)))
        kind: str = type(asked.question).__name__.lower()
        try:
            with self._at_work.lent(asked.tenant):
                async with asyncio.timeout(settings.segmenter_question_timeout_s):
                    answered = await self._answered(asked)
        except (Unknowable, Full, TimeoutError) as reason:
            metrics.questions.labels(kind, "declined").inc()
            if isinstance(reason, TimeoutError):
                return _json(503, Declined(f"not answered within {settings.segmenter_question_timeout_s:g} s"))
            return _json(reason.status if isinstance(reason, Full) else 503, Declined(str(reason)))
        metrics.questions.labels(kind, "moved" if answered.moved else "answered").inc()
        metrics.question_seconds.observe(time.perf_counter() - since_s)
        return _json(200, answered)

    async def _answered(self, asked: Asked) -> Answered:
        around = self._around
        await around.definitions.reached(asked.definitions, around.settings.segmenter_definitions_wait_s)
        parts: dict[int, Part] = {}
        moved: list[int] = []
        for number, epoch in asked.partitions.items():
            pump = self._ownership.pump(number)
            part = None if pump is None or pump.core.epoch != epoch else await self._part(pump, asked)
            if part is None:
                moved.append(number)
            else:
                parts[number] = part
        return Answered(parts, moved)

    async def _part(self, pump: Pump, asked: Asked) -> Part | None:
        """Return what a partition answers, None when it is lost meanwhile."""
        shares = self._around.shares
        # Some are answered as soon as they are asked: whoever rests does so before, and others have their turn between two partitions.
        async with self._turn(asked.tenant):
            core, now_ms = pump.core, self._around.now_ms()
            as_of_ms = pump.inbox.up_to_ms(now_ms)
            if core.clock_ms > now_ms:
                raise Unknowable(f"the clock is {core.clock_ms - now_ms} ms behind the last decision")
            since_s = time.perf_counter()
            inquiry = core.inquiry(asked, now_ms)
            shares.answered(asked.tenant, time.perf_counter() - since_s, time.perf_counter())
        slice_s, more = self._around.settings.segmenter_background_slice_ms / 1000, True
        while True:
            async with self._turn(asked.tenant), self._around.background:
                if self._ownership.pump(core.number) is not pump:
                    return None
                since_s, spent_s = time.perf_counter(), 0.0
                # What a customer takes under this rule is not known before: so the clock is looked at after each.
                while more and spent_s < slice_s:
                    more = inquiry.work(1) > 0
                    spent_s = time.perf_counter() - since_s
                shares.answered(asked.tenant, spent_s, time.perf_counter())
            if not more:
                return Part(as_of_ms, encoded(inquiry.answer()))
            await asyncio.sleep(spent_s * _RESTS if self._busy(now_ms) else 0.0)

    def _turn(self, tenant: str) -> AbstractAsyncContextManager[None]:
        """Wait until a tenant's questions may go on, one slice at a time."""
        return self._rests.over(tenant, lambda: self._around.shares.questions_rest_s(tenant, time.perf_counter()))

    def _busy(self, now_ms: int) -> bool:
        """Whether anything live waits: the pumps share one thread."""
        return any(pump.inbox.waited_for or pump.core.next_deadline_ms() <= now_ms for pump in self._ownership.pumps)


def advertised(settings: SegmenterSettings, addresses: Sequence[Any]) -> str:
    """Return `host:port` at which this worker is to be asked, from the settings and from what is really listened on."""
    host = settings.segmenter_advertised_host
    if not host:
        host = socket.gethostname() if settings.segmenter_host in _ANYWHERE else settings.segmenter_host
    port = settings.segmenter_advertised_port or addresses[0][1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _json(status: int, body: Any) -> web.Response:
    return web.Response(body=encode(body), status=status, content_type="application/json")
