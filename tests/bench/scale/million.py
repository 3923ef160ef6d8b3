"""A million customers of twenty events: memory, restart, preview and backfill, beside live traffic, on one segmenter; at last a backfill on two.

They are put into the changelog as `population` says; all that follows is the product's own way: restore, projection, questions over
HTTP, a definition that is saved and swept, live events published meanwhile.
"""

from __future__ import annotations

import json
import random
import time
import urllib.request
from typing import Any, Final

import psutil
from redis import Redis

from demo.segments import SEGMENTS
from schemas.definitions import SCOPES, KeyPut, SegmentPut
from schemas.projection import Keys, decode_marker
from tests.bench.lines import Line, spread
from tests.bench.scale import population
from tests.bench.scale.live import Live, p99
from tests.support.services import KEY, KEY_DIGEST, PARTITIONS, TENANT, Stack, now_ms, wait_for


def _metric(measure: str, event: str, op: str, value: object, last: str = "", field: str = "") -> dict[str, Any]:
    metric: dict[str, Any] = {"measure": measure, "event": event}
    if field:
        metric["field"] = field
    if last:
        metric["window"] = {"last": last}
    return {"metric": metric, "op": op, "value": value}


_KEPT: Final = {
    "all": [
        _metric("count", "checkout", "gte", 2, "P3M"),
        _metric("sum", "checkout", "gt", "60.00", "P3M", "total"),
        _metric("days_since_last", "checkout", "lt", 30),
    ]
}
"""Three conditions on metrics that the demo's segments ask for."""

_NEW: Final = {"all": [_metric("count", "email-open", "gte", 2, "P20D"), _metric("avg", "checkout", "gt", "20.00", "P45D", "total")]}
"""Metrics that nobody asked for before."""

_RARE: Final = {"all": [_metric("count", "checkout", "gte", 18, "P3M")]}
"""Hardly anybody enters; most do by the other two, and each who does costs as much again as the look."""

_RULES: Final = {"kept": _KEPT, "new": _NEW, "rare": _RARE}

_SHARED: Final = {"all": [_metric("count", "email-open", "gte", 2, "P21D"), _metric("avg", "checkout", "gt", "20.00", "P44D", "total")]}
"""As many enter as by the new metrics; for two segmenters, as `make run` has them."""

_LOOK_S: Final = 2.0
_RESTING: Final = 0.25
"""Less than this share of a core over a look is rest."""


def measure(stack: Stack, *, quick: bool = False, count: int = 1_000_000) -> dict[str, Any]:
    """Load, start twice, ask, save; return what each took."""
    count, different = (20_000, 1_000) if quick else (count, 10_000)
    stack.fresh("million-")
    stack.extra |= {"ROLLCALL_SEGMENTER_QUESTION_TIMEOUT_S": "120", "ROLLCALL_API_QUESTION_TIMEOUT_S": "120"}
    at_ms = now_ms()
    records = population.definitions(({"id": segment.id, "rule": segment.rule} for segment in SEGMENTS), at_ms)
    records.append(KeyPut(tenant=TENANT, at_ms=at_ms, key_id="bench", name="bench", scopes=list(SCOPES), sha256=KEY_DIGEST))
    catalog = population.catalog_of(records)
    stack.write(records)
    since_s = time.perf_counter()
    known = population.pasts(catalog, different, at_ms)
    population.write(stack.bootstrap, stack.topics, PARTITIONS, known, count, catalog, at_ms)
    found: dict[str, Any] = {"customers": count, "events": population.EVENTS, "load_s": time.perf_counter() - since_s}
    print(f"  {count:,} customers are in the changelog after {found['load_s']:.0f} s", flush=True)
    stack.start("api", "services.api", "serve", wait=False)
    found["ready_s"] = [_start(stack, found), _restart(stack, found)]
    wait_for(lambda: stack.get("api", "/readyz") is not None, what="api to be ready")
    found["calm_s"] = _calm(stack)
    found["preview_s"], found["previewed"] = zip(*[_preview(stack) for _ in range(2)], strict=True)
    found["plain_s"] = _plain(count)
    with Live(stack, "beside") as live:
        time.sleep(5)
        calm_s = time.perf_counter()
        found["p99_before_ms"] = p99(live.delays_ms(calm_s - 4, calm_s - 0.5))
        found["backfill"] = {name: _backfill(stack, live, name, rule, len(records) + place) for place, (name, rule) in enumerate(_RULES.items())}
        found["rss_after"] = _resident(stack)
        since_s = time.perf_counter()
        stack.start("segmenter2", "services.segmenter", wait=False)
        wait_for(lambda: _shared(stack), what="two segmenters to share the partitions", timeout_s=400, every_s=0.1)
        print(f"  two share the partitions after {time.perf_counter() - since_s:.1f} s", flush=True)
        found["backfill_by_two"] = _backfill(stack, live, "shared", _SHARED, len(records) + len(_RULES))
    stack.stop_services()
    return found


def _start(stack: Stack, found: dict[str, Any]) -> float:
    """Start the segmenter and return the seconds until it is ready."""
    since_s = time.perf_counter()
    stack.start("segmenter", "services.segmenter", wait=False)
    wait_for(lambda: stack.get("segmenter", "/readyz") is not None, what="the segmenter to be ready", timeout_s=400, every_s=0.1)
    took_s = time.perf_counter() - since_s
    found.setdefault("rss_ready", []).append(_resident(stack))
    found.setdefault("cpu_ready_s", []).append(sum(psutil.Process(stack.pid("segmenter")).cpu_times()[:2]))
    print(f"  ready after {took_s:.1f} s, {found['rss_ready'][-1] / 2**20:,.0f} MiB", flush=True)
    return took_s


