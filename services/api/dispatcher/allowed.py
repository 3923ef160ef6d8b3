"""The one setting that API and dispatcher share: where webhooks may go although the address is private."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from services.kit.settings import CommonSettings


class WebhookSettings(CommonSettings):
    """The networks that webhooks may reach."""

    webhook_allow: Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode] = Field(
        (), description="Private networks where webhooks may go all the same, like 10.1.0.0/16, separated by commas."
    )

    @field_validator("webhook_allow", mode="before")
    @classmethod
    def _networks(cls, value: object) -> object:
        return tuple(ip_network(part.strip()) for part in value.split(",") if part.strip()) if isinstance(value, str) else value
