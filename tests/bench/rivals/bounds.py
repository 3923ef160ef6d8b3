"""What nobody gets past here: the events decoded and nothing else, and the broker's bytes taken and nothing else.

`decode` reads the documents into the product's own structs from memory; `broker` consumes them as bytes; `transactions` does so too
and writes, for every thousand events, one record in a transaction of its own.
"""

from __future__ import annotations

import sys
from typing import Final

from confluent_kafka import Consumer, Producer

from schemas.decoding import decode_event
from tests.bench.rivals.job import Task

_GROUP: Final = 1_000


def _consumer(task: Task) -> Consumer:
    settings = {"bootstrap.servers": task.kafka, "group.id": f"{sys.argv[1]}-{task.out}", "auto.offset.reset": "earliest"}
    consumer = Consumer(settings)
    consumer.subscribe(task.topics, on_assign=lambda *_: None if sys.argv[1] == "decode" else task.begin())
    return consumer


def decode(task: Task) -> None:
    """Decode every event, all of them lying in memory when the watch starts."""
    consumer, documents = _consumer(task), list[bytes]()
    while len(documents) < task.count:
        documents.extend(message.value() or b"" for message in consumer.consume(min(_GROUP, task.count - len(documents)), 0.5))
    consumer.close()
    task.begin()
    for document in documents:
        decode_event(document)
    task.seen = len(documents)


def broker(task: Task) -> None:
    """Take every event's bytes."""
    consumer = _consumer(task)
    while task.seen < task.count:
        task.seen += len(consumer.consume(min(_GROUP, task.count - task.seen), 0.5))


def transactions(task: Task) -> None:
    """Take every event's bytes, and commit a record in a transaction for each thousand."""
    consumer = _consumer(task)
    producer = Producer({"bootstrap.servers": task.kafka, "transactional.id": "bounds-" + task.out, "linger.ms": 0})
    producer.init_transactions(30)
    written = 0
    while task.seen < task.count:
        task.seen += len(consumer.consume(min(_GROUP, task.count - task.seen), 0.5))
        while (written + 1) * _GROUP <= task.seen:
            producer.begin_transaction()
            producer.produce(task.out, b"{}")
            producer.commit_transaction(30)
            written += 1


if __name__ == "__main__":
    given = Task()
    {"decode": decode, "broker": broker, "transactions": transactions}[sys.argv[1]](given)
    given.done()
