"""The tables of docs/RELIABILITY.md tell every bound as it is: each number among the settings, and each in the code that is none."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import annotated_types
import pytest
from pydantic.fields import FieldInfo

from services.api.dispatcher.settings import DispatcherSettings
from services.api.settings import ApiSettings
from services.ingest.settings import IngestSettings
from services.segmenter.settings import SegmenterSettings

ROOT: Final = Path(__file__).parents[2]
SETTINGS: Final = (IngestSettings, SegmenterSettings, ApiSettings, DispatcherSettings)

BOUND_NOTHING: Final = {
    "api_port", "ingest_port", "dispatcher_port", "segmenter_port", "segmenter_advertised_port", "partitions", "replication_factor",
    # How often something is done, or how long is rested in between.
    "dispatcher_record_every_ms", "segmenter_commit_every_ms", "segmenter_heartbeat_ms", "ingest_look_every_ms", "segmenter_projection_pause_ms",
    # For tests alone.
    "clock_ahead_ms",
}  # fmt: skip
"""Numbers among the settings that limit nothing."""

_NAMES_OF_BOUNDS: Final = {"MAX", "MOST", "KEPT", "REMEMBERED", "TRIES", "ATTEMPTS"}
_NOT_BOUNDS: Final = {
    "services.api.dispatcher.desk._MOST_SLEEP_S",  # how soon the clock is looked at again
    "services.segmenter.transactions._TURNAROUND_MOST_S",
    "services.api.dispatcher.schedule.MOST_RETRY_AFTER_S",  # the default of a setting
}
_UNITS: Final = {"_s": " s", "_ms": " ms", "_days": " days", "_months": " months"}
_UNBOUNDED_CACHES: Final = {"schemas/rule_windows.py"}
"""Their arguments are months of a window, of which there are 1,200 at most."""


def numbers() -> dict[str, FieldInfo]:
    """Return every setting that is a number, or several."""
    found = {name: field for settings in SETTINGS for name, field in settings.model_fields.items()}
    return {name: field for name, field in found.items() if field.annotation in (int, float) or "float" in str(field.annotation)}


def shown(name: str, value: Any) -> str:
    """Return a number as the table says it, with its unit."""
    if isinstance(value, tuple):
        return ", ".join(f"{one:,g}" for one in value) + " s"
    if "bytes" in name.lower():
        for size, unit in ((1 << 20, "MiB"), (1 << 10, "KiB")):
            if value % size == 0:
                return f"{value // size:,} {unit}"
        return f"{value:,} bytes"
    if name.endswith("_per_s"):
        return f"{value:,g} a second"
    unit = next((unit for ending, unit in _UNITS.items() if name.lower().endswith(ending)), "")
    return (f"{value:,}" if isinstance(value, int) else f"{value:,g}") + unit


def section() -> str:
    """Return what the document says of bounds."""
    text = (ROOT / "docs" / "RELIABILITY.md").read_text()
    return text[text.index("\n## Bounds\n") :]


def settings_told() -> dict[str, str]:
    """Return the default that the tables say of each setting."""
    rows = re.findall(r"^\| `([a-z_]+)` \| (.+?) \| (.+?) \|$", section(), re.MULTILINE)
    assert len({name for name, *_ in rows}) == len(rows), "a setting is told twice"
    assert all(beyond.strip() for *_, beyond in rows)
    return {name: default for name, default, _ in rows}


def constants_told() -> dict[str, str]:
    """Return the value that the table says of each constant."""
    return dict(re.findall(r"`((?:schemas|services)\.[\w.]+)` ([\d,.]*\d(?: [a-zA-Z]+)?)", section()))


def test_every_setting_that_bounds_is_told_as_it_is() -> None:
    """No number is missing, none is made up, and each default is the real one."""
    real = {name: shown(name, field.default) for name, field in numbers().items() if name not in BOUND_NOTHING}
    assert settings_told() == real
    assert numbers().keys() >= BOUND_NOTHING


@pytest.mark.parametrize("name", sorted(numbers()))
def test_every_number_has_a_least_and_says_what_it_is_for(name: str) -> None:
    """A bound of nothing, or less, is refused when a process starts; only a clock may be wrong either way."""
    field = numbers()[name]
    least = any(isinstance(one, annotated_types.Ge | annotated_types.Gt) for one in field.metadata)
    assert least or name in ("clock_ahead_ms", "dispatcher_schedule_s")
    assert field.description


def constants() -> Iterator[tuple[str, Any]]:
    """Give every number of a module whose name says that it is a bound."""
    for top in ("schemas", "services"):
        for path in sorted((ROOT / top).rglob("*.py")):
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            for node in ast.parse(path.read_text()).body:
                if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and set(node.target.id.split("_")) & _NAMES_OF_BOUNDS:
                    value = getattr(importlib.import_module(module), node.target.id)
                    name = f"{module}.{node.target.id}"
                    if isinstance(value, int | float) and name not in _NOT_BOUNDS:
                        yield name, value


def test_every_constant_that_bounds_is_told_as_it_is() -> None:
    """What is no setting is told with its reason; others than those that their names give away may be told as well."""
    told = constants_told()
    missing = {name: shown(name, value) for name, value in constants() if name not in told}
    assert not missing
    for name, value in told.items():
        module, _, constant = name.rpartition(".")
        assert shown(name, getattr(importlib.import_module(module), constant)) == value, name


def test_no_cache_grows_for_ever() -> None:
    """What remembers results has a size, but where the arguments are few."""
    found = set()
    for top in ("schemas", "services"):
        for path in (ROOT / top).rglob("*.py"):
            if re.search(r"^\s*@(functools\.)?(cache\b|lru_cache(\(maxsize=None\)|\(None\)))", path.read_text(), re.MULTILINE):
                found.add(str(path.relative_to(ROOT)))
    assert found == _UNBOUNDED_CACHES


@pytest.mark.parametrize("schedule", ["-1", "nan", "inf", "", ",".join(["1"] * 1_001)])
def test_a_schedule_is_some_attempts_each_after_a_while(schedule: str) -> None:
    """Neither before now nor never, neither none nor without end: each attempt is remembered with its delivery."""
    with pytest.raises(ValueError, match="dispatcher_schedule_s"):
        DispatcherSettings.model_validate({"dispatcher_schedule_s": schedule})
