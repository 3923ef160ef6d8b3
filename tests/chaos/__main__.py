"""`make chaos`: follow a plan drawn from a seed, print it as it goes, and write the report; ends with 1 when a promise was broken."""

from __future__ import annotations

import argparse
import itertools
import shutil
import sys
import time
from pathlib import Path

import msgspec

from tests.chaos.broken import BROKEN, noticed
from tests.chaos.drill import FAULTS, Made, plan, run
from tests.chaos.picture import svg
from tests.chaos.report import markdown
from tests.chaos.scene import scene

_RESULTS = Path(".rollcall/chaos")
_SHOWN = 50


def main() -> int:
    """Parse the arguments, run, report."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Faults under load, compared record by record.")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 100_000, help="draws the plan and the load; printed")
    parser.add_argument("--minutes", type=float, default=3.0, help="no new fault is begun after so long (default 3)")
    parser.add_argument("--only", nargs="+", choices=sorted(FAULTS), metavar="FAULT", help="these faults: " + ", ".join(FAULTS))
    parser.add_argument("--rate", type=int, default=1_100, help="events a second (default 1,100)")
    parser.add_argument("--customers", type=int, default=0, help="customers who are there before the load begins")
    parser.add_argument("--session", type=float, default=10.0, help="session timeout of segmenters and dispatchers in seconds (default 10)")
    parser.add_argument("--broken", choices=sorted(BROKEN), metavar="NAME", help="a build that is broken on purpose: " + ", ".join(BROKEN))
    arguments = parser.parse_args()
    if arguments.broken:
        return _broken(arguments.broken, arguments.seed, arguments.rate)
    names = arguments.only or list(FAULTS)
    print(f"seed {arguments.seed}; the plan:", ", ".join(name for _, name in itertools.islice(plan(arguments.seed, names), len(names))), flush=True)
    folder = (_RESULTS / f"seed-{arguments.seed}").absolute()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with scene(folder, seed=arguments.seed, per_s=arguments.rate, session_s=arguments.session, crowd=arguments.customers) as found:
        result = run(found, arguments.seed, names, _say, minutes=arguments.minutes)
    for server in ("kafka", "valkey"):
        shutil.rmtree(folder / server, ignore_errors=True)
    (folder / "result.json").write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1))
    (folder / "report.md").write_text(text := markdown([result]))
    (folder / "memory.svg").write_text(svg(result))
    print(text)
    print(f"{folder / 'report.md'}; memory.svg and the services' logs are beside it")
    return 1 if result.violations_in_all else 0


def _broken(name: str, seed: int, per_s: int) -> int:
    """Run against a broken build; ends with 0 when the suite noticed."""
    folder = (_RESULTS / f"broken-{name}").absolute()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    said = noticed(name, folder, seed, per_s, _say)
    for server in ("kafka", "valkey"):
        shutil.rmtree(folder / server, ignore_errors=True)
    print(*said[:_SHOWN], sep="\n")
    found = [sentence for sentence in said if BROKEN[name].said in sentence]
    print(f"{name}: {f'noticed: {found[0]}' if found else 'NOT noticed'}; expected was: {BROKEN[name].said}")
    return 0 if found else 1


def _say(made: Made) -> None:
    said = f" ({made.said})" if made.said else ""
    print(
        f"  {made.name}{said}: lasted {made.lasted_s} s, ready after {made.ready_s} s, shown after {made.shown_s} s, "
        f"{f'the run stood still for {made.stood_s} s, ' if made.stood_s > 1 else ''}{made.compared} compared, {made.violations} violations; {made.seen}",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
