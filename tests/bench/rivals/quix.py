"""Quix Streams: three topics as one, a state for each key in RocksDB with a changelog topic, at least once."""

from __future__ import annotations

from typing import Any

from quixstreams import Application, State

from tests.bench.rivals.job import Task, step


def main() -> None:
    """Run until as many events as there are were processed and the checkpoint is committed."""
    task = Task()

    def processed(_topic: str, _partition: int, _offset: int) -> None:
        task.seen += 1
        if task.seen >= task.count:
            app.stop()

    app = Application(
        broker_address=task.kafka,
        consumer_group="quix-" + task.out,
        auto_offset_reset="earliest",
        state_dir=task.folder,
        loglevel="WARNING",
        on_message_processed=processed,
        producer_extra_config={"compression.type": "lz4", "linger.ms": 20},
    )
    first, *others = (app.dataframe(app.topic(name)) for name in task.topics)
    events = first
    for other in others:
        events = events.concat(other)

    def count(event: dict[str, Any], state: State) -> list[dict[str, str]]:
        task.begin()
        after, entered = step(state.get("state"), event)
        state.set("state", after)
        task.transitions += len(entered)
        return [{"customer_id": event["customer_id"], "segment_id": segment, "kind": "entered"} for segment in entered]

    events.apply(count, stateful=True, expand=True).to_topic(app.topic(task.out))
    app.run()
    task.done()


if __name__ == "__main__":
    main()
