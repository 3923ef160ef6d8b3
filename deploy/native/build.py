"""`python -m deploy.native.build`: compile the modules that every event passes through, with mypyc, into the virtual environment.

The sources stay what is read, tested and run where there is no compiler. What is compiled lies beside a finder (`finder.py`) that
hands it out only while the sources are the ones that were compiled.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Final

from deploy.native import finder

MODULES: Final = (
    "schemas/errors.py",
    "schemas/instants.py",
    "schemas/partitions.py",
    "schemas/amounts.py",
    "schemas/decoding.py",
    "schemas/reading.py",
    "services/segmenter/engine/verdict.py",
    "services/segmenter/engine/operators.py",
    "services/segmenter/engine/windows.py",
    "services/segmenter/engine/series.py",
    "services/segmenter/engine/readers.py",
    "services/segmenter/engine/tallies.py",
    "services/segmenter/engine/sequences.py",
    "services/segmenter/engine/ratios.py",
    "services/segmenter/engine/features.py",
    "services/segmenter/engine/calendar.py",
    "services/segmenter/engine/extract.py",
    "services/segmenter/engine/attributes.py",
    "services/segmenter/engine/feeds.py",
    "services/segmenter/engine/sharing.py",
    "services/segmenter/engine/tree.py",
    "services/segmenter/engine/guards.py",
    "services/segmenter/engine/plan.py",
    "services/segmenter/engine/live.py",
    "services/segmenter/engine/outlook.py",
    "services/segmenter/engine/decisions.py",
    "services/segmenter/engine/reasons.py",
    "services/segmenter/slots.py",
    "services/segmenter/gathering.py",
    "services/segmenter/plans.py",
    "services/segmenter/customers.py",
    "services/segmenter/applying.py",
    "services/segmenter/partition.py",
)
"""Typed throughout, and without classes of msgspec: those must stay as they are."""

_ROOT: Final = Path(__file__).resolve().parents[2]
_SETUP: Final = """
import sys
from mypyc.build import mypycify
from setuptools import setup

modules, (library, temporary) = sys.argv[3:], sys.argv[1:3]
setup(
    name="rollcall-native",
    packages=[],
    ext_modules=mypycify(["--config-file=pyproject.toml", *modules], opt_level="2", debug_level="0", target_dir=temporary),
    script_args=["--quiet", "build_ext", "--build-lib", library, "--build-temp", temporary],
)
"""


def main() -> int:
    """Compile unless the compiled modules are those of these sources already; return the exit code, 0 without a compiler."""
    home = Path(sysconfig.get_path("purelib"))
    target = home / finder.FOLDER
    wanted = finder.digest(_ROOT, MODULES)
    if finder.compiled(target) == wanted:
        return 0
    if missing := _missing():
        print(f"The engine runs as plain Python, at half the speed: {missing}.")
        return 0
    print("Compiling the engine…", flush=True)
    made, temporary = _ROOT / ".rollcall/native", _ROOT / ".rollcall/native-build"
    for folder in (made, temporary, target):
        shutil.rmtree(folder, ignore_errors=True)
    done = subprocess.run((sys.executable, "-c", _SETUP, str(made), str(temporary), *MODULES), cwd=_ROOT, capture_output=True, text=True, check=False)
    shutil.rmtree(temporary, ignore_errors=True)
    if done.returncode != 0:
        log = _ROOT / ".rollcall/native-build.log"
        log.write_text(done.stdout + done.stderr)
        print(f"The engine could not be compiled and runs as plain Python, at half the speed; the reason is in {log.relative_to(_ROOT)}.")
        return 0
    shutil.copytree(made, target)
    shutil.rmtree(made)
    finder.write_manifest(target, MODULES, wanted)
    shutil.copyfile(_ROOT / "deploy/native/finder.py", home / f"{finder.MODULE}.py")
    (home / f"{finder.MODULE}.pth").write_text(f"import {finder.MODULE}; {finder.MODULE}.install()\n")
    return 0


def _missing() -> str:
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    if shutil.which(compiler) is None and shutil.which("cc") is None:
        return f"there is no C compiler ({compiler})"
    if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
        return "Python's C headers are not installed"
    return ""


if __name__ == "__main__":
    sys.exit(main())
