"""What `make chaos CHAOS="--broken NAME"` breaks is still there to be broken."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.chaos.broken import BROKEN, Broken, build, patched
from tests.chaos.drill import FAULTS


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_a_change_still_applies_and_its_faults_are_known(name: str) -> None:
    """Once, into something that Python can read, and nowhere but where it says."""
    broken = BROKEN[name]
    ast.parse(patched(broken, Path(broken.file).read_text()))
    assert broken.old != broken.new
    assert FAULTS.keys() >= set(broken.faults)


def test_what_is_not_there_once_is_refused() -> None:
    """A change that no longer fits must not pass for a build that is broken."""
    for source in ("", "ab ab"):
        with pytest.raises(ValueError, match="and not once"):
            patched(Broken("x.py", "ab", "c", (), ""), source)


def test_a_broken_build_is_a_copy(tmp_path: Path) -> None:
    """The change is in the copy, and the source is as it was."""
    broken = BROKEN["feed-skips"]
    root = build(broken, tmp_path / "broken")
    assert broken.new in (root / broken.file).read_text()
    assert broken.old in Path(broken.file).read_text()
    assert (root / "schemas" / "__init__.py").exists()
