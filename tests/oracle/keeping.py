"""What a rule asks for without an end, so that it does not forget what has left the history."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]


def endless(part: Any) -> Iterator[Json]:
    """The metrics and sequences in a rule that have no window, or one that stays where it is."""
    if isinstance(part, list):
        for inner in part:
            yield from endless(inner)
    if not isinstance(part, dict):
        return
    if ("measure" in part and part["measure"] != "ratio") or "within" in part:
        window = part.get("window") or {"from": None}
        if "from" in window or "to" in window or re.match("[0-9]", window.get("calendar", "")):
            yield part
        return
    for inner in part.values():
        yield from endless(inner)


def name(asked: Json) -> str:
    """What tells a metric, a sequence or a rank from any other."""
    return json.dumps(asked, sort_keys=True)
