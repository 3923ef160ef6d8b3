"""Kafka and Valkey in containers, for machines with a Docker engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import docker
from docker.errors import DockerException
from testcontainers.core.container import DockerContainer

from deploy.local.errors import LaunchError
from deploy.local.ports import HOST, free_port
from deploy.local.probes import kafka_ready, valkey_ready
from tests.support.waiting import wait_until

KAFKA_IMAGE = "apache/kafka:4.3.1"
VALKEY_IMAGE = "valkey/valkey:9.1"
_START_S = 120.0

Start = Callable[[], AbstractContextManager[str]]


def engine_answers() -> bool:
    """Tell whether there is a Docker engine to talk to."""
    try:
        client = docker.from_env(timeout=3)
    except DockerException:
        return False
    try:
        return bool(client.ping())
    except (DockerException, OSError):
        return False
    finally:
        client.close()


@contextmanager
def kafka() -> Iterator[str]:
    """Run the official image, with the settings that the launcher's broker has."""
    port = free_port()
    # The port inside and outside is the same, because clients are told it by the broker.
    settings = {
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_LISTENERS": f"PLAINTEXT://:{port},CONTROLLER://:9093",
        "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://{HOST}:{port}",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
        "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
    }
    container = DockerContainer(KAFKA_IMAGE).with_bind_ports(port, port)
    for name, value in settings.items():
        container = container.with_env(name, value)
    with container:
        _await(kafka_ready(HOST, port), KAFKA_IMAGE)
        yield f"{HOST}:{port}"


@contextmanager
def valkey() -> Iterator[str]:
    """Run the official image."""
    port = free_port()
    with DockerContainer(VALKEY_IMAGE).with_bind_ports(6379, port):
        _await(valkey_ready(HOST, port), VALKEY_IMAGE)
        yield f"redis://{HOST}:{port}/0"


def _await(probe: Callable[[], str | None], image: str) -> None:
    try:
        wait_until(lambda: probe() is None, timeout_s=_START_S)
    except TimeoutError as error:
        raise LaunchError(f"{image} is not ready: {probe()}") from error
