"""Settings that every process shares, read from the environment with the prefix `ROLLCALL_`."""

from __future__ import annotations

import ssl
import sys
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from schemas.topics import Topics
from services.kit import clock, failpoints

S = TypeVar("S", bound="CommonSettings")


class CommonSettings(BaseSettings):
    """Where Kafka and Redis are, and how many partitions customers are spread over."""

    model_config = SettingsConfigDict(env_prefix="ROLLCALL_", extra="ignore")

    kafka: str = Field("127.0.0.1:9092", description="Bootstrap servers, host:port separated by commas.")
    kafka_security: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field("PLAINTEXT", description="Security protocol of Kafka.")
    kafka_ca_file: str | None = Field(None, description="CA certificates (PEM) for Kafka over TLS; the system's when absent.")
    kafka_cert_file: str | None = Field(None, description="Client certificate (PEM) for mutual TLS with Kafka.")
    kafka_key_file: str | None = Field(None, description="Key of the client certificate.")
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field("SCRAM-SHA-512", description="SASL mechanism.")
    kafka_username: str | None = Field(None, description="SASL user name.")
    kafka_password: str | None = Field(None, description="SASL password.")
    redis_url: str = Field("redis://127.0.0.1:6379/0", description="Redis or Valkey (noeviction); rediss:// for TLS, with user:password@ if needed.")
    redis_ca_file: str | None = Field(None, description="CA certificates (PEM) for Redis over TLS; the system's when absent.")
    redis_prefix: str = Field("", description="Put before every Redis key, so that several installations can share one.")
    topic_prefix: str = Field("", description="Put before every topic, so that several installations can share a broker.")
    partitions: int = Field(6, ge=1, le=1000, description="Partitions of every customer topic. It cannot change once there are data.")
    replication_factor: int = Field(1, ge=1, le=9, description="Replicas of the topics that are created.")
    tenant_rate_factor: float = Field(2.0, ge=1, description="What all keys of a tenant may do together, in multiples of what one may.")
    tenant_share: float = Field(
        0.5, gt=0, le=1, description="The most that one tenant holds of what all share (bytes, questions, turns); beyond it 429. 1 for all of it."
    )
    rate_buckets: int = Field(10_000, ge=1, description="Keys, and tenants, whose use is remembered; of more, those unused for longest start anew.")
    http_head_bytes: int = Field(
        64 << 10, ge=8_192, le=1 << 20, description="Longest request line and headers of API and ingest; more is 400, and the connection ends."
    )
    http_head_timeout_s: float = Field(10.0, gt=0, description="How long a client may take to send them; longer ends the connection.")
    http_idle_s: int = Field(75, ge=1, description="How long a connection stays open without a request.")  # longer than balancers keep theirs
    start_timeout_s: float = Field(120.0, gt=0, description="How long a starting process waits for Kafka; longer ends it.")
    replays_kept: int = Field(100, ge=1, description="Replays of one endpoint that are known; of more, those that ended first are forgotten.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="What is written to the log.")
    failpoints_dir: Path | None = Field(None, description="For tests alone: where a file makes this process die or stop at a place in its code.")
    clock_ahead_ms: int = Field(0, description="For tests alone: by how much this process's clock is wrong.")

    @property
    def topics(self) -> Topics:
        """The names of all topics."""
        return Topics(self.topic_prefix)

    def kafka_options(self) -> dict[str, Any]:
        """Return the connection arguments of every aiokafka client."""
        options: dict[str, Any] = {"bootstrap_servers": self.kafka, "security_protocol": self.kafka_security}
        if "SSL" in self.kafka_security:
            context = ssl.create_default_context(cafile=self.kafka_ca_file)
            if self.kafka_cert_file:
                context.load_cert_chain(self.kafka_cert_file, self.kafka_key_file)
            options["ssl_context"] = context
        if "SASL" in self.kafka_security:
            options |= {
                "sasl_mechanism": self.kafka_sasl_mechanism,
                "sasl_plain_username": self.kafka_username,
                "sasl_plain_password": self.kafka_password,
            }
        return options

    def redis_options(self) -> dict[str, Any]:
        """Return the connection arguments of every Redis client."""
        return {"ssl_ca_certs": self.redis_ca_file} if self.redis_ca_file and self.redis_url.startswith("rediss://") else {}


def load(settings: type[S], *, process: str) -> S:
    """Read the settings of a process, or end it with one clear line for each bad one."""
    try:
        found = settings()
    except ValidationError as error:
        for problem in error.errors():
            name = "ROLLCALL_" + "_".join(str(part) for part in problem["loc"]).upper()
            print(f"{process}: bad setting {name}={problem.get('input')!r}: {problem['msg']}", file=sys.stderr)
        sys.exit(2)
    failpoints.arm(found.failpoints_dir)
    clock.set_wrong(found.clock_ahead_ms)
    return found
