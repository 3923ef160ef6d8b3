"""Every route of the API."""

from __future__ import annotations

from typing import Final

from services.api.routes import attributes, customers, explain, feed, keys, lifecycle, lists, members, preview, segments, templates, webhooks
from services.api.web import RouteSpec

ROUTES: Final[tuple[RouteSpec, ...]] = (
    *preview.ROUTES,
    *segments.ROUTES,
    *lifecycle.ROUTES,
    *attributes.ROUTES,
    *templates.ROUTES,
    *lists.ROUTES,
    *members.ROUTES,
    *customers.ROUTES,
    *explain.ROUTES,
    *feed.ROUTES,
    *webhooks.ROUTES,
    *keys.ROUTES,
)
