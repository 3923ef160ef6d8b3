"""The short plan of `make chaos`: every process is killed once under load, and all promises are compared record by record."""

from __future__ import annotations

from pathlib import Path

from tests.chaos.drill import run
from tests.chaos.report import markdown
from tests.chaos.scene import scene

SEED = 42
KILLS = ("kill-ingest", "kill-segmenter", "kill-api", "kill-dispatcher")


def test_nothing_is_lost_or_told_twice_when_every_process_is_killed_under_load(tmp_path: Path) -> None:
    """Members, lists, feed, webhooks, accounting and changelog are whole, and nobody was told a false no meanwhile."""
    with scene(tmp_path, seed=SEED, per_s=250, session_s=6.0) as found:
        result = run(found, SEED, KILLS, print, rounds=1)
    print(markdown([result]))
    assert result.violations == []
    assert sorted(made.name for made in result.faults) == sorted(KILLS)
    assert set(result.restarts) == {"ingest", "segmenter", "api", "dispatcher"}
    assert result.transitions > 1_000
    assert result.outcomes.keys() >= {"applied", "anonymous", "duplicate", "dead_lettered", "forwarded", "moved", "erased"}
    assert result.causes.keys() >= {"event", "clock", "correction", "manual", "rank", "merge", "erase"}
