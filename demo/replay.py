"""The replay: every event posted to ingest in batches, each acknowledged exactly once as far as the demo remembers.

A batch is resent until it was acknowledged; ingest and the segmenter count an event once however often it came. Several are
in flight at once, so their order at the segmenter is not the order of time; the product promises the same answer anyway.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Iterator

import aiohttp

from demo.client import Answer, Client
from demo.progress import EventsBar
from demo.settings import DemoError, Settings
from demo.state import State

IN_FLIGHT = 4
PATIENCE_S = 120.0
"""How long one batch may go unacknowledged before the demo gives up: a broker's restart takes seconds, not minutes."""

TOPICS = {
    "checkout": "checkouts",
    "coupon-redemption": "coupon-redemptions",
    "email-send": "email-sends",
    "email-open": "email-opens",
    "profile": "profiles",
}
"""The topic of each type that the demo sends (spec §2)."""

_AGAIN = (401, 429, 503)  # 401 too: ingest may not have read the new key yet
_TYPE_AT = len(b'{"type":"')


async def replay(client: Client, settings: Settings, state: State, lines: Iterable[bytes], bar: EventsBar) -> None:
    """Send every batch of lines that is not yet acknowledged; `bar` is told the events of each batch.

    The lines must be those of the run that was interrupted: batches are known by their number.

    Raises `DemoError` when ingest rejects an event or stays away; what was acknowledged until then is remembered.
    """
    sent: Counter[str] = Counter()
    started = time.monotonic()
    running: set[asyncio.Task[None]] = set()
    try:
        for number, batch in enumerate(_batches(lines, state.batch_events)):
            sent.update(TOPICS[line[_TYPE_AT : line.index(b'"', _TYPE_AT)].decode()] for line in batch)
            if number in state.positions:
                bar.skip(len(batch))
                continue
            running.add(asyncio.create_task(_send(client, settings, state, number, batch, bar)))
            if len(running) >= IN_FLIGHT:
                running = await _some(running)
        while running:
            running = await _some(running)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        state.replay_s += time.monotonic() - started
        state.save(settings.state_file)
    state.sent = dict(sent)
    state.replayed = True
    state.save(settings.state_file)


def _batches(lines: Iterable[bytes], size: int) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    for line in lines:
        batch.append(line)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


async def _some(running: set[asyncio.Task[None]]) -> set[asyncio.Task[None]]:
    """Wait until at least one is done; raise what it raised."""
    done, pending = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()
    return pending


async def _send(client: Client, settings: Settings, state: State, number: int, batch: list[bytes], bar: EventsBar) -> None:
    body = b"\n".join(batch) + b"\n"
    deadline = time.monotonic() + PATIENCE_S
    while True:
        complaint = ""
        try:
            answer = await client.call("POST", f"{settings.ingest_url}/v1/events", body=body)
        except (aiohttp.ClientError, TimeoutError) as error:
            complaint, wait_s = str(error) or type(error).__name__, 1.0
        else:
            if answer.status == 202 and not answer.body.get("rejected"):
                break
            if answer.status not in _AGAIN:
                raise DemoError(f"ingest rejected events of batch {number}: {_reasons(answer, batch)}", settings.log("ingest"))
            complaint, wait_s = answer.detail, answer.retry_after_s
        if time.monotonic() + wait_s > deadline:
            raise DemoError(f"ingest did not take batch {number} within {PATIENCE_S:.0f} s: {complaint}", settings.log("ingest"))
        await asyncio.sleep(wait_s)
    state.positions[number] = str(answer.body.get("position", ""))
    state.save(settings.state_file)
    bar.advance(len(batch))


def _reasons(answer: Answer, batch: list[bytes]) -> str:
    """Name the first three rejected events and why."""
    reasons = []
    for result in answer.body.get("results", [])[:3]:
        line = batch[result["index"]].decode()
        reasons.append(f"{result.get('pointer', '')} {result.get('detail', '')} in {line[:120]}…")
    return "; ".join(reasons) or answer.detail
