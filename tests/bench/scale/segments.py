"""Many segments over shared metrics: events a second beside twenty, and what an event costs as they become more.

Each segment wants a region and one to three of twelve metrics (four measures, three windows) above a threshold: shops that look at
their own customers. As segments become more so do regions, with fifty segments each, so that as many of them concern a customer, and
about as many transitions are published; what grows is what has to be known not to change. What an event costs is measured in the
segmenter's core, without Kafka, whose share does not grow.
"""

from __future__ import annotations

import gc
import json
import random
import time
from collections.abc import Iterator
from statistics import median
from typing import Any, Final

from schemas.partitions import record_key
from tests.bench.lines import Line, spread
from tests.bench.load import CUSTOMERS, LONG, LONG_CUSTOMERS, events
from tests.bench.scale import population
from tests.bench.throughput import drained
from tests.support.services import TENANT, Stack, now_ms

_WINDOWS: Final = ("P7D", "P30D", "P90D")
_MEASURES: Final = (("count", "checkout", ""), ("sum", "checkout", "total"), ("count", "email-open", ""), ("count", "coupon-redemption", ""))
_A_REGION: Final = 50
_GROUP: Final = 6_000
_EVENTS_EACH: Final = 66
"""As dense as the load of the other parts: the first event of a customer decides every segment, and costs accordingly."""


def segments(count: int, *, seed: int = 4) -> Iterator[dict[str, Any]]:
    """Yield segments as they are defined."""
    draw = random.Random(seed)
    metrics = [(measure, window) for window in _WINDOWS for measure in _MEASURES]
    for number in range(count):
        rules: list[dict[str, Any]] = [{"profile": "region", "op": "eq", "value": f"r{draw.randrange(_regions(count))}"}]
        for (measure, event, field), window in draw.sample(metrics, draw.choice((1, 1, 2, 2, 3))):
            metric: dict[str, Any] = {"measure": measure, "event": event, "window": {"last": window}}
            if field:
                metric["field"] = field
            value = f"{draw.lognormvariate(4.7, 1.0):.2f}" if field else draw.randrange(1, 20)
            rules.append({"metric": metric, "op": "gte", "value": value})
        yield {"id": f"s{number:05d}", "rule": {"all": rules}}


def _regions(count: int) -> int:
    return max(1, count // _A_REGION)


def load(count: int, regions: int, customers: int = CUSTOMERS) -> Iterator[dict[str, Any]]:
    """Yield the usual load, of at most so many customers; everyone's first event comes behind a profile that says where they live."""
    draw = random.Random(9)
    seen: set[str] = set()
    for event in events(count, customers=max(CUSTOMERS, customers)):
        customer = event["customer_id"] = f"c{int(event['customer_id'][1:]) % customers:06d}"
        if customer not in seen:
            seen.add(customer)
            names = {name: event[name] for name in ("tenant", "customer_id", "occurred_at")}
            yield names | {"type": "profile", "event_id": f"p-{customer}", "attributes": {"region": f"r{draw.randrange(regions)}"}}
        yield event


def cost(count: int, loaded: int) -> dict[str, float]:
    """Return the microseconds that an event costs the core with `count` segments, and how many transitions it makes."""
    at_ms = now_ms()
    partition = population.started(population.catalog_of(population.definitions(segments(count), at_ms)))
    partition.ready(at_ms)
    partition.plans.of(TENANT)
    source = [
        (event["type"], population.Came(0, record_key(TENANT, event["customer_id"]), json.dumps(event).encode()))
        for event in load(loaded, _regions(count), loaded // _EVENTS_EACH)
    ]
    groups = [source[start : start + _GROUP] for start in range(0, len(source), _GROUP)]
    gc.collect()
    gc.freeze()
    since_s, published = time.perf_counter(), 0
    for step in population.fed(partition, groups, at_ms):
        published += len(step.changes)
    took_s = time.perf_counter() - since_s
    gc.unfreeze()
    return {"us": 1e6 * took_s / len(source), "transitions": published / len(source)}


def measure(stack: Stack, *, quick: bool = False) -> dict[str, Any]:
    """Run all in turns."""
    runs, many, sizes, loaded = (1, 400, (100, 1_000), 10_000) if quick else (3, 2_000, (100, 1_000, 10_000), 30_000)
    long = (30_000, CUSTOMERS) if quick else (LONG, LONG_CUSTOMERS)
    found: dict[str, Any] = {"many": many, "rates": {"20": [], "many": []}, "costs": {str(size): [] for size in sizes}}
    for run in range(runs):
        for name, count in (("20", 20), ("many", many)):
            found["rates"][name].append(drained(stack, f"{name}-{run}-", segments(count), load(long[0], _regions(count), long[1])))
        for size in sizes:
            found["costs"][str(size)].append(cost(size, loaded))
        print(f"  segments, run {run + 1} of {runs}: {found['rates']['many'][-1]:,.0f}/s with {many}", flush=True)
    return found


def lines(found: dict[str, Any]) -> list[Line]:
    """Say rates and growth."""
    costs = {size: [one["us"] for one in runs] for size, runs in found["costs"].items()}
    first, *_, most = costs
    growth = median(most_us / first_us for first_us, most_us in zip(costs[first], costs[most], strict=True))
    said = ", ".join(f"{spread(us, '.1f')} µs with {int(size):,}" for size, us in costs.items())
    transitions = ", ".join(f"{runs[0]['transitions']:.2f}" for runs in found["costs"].values())
    return [
        Line(
            f"events/s, one segmenter, {found['many']:,} segments over shared metrics", spread(found["rates"]["many"]),
            f"20 such segments: {spread(found['rates']['20'])}", "20,000",
        ),
        Line(f"cost of an event, {int(first):,} → {int(most):,} segments, core alone", f"{growth:.1f} times: {said}", f"transitions an event: {transitions}", "3 times"),
    ]  # fmt: skip
