"""Ports are chosen once, kept, and never shared."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.errors import LaunchError
from deploy.local.ports import HOST, PREFERRED, free_port, is_free, settle


@pytest.fixture
def taken() -> Iterator[int]:
    """Listen on a port, as another program would."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_chosen_ports_differ_and_are_kept(tmp_path: Path) -> None:
    """A second start gives what the first one chose, whoever uses those ports by then."""
    file = tmp_path / "ports.env"
    first = settle(file, {})
    assert len({first[name] for name in PREFERRED}) == len(PREFERRED)
    with socket.socket() as other:
        other.bind((HOST, first["ROLLCALL_API_PORT"]))
        other.listen()
        assert settle(file, {}) == first


def test_environment_wins_and_is_kept(tmp_path: Path) -> None:
    """A port in the environment replaces the kept one, also for later starts without it."""
    file = tmp_path / "ports.env"
    settle(file, {})
    port = free_port()
    assert settle(file, {"ROLLCALL_API_PORT": str(port)})["ROLLCALL_API_PORT"] == port
    assert settle(file, {})["ROLLCALL_API_PORT"] == port


def test_a_port_that_is_named_is_nobody_elses(tmp_path: Path) -> None:
    """Whoever is chosen for before the one that it was named for is given another."""
    port = PREFERRED["ROLLCALL_API_PORT"]
    found = settle(tmp_path / "ports.env", {"ROLLCALL_RECEIVER_PORT": str(port)})
    assert found["ROLLCALL_RECEIVER_PORT"] == port
    assert found["ROLLCALL_API_PORT"] != port


def test_partitions_never_change(tmp_path: Path) -> None:
    """The number of partitions is the first start's, because data lie in them."""
    file = tmp_path / "ports.env"
    assert settle(file, {"ROLLCALL_PARTITIONS": "12"})["ROLLCALL_PARTITIONS"] == 12
    assert settle(file, {"ROLLCALL_PARTITIONS": "3"})["ROLLCALL_PARTITIONS"] == 12


@pytest.mark.parametrize("text", ["0", "65536", "-1", "eighty", "8 000", "²"])
def test_bad_port_is_refused_by_name(tmp_path: Path, text: str) -> None:
    """What is no port is refused with the name of the setting, and nothing is kept."""
    file = tmp_path / "ports.env"
    with pytest.raises(LaunchError, match="ROLLCALL_API_PORT"):
        settle(file, {"ROLLCALL_API_PORT": text})
    assert not file.exists()


def test_one_port_for_two_is_refused(tmp_path: Path) -> None:
    """Two settings cannot name the same port."""
    port = str(free_port())
    with pytest.raises(LaunchError, match="ROLLCALL_API_PORT and ROLLCALL_INGEST_PORT"):
        settle(tmp_path / "ports.env", {"ROLLCALL_API_PORT": port, "ROLLCALL_INGEST_PORT": port})


def test_a_listener_takes_its_port(taken: int) -> None:
    """A port on which somebody listens is not free."""
    assert not is_free(taken)
    assert free_port({taken}) != taken
