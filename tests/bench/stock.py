"""The rival: stock Faust, an agent and a table, doing less work: decode, count per customer, write the table.

No windows, no rules, no expiry, no transitions, no exactly-once: `python -m tests.bench.stock COUNT` prints events per second
from the first event to the moment when the changelog of the last one is acknowledged.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from typing import Any

import faust
import msgspec

from schemas.topics import Topics


class Seen(msgspec.Struct):
    """The few fields that the count needs."""

    customer_id: str
    type: str


def build() -> tuple[faust.App, dict[str, float]]:
    """Build the app; `seen` gets the count and the time of the first event."""
    topics = Topics(os.environ["ROLLCALL_TOPIC_PREFIX"])
    partitions = int(os.environ["ROLLCALL_PARTITIONS"])
    app = faust.App(
        "stock-" + os.environ["BENCH_RUN"],
        broker="kafka://" + os.environ["ROLLCALL_KAFKA"],
        store="memory://",
        topic_partitions=partitions,
        topic_disable_leader=True,
        table_standby_replicas=0,
        web_enabled=False,
        datadir=os.environ["ROLLCALL_DATA_DIR"],
    )
    decode = msgspec.json.Decoder(Seen).decode
    counts = app.Table("counts", key_type=bytes, value_type=bytes, partitions=partitions)
    seen = {"count": 0.0, "first_s": 0.0}

    async def count(stream: Any) -> None:
        async for event in stream.events():
            if not seen["count"]:
                seen["first_s"] = time.perf_counter()
            decode(event.value)
            counts[event.key] = str(int(counts.get(event.key) or 0) + 1).encode()
            seen["count"] += 1

    raw: dict[str, Any] = {"key_type": bytes, "value_type": bytes, "key_serializer": "raw", "value_serializer": "raw"}
    app.agent(app.topic(*(topics.prefix + family for family in ("checkouts", "coupon-redemptions", "email-opens")), **raw))(count)
    return app, seen


async def main(wanted: int) -> None:
    """Run until `wanted` events were counted and flushed, and print the rate."""
    app, seen = build()
    app.in_worker = True
    app.finalize()
    await app.start()
    give_up_s = time.perf_counter() + 180
    while seen["count"] < wanted and time.perf_counter() < give_up_s:
        await asyncio.sleep(0.01)
    await app.producer.flush()
    took_s = time.perf_counter() - seen["first_s"]
    cpu_s = time.process_time()
    print(f"{seen['count'] / took_s:.0f} {cpu_s / max(1, seen['count']) * 1e6:.1f} {int(seen['count'])}", flush=True)
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
