"""A loop as it is written in an afternoon: confluent-kafka, orjson, a dictionary."""

from __future__ import annotations

from confluent_kafka import Consumer, Producer
from orjson import loads

from tests.bench.rivals.job import State, Task, step, transition


def main() -> None:
    """Read, count, write; nothing is kept, and an event that comes again is counted again."""
    task = Task()
    consumer = Consumer({"bootstrap.servers": task.kafka, "group.id": "naive-" + task.out, "auto.offset.reset": "earliest"})
    producer = Producer({"bootstrap.servers": task.kafka, "linger.ms": 20, "compression.type": "lz4"})
    consumer.subscribe(task.topics, on_assign=lambda *_: task.begin())
    customers: dict[str, State] = {}
    while task.seen < task.count:
        messages = consumer.consume(min(1_000, task.count - task.seen), 0.5)
        for message in messages:
            event = loads(message.value())
            customer = event["customer_id"]
            customers[customer], entered = step(customers.get(customer), event)
            for segment in entered:
                producer.produce(task.out, transition(customer, segment), key=message.key())
            task.transitions += len(entered)
            task.seen += 1
        producer.poll(0)
    producer.flush(60)
    task.done()


if __name__ == "__main__":
    main()
