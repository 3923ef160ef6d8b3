"""Settings of the dispatcher, read from the environment with the prefix `ROLLCALL_`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from services.api.dispatcher.allowed import WebhookSettings
from services.api.dispatcher.schedule import MOST_RETRY_AFTER_S, SCHEDULE_S

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class DispatcherSettings(WebhookSettings):
    """Where the dispatcher listens, and the limit of everything that it holds or waits for."""

    dispatcher_host: str = Field("127.0.0.1", description="Address of /healthz, /readyz and /metrics.")
    dispatcher_port: int = Field(8083, ge=0, le=65_535, description="Port to listen on; 0 for any free one.")
    dispatcher_in_flight: int = Field(32, ge=1, le=1_000, description="Attempts under way to one endpoint at once, in each partition.")
    dispatcher_attempts: int = Field(
        1_000, ge=1, le=50_000, description="Attempts, and so connections, under way at once; beyond a tenant's share of them its deliveries wait."
    )
    dispatcher_pending: int = Field(
        200_000, ge=1, description="Pending deliveries held; an endpoint beyond its share of them catches up from the topic later."
    )
    dispatcher_replay_pending: int = Field(
        5_000, ge=1, description="Pending deliveries of all replays in one partition, shared evenly; the rest follows."
    )
    dispatcher_read_records: int = Field(
        1_000, ge=1, le=100_000, description="Transitions looked at before others get their turn, when reading, catching up and replaying."
    )
    dispatcher_record_every_ms: float = Field(100.0, gt=0, le=10_000, description="How often states are written, in transactions.")
    dispatcher_record_states: int = Field(2_000, ge=1, le=20_000, description="States that one transaction holds; what is more goes into the next.")
    dispatcher_transaction_timeout_s: float = Field(60.0, ge=1, le=900, description="A transaction that takes longer fails, and the process ends.")
    dispatcher_handover_s: float = Field(5.0, gt=0, description="How long a dispatcher that loses a partition may take to write what it knows.")
    dispatcher_schedule_s: Annotated[tuple[Seconds, ...], NoDecode] = Field(
        SCHEDULE_S, min_length=1, max_length=1_000, description="Seconds before each attempt, separated by commas."
    )
    dispatcher_retry_after_s: float = Field(
        MOST_RETRY_AFTER_S, ge=0, le=30 * 86_400, description="The longest Retry-After that a receiver is granted; longer is cut to it."
    )
    dispatcher_disable_after_s: float = Field(
        5 * 86_400.0, ge=60, description="An endpoint that has taken nothing for so long, although it was tried, is disabled."
    )
    dispatcher_session_timeout_s: float = Field(10.0, ge=6, le=300, description="A dispatcher silent for so long loses its partitions.")

    @field_validator("dispatcher_schedule_s", mode="before")
    @classmethod
    def _seconds(cls, value: object) -> object:
        return tuple(value.split(",")) if isinstance(value, str) else value
