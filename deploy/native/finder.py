"""Hands out the compiled modules, as long as the sources beside them are those that were compiled.

A copy of this file lies in the virtual environment and is installed when Python starts there. A source that was edited since, or
another checkout with the same environment, runs from its sources; so does everything with ROLLCALL_NATIVE=0.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType

MODULE = "rollcall_native"
FOLDER = "rollcall_native_modules"
_MANIFEST = "manifest.json"


def digest(root: Path, sources: Iterable[str]) -> str:
    """Return a digest of the sources and of this Python; empty when one of them is not there."""
    found = hashlib.sha256(sys.version.encode())
    for source in sources:
        try:
            found.update(source.encode() + b"\0" + (root / source).read_bytes() + b"\0")
        except OSError:
            return ""
    return found.hexdigest()


def compiled(folder: Path) -> str:
    """Return the digest of the sources that the modules in a folder were compiled from, empty when there are none."""
    try:
        return str(json.loads((folder / _MANIFEST).read_text())["digest"])
    except (OSError, ValueError, KeyError):
        return ""


def write_manifest(folder: Path, sources: Iterable[str], of: str) -> None:
    """Write down what was compiled, from what, and where each module lies."""
    files = {".".join(path.relative_to(folder).parts).split(".cpython-")[0]: str(path.relative_to(folder)) for path in folder.rglob("*.so")}
    (folder / _MANIFEST).write_text(json.dumps({"digest": of, "sources": list(sources), "files": files}, indent=1))


class Finder(MetaPathFinder):
    """Finds compiled modules by name. Whether they fit is asked once, when the first of them is imported."""

    def __init__(self, folder: Path) -> None:
        manifest = json.loads((folder / _MANIFEST).read_text())
        self._folder = folder
        self._digest: str = manifest["digest"]
        self._sources: list[str] = manifest["sources"]
        self._files: dict[str, str] = manifest["files"]
        self._fits: bool | None = None

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Return the compiled module's spec, None to let Python look on."""
        file = self._files.get(fullname)
        if file is None:
            return None
        if self._fits is None:
            if path is None:
                return None
            root = Path(next(iter(path))).resolve().parents[fullname.count(".") - 1]
            self._fits = digest(root, self._sources) == self._digest
        return spec_from_file_location(fullname, self._folder / file) if self._fits else None


def install() -> None:
    """Put the finder before all others. Never fails: without it everything runs from its sources."""
    folder = Path(__file__).resolve().parent / FOLDER
    if os.environ.get("ROLLCALL_NATIVE", "1") != "0" and compiled(folder):
        sys.meta_path.insert(0, Finder(folder))
