"""Settings of the API process, read from the environment with the prefix `ROLLCALL_`."""

from __future__ import annotations

from pydantic import Field

from services.api.dispatcher.allowed import WebhookSettings

_MIB = 1 << 20


class ApiSettings(WebhookSettings):
    """Where the API listens, and the limit of everything that a client can make it hold or wait for."""

    api_host: str = Field("127.0.0.1", description="Address to listen on; 0.0.0.0 for every interface.")
    api_port: int = Field(8080, ge=0, le=65_535, description="Port to listen on; 0 for any free one.")
    api_max_body_bytes: int = Field(10 * _MIB, ge=1_024, le=64 * _MIB, description="Largest body; more is 413.")
    api_body_timeout_s: float = Field(30.0, gt=0, description="How long a client may take to send its body; longer is 408.")
    api_reading_bytes: int = Field(128 * _MIB, ge=_MIB, description="Bodies held in memory, of all clients together; beyond it 503.")
    api_after_timeout_s: float = Field(5.0, ge=0, le=60, description="How long a read with ?after= waits before it answers 503.")
    api_max_waiting: int = Field(10_000, ge=1, description="Reads that wait for Redis or for ?after= at once; beyond it 503.")
    api_write_timeout_s: float = Field(10.0, gt=0, description="How long to wait for Kafka when something is saved; longer is 503.")
    api_redis_timeout_s: float = Field(2.0, gt=0, description="How long to wait for Redis; longer is 503.")
    api_redis_connections: int = Field(8, ge=1, le=1_000, description="Most connections to Redis.")
    api_feed_consumers: int = Field(4, ge=1, le=64, description="Reads of the change feed at once; others wait for their turn.")
    api_feed_scan: int = Field(20_000, ge=1, description="Most records that one read of the change feed looks at.")
    api_feed_fetch_bytes: int = Field(32 << 10, ge=16_384, le=16 * _MIB, description="Most that such a read fetches of one partition at once.")
    api_feed_timeout_s: float = Field(5.0, gt=0, description="How long a read of the change feed may take; longer is 503.")
    api_questions: int = Field(64, ge=1, description="Questions that wait for segmenters at once (explain, a past instant, …); beyond it 503.")
    api_question_timeout_s: float = Field(10.0, gt=0, description="How long a segmenter may take to answer; it is asked twice, then 503.")
    api_segmenter_connections: int = Field(512, ge=1, le=50_000, description="Most connections to segmenters; questions beyond it wait for one.")
    api_answer_bytes: int = Field(16 * _MIB, ge=1_024, description="Longest answer of a segmenter that is read.")
    api_reads_per_s: float = Field(20_000.0, gt=0, description="Reads per second of one key; a page of the change feed costs 20. Beyond it 429.")
    api_writes_per_s: float = Field(100.0, gt=0, description="Writes per second of one key; 500 manual entries cost one more. Beyond it 429.")
    api_questions_per_s: float = Field(
        200.0, gt=0, description="Questions for segmenters per second of one key; one that looks at everybody costs 5. Beyond it 429."
    )
    api_time_share: float = Field(0.5, gt=0, le=1, description="Part of a process's time for a tenant's requests while others ask.")
    api_pages_share: float = Field(0.1, gt=0, le=1, description="The same for those that are not about one customer's memberships alone.")
    api_burst_s: float = Field(10.0, gt=0, description="After a pause a key may do at once what it may otherwise do in so many seconds.")
    api_segments: int = Field(10_000, ge=1, le=20_000, description="Segments of a tenant that are not archived; more is 422.")
    api_rules_cost: int = Field(
        100_000, ge=2_000, description="What all rules of a tenant may cost together; a window of a count costs 3, a sequence 11. More is 422."
    )
    api_endpoints: int = Field(100, ge=1, le=1_000, description="Webhook endpoints of a tenant; more is 422.")
    api_keys: int = Field(100, ge=1, description="API keys of a tenant, but for those that the operator makes; more is 422.")
    segmenter_history_months: int = Field(25, ge=1, le=240, description="How long events are kept: the segmenter's own; longer windows are 422.")
    api_replay_ids: int = Field(1_000, ge=1, le=10_000, description="Most transitions named in one replay; more is 422.")
    api_replay_days: int = Field(31, ge=1, le=400, description="How far back a replay of webhooks looks; further is 422.")
    api_replays: int = Field(100, ge=1, description="Replays of a tenant that are under way; more is 409.")
    api_tests: int = Field(32, ge=1, description="Test webhooks that are being sent at once, by all tenants; beyond it 503.")
    api_max_connections: int = Field(4_096, ge=1, description="Open connections; beyond it 503.")
    api_drain_timeout_s: float = Field(10.0, gt=0, description="How long a stopping process may take to finish what it has begun.")
