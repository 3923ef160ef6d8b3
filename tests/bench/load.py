"""The load: events of a mid-size chain, the same for every contender, and the producer that fills topics with them.

Of a hundred events 58 are opens, 30 checkouts of one to three line items, 12 redemptions; customers are drawn so that a
few are very active. Instants rise over ninety days and end now.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator
from typing import Any, Final

from confluent_kafka import Producer

from schemas.instants import DAY_MS, iso
from schemas.partitions import partition_of, record_key
from schemas.topics import Topics
from tests.support.services import TENANT, now_ms

CUSTOMERS = 3_000
"""About as dense as the demo's data: fifty events for each customer in a run of 150,000."""

LONG: Final = 600_000
LONG_CUSTOMERS: Final = 12_000
"""As dense, and four times as long a run: what is under way when it begins and ends is little of it, and fewer of a customer's events come together."""

_CATEGORIES = ("COFFEE", "BREAD", "CHEESE", "FRUIT", "SOAP", "PASTA", "FISH", "TEA")
_CHANNELS = ("store", "store", "web", "app")


def events(count: int, *, seed: int = 7, end_ms: int | None = None, customers: int = CUSTOMERS) -> Iterator[dict[str, Any]]:
    """Yield `count` events in the order of their instants, the last of them now."""
    draw = random.Random(seed)
    end_ms = end_ms or now_ms()
    for number in range(count):
        at_ms = end_ms - (count - number) * 90 * DAY_MS // count
        event: dict[str, Any] = {
            "event_id": f"evt-{seed}-{number:010d}",
            "tenant": TENANT,
            "customer_id": f"c{int(customers * draw.random() ** 2):06d}",
            "occurred_at": iso(at_ms),
        }
        kind = draw.random()
        if kind < 0.58:
            event |= {"type": "email-open", "campaign_id": f"campaign-{number % 40}", "message_id": f"m{number}"}
        elif kind < 0.88:
            prices = [draw.randint(1, 40) for _ in range(draw.choice((1, 1, 2, 3)))]
            items = [
                {"product_id": f"p{draw.randrange(2000)}", "category": draw.choice(_CATEGORIES), "quantity": 1, "amount": f"{price}.50"}
                for price in prices
            ]
            event |= {
                "type": "checkout",
                "receipt_id": f"r{number}",
                "store_id": f"s{number % 30}",
                "channel": draw.choice(_CHANNELS),
                "total": f"{sum(prices) + len(prices) / 2:.2f}",
                "currency": "USD",
                "items": items,
            }
        else:
            event |= {"type": "coupon-redemption", "coupon_id": f"k{number % 25}", "value": "2.00"}
        yield event


def fill(bootstrap: str, topics: Topics, partitions: int, load: Iterable[dict[str, Any]]) -> int:
    """Produce events to their families' topics as any client would; return how many."""
    producer = Producer({"bootstrap.servers": bootstrap, "compression.type": "lz4", "linger.ms": 20, "queue.buffering.max.messages": 1_000_000})
    count = 0
    for event in load:
        key = record_key(event["tenant"], event["customer_id"])
        _produce(producer, topics.family(event["type"]), key, json.dumps(event).encode(), partition_of(key, partitions))
        count += 1
    if producer.flush(120):
        raise RuntimeError("the load did not reach Kafka within two minutes")
    return count


def _produce(producer: Producer, topic: str, key: bytes, value: bytes, partition: int) -> None:
    while True:
        try:
            producer.produce(topic, value, key=key, partition=partition)
        except BufferError:
            producer.poll(0.1)
        else:
            return
