"""Whether the numbers add up: what became of every record, by the segmenter's own counters, beside what was sent."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import aiohttp

from demo.client import Client, Json
from demo.progress import EventsBar
from demo.settings import DemoError, Settings
from demo.state import Counts, State

STALL_S = 120.0
"""Without any advance for so long, something is broken rather than slow."""

OUTCOMES = ("applied", "duplicate", "dead_lettered")


@dataclass(frozen=True, slots=True)
class Line:
    """One topic: records accepted, what became of them, and what the demo sent there."""

    topic: str
    accepted: int
    outcomes: Counts
    sent: int

    @property
    def adds_up(self) -> bool:
        """Whether every accepted record has exactly one outcome."""
        return self.accepted == sum(self.outcomes.values())


async def outcomes(client: Client, settings: Settings, pause_s: float = 1.0) -> dict[str, Counts]:
    """Ask the segmenters for their counters, by topic, of all partitions; sixty times. Raises `DemoError` when they do not tell."""
    complaint = ""
    for _ in range(60):
        found, complaint = [], ""
        for url in settings.outcomes_urls:
            try:
                answer = await client.call("GET", url)
            except (aiohttp.ClientError, TimeoutError) as error:
                complaint = f"{url}: {str(error) or type(error).__name__}"
            else:
                if answer.status == 200:
                    found.append(answer.body)
                else:
                    complaint = f"{url}: {answer.detail}"
        told = sorted(number for body in found for number in body["partitions"])
        # One of them may be away while another has everything; and while partitions change hands, nobody tells of them for a moment.
        if told == list(range(settings.partitions)):
            return _together(found)
        complaint = complaint or f"they tell of the partitions {told}, of {settings.partitions}"
        await asyncio.sleep(pause_s)
    raise DemoError(f"the segmenters do not tell their outcomes: {complaint}", settings.log("segmenter"))


def _together(bodies: list[Json]) -> dict[str, Counts]:
    """Add the counters of several segmenters up."""
    sums: dict[str, Counts] = {}
    for body in bodies:
        for topic, counters in body["topics"].items():
            mine = sums.setdefault(topic, {})
            for name, value in counters.items():
                if isinstance(value, int):
                    mine[name] = mine.get(name, 0) + value
    return sums


async def wait_until_applied(client: Client, settings: Settings, state: State, segment_id: str, bar: EventsBar) -> None:
    """Wait until the segmenter has counted everything that was sent, and until the API's answers hold every batch.

    Raises `DemoError` when nothing advances for two minutes.
    """
    goal, before = sum(state.sent.values()), sum(state.accepted_before.values())
    advanced_at, seen = time.monotonic(), -1
    while seen < goal:
        found = await outcomes(client, settings)
        counted = sum(counters.get("accepted", 0) for counters in found.values()) - before
        if counted != seen:
            if seen < 0:
                bar.skip(counted)
            advanced_at, seen = time.monotonic(), counted
            bar.set(seen)
        elif time.monotonic() - advanced_at > STALL_S:
            raise DemoError(f"the segmenter stopped at {seen:,} of {goal:,} events for {STALL_S:.0f} s", settings.log("segmenter"))
        await asyncio.sleep(0.5)
    for _, position in sorted(state.positions.items()):
        # The client asks again while the API says 503: the position of a batch stands for all of its events.
        answer = await client.api("GET", f"/v1/segments/{segment_id}/count", params={"after": position})
        if answer.status != 200:
            raise DemoError(f"the API refused a read with ?after=: {answer.detail}", settings.log("api"))


def account(found: dict[str, Counts], state: State) -> list[Line]:
    """Put the counters beside what was sent; topics that nothing ever came to are left out."""
    lines = []
    for topic, counters in found.items():
        rest = {name: value for name, value in counters.items() if name != "accepted" and (value or name in OUTCOMES)}
        line = Line(topic, counters.get("accepted", 0), rest, state.sent.get(topic, 0))
        if line.accepted or line.sent:
            lines.append(line)
    return lines


def check(lines: list[Line], state: State, settings: Settings) -> None:
    """Raise `DemoError` unless every topic adds up and nothing that was sent is missing."""
    log = settings.log("segmenter")
    for line in lines:
        if not line.adds_up:
            parts = " + ".join(f"{value:,} {name}" for name, value in line.outcomes.items())
            raise DemoError(f"{line.topic} does not add up: {line.accepted:,} accepted, but {parts}", log)
    known = {line.topic: line for line in lines}
    for topic, sent in state.sent.items():
        found = known.get(topic)
        # Fewer than before: the broker's data were deleted, and the demo's memory was not.
        since = max((found.accepted if found else 0) - state.accepted_before.get(topic, 0), 0)
        if since < sent:
            raise DemoError(f"{topic}: {sent:,} events were acknowledged, but the segmenter has seen {since:,} of them", log)
        if found and found.outcomes.get("applied", 0) < sent:
            why = ", ".join(f"{value:,} {name}" for name, value in found.outcomes.items())
            raise DemoError(f"{topic}: {sent:,} events were sent, but only {why}", log)
