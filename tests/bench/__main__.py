"""`make bench`: run the benchmarks and print one table; what was measured is kept in `bench/results/`.

Rates and delays depend on the machine and its mood; the ratios are what to read, each pair having been measured in turns.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from tests.bench.lines import Line, Part
from tests.bench.machine import facts
from tests.bench.parts import PARTS
from tests.support.services import running

RESULTS: Final = Path("bench/results")


def main() -> int:
    """Parse the arguments, measure, print, keep; return 1 when a part failed."""
    names = [part.name for part in PARTS]
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Benchmarks of Rollcall and others, on a real Kafka and Valkey.")
    parser.add_argument("--only", nargs="+", choices=names, metavar="PART", help="run these parts alone: " + ", ".join(names))
    parser.add_argument("--quick", action="store_true", help="smaller sizes and fewer turns, for a look")
    parser.add_argument("--show", type=Path, metavar="FILE", help="print the table of results that are kept, and measure nothing")
    arguments = parser.parse_args()
    if arguments.show is not None:
        Console().print(table(json.loads(arguments.show.read_text())))
        return 0
    now = time.gmtime()
    results = {"at": time.strftime("%Y-%m-%dT%H:%M:%SZ", now), "quick": arguments.quick, "machine": facts(), "parts": {}}
    for part in PARTS:
        if part.name in (arguments.only or names):
            results["parts"][part.name] = _measured(part, quick=arguments.quick)
            _keep(results, time.strftime("%Y%m%dT%H%M%SZ", now))
    Console().print(table(results))
    return int(any("failed" in found for found in results["parts"].values()))


def _measured(part: Part, *, quick: bool) -> dict[str, Any]:
    """Measure one part on servers of its own; what fails is said and does not take the other parts with it."""
    print(f"{part.name}:", flush=True)
    try:
        with tempfile.TemporaryDirectory(prefix="rollcall-bench-") as folder, running(Path(folder)) as stack:
            start_s = time.perf_counter()
            found = part.measure(stack, quick)
            return {**found, "took_s": round(time.perf_counter() - start_s, 1)}
    except Exception as error:  # noqa: BLE001 - whatever it is, it is shown in the table and ends the command with 1
        traceback.print_exc()
        return {"failed": f"{type(error).__name__}: {error}"}


def _keep(results: Mapping[str, Any], stamp: str) -> None:
    RESULTS.mkdir(parents=True, exist_ok=True)
    text = json.dumps(results, indent=1) + "\n"
    for name in (stamp, "latest"):
        (RESULTS / f"{name}.json").write_text(text)


def rows(results: Mapping[str, Any], parts: Sequence[Part] = PARTS) -> Iterator[Line]:
    """Give the lines of every part that was measured."""
    for part in parts:
        found = results["parts"].get(part.name)
        if found is None:
            continue
        if "failed" in found:
            yield Line(part.name, f"failed: {found['failed']}", "", "")
        else:
            yield from part.lines(found)


def table(results: Mapping[str, Any]) -> Table:
    """Lay the results out for reading."""
    machine = results["machine"]
    title = f"Rollcall, {results['at']}, {machine['cores']} cores ({machine['cpu']}), broker and Valkey beside it"
    out = Table(title=title, title_justify="left")
    for column in ("what", "Rollcall", "beside", "ratio / mark"):
        out.add_column(column)
    for line in rows(results):
        out.add_row(*line)
    return out


if __name__ == "__main__":
    sys.exit(main())
