"""The root of every error that bad input can cause, and the one way to say where and why.

A `Refusal` is an answer, not a crash: over HTTP it becomes a 4xx, from Kafka a dead letter.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec


class RollcallError(Exception):
    """Any error that this product raises on purpose."""


class Refusal(RollcallError):
    """A document that cannot be accepted.

    `pointer` is a JSON Pointer (RFC 6901) to the place, `detail` one sentence that names the value and what would have
    been right, `reason` a word that dead letters and counters are grouped by. `others` are further faults of the same document.
    """

    def __init__(self, detail: str, *, pointer: str = "", reason: str = "invalid", others: Sequence[Refusal] = ()) -> None:
        super().__init__(f"{pointer or '/'}: {detail}")
        self.detail = detail
        self.pointer = pointer
        self.reason = reason
        self.others = tuple(others)

    def under(self, prefix: str) -> Refusal:
        """Return the same refusal with its place seen from a containing document."""
        return Refusal(self.detail, pointer=prefix + self.pointer, reason=self.reason, others=[one.under(prefix) for one in self.others])

    def beside(self, others: Sequence[Refusal]) -> Refusal:
        """Return the same refusal with further ones, of which none has any itself."""
        return Refusal(self.detail, pointer=self.pointer, reason=self.reason, others=others)


def pointer_token(name: str) -> str:
    """Escape one reference token of a JSON Pointer (RFC 6901, section 3)."""
    return name.replace("~", "~0").replace("/", "~1")


_encode: Final = msgspec.json.Encoder(decimal_format="number", enc_hook=str).encode


def shown(value: object, limit: int = 60) -> str:
    """Write a value for an error message as JSON, cut to `limit` characters; what cannot be seen is escaped. `Raw` is JSON already."""
    if isinstance(value, str):
        value = value.encode(errors="replace").decode()
    try:
        text = _encode(value).decode(errors="replace")
    except RecursionError:
        return "what is nested too deeply"  # just read, a few calls further up
    cut = text if len(text) <= limit else text[: limit - 1] + "…"
    return cut if cut.isprintable() else "".join(one if one.isprintable() else json.dumps(one)[1:-1] for one in cut)


def listed(names: Iterable[str], limit: int = 40) -> str:
    """List names for an error message, the first `limit` of them."""
    every = list(names)
    more = f" and {len(every) - limit} more" if len(every) > limit else ""
    return ", ".join(every[:limit]) + more
