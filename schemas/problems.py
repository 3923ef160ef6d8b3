"""Problem details (RFC 9457): the one shape of every HTTP error."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

from msgspec import UNSET, Struct, UnsetType

MEDIA_TYPE: Final = "application/problem+json"


class Problem(Struct, omit_defaults=True):
    """An error answer: `detail` says what was wrong and what would have been right, `pointer` where in the body.

    `errors` lists every fault, the first among them, where several were found.
    """

    status: int
    title: str
    detail: str
    type: str = "about:blank"
    pointer: str | UnsetType = UNSET
    errors: list[dict[str, Any]] | UnsetType = UNSET


def problem(status: int, detail: str, *, pointer: str = "", errors: list[dict[str, Any]] | None = None) -> Problem:
    """Build a problem with the standard title of its status."""
    return Problem(status, HTTPStatus(status).phrase, detail, pointer=pointer or UNSET, errors=errors or UNSET)
