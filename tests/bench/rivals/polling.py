"""A table and a query: events are loaded into DuckDB as they come, and every so often all rules are asked of all of them.

The query does know time: windows end now, favourites and days since are of now. The polls are timed with everything loaded; a poll
costs the same whether one event is new or all are, so what is shown is as old as a poll takes, twice that at worst.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Final

import duckdb
from confluent_kafka import Consumer, Producer

from tests.bench.rivals.job import Task, transition

_POLLS: Final = 5
_EVENTS: Final = """create table events as select * from read_json(?, format = 'newline_delimited', columns = {
    event_id: 'varchar', customer_id: 'varchar', type: 'varchar', occurred_at: 'timestamptz', channel: 'varchar', total: 'decimal(12,2)',
    campaign_id: 'varchar', coupon_id: 'varchar',
    items: 'struct(category varchar, department varchar, brand varchar, amount decimal(12,2))[]'})"""
_RULES: Final = """
create or replace table found as
with buys as (
    select *, hour(occurred_at) as at_hour, age(now(), occurred_at) as old,
        coalesce(list_sum(list_transform(list_filter(items, lambda i: i.brand = 'Private'), lambda i: i.amount)), 0) as private,
        len(list_filter(items, lambda i: i.category = 'COFFEE')) > 0 as coffee
    from events where type = 'checkout'
), bought as (
    select customer_id,
        count(*) filter (occurred_at > now() - interval 3 month) as q_count, sum(total) filter (occurred_at > now() - interval 3 month) as q_sum,
        avg(total) filter (occurred_at > now() - interval 3 month) as q_avg, sum(private) filter (occurred_at > now() - interval 3 month) as q_private,
        count(*) filter (coffee and occurred_at > now() - interval 3 month) as q_coffee,
        count(*) filter (total > 50 and occurred_at > now() - interval 14 day) as baskets,
        count(*) filter (occurred_at > now() - interval 1 month) as m_count,
        count(*) filter (channel = 'store' and occurred_at > now() - interval 1 month) as m_store,
        count(*) filter (occurred_at > now() - interval 6 month) as h_count,
        mode(at_hour) filter (occurred_at > now() - interval 6 month) as favourite,
        count(*) filter (occurred_at > now() - interval 2 hour) as just, max(occurred_at) as latest, min(occurred_at) as first,
        count(*) as checkouts, sum(total) as spent, count(*) filter (total > 50) as all_baskets, sum(private) as all_private,
        count(*) filter (coffee) as all_coffee
    from buys group by all
), redeemed as (
    select customer_id, count(distinct coupon_id) as coupons from events where type = 'coupon-redemption' group by all
), opened as (
    select customer_id, count(*) as opens from events where type = 'email-open' and campaign_id = 'campaign-18' group by all
), each_customer as (
    select customer_id, unnest(map_entries(map {
        'regulars': q_count >= 4, 'high-spenders': q_sum > 150, 'major-customers': q_sum >= 1000, 'campaign-readers': opens >= 1,
        'not-in-a-store': m_store = 0, 'good-baskets-twice': baskets >= 2, 'busy': m_count > 10, 'evening-shoppers': favourite between 17 and 20,
        'private-brand': q_private >= 200, 'inactive': latest <= now() - interval 30 day, 'new-customers': first > now() - interval 60 day,
        'at-risk': h_count >= 12 and latest <= now() - interval 21 day, 'coupon-lovers': coupons >= 3, 'full-trolleys': q_avg > 60,
        'coffee-club': q_coffee >= 3, 'just-shopped': just >= 1,
        ':regulars': checkouts >= 4, ':high-spenders': spent > 150, ':major-customers': spent >= 1000, ':campaign-readers': opens >= 1,
        ':good-baskets-twice': all_baskets >= 2, ':busy': checkouts > 10, ':private-brand': all_private >= 200, ':at-risk': checkouts >= 12,
        ':coupon-lovers': coupons >= 3, ':coffee-club': all_coffee >= 3, ':just-shopped': checkouts >= 1
    })) as entry
    from bought full join redeemed using (customer_id) full join opened using (customer_id)
)
select customer_id, entry.key as segment_id from each_customer where entry.value
"""
"""Sixteen segments as they are meant, and with a colon what the other contenders are asked: by that the answers can be compared."""


def main() -> None:
    """Load everything, ask, write what is new, and ask again a few times."""
    task = Task()
    consumer = Consumer({"bootstrap.servers": task.kafka, "group.id": "polling-" + task.out, "auto.offset.reset": "earliest"})
    producer = Producer({"bootstrap.servers": task.kafka, "linger.ms": 20, "compression.type": "lz4"})
    consumer.subscribe(task.topics, on_assign=lambda *_: task.begin())
    path = Path(task.folder) / "events.ndjson"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as lines:
        while task.seen < task.count:
            messages = consumer.consume(min(1_000, task.count - task.seen), 0.5)
            lines.writelines((message.value() or b"") + b"\n" for message in messages)
            task.seen += len(messages)
    with duckdb.connect(str(path.with_suffix(".db"))) as database:
        database.execute("set timezone = 'America/New_York'")
        database.execute(_EVENTS, [str(path)])
        loaded_s = time.perf_counter() - task.first_s
        polls = []
        database.execute("create table members (customer_id varchar, segment_id varchar)")
        for _ in range(_POLLS):
            start_s = time.perf_counter()
            database.execute(_RULES)
            new = database.execute("select * from found except select * from members").fetchall()
            gone = database.execute("select * from members except select * from found").fetchall()
            for customer, segment in new + gone:
                producer.produce(task.out, transition(customer, segment), key=customer.encode())
            producer.flush(60)
            database.execute("create or replace table members as from found")
            polls.append(time.perf_counter() - start_s)
            task.transitions += sum(segment.startswith(":") for _, segment in new)
    poll_s = statistics.median(polls)
    task.done(rate=task.count / (loaded_s + poll_s), loaded_per_s=task.count / loaded_s, poll_s=poll_s, polls_s=polls)


if __name__ == "__main__":
    main()
