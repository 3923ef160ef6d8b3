"""`make bench`: run the benchmarks and print one table; what was measured is kept in `bench/results/`.

Rates and delays depend on the machine and its mood; the ratios are what to read, each pair having been measured in turns.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.bench import latency, throughput
from tests.support.services import running

RESULTS = Path("bench/results")


def main() -> None:
    """Parse the arguments, measure, print, keep."""
    parser = argparse.ArgumentParser(description="Benchmarks of Rollcall beside stock Faust, on a real Kafka and Valkey.")
    parser.add_argument("--runs", type=int, default=3, help="turns of each contender (default 3)")
    parser.add_argument("--events", type=int, default=200_000, help="events through the segmenter in each turn")
    parser.add_argument("--stock-events", type=int, default=30_000, help="events through stock Faust in each turn")
    parser.add_argument("--seconds", type=float, default=20.0, help="length of each latency run")
    parser.add_argument("--only", choices=("throughput", "latency"), help="run one part alone")
    arguments = parser.parse_args()
    results: dict[str, Any] = {"at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "cores": os.cpu_count(), "python": platform.python_version()}
    with tempfile.TemporaryDirectory(prefix="rollcall-bench-") as folder, running(Path(folder)) as stack:
        print("Kafka and Valkey are up; measuring.", flush=True)
        if arguments.only != "latency":
            results["throughput"] = throughput.measure(stack, runs=arguments.runs, ours=arguments.events, theirs=arguments.stock_events)
        if arguments.only != "throughput":
            results["latency"] = latency.measure(stack, seconds=arguments.seconds)
    Console().print(table(results))
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "latest.json").write_text(json.dumps(results, indent=2) + "\n")


def table(results: dict[str, Any]) -> Table:
    """Lay the results out for reading."""
    out = Table(title=f"Rollcall on {results['cores']} cores, broker and Valkey beside it", title_justify="left")
    for column in ("what", "Rollcall", "beside", "ratio / mark"):
        out.add_column(column)
    if found := results.get("throughput"):
        ours, theirs = found["median"]["rollcall"], found["median"]["stock_faust"]
        what = f"events/s, one segmenter, {found['segments']} segments, full durability"
        out.add_row(what, f"{ours:,.0f}", f"stock Faust, count per customer: {theirs:,.0f}", f"{found['ratio']:.1f} times (at least 10)")
    for rate, delays in results.get("latency", {}).items():
        what = f"event posted → webhook received, {int(rate):,} events/s"
        out.add_row(what, f"p50 {delays['p50_ms']:.0f} ms, p99 {delays['p99_ms']:.0f} ms", "", "p50 < 60 ms, p99 < 250 ms")
    return out


if __name__ == "__main__":
    main()
