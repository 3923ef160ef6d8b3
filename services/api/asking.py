"""Asks the segmenters what only they know: the owner of a customer's partition, or the owners of all.

The completeness markers tell where each partition's owner is to be asked, and in which epoch. A partition that is without owner,
has moved meanwhile or does not answer in time is asked for once more by fresh markers; then it is 503, never a false answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import msgspec
from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector

from schemas.errors import Refusal
from schemas.partitions import partition_of, record_key
from schemas.questions import PATH, Answered, Asked, Part, Question, declined, decode_answered, encode
from services.api.errors import unavailable
from services.api.metrics import Metrics
from services.api.reads import Known, Reads
from services.api.settings import ApiSettings
from services.kit.limits import Budget, Full

A = TypeVar("A")

_TRIES: Final = 2
_PAUSE_S: Final = 0.3
"""A little longer than an idle worker takes to renew its marker, so that the second try sees a new owner's."""


class Asking:
    """Asks the workers of one installation."""

    def __init__(self, settings: ApiSettings, reads: Reads, metrics: Metrics) -> None:
        self._settings, self._reads, self._metrics = settings, reads, metrics
        self._session: ClientSession | None = None
        self._waiting = Budget(settings.api_questions, settings.tenant_share, "questions wait for the segmenters")
        self._decoders: dict[Any, msgspec.json.Decoder[Any]] = {}

    async def close(self) -> None:
        """Disconnect."""
        if self._session is not None:
            await self._session.close()

    async def of(self, tenant: str, customer_id: str, question: Question, type_: type[A], *, definitions: int = 0) -> tuple[A, int]:
        """Return what the owner of a customer's partition answers, and as of when. Raises `Refused` 503 when nobody can tell.

        `definitions` is the catalog offset that the answer must know.
        """
        number = partition_of(record_key(tenant, customer_id), self._reads.partitions)
        [found] = await self._ask(tenant, question, [number], definitions)
        return self._decoded(found, type_), found.as_of_ms

    async def person(
        self, tenant: str, customer_id: str, question: Callable[[str], Question], type_: type[A], *, definitions: int = 0
    ) -> tuple[A, int, str]:
        """Return the same for whom an id means, if it was merged, and that id. The answer about who is unknown is None."""
        found, as_of_ms = await self.of(tenant, customer_id, question(customer_id), type_, definitions=definitions)
        if found is None and (person := (await self._reads.person(tenant, customer_id))[0]).customer_id != customer_id:
            customer_id = person.customer_id
            found, as_of_ms = await self.of(tenant, customer_id, question(customer_id), type_, definitions=definitions)
        return found, as_of_ms, customer_id

    async def all(self, tenant: str, question: Question, type_: type[A], *, definitions: int = 0) -> tuple[list[A], int]:
        """Return what each partition answers, and as of when the oldest of them. Raises `Refused` 503 when one cannot tell."""
        found = await self._ask(tenant, question, range(self._reads.partitions), definitions)
        return [self._decoded(part, type_) for part in found], min(part.as_of_ms for part in found)

    async def _ask(self, tenant: str, question: Question, numbers: Sequence[int], definitions: int) -> list[Part]:
        with self._waiting.lent(tenant):
            return await self._tried(tenant, question, numbers, definitions)

    async def _tried(self, tenant: str, question: Question, numbers: Sequence[int], definitions: int) -> list[Part]:
        parts: dict[int, Part] = {}
        why = ""
        for attempt in range(_TRIES):
            if attempt:
                self._metrics.asked_again.inc()
                await asyncio.sleep(_PAUSE_S)
            markers = await self._reads.markers()
            left = [number for number in numbers if number not in parts]
            owners: dict[str, dict[int, int]] = {}
            for number in left:
                known = markers[number]
                if known is None or not known.marker.address:
                    why = f"partition {number} has no owner who answers questions"
                else:
                    owners.setdefault(known.marker.address, {})[number] = known.marker.epoch
            tries = [self._post(address, Asked(tenant, theirs, question, definitions)) for address, theirs in owners.items()]
            answers = await asyncio.gather(*tries)
            # An owner that was stopped for long does not know that it is one no more; the markers do.
            now = await self._reads.markers()
            for answer in answers:
                if isinstance(answer, str):
                    why = answer
                    continue
                parts |= {number: part for number, part in answer.parts.items() if _epoch(now[number]) == _epoch(markers[number])}
            if all(number in parts for number in numbers):
                return [parts[number] for number in numbers]
            why = why or "a partition has moved"
        raise unavailable(f"the segmenter cannot tell: {why}")

    async def _post(self, address: str, asked: Asked) -> Answered | str:
        """Return what a worker answers, or why it does not; raises `Full` when it works on enough for the tenant."""
        if self._session is None:
            settings = self._settings
            self._session = ClientSession(
                connector=TCPConnector(limit=settings.api_segmenter_connections),
                timeout=ClientTimeout(total=settings.api_question_timeout_s),
                trust_env=False,
            )
        try:
            async with self._session.post(f"http://{address}{PATH}", data=encode(asked)) as response:
                document = b""
                async for piece in response.content.iter_any():
                    document += piece
                    if len(document) > self._settings.api_answer_bytes:
                        return "the answer is longer than it may be"
                if response.status == 429:
                    raise Full(429, declined(document))
                return decode_answered(document) if response.status == 200 else declined(document)
        except (ClientError, OSError, TimeoutError, Refusal) as error:
            return f"{address} does not answer ({type(error).__name__})"

    def _decoded(self, part: Part, type_: type[A]) -> A:
        decoder = self._decoders.get(type_)
        if decoder is None:
            decoder = self._decoders[type_] = msgspec.json.Decoder(type_)
        found: A = decoder.decode(part.answer)
        return found


def _epoch(known: Known | None) -> int:
    return -1 if known is None else known.marker.epoch
