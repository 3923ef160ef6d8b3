"""A process waits for Kafka when it starts, for so long and no longer."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka.errors import KafkaConnectionError

from services.kit.kafka import when_reachable


class Broker:
    """Answers from a certain call on."""

    def __init__(self, answers_at: int) -> None:
        self.calls, self._answers_at = 0, answers_at

    async def ask(self) -> int:
        """Answer, or not."""
        self.calls += 1
        if self.calls < self._answers_at:
            raise KafkaConnectionError("nobody listens")
        return self.calls


async def test_a_broker_that_comes_in_time_is_waited_for() -> None:
    """Asked again until it answers."""
    assert await when_reachable(Broker(3).ask, what="test", timeout_s=30) == 3


async def test_a_broker_that_does_not_come_ends_the_start() -> None:
    """What the last attempt said is raised, which ends the process; a supervisor starts it again."""
    broker = Broker(1_000)
    async with asyncio.timeout(10):
        with pytest.raises(KafkaConnectionError):
            await when_reachable(broker.ask, what="test", timeout_s=0.2)
    assert broker.calls >= 2
