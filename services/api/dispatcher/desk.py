"""One partition of transitions being dispatched: what was read, what is under way, what has been written down.

The first attempt of a delivery starts at once, with the transition in hand. States and progress are written together, in one
transaction of the partition's own producer (a former owner is fenced), so that the progress never passes a transition whose
deliveries are neither ended nor remembered. An attempt is written down before the next one is planned.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections import Counter
from collections.abc import Collection
from typing import Final

from schemas import deliveries
from schemas.affairs import encode_affair
from schemas.catalog import Endpoint
from schemas.deliveries import Announced, Attempt, Delivery, DispatchProgress, decode_announced, delivery_of
from schemas.instants import iso
from services.api.dispatcher.around import Around
from services.api.dispatcher.behind import Behind, Name
from services.api.dispatcher.client import AttemptResult
from services.api.dispatcher.ledger import Entry, Ledger
from services.api.dispatcher.matching import held_back, matching
from services.api.dispatcher.memory import CARRY_AFTER_MS
from services.api.dispatcher.metrics import ATTEMPTS, ENDED, FIRST_ATTEMPT_DELAY
from services.api.dispatcher.patience import Patience
from services.api.dispatcher.queues import Queues
from services.api.dispatcher.replaying import Replaying, Taken
from services.api.dispatcher.schedule import delay_s
from services.api.dispatcher.trail import Trail
from services.kit import failpoints
from services.kit.background import Work, ended, guarded

log = logging.getLogger(__name__)

_MOST_SLEEP_S: Final = 1.0


class Desk:
    """The deliveries of one partition. `read` takes transitions in; the rest goes on by itself between `open` and `close`."""

    def __init__(self, number: int, around: Around) -> None:
        self.number, self._around = number, around
        self._settings, self._catalog, self._erasures, self._now_ms = around.settings, around.catalog, around.erasures, around.now_ms
        attempts = around.attempts
        self._queues = Queues(self._settings.dispatcher_in_flight, lambda tenant: attempts.begin(tenant, self._look), attempts.over)
        self._replaying = Replaying(number, around, self._take, self._reach)
        self._patience = Patience(number, int(self._settings.dispatcher_disable_after_s * 1_000), around.affairs, around.say)
        self._behind = Behind(number, self._settings, around.room, self._again, lambda: self._read_to or 0)
        self._trail = Trail()
        self._read_to: int | None = None
        self._written_to: int | None = None
        self._held: Counter[Name] = Counter()
        """The room that each endpoint's deliveries take: until their end is written down, for so long they are held."""
        self._unwritten: dict[str, Delivery] = {}
        self._pending: dict[str, tuple[Delivery, ...]] = {}
        """What has not ended, a first delivery and replays of it by their `id`; what is to be written and the memory do not tell while it is
        being written. Tuples of what no collection walks are not walked either."""
        self._replan: list[Delivery] = []
        self._written_ms = 0
        self._written_behind: dict[Name, int] = {}
        self._ledger = Ledger(number, self._settings)
        self._wake = asyncio.Event()
        self._flying: set[asyncio.Task[None]] = set()
        self._trying: asyncio.Task[None] | None = None
        self._recording: asyncio.Task[None] | None = None
        self._repeating: asyncio.Task[None] | None = None
        self._catching_up: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()

    @property
    def pending(self) -> int:
        """How many deliveries have not ended."""
        return self._queues.pending

    @property
    def behind(self) -> int:
        """How many endpoints are behind what was read."""
        return len(self._behind.places)

    @property
    def read_to(self) -> int | None:
        """The offset to read transitions from next, None for the first."""
        return self._read_to

    async def open(self) -> int | None:
        """Fence the former owner, read what it wrote, and begin; return the offset to read transitions from, None for the first."""
        progress, pending = await self._ledger.open()
        if progress is not None:
            self._read_to = self._written_to = progress.offset
            self._patience.failing.update({(tenant, endpoint_id): since_ms for tenant, endpoint_id, since_ms in progress.failing})
            self._behind.places = {(tenant, endpoint_id): offset for tenant, endpoint_id, offset in progress.behind}
            self._written_behind = dict(self._behind.places)
        for delivery in pending:
            self._around.room.hold((delivery.tenant, delivery.endpoint_id))
            if self._unwanted(delivery):
                delivery.next_ms = self._now_ms()  # its end, for which it need not wait
            self._begins(delivery)
        self._patience.forget(self._off)
        self._trying = self._begun(self._try)
        self._recording = self._begun(self._record)
        self._catching_up = self._begun(self._behind.run)
        return self._read_to

    def replay(self) -> None:
        """Go on with the replays that are not done. The steps that the former owner wrote must be among the affairs by now."""
        self._repeating = self._begun(self._replaying.run)

    def hear(self) -> None:
        """Look at the affairs of endpoints, which have changed: replays to begin with, claims to contradict."""
        self._replaying.wake()
        for name in self._around.affairs.claimed:
            if (endpoint := self._endpoint(*name)) is not None:
                self._patience.answer(endpoint)

    async def close(self) -> None:
        """Write down what is known and stop; what is under way is tried again by the next owner, with the same id and bytes.

        The recorder is asked to end and not cancelled: a transaction that was cut off would take its states with it, and the
        progress must not pass them.
        """
        await ended([task for task in (self._trying, self._repeating, self._catching_up, *self._flying) if task is not None])
        self._queues.ground()
        self._closing.set()
        try:
            async with asyncio.timeout(self._settings.dispatcher_handover_s):
                if self._recording is not None:
                    await self._recording
                await self._ledger.close()
        except TimeoutError:
            log.warning("partition %s: closed without a last record; the next owner goes on from the one before", self.number)
        for name, count in self._held.items():
            self._around.room.give_back(name, count)
        self._held.clear()

    def read(self, offset: int, document: bytes) -> None:
        """Take in the transition at an offset: one delivery for each endpoint that asked for it, none while its segment is paused."""
        for name in self._pushed(offset, document, None):
            self._behind.fall(name, offset)
        self._read_to = offset + 1
        self._wake.set()

    def _again(self, offset: int, document: bytes, names: set[Name]) -> set[Name]:
        """Take in a transition for endpoints that are behind, and return for which of them there is still no room."""
        full = self._pushed(offset, document, names)
        self._wake.set()
        return full

    def _pushed(self, offset: int, document: bytes, names: set[Name] | None) -> set[Name]:
        """Queue a transition for those named (None: for those who are not behind) who want it; return for whom there was no room."""
        transition = decode_announced(document)
        if names is None:
            self._trail.read(transition.decided_at, offset)
        now_ms, full = self._now_ms(), set[Name]()
        held = held_back(self._catalog.segment(transition.tenant, transition.segment_id), transition) or self._erased(transition)
        endpoints = [] if held else matching(transition, self._catalog.endpoints.get(transition.tenant, {}).values())
        for endpoint in endpoints:
            name = endpoint.tenant, endpoint.id
            if name not in self._behind.places if names is None else name in names:
                delivery = delivery_of(transition, document, endpoint.id, offset, now_ms, on_since_ms=endpoint.on_since_ms)
                if self._under_way(delivery):
                    continue
                if not self._queued(delivery):
                    full.add(name)
        return full

    def _queued(self, delivery: Delivery) -> bool:
        """Queue a delivery if there is room for it, and say whether there was."""
        if not self._around.room.take((delivery.tenant, delivery.endpoint_id)):
            return False
        self._unwritten[delivery.key] = delivery
        self._begins(delivery)
        return True

    def _begins(self, delivery: Delivery) -> None:
        self._held[delivery.tenant, delivery.endpoint_id] += 1
        self._pending[delivery.id] = (*self._pending.get(delivery.id, ()), delivery)
        self._queues.add(delivery)
        self._replaying.queued(delivery)

    def _under_way(self, delivery: Delivery) -> bool:
        return any(one.replay == delivery.replay for one in self._pending.get(delivery.id, ()))

    def _look(self) -> None:
        self._wake.set()

    def _take(self, delivery: Delivery) -> Taken:
        """Queue a delivery of a replay, if there is room: not if it is on its way already, or its customer was erased."""
        if self._under_way(delivery):
            return Taken.QUEUED  # by an owner who died before it wrote down how far the replay was
        if self._erased(decode_announced(delivery.transition)):
            return Taken.NEEDLESS
        # One that waits to be cancelled brings it to nobody: this one waits behind it.
        if not all(map(self._unwanted, self._pending.get(delivery.id, ()))):
            return Taken.NEEDLESS
        if not self._queued(delivery):
            return Taken.FULL
        self._wake.set()
        return Taken.QUEUED

    def _reach(self, name: Name) -> int:
        """Return up to which offset an endpoint's deliveries have been queued for the first time: a replay does not overtake them."""
        read_to = self._read_to or 0
        return min(read_to, self._behind.places.get(name, read_to))

    def cancel_erased(self) -> None:
        """Have the turn of pending deliveries about erased customers come now, for their end."""
        self._queues.hasten(lambda tenant, customer_id: self._erasures.last_seq(tenant, customer_id) >= 0, self._now_ms())
        self._wake.set()

    def cancel_off(self, again: Collection[Name] = ()) -> None:
        """Have the turn of pending deliveries to endpoints that are off or gone, or were and are on `again`, come now, for their end."""
        self._queues.hasten_endpoints(lambda *name: name in again or self._off(*name), self._now_ms())
        self._patience.forget(self._off)
        self._wake.set()

    def greet(self, endpoint: Endpoint) -> None:
        """Have an endpoint get what was decided since it is on, though it is heard of only now, and that was read before."""
        offset = self._trail.since(iso(endpoint.on_since_ms))
        if offset is not None:
            self._behind.fall((endpoint.tenant, endpoint.id), offset)

    def _off(self, tenant: str, endpoint_id: str) -> bool:
        return (found := self._endpoint(tenant, endpoint_id)) is None or not found.on

    def _endpoint(self, tenant: str, endpoint_id: str) -> Endpoint | None:
        return self._catalog.endpoints.get(tenant, {}).get(endpoint_id)

    def _unwanted(self, delivery: Delivery) -> str:
        """Return why a delivery is to be tried no more, nothing when it is to be."""
        endpoint = self._endpoint(delivery.tenant, delivery.endpoint_id)
        if endpoint is None or endpoint.deleted:
            return "endpoint_gone"
        if not endpoint.on:
            return f"endpoint_{endpoint.status}"
        if _was_off(endpoint, delivery):
            return "endpoint_was_off"
        return "customer_erased" if self._erased(decode_announced(delivery.transition)) else ""

    def _erased(self, transition: Announced) -> bool:
        """Whether a transition is of a life that was erased; the one that says so may be told to those who asked to hear it."""
        return transition.cause.kind != "erase" and transition.seq <= self._erasures.last_seq(transition.tenant, transition.customer_id)

    # ---- trying

    async def _try(self) -> None:
        while True:
            self._wake.clear()
            for delivery in self._queues.ready(self._now_ms()):
                task = self._begun(functools.partial(self._attempt, delivery))
                self._flying.add(task)
                task.add_done_callback(self._flying.discard)
            due_ms = self._queues.next_ms()
            sleep_s = _MOST_SLEEP_S if due_ms is None else min(_MOST_SLEEP_S, max(0.0, (due_ms - self._now_ms()) / 1000))
            # Not `wait_for`, which loses a cancellation that comes together with what it waits for.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(sleep_s):
                    await self._wake.wait()

    async def _attempt(self, delivery: Delivery) -> None:
        endpoint = self._endpoint(delivery.tenant, delivery.endpoint_id)
        reason = self._unwanted(delivery)
        if endpoint is None or reason:
            self._end(delivery, "cancelled", reason)
        elif delivery.next_ms > self._now_ms():
            self._queues.retry(delivery)  # its turn came for an end that it need not have
        else:
            at_ms = self._now_ms()
            if not delivery.attempts:
                FIRST_ATTEMPT_DELAY.observe(max(0, at_ms - delivery.created_ms) / 1000)
            failpoints.hit("dispatcher.before_attempt")
            result = await self._around.client.post(endpoint, delivery.id, delivery.body, at_ms)
            failpoints.hit("dispatcher.after_attempt")
            ATTEMPTS.labels("none" if result.status is None else f"{result.status // 100}xx").inc()
            delivery.attempts = (*delivery.attempts, Attempt(at_ms, result.status, result.duration_ms, result.error))
            self._judge(delivery, endpoint, result)
        self._queues.landed(delivery)
        self._wake.set()

    def _judge(self, delivery: Delivery, endpoint: Endpoint, result: AttemptResult) -> None:
        if result.delivered:
            self._patience.took(endpoint, delivery.attempts[-1].at_ms)
            self._end(delivery, "delivered")
            return
        if result.gone and self._endpoint(endpoint.tenant, endpoint.id) is endpoint:
            self._around.disable(endpoint, "gone")
            self._end(delivery, "cancelled", "endpoint_gone_410")
            return
        if self._patience.failed(endpoint, delivery.attempts[-1].at_ms):
            self._around.disable(endpoint, "failing")
        wait_s = delay_s(
            len(delivery.attempts),
            self._around.draw(),
            result.retry_after_s,
            self._settings.dispatcher_schedule_s,
            self._settings.dispatcher_retry_after_s,
        )
        if wait_s is None:
            self._end(delivery, "exhausted")
            return
        log.info("delivery %s to %s: attempt %s failed: %s", delivery.id, endpoint.id, len(delivery.attempts), result.error)
        delivery.next_ms = self._now_ms() + int(wait_s * 1000)
        self._unwritten[delivery.key] = delivery
        self._replan.append(delivery)

    def _end(self, delivery: Delivery, state: deliveries.State, reason: str = "") -> None:
        delivery.state, delivery.reason, delivery.transition, delivery.next_ms = state, reason, b"", self._now_ms()
        ENDED.labels(state).inc()
        self._unwritten[delivery.key] = delivery
        others = tuple([one for one in self._pending.pop(delivery.id) if one is not delivery])
        if others:
            self._pending[delivery.id] = others
        self._queues.done(delivery)
        self._replaying.ended(delivery)

    # ---- writing down

    async def _record(self) -> None:
        while not self._closing.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settings.dispatcher_record_every_ms / 1000):
                    await self._closing.wait()
            await self._write()
        await self._write()  # what has ended and failed while that was written

    async def _write(self) -> None:
        now_ms = self._now_ms()
        behind = {delivery.key: delivery for delivery in self._ledger.memory.behind(now_ms)}
        fresh = self._read_to == self._written_to and now_ms - self._written_ms < CARRY_AFTER_MS
        if not self._unwritten and not behind and fresh and self._behind.places == self._written_behind and not self._replaying.steps:
            return
        states, self._unwritten = behind | self._unwritten, {}
        steps, self._replaying.steps = self._replaying.steps, {}
        replan, self._replan = self._replan, []
        read_to, waiting = self._read_to, dict(self._behind.places)
        # Encoded now: while they are being written some may end, and are written again by the next.
        entries = [Entry(delivery, deliveries.encode(delivery), delivery.state == "pending") for delivery in states.values()]
        batch = self._settings.dispatcher_record_states
        for start in range(0, max(1, len(entries)), batch):
            # The progress that vouches for all of them is in the last one, after every state, and so are the steps of replays.
            last = start + batch >= len(entries)
            affairs = [encode_affair(step) for step in steps.values()] if last else []
            vouched, places = (read_to, waiting) if last else (self._written_to, self._written_behind)
            part = entries[start : start + batch]
            await self._ledger.write(part, self._progress(vouched, places), affairs, now_ms)
            for one in part:
                if not one.pending:
                    self._give_back((one.delivery.tenant, one.delivery.endpoint_id))
        self._written_to, self._written_ms, self._written_behind = read_to, now_ms, waiting
        for delivery in replan:
            if self._unwanted(delivery):
                # Its endpoint was turned off, or its customer erased, while the attempt was under way.
                delivery.next_ms = self._now_ms()
            self._queues.retry(delivery)
        self._wake.set()

    def _progress(self, vouched: int | None, waiting: dict[Name, int]) -> DispatchProgress | None:
        """Return how far the partition is, nothing before it has begun."""
        if vouched is None:
            return None
        behind = [(*name, offset) for name, offset in waiting.items()]
        failing = [(*name, since_ms) for name, since_ms in self._patience.failing.items()]
        return DispatchProgress(vouched, self._ledger.memory.since, failing, behind)

    def _give_back(self, name: Name) -> None:
        self._around.room.give_back(name)
        self._held[name] -= 1
        if not self._held[name]:
            del self._held[name]

    def _begun(self, work: Work) -> asyncio.Task[None]:
        # When it fails, what was not written down is unknown: a successor reads the truth.
        return asyncio.create_task(guarded(log, f"partition {self.number}", work))


def _was_off(endpoint: Endpoint, delivery: Delivery) -> bool:
    """Whether an endpoint was switched off after something was queued for it, or its replay asked for, and is on again.

    Not where it was decided after that, and read before anybody had heard of either.
    """
    if not 0 < delivery.on_since_ms < endpoint.on_since_ms:
        return False
    return bool(delivery.replay) or decode_announced(delivery.transition).decided_at < iso(endpoint.on_since_ms)
