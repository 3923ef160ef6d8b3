"""`make test`: what computes and what waits, side by side, for tests on a real broker leave most of a core idle.

Each lane that needs them has a broker and a Valkey of its own. The first, which is done soonest, goes on with a part of what the second
would do, and with the engine's tests once more on its plain sources, which run where there is no compiler.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final

Run = tuple[dict[str, str], tuple[str, ...]]

_SEGMENTER: Final = sorted(map(str, Path("tests/integration").glob("test_segmenter_*.py")))

LANES: Final[dict[str, tuple[Run, ...]]] = {
    "whole": (
        ({}, ("tests/e2e", *_SEGMENTER)),
        ({"ROLLCALL_NATIVE": "0", "ROLLCALL_TEST_WORLDS": "25"}, ("tests/property", "tests/unit/test_partition.py")),
    ),
    "real": (({}, ("tests/integration", *[f"--ignore={path}" for path in _SEGMENTER])),),
    "pure": (({}, ("tests/unit", "tests/property")),),
}


def lane(name: str, runs: tuple[Run, ...], failed: list[str]) -> int:
    """Run pytest again and again, line by line under the lane's name; return the first status that is not 0, and what failed in `failed`."""
    for extra, paths in runs:
        environment = os.environ | extra | {"PYTHONUNBUFFERED": "1"}
        command = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *paths)
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace") as run:
            for line in run.stdout or ():
                print(f"{name} | {line.rstrip()}", flush=True)
                if line.startswith(("FAILED ", "ERROR ")):
                    failed.append(f"{name} | {line.rstrip()}")
        if run.returncode:
            return run.returncode
    return 0


def main() -> int:
    """Run all lanes to their ends and return 0 if all tests passed."""
    since_s = time.monotonic()
    failed: list[str] = []
    with ThreadPoolExecutor(len(LANES)) as pool:
        found = [*pool.map(partial(lane, failed=failed), LANES, LANES.values())]
    print(*failed, sep="\n")
    said = "all passed" if not any(found) else "some failed, as named above"
    print(f"{said}, in {time.monotonic() - since_s:.0f} s")
    return max(found)


if __name__ == "__main__":
    sys.exit(main())