def _calm(stack: Stack) -> float:
    """Return the seconds after which it rests: what is left to do behind readiness has been done."""
    process, since_s, last = psutil.Process(stack.pid("segmenter")), time.perf_counter(), [0.0]

    def resting() -> bool:
        before_s, last[0] = last[0], sum(process.cpu_times()[:2])
        return last[0] - before_s < _RESTING * _LOOK_S

    wait_for(resting, what="the segmenter to rest", timeout_s=400, every_s=_LOOK_S)
    print(f"  at rest {time.perf_counter() - since_s:.1f} s later, {_resident(stack) / 2**20:,.0f} MiB", flush=True)
    return time.perf_counter() - since_s


def _restart(stack: Stack, found: dict[str, Any]) -> float:
    """End the segmenter and start it again: the projection has all rows now."""
    stack.end("segmenter", gently=True)
    return _start(stack, found)


def _shared(stack: Stack) -> bool:
    """Whether two segmenters are ready, each with half of the partitions."""
    said = [stack.get(name, "/readyz") for name in ("segmenter", "segmenter2")]
    return all(one is not None and len(one["restored"]) == PARTITIONS // 2 for one in said)


def _resident(stack: Stack) -> int:
    return int(psutil.Process(stack.pid("segmenter")).memory_info().rss)


def _preview(stack: Stack) -> tuple[float, dict[str, Any]]:
    body = json.dumps({"rule": _KEPT}).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{stack.ports['api']}/v1/segments/preview", body, {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    )
    since_s = time.perf_counter()
    with urllib.request.urlopen(request, timeout=300) as answer:
        said = json.load(answer)
    return time.perf_counter() - since_s, {name: said[name] for name in ("count", "of")}


def _plain(count: int) -> float:
    """Return how long the same three comparisons take over plain numbers in a list: what is there to be reached."""
    draw = random.Random(5)
    rows = [(draw.randrange(10), draw.randrange(20_000), draw.randrange(90)) for _ in range(count)]
    since_s = time.perf_counter()
    sum([checkouts >= 2 and total > 6_000 and days < 30 for checkouts, total, days in rows])
    return time.perf_counter() - since_s


def _backfill(stack: Stack, live: Live, name: str, rule: dict[str, Any], offset: int) -> dict[str, float]:
    """Save a segment, and return the seconds until every partition has decided everybody, and the delays of live events meanwhile."""
    since_s, segment = time.perf_counter(), f"backfilled-{name}"
    stack.write([SegmentPut(tenant=TENANT, at_ms=now_ms(), segment_id=segment, replaces=0, name=name, rule=rule)])
    redis, keys = Redis.from_url(stack.redis_url), Keys(stack.prefix)

    def swept() -> bool:
        blobs: list[Any] = [redis.hget(keys.marker(number), "m") for number in range(PARTITIONS)]
        return all(decode_marker(blob).definitions > offset for blob in blobs if blob is not None)

    wait_for(swept, what="the backfill to end", timeout_s=600, every_s=0.1)
    ended_s = time.perf_counter()
    time.sleep(1)
    meanwhile = live.delays_ms(since_s, ended_s)
    entered = sum(int(redis.zcard(keys.members(TENANT, segment, number))) for number in range(PARTITIONS))
    print(f"  backfill of {name}: {ended_s - since_s:.1f} s, live p99 {p99(meanwhile):.0f} ms, {entered:,} entered", flush=True)
    return {"seconds": ended_s - since_s, "p99_ms": p99(meanwhile), "entered": entered}


def lines(found: dict[str, Any]) -> list[Line]:
    """Say what each took."""
    people = f"{found['customers']:,} customers of {found['events']} events"
    first, again = found["ready_s"]
    kilo = [rss / found["customers"] / 1024 for rss in (found["rss_ready"][-1], found["rss_after"])]
    backfill = found["backfill"]
    if by_two := found.get("backfill_by_two"):
        backfill = backfill | {"by two segmenters": by_two}
    said = "; ".join(
        f"{name} {one['seconds']:.1f} s, live p99 {one['p99_ms']:.0f} ms" + (f", {one['entered']:,} entered" if "entered" in one else "")
        for name, one in backfill.items()
    )
    return [
        Line(f"restart with {people}, to ready", f"{again:.1f} s; {first:.1f} s with an empty projection", f"at rest {found['calm_s']:.0f} s later", "60 s"),
        Line(f"resident memory a customer, {people}", f"{kilo[0]:.1f} KiB when ready, {kilo[1]:.1f} KiB after backfills", "", "4 KB"),
        Line(
            f"preview, {people}, three conditions on maintained metrics", f"{spread(1000 * s for s in found['preview_s'])} ms",
            f"three comparisons over a list of plain numbers: {1000 * found['plain_s']:.0f} ms", "300 ms",
        ),
        Line(f"backfill of a new segment, {people}", said, f"live p99 before: {found['p99_before_ms']:.0f} ms", "60 s, p99 300 ms"),
    ]  # fmt: skip
