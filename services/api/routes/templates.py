"""The predefined segments. They are the same for every tenant; each is a body that `POST /v1/segments` saves as it is."""

from __future__ import annotations

from typing import Any, Final

from fastapi import Response

from schemas.templates import TEMPLATES
from services.api.shapes import TemplatePage, TemplateView
from services.api.web import Answer, Call, RouteSpec, answer

_PAGE: Final = TemplatePage(
    [TemplateView(id=template.id, group=template.group, name_fr=template.name_fr, segment=template.body()) for template in TEMPLATES], None
)


async def list_all(_: Call) -> Response:
    """Show all of them."""
    return answer(_PAGE)


_FIRST: Final[dict[str, Any]] = {
    "id": TEMPLATES[0].id,
    "group": TEMPLATES[0].group,
    "name_fr": TEMPLATES[0].name_fr,
    "segment": TEMPLATES[0].body(),
}

ROUTES: Final = (
    RouteSpec(
        "GET", "/v1/segment-templates", list_all, "segments:read", "List predefined segments",
        {200: Answer("In the order in which to show them.", TemplatePage, {"templates": [_FIRST], "next": None})},
        "segments", "`segment` is the body of `POST /v1/segments`. Coupons, campaigns, categories, places and amounts in it are examples.",
    ),
)  # fmt: skip
