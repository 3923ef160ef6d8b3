"""Events a second that one ingest process accepts over HTTP, acknowledged by Kafka, beside a process that only reads the bodies."""

from __future__ import annotations

import json
import urllib.request
from itertools import islice
from typing import Any, Final

from tests.bench.lines import Line, spread
from tests.bench.load import events
from tests.bench.scale.http import fire, post
from tests.support.services import KEY, Stack

_BATCH: Final = 500
_BODIES: Final = 100
_CONNECTIONS: Final = 8


def bodies() -> list[bytes]:
    """Return requests of 500 events each, no event twice; a key is of one tenant, so events do not name it."""
    source = ({name: value for name, value in event.items() if name != "tenant"} for event in events(_BATCH * _BODIES))
    return [
        post("/v1/events", b"\n".join(json.dumps(event).encode() for event in islice(source, _BATCH)), "application/x-ndjson") for _ in range(_BODIES)
    ]


def _check(stack: Stack, request: bytes) -> None:
    """See once that a whole batch is accepted: a refused event would cost less."""
    body = request.partition(b"\r\n\r\n")[2]
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/x-ndjson"}
    url = f"http://127.0.0.1:{stack.ports['ingest']}/v1/events"
    with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=10) as answer:
        said = json.load(answer)
    if said["accepted"] != _BATCH:
        raise RuntimeError(f"{said['accepted']} of {_BATCH} events were accepted: {said}")


def measure(stack: Stack, *, quick: bool = False) -> dict[str, Any]:
    """Run both in turns; return the events a second of every turn and the 99th percentile of a request."""
    runs, seconds = (1, 4.0) if quick else (3, 10.0)
    stack.fresh("ingesting-")
    stack.define([])
    requests = bodies()
    stack.own["ingest"] = {"ROLLCALL_INGEST_EVENTS_PER_S": "1e9", "ROLLCALL_INGEST_BURST_EVENTS": "1000000000"}
    found: dict[str, list[float]] = {"rollcall": [], "bare": [], "p99_ms": []}
    for _ in range(runs):
        for name, module in (("bare", "tests.bench.scale.bare"), ("ingest", "services.ingest")):
            stack.start(name, module)
            if name == "ingest":
                _check(stack, requests[0])
            rate = fire(stack.ports[name], requests, wanted=202, connections=_CONNECTIONS, seconds=seconds)
            stack.stop_services()
            found["bare" if name == "bare" else "rollcall"].append(rate.a_second * _BATCH)
            if name == "ingest":
                found["p99_ms"].append(rate.p99_ms)
    return found


def lines(found: dict[str, Any]) -> list[Line]:
    """Say both rates."""
    what = f"events/s accepted over HTTP, NDJSON batches of {_BATCH}, one ingest process"
    ours = f"{spread(found['rollcall'])}, a batch p99 {spread(found['p99_ms'])} ms"
    return [Line(what, ours, f"FastAPI that only reads the body: {spread(found['bare'])}", "30,000")]
