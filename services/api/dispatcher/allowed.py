"""The settings that API and dispatcher share: where webhooks may go although the address is private, and what an attempt may cost."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from services.kit.settings import CommonSettings


class WebhookSettings(CommonSettings):
    """The networks that webhooks may reach, and the limits of one attempt."""

    webhook_allow: Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode] = Field(
        (), description="Private networks where webhooks may go all the same, like 10.1.0.0/16, separated by commas."
    )

    webhook_timeout_s: float = Field(15.0, gt=0, le=60, description="How long an attempt may take from its first byte on; longer has failed.")
    webhook_reply_bytes: int = Field(65_536, ge=1, le=16 << 20, description="What is read of a receiver's answer; a longer one is cut off.")
    webhook_connections: int = Field(1_000, ge=0, le=50_000, description="Idle connections to receivers; beyond it the one idle for longest ends.")
    webhook_idle_s: float = Field(60.0, ge=0, le=600, description="How long a connection to a receiver is kept for the next attempt.")

    @field_validator("webhook_allow", mode="before")
    @classmethod
    def _networks(cls, value: object) -> object:
        return tuple(ip_network(part.strip()) for part in value.split(",") if part.strip()) if isinstance(value, str) else value
