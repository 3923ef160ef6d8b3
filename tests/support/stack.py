"""A real Kafka and a real Valkey for tests: in containers where a Docker engine answers, else the ones that `make run` runs.

`kafka` and `valkey_url` are shared by a whole session: a test uses topic names and keys of its own. A test that stops or kills a
server takes a `LocalBroker` or a `LocalValkey` of its own, which are always local.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from deploy.local.broker import LocalBroker
from deploy.local.ports import HOST, free_port
from deploy.local.valkey import LocalValkey
from tests.support import containers

__all__ = ["LocalBroker", "LocalValkey", "kafka", "valkey_url"]

WHERE_VARIABLE = "ROLLCALL_TEST_SERVICES"
"""`local` or `docker` decides where the servers run; otherwise a Docker engine is asked."""


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the bootstrap servers of a real Kafka, one for the session; topics are not created by themselves."""
    with _first(containers.kafka, lambda: local_kafka(tmp_path_factory.mktemp("kafka"))) as bootstrap:
        yield bootstrap


@pytest.fixture(scope="session")
def valkey_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the address of a real Valkey, one for the session."""
    with _first(containers.valkey, lambda: local_valkey(tmp_path_factory.mktemp("valkey"))) as url:
        yield url


@contextmanager
def local_kafka(folder: Path) -> Iterator[str]:
    """Run a broker of the launcher in `folder`."""
    with LocalBroker(folder, free_port()) as broker:
        yield broker.bootstrap


@contextmanager
def local_valkey(folder: Path) -> Iterator[str]:
    """Run a Valkey of the launcher in `folder`."""
    with LocalValkey(folder, free_port()) as valkey:
        yield valkey.url


@contextmanager
def _first(container: containers.Start, local: containers.Start) -> Iterator[str]:
    where = os.environ.get(WHERE_VARIABLE, "")
    if where == "docker" or (where != "local" and containers.engine_answers()):
        try:
            started: AbstractContextManager[str] = container()
            address = started.__enter__()
        except Exception as error:  # An engine that cannot get an image must not fail tests that need none.
            if where == "docker":
                raise
            warnings.warn(f"the container did not start, {HOST} is used: {error}", stacklevel=2)
        else:
            try:
                yield address
            finally:
                started.__exit__(None, None, None)
            return
    with local() as address:
        yield address
