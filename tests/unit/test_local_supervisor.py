"""The supervisor's rules: order, pauses, giving up, and the environment that it hands down."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.local.errors import LaunchError
from deploy.local.layout import Layout
from deploy.local.process import ProcessSpec
from deploy.local.processes import environment, table
from deploy.local.supervisor import Deaths, levels


def named(name: str, *after: str) -> ProcessSpec:
    """Describe a process of which only the order matters."""
    return ProcessSpec(name, (name,), {}, lambda: None, after=after)


def test_pauses_grow_to_a_bound() -> None:
    """The first restart is almost at once, and no pause before the tenth death is longer than two seconds."""
    deaths, now, pauses = Deaths(), 0.0, []
    for _ in range(9):
        pauses.append(deaths.died(now, "why"))
        now += pauses[-1]
    assert pauses[0] == Deaths.FIRST_S
    assert pauses == sorted(pauses)
    assert pauses[-1] == Deaths.MOST_S
    assert not deaths.hopeless(now)
    assert deaths.died(now, "why") == Deaths.HOPELESS_S
    assert deaths.hopeless(now)


def test_whoever_keeps_others_alive_does_not_die_of_a_full_disk() -> None:
    """What cannot be written down is not said; a device that is always full says so at once."""
    text = "import os; from deploy.local.supervisor import say; say('one'); say('two'); os._exit(7)"
    with Path("/dev/full").open("w") as full:
        assert subprocess.run([sys.executable, "-c", text], stdout=full, check=False).returncode == 7


def test_rare_deaths_are_forgiven() -> None:
    """A process that dies once in a while is always restarted at once."""
    deaths = Deaths()
    assert {deaths.died(now * Deaths.WINDOW_S, "why") for now in range(30)} == {Deaths.FIRST_S}
    assert deaths.restarts == 30


def test_each_comes_after_what_it_waits_for() -> None:
    """Levels hold every process once, after all that it names."""
    groups = levels([named("c", "a", "b"), named("a"), named("b", "a"), named("d")])
    assert [[spec.name for spec in group] for group in groups] == [["a", "d"], ["b"], ["c"]]


@pytest.mark.parametrize("specs", [[named("a", "b"), named("b", "a")], [named("a", "nobody")]])
def test_an_order_that_cannot_be_is_refused(specs: list[ProcessSpec]) -> None:
    """A circle, or a process that is not there, is an error and not an endless wait."""
    with pytest.raises(LaunchError, match="never start"):
        levels(specs)


def test_the_table_starts_services_after_servers(tmp_path: Path) -> None:
    """Kafka and Valkey first, and nothing is executed or fetched to know that."""
    layout = Layout(tmp_path / ".rollcall")
    layout.make()
    groups = levels(table(layout, dict(os.environ)))
    assert [[spec.name for spec in group] for group in groups] == [
        ["kafka", "valkey"],
        ["ingest", "segmenter", "segmenter-2", "api", "dispatcher", "receiver"],
    ]
    assert not layout.jars.exists()


def test_the_environment_points_inward(tmp_path: Path) -> None:
    """Addresses are this machine's, and every place for files is under the installation's folder."""
    layout = Layout(tmp_path / ".rollcall")
    layout.make()
    env = environment(layout, {"HOME": "/home/somebody", "ROLLCALL_KAFKA": "elsewhere:1", "ROLLCALL_WEBHOOK_ALLOW": "10.0.0.0/8"})
    assert env["ROLLCALL_KAFKA"] == f"127.0.0.1:{env['ROLLCALL_KAFKA_PORT']}"
    assert env["ROLLCALL_REDIS_URL"] == f"redis://127.0.0.1:{env['ROLLCALL_REDIS_PORT']}/0"
    assert env["ROLLCALL_WEBHOOK_ALLOW"] == "10.0.0.0/8"
    for name in ("TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "ROLLCALL_RECEIVER_DIR", "ROLLCALL_DATA_DIR"):
        assert Path(env[name]).is_relative_to(layout.home)
