"""What the fold of the definitions says of one record."""

from __future__ import annotations

from msgspec import Struct

from schemas.errors import RollcallError


class Outcome(Struct, frozen=True):
    """What the fold said of one record: accepted, or the status and reason of the refusal."""

    accepted: bool
    status: int = 200
    detail: str = ""
    pointer: str = ""


class Conflict(RollcallError):
    """A record that lost, with the HTTP status its writer should answer and the place in the body of the request."""

    def __init__(self, status: int, detail: str, pointer: str = "") -> None:
        super().__init__(detail)
        self.outcome = Outcome(False, status, detail, pointer)
