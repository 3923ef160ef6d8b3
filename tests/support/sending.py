"""A client that tells the truth about what Kafka has."""

from __future__ import annotations

from typing import Any

from confluent_kafka import Producer


def sender(kafka: str, **more: Any) -> Producer:
    """Make an idempotent producer with one request under way at a time. Of more settings, dots are written as `_`.

    With several, what it acknowledges may not be there: the first batch of a partition that was just created can be refused for the
    moment while the one behind it is taken, for a broker that knows nothing of a producer takes any number as its first. When the first
    comes again it is "a duplicate", and librdkafka calls that a success, without an offset.
    """
    settings = {name if name == "log_level" else name.replace("_", "."): value for name, value in more.items()}
    return Producer({"bootstrap.servers": kafka, "enable.idempotence": True, "max.in.flight.requests.per.connection": 1, **settings})
