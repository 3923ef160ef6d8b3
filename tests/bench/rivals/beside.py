"""Rollcall and its rivals in turns, on the same events; a turn is one run of each contender, and the ratios are of their medians."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any, Final, NamedTuple

from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from demo.segments import SEGMENTS
from tests.bench.lines import Line, spread
from tests.bench.load import CUSTOMERS, LONG, LONG_CUSTOMERS, events, fill
from tests.bench.rivals.job import RULES, State, step
from tests.bench.throughput import rollcall, stock
from tests.support.services import PARTITIONS, Stack

RIVALS_PYTHON: Final = Path(".venv/rivals/bin/python")
"""The environment that `deploy/local/install.sh bench` makes."""


class Rival(NamedTuple):
    """A contender: what it is called, what does not make it the same, how it is run, and how much of the events it is given."""

    name: str
    differs: str
    module: tuple[str, ...]
    ours: bool = False
    """Runs in the product's environment, not in that of the rivals."""
    judges: bool = True
    """Claims to have counted every customer: its transitions are held against those of the same events in memory."""
    share: float = 1.0


RIVALS: Final = {
    "naive": Rival(
        "orjson loop", "no windows, nobody leaves; nothing kept: a restart counts anew, a record that comes twice counts twice", ("naive",)
    ),
    "quix": Rival(
        "Quix Streams",
        "no windows, nobody leaves; at least once: after a crash counted and written again; state has a changelog",
        ("quix",),
        share=0.25,
    ),
    "bytewax": Rival("Bytewax", "no windows, nobody leaves; state in memory alone, as recovery is off; output unacknowledged", ("wax",)),
    "duckdb": Rival("DuckDB, polled", "windows yes, but seen when asked only; all events at once; no profiles, order or transactions", ("polling",)),
    "decode": Rival("bound: decode only", "the product's structs from memory, one core; nothing else", ("bounds", "decode"), ours=True, judges=False),
    "broker": Rival("bound: consume only", "bytes from the broker; nothing is decoded", ("bounds", "broker"), ours=True, judges=False),
    "transactions": Rival(
        "bound: consume, commit", "bytes from the broker, a transaction of one record per 1,000", ("bounds", "transactions"), ours=True, judges=False
    ),
}
STOCK: Final = Rival("stock Faust", "a count per customer: no rules, windows or output; at least once does not hold", ())


def run(stack: Stack, key: str, turn: int, count: int) -> dict[str, Any]:
    """Run a contender once on `count` events that the topics have, and return what it said."""
    rival = RIVALS[key]
    out = f"{stack.prefix}out-{key}-{turn}"
    asyncio.run(_topic(stack.bootstrap, out))
    told = {
        "BENCH_KAFKA": stack.bootstrap,
        "BENCH_TOPICS": ",".join(stack.topics.family(kind) for kind in ("checkout", "coupon-redemption", "email-open")),
        "BENCH_COUNT": str(count),
        "BENCH_OUT": out,
        "BENCH_FOLDER": str(stack.folder / out),
    }
    python = sys.executable if rival.ours else str(RIVALS_PYTHON.absolute())
    module = f"tests.bench.rivals.{rival.module[0]}"
    done = subprocess.run(
        (python, "-m", module, *rival.module[1:]), env=stack.environment() | told, capture_output=True, text=True, timeout=300, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{rival.name} ended with {done.returncode}: {done.stderr.strip()[-300:]}")
    said: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return said


async def _topic(bootstrap: str, name: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, PARTITIONS, 1)])
    finally:
        await admin.close()


def expected(count: int) -> int:
    """Return how many transitions the job makes of the first `count` events."""
    customers: dict[str, State] = {}
    entered = 0
    for event in events(count):
        customers[event["customer_id"]], new = step(customers.get(event["customer_id"]), event)
        entered += len(new)
    return entered


def wrong(said: dict[str, Any], count: int, transitions: int | None) -> str:
    """Say what a contender counted wrongly; empty when it is right, or claims nothing."""
    if said["events"] != count:
        return f"read {said['events']:,} of {count:,} events"
    if transitions is not None and said["transitions"] != transitions:
        return f"found {said['transitions']:,} of {transitions:,} transitions"
    return ""


def measure(stack: Stack, *, quick: bool = False) -> dict[str, Any]:
    """Run all in turns; a contender that does not run here is kept with the reason."""
    turns, count, least = (1, 20_000, 5_000) if quick else (3, 150_000, 30_000)
    counts = {key: max(least, int(count * rival.share)) for key, rival in RIVALS.items()}
    right = {wanted: expected(wanted) for wanted in set(counts.values())}
    long = (2 * count, CUSTOMERS) if quick else (LONG, LONG_CUSTOMERS)
    runs: dict[str, list[dict[str, Any]]] = {"rollcall": [], "long": [], "stock": [], **{key: [] for key in RIVALS}}
    left_out: dict[str, str] = {}
    for turn in range(turns):
        runs["rollcall"].append({"rate": rollcall(stack, f"ours{turn}-", count)})
        runs["long"].append({"rate": rollcall(stack, f"long{turn}-", *long)})
        runs["stock"].append({"rate": stock(stack, turn, least)})
        for wanted in sorted(right):
            stack.fresh(f"rivals{turn}-{wanted}-")
            fill(stack.bootstrap, stack.topics, PARTITIONS, events(wanted))
            for key in (key for key, its in counts.items() if its == wanted and key not in left_out):
                try:
                    said = run(stack, key, turn, wanted)
                except (OSError, RuntimeError, subprocess.TimeoutExpired, json.JSONDecodeError, IndexError) as error:
                    left_out[key] = f"does not run here: {error}"
                    continue
                if fault := wrong(said, wanted, right[wanted] if RIVALS[key].judges else None):
                    said["wrong"] = fault
                runs[key].append(said)
        print(f"  turn {turn + 1} of {turns}: " + ", ".join(f"{key} {its[-1]['rate']:,.0f}/s" for key, its in runs.items() if its), flush=True)
    return {
        "segments": len(SEGMENTS),
        "conditions": len(RULES),
        "long": {"events": long[0], "customers": long[1]},
        "events": {"rollcall": count, "stock": least, **counts},
        "runs": runs,
        "left_out": left_out,
    }


def lines(found: dict[str, Any]) -> list[Line]:
    """Say the rate of every contender beside Rollcall's, and what it leaves out."""
    ours = [run["rate"] for run in found["runs"]["rollcall"]]
    out = []
    if long := found.get("long"):
        what = f"events/s, {found['segments']} segments, full durability; {long['events']:,} events of {long['customers']:,} customers"
        out.append(Line(what, spread(run["rate"] for run in found["runs"]["long"]), "", "40,000"))
    for key, rival in {"stock": STOCK, **RIVALS}.items():
        its = found["runs"].get(key, [])
        what = f"events/s, {found['segments']} segments, full durability; beside {rival.name}"
        if key in found["left_out"] or not its:
            out.append(Line(what, spread(ours), found["left_out"].get(key, "was not run"), ""))
            continue
        said = f"{spread(run['rate'] for run in its)}: {rival.differs}"
        if "poll_s" in its[0]:
            said += f"; a poll of {found['events'][key]:,} events takes {spread((run['poll_s'] for run in its), '.2f')} s"
        if faults := {run["wrong"] for run in its if "wrong" in run}:
            said += f"; WRONG: {', '.join(sorted(faults))}"
        ratio = f"{median(ours) / median(run['rate'] for run in its):.2f} times"
        out.append(Line(what, spread(ours), said, ratio + (" (at least 10)" if key == "stock" else "")))
    return out
