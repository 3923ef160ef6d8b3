"""Every route of the API."""

from __future__ import annotations

from typing import Final

from services.api.routes import (
    attributes,
    customer,
    customers,
    deliveries,
    explain,
    feed,
    history,
    keys,
    lifecycle,
    lists,
    members,
    preview,
    replays,
    segments,
    templates,
    timeline,
    webhooks,
)
from services.api.web import RouteSpec

ROUTES: Final[tuple[RouteSpec, ...]] = (
    *preview.ROUTES,
    *segments.ROUTES,
    *lifecycle.ROUTES,
    *attributes.ROUTES,
    *templates.ROUTES,
    *lists.ROUTES,
    *members.ROUTES,
    *timeline.ROUTES,
    *customer.ROUTES,
    *customers.ROUTES,
    *explain.ROUTES,
    *history.ROUTES,
    *feed.ROUTES,
    *webhooks.ROUTES,
    *deliveries.ROUTES,
    *replays.ROUTES,
    *keys.ROUTES,
)
