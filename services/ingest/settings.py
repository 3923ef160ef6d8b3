"""Settings of the ingest process, read from the environment with the prefix `ROLLCALL_`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from services.kit.settings import CommonSettings

_MIB = 1 << 20


class IngestSettings(CommonSettings):
    """Where ingest listens, and the limit of everything that a client can make it hold."""

    ingest_host: str = Field("127.0.0.1", description="Address to listen on; 0.0.0.0 for every interface.")
    ingest_port: int = Field(8081, ge=0, le=65_535, description="Port to listen on; 0 for any free one.")
    ingest_max_body_bytes: int = Field(5 * _MIB, ge=1_024, le=64 * _MIB, description="Largest body, counted after gzip; more is 413.")
    ingest_max_events: int = Field(10_000, ge=1, le=100_000, description="Most events in one body; more is 413.")
    ingest_body_timeout_s: float = Field(30.0, gt=0, description="How long a client may take to send its body; longer is 408.")
    ingest_reading_bytes: int = Field(256 * _MIB, ge=_MIB, description="Bodies held in memory, of all clients together; beyond it 503.")
    ingest_pending_bytes: int = Field(64 * _MIB, ge=_MIB, le=96 * _MIB, description="Events that Kafka has not acknowledged; beyond it 503.")
    ingest_batch_bytes: int = Field(512 * 1_024, ge=16_384, le=1_000_000, description="Largest batch sent to one partition, before compression.")
    ingest_compression: Literal["lz4", "zstd", "snappy", "gzip", "none"] = Field(
        # Measured on receipts of 600 bytes, for each event: zstd 1.9 µs to 71 bytes, snappy 1.3 µs to 136; aiokafka's lz4 always
        # uses its slowest level, 10 µs to 94.
        "zstd",
        description="How batches are compressed for Kafka.",
    )
    ingest_ack_timeout_s: float = Field(10.0, gt=0, description="How long to wait for Kafka's acknowledgement before answering 503.")
    ingest_drain_timeout_s: float = Field(20.0, gt=0, description="How long a stopping process may take to finish what it has accepted.")
    ingest_events_per_s: float = Field(100_000.0, gt=0, description="Events per second that one key may send; beyond it 429.")
    ingest_burst_events: int = Field(200_000, ge=1, description="Events that one key may send at once after a pause.")
    ingest_window_events: int = Field(
        1_000,
        ge=1,
        description="Accepted events of a tenant that may wait to be applied while others send, or what is applied in 2 s; beyond it 429.",
    )
    ingest_look_every_ms: float = Field(200.0, gt=0, description="How often ingest asks how far the segmenters are.")
    ingest_max_connections: int = Field(4_096, ge=1, description="Open connections; beyond it 503.")

    @model_validator(mode="after")
    def _one_body_fits(self) -> IngestSettings:
        # Encoding adds the tenant to each event, so an accepted body grows a little on its way to Kafka.
        if self.ingest_max_body_bytes * 2 > min(self.ingest_reading_bytes, self.ingest_pending_bytes):
            raise ValueError("ingest_reading_bytes and ingest_pending_bytes must each hold two bodies of ingest_max_body_bytes")
        return self
