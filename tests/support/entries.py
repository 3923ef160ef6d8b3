"""The manual entries that an API has written."""

from __future__ import annotations

from typing import Any

from confluent_kafka import Consumer, TopicPartition

from schemas.manual import ManualEntry, decode_manual
from schemas.partitions import partition_of, record_key
from tests.support.api import PARTITIONS, Api


def entries(api: Api) -> list[tuple[int, ManualEntry]]:
    """Return all manual entries with the partition where each lies; a record's key is its customer's."""
    topic = api.settings.topics.manual_entries
    consumer = Consumer({"bootstrap.servers": api.settings.kafka, "group.id": "none", "enable.auto.commit": False})
    ends = {p: consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=20)[1] for p in range(PARTITIONS)}
    consumer.assign([TopicPartition(topic, p, 0) for p in ends])
    found: list[tuple[int, ManualEntry]] = []
    while len(found) < sum(ends.values()):
        message: Any = consumer.poll(20)
        assert message is not None
        assert message.error() is None
        entry = decode_manual(message.value())
        assert message.key() == record_key(entry.tenant, entry.customer_id)
        assert message.partition() == partition_of(message.key(), PARTITIONS)
        found.append((message.partition(), entry))
    consumer.close()
    return found
