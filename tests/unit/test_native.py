"""The finder of compiled modules: they are handed out only beside the sources that they were compiled from."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.native import finder
from deploy.native.build import MODULES

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with one package of one module, and a folder in which it was compiled."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop/till.py").write_text("price = 1\n")
    made = tmp_path / "made/shop"
    made.mkdir(parents=True)
    (made / "till.cpython-311-x86_64-linux-gnu.so").write_bytes(b"compiled")
    finder.write_manifest(tmp_path / "made", ["shop/till.py"], finder.digest(tmp_path, ["shop/till.py"]))
    return tmp_path


def found(checkout: Path) -> str | None:
    """What a new process would be given for the module."""
    spec = finder.Finder(checkout / "made").find_spec("shop.till", [str(checkout / "shop")])
    return None if spec is None else spec.origin


def test_compiled_modules_are_found_beside_their_sources(checkout: Path) -> None:
    """The module's place is where it was compiled to; a module that was not compiled is left to Python."""
    assert found(checkout) == str(checkout / "made/shop/till.cpython-311-x86_64-linux-gnu.so")
    assert finder.Finder(checkout / "made").find_spec("shop.scale", [str(checkout / "shop")]) is None


def test_a_source_that_was_edited_runs_as_it_is(checkout: Path) -> None:
    """One changed letter, and nothing compiled is used; the same when the source is gone."""
    (checkout / "shop/till.py").write_text("price = 2\n")
    assert found(checkout) is None
    (checkout / "shop/till.py").unlink()
    assert found(checkout) is None


def test_a_broken_manifest_is_no_manifest(checkout: Path) -> None:
    """Half a file is what an interrupted build leaves; everything then runs from its sources."""
    assert finder.compiled(checkout / "made")
    (checkout / "made/manifest.json").write_text('{"digest": "ab')
    assert not finder.compiled(checkout / "made")


def test_everything_that_is_compiled_is_there_and_has_no_struct_of_its_own() -> None:
    """Classes of msgspec lose their options when they are compiled, so they live in modules that are not."""
    for module in MODULES:
        text = (ROOT / module).read_text()
        structs = [line for line in text.splitlines() if line.startswith("class ") and "Struct" in line]
        assert not structs, module
