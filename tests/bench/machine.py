"""What the figures were taken on and of: without that they say nothing."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import psutil

import services.segmenter.partition

_PACKAGES: Final = ("aiokafka", "confluent-kafka", "faust-streaming", "msgspec", "uvloop")


def facts() -> dict[str, Any]:
    """Return machine, versions and commit."""
    core = services.segmenter.partition.__file__ or ""
    return {
        "cores": os.cpu_count(),
        "cpu": _cpu(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "compiled": core.endswith(".so"),
        "commit": _commit(),
        "versions": {name: version(name) for name in _PACKAGES},
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor())


def _commit() -> str:
    """Return the commit, with a plus when files differ from it; empty outside a repository."""
    try:
        done = subprocess.run(("git", "describe", "--always", "--dirty=+", "--abbrev=12"), capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
