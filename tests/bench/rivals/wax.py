"""Bytewax: a dataflow of one worker, decoding by the batch, a state for each key in memory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import bytewax.operators as op
from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource
from bytewax.dataflow import Dataflow
from bytewax.testing import cluster_main
from orjson import loads

from tests.bench.rivals.job import State, Task, step, transition


def main() -> None:
    """Run until the topics end."""
    task = Task()

    def decode(messages: list[Any]) -> Iterable[tuple[str, dict[str, Any]]]:
        task.begin()
        task.seen += len(messages)
        for message in messages:
            event = loads(message.value)
            yield event["customer_id"], event

    def count(state: State | None, event: dict[str, Any]) -> tuple[State, list[str]]:
        after, entered = step(state, event)
        task.transitions += len(entered)
        return after, entered

    def written(of: tuple[str, str]) -> KafkaSinkMessage[bytes, bytes]:
        return KafkaSinkMessage(of[0].encode(), transition(*of))

    flow = Dataflow("bench")
    # Each topic has partitions of the same numbers, and a source knows its partitions by number and topic.
    raw = op.input("in", flow, KafkaSource([task.kafka], task.topics, tail=False))
    events = op.flat_map_batch("decode", raw, decode)
    entered = op.stateful_flat_map("count", events, count)
    op.output("out", op.map("write", entered, written), KafkaSink([task.kafka], task.out, {"linger.ms": "20", "compression.type": "lz4"}))
    cluster_main(flow, [], 0)
    task.done()


if __name__ == "__main__":
    main()
