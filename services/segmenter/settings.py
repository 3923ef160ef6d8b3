"""Settings of the segmenter, read from the environment with the prefix `ROLLCALL_`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from services.kit.settings import CommonSettings


class SegmenterSettings(CommonSettings):
    """Where the segmenter listens, and the limit of everything that it holds or waits for."""

    segmenter_host: str = Field("127.0.0.1", description="Address of /healthz, /readyz, /metrics, /outcomes and of the questions of the API.")
    segmenter_port: int = Field(8082, ge=0, le=65_535, description="Port to listen on; 0 for any free one.")
    segmenter_advertised_host: str = Field("", description="Host at which the API reaches this worker; the one listened on when empty.")
    segmenter_advertised_port: int = Field(0, ge=0, le=65_535, description="Port at which the API reaches it; 0 for the one listened on.")
    segmenter_questions: int = Field(8, ge=1, le=1_000, description="Questions that are worked on at once; beyond it 503.")
    segmenter_question_timeout_s: float = Field(10.0, gt=0, description="How long a question may take; longer is 503.")
    data_dir: Path = Field(Path("data/segmenter"), description="The only folder that the segmenter may write to.")
    segmenter_session_timeout_s: float = Field(10.0, ge=6, le=300, description="A worker silent for so long loses its partitions.")
    segmenter_rebalance_timeout_s: float = Field(30.0, ge=6, description="How long the group waits for a worker to hand over.")
    segmenter_handover_s: float = Field(5.0, gt=0, description="How long a worker that loses a partition may finish its step.")
    segmenter_transaction_timeout_s: float = Field(30.0, ge=1, description="A step that takes longer is given up, and the worker ends.")
    # Two hand-over times and what Faust needs; what stops a process from outside waits about as long before it kills.
    segmenter_stop_s: float = Field(30.0, gt=0, description="How long a stopping worker may take; longer ends it, and who takes over fences it.")
    segmenter_rebalance_stall_s: float = Field(120.0, gt=0, description="A rebalance that has not ended for so long ends the worker.")
    segmenter_stall_s: float = Field(30.0, gt=0, description="A worker with lag and without progress for so long ends itself.")
    segmenter_slice_ms: float = Field(4.0, gt=0, le=100, description="Longest computation on live records before others get their turn.")
    segmenter_background_slice_ms: float = Field(2.0, gt=0, le=100, description="The same for deadlines, backfill and refreshes.")
    segmenter_group_ms: float = Field(200.0, gt=0, description="Computation that one transaction may hold.")
    segmenter_shared_group_ms: float = Field(20.0, gt=0, description="The same where several tenants send to the process.")
    segmenter_events_share: float = Field(0.1, gt=0, le=1, description="Part of a process's time for a tenant's events while others send.")
    segmenter_questions_share: float = Field(0.05, gt=0, le=1, description="The same for its questions.")
    segmenter_background_share: float = Field(0.1, gt=0, le=1, description="The same for backfill, refreshes and the like of all tenants.")
    segmenter_commit_every_ms: float = Field(35.0, ge=0, description="Shortest time between two transactions of a busy partition.")
    segmenter_group_records: int = Field(12_000, ge=1, description="Records that one transaction may hold.")
    segmenter_pending_records: int = Field(24_000, ge=1, description="Records of a partition that may wait; beyond it fetching pauses.")
    segmenter_pending_bytes: int = Field(
        32 << 20, ge=1 << 20, description="Bytes of a partition's records that wait or whose step is not committed; beyond it fetching pauses."
    )
    segmenter_fetch_bytes: int = Field(1 << 20, ge=1 << 16, le=64 << 20, description="Most that is fetched of one partition of a topic, compressed.")
    segmenter_poll_records: int = Field(20_000, ge=500, description="Most records that one look at what was fetched brings.")
    segmenter_restore_fetch_bytes: int = Field(4 << 20, ge=1 << 16, le=64 << 20, description="The same of a changelog that is restored.")
    # Below the default `max.message.bytes` (1,048,588) with room for the batch's own header.
    segmenter_batch_bytes: int = Field(
        900_000, ge=16_384, le=1_000_000, description="Largest batch sent to one partition, before compression; a larger record goes alone."
    )
    segmenter_compression: Literal["lz4", "zstd", "snappy", "gzip", "none"] = Field("zstd", description="How batches are compressed.")
    segmenter_restores: int = Field(4, ge=1, description="Partitions that are restored at once.")
    segmenter_definitions_wait_s: float = Field(10.0, ge=0, description="How long a record may wait for a definition that it names.")
    segmenter_heartbeat_ms: float = Field(250.0, gt=0, description="How often an idle partition's completeness marker is renewed.")
    segmenter_redis_timeout_s: float = Field(10.0, gt=0, description="How long to wait for Redis; longer is tried again, for ever.")
    segmenter_projection_pause_ms: float = Field(5.0, ge=0, description="Rest between two writes to Redis, so that they gather rows.")
    segmenter_live_customers: int = Field(40_000, ge=1, description="Customers of a partition that are kept decoded.")
    segmenter_live_facts: int = Field(250_000, ge=1, description="Events of those, all together: the more each has, the fewer they are.")
    segmenter_column_bytes: int = Field(
        64 << 20, ge=0, description="Bytes of a partition's columns, by which previews count without looking at everybody; 0 for none."
    )
    segmenter_events_per_customer: int = Field(50_000, ge=1, description="Kept events of one customer; beyond it they are set aside.")
    segmenter_history_months: int = Field(25, ge=1, le=240, description="How long a customer's events are kept.")

    @model_validator(mode="after")
    def _hand_over_in_time(self) -> SegmenterSettings:
        # A worker that is still finishing when the group stops waiting would be taken for dead.
        if self.segmenter_handover_s * 2 > self.segmenter_rebalance_timeout_s:
            raise ValueError("segmenter_rebalance_timeout_s must be at least twice segmenter_handover_s")
        return self
