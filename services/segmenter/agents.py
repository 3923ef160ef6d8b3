"""One agent for each input topic. All it does is hand each chunk to the pump of its partition."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any, cast

from faust import App, Stream
from faust.serializers.schemas import Schema

from services.kit.logs import die
from services.segmenter.ownership import Ownership
from services.segmenter.transport import Run
from services.segmenter.turns import Chunk

log = logging.getLogger(__name__)


class RunSchema(Schema[Any, Any]):
    """Passes runs through: records are read by the core, which turns what it cannot read into dead letters."""

    def loads_key(self, app: Any, message: Any, **_: Any) -> Any:
        """Return the key as it is."""
        return message.key

    def loads_value(self, app: Any, message: Any, **_: Any) -> Any:
        """Return the value as it is."""
        return message.value


def make_agent(app: App, ownership: Ownership) -> Callable[[Stream[Run]], Awaitable[None]]:
    """Return the agent's function. It never waits for a pump: a full one pauses the fetching of its partition instead.

    Faust would acknowledge the event of a failing agent and start the agent again, so a failure ends the process.
    """

    async def hand_over(stream: Stream[Run]) -> None:
        events = stream.noack()
        try:
            async for run in events:
                event = events.current_event
                if event is None:
                    die(log, "Faust gives a value without its event")
                message = event.message
                pump = ownership.pump(message.partition)
                # Of an earlier assignment: whoever owns the partition now has sought to its progress.
                if pump is not None and message.generation_id == app.consumer_generation_id:
                    pump.inbox.offer(Chunk(message.topic, run.start, run.end, run.records, event.ack))
        except Exception as error:  # noqa: BLE001 - see the docstring
            die(log, f"agent: {error!r}")

    return hand_over


def add_agents(app: App, ownership: Ownership, topics: tuple[str, ...], partitions: int) -> None:
    """Give the app one agent for each topic."""
    for name in topics:
        topic = app.topic(name, schema=RunSchema(key_type=bytes, value_type=bytes), partitions=partitions)
        app.agent(topic, name=f"input-{name}")(cast(Any, make_agent(app, ownership)))
