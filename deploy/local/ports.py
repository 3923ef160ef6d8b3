"""Which ports are used: chosen at the first start, kept in `.rollcall/ports.env`, the same after every `make down` and `make up`."""

from __future__ import annotations

import random
import socket
from collections.abc import Collection, Mapping
from pathlib import Path

from deploy.local.errors import LaunchError

HOST = "127.0.0.1"
"""Nothing that is started here can be reached from another machine."""

PREFERRED: Mapping[str, int] = {
    "ROLLCALL_API_PORT": 8000,
    "ROLLCALL_INGEST_PORT": 8001,
    "ROLLCALL_SEGMENTER_PORT": 8002,
    "ROLLCALL_SEGMENTER_2_PORT": 8004,
    "ROLLCALL_DISPATCHER_PORT": 8003,
    "ROLLCALL_RECEIVER_PORT": 8090,
    "ROLLCALL_KAFKA_PORT": 9092,
    "ROLLCALL_KAFKA_CONTROLLER_PORT": 9093,
    "ROLLCALL_REDIS_PORT": 6379,
}
"""What is taken where it is free; elsewhere the next free one ten, twenty, thirty … above."""

_PARTITIONS = ("ROLLCALL_PARTITIONS", 6)
_STEP = 10
# Systems give the ports above (Linux from 32,768) to outgoing connections: one of those could be gone when we come back.
_LAST = 32_000
_FIRST_RANDOM = 15_000


def is_free(port: int) -> bool:
    """Tell whether a server could listen on this port of 127.0.0.1 now."""
    with socket.socket() as probe:
        # As servers do, so that connections of an earlier one that linger in TIME_WAIT do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    # A server that listens on every interface is not always in the way of a bind, but clients would reach it.
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex((HOST, port)) != 0


def free_port(besides: Collection[int] = ()) -> int:
    """Give a free port for a test, other than those in `besides`."""
    choose = random.SystemRandom()
    for _ in range(200):
        port = choose.randrange(_FIRST_RANDOM, _LAST)
        if port not in besides and is_free(port):
            return port
    raise LaunchError(f"no free port between {_FIRST_RANDOM} and {_LAST} was found in 200 tries")


def settle(file: Path, environ: Mapping[str, str]) -> dict[str, int]:
    """Give the ports, by the name of their setting, and the number of partitions; choose and keep what is not kept yet.

    A setting in the environment wins over the kept one and is kept in its place; except the partitions, which cannot change once
    there are data. Raises `LaunchError` when a setting is no number or the file is not what was written here.
    """
    kept = _read(file)
    name, default = _PARTITIONS
    partitions = kept.get(name) or _number(name, environ[name] if environ.get(name) else str(default), 1_000)
    ports = {port_name: kept[port_name] for port_name in PREFERRED if port_name in kept}
    # What is named comes first: nobody is given a port that another has been named.
    ports |= {port_name: _number(port_name, environ[port_name], 65_535) for port_name in PREFERRED if environ.get(port_name)}
    for port_name, preferred in PREFERRED.items():
        if port_name not in ports:
            ports[port_name] = _choose(port_name, preferred, ports.values(), kept.values())
    _refuse_twins(ports)
    settled = {name: partitions, **{port_name: ports[port_name] for port_name in PREFERRED}}
    _write(file, settled)
    return settled


def _choose(name: str, preferred: int, *taken: Collection[int]) -> int:
    for port in range(preferred, _LAST, _STEP):
        if not any(port in ports for ports in taken) and is_free(port):
            return port
    raise LaunchError(f"no free port for {name} between {preferred} and {_LAST}; name one in the environment")


def _refuse_twins(settled: Mapping[str, int]) -> None:
    users: dict[int, str] = {}
    for name in PREFERRED:
        other = users.setdefault(settled[name], name)
        if other != name:
            raise LaunchError(f"{other} and {name} are both {settled[name]}; give one of them another port")


def _number(name: str, text: str, most: int) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= most:
        raise LaunchError(f"{name}={text!r} is not a number from 1 to {most}")
    return int(text)


def _read(file: Path) -> dict[str, int]:
    if not file.exists():
        return {}
    lines = [line for line in file.read_text().splitlines() if line.strip() and not line.startswith("#")]
    known = {*PREFERRED, _PARTITIONS[0]}
    pairs = (line.partition("=") for line in lines)
    return {name: _number(f"{file.name}: {name}", value.strip(), 65_535) for name, _, value in pairs if name in known}


def _write(file: Path, settled: Mapping[str, int]) -> None:
    text = "# Chosen at the first start and kept; a setting in the environment of `make up` replaces a port.\n"
    text += "".join(f"{name}={value}\n" for name, value in settled.items())
    if not file.exists() or file.read_text() != text:
        partial = file.with_name(f".{file.name}")
        partial.write_text(text)
        partial.replace(file)
