"""What becomes of a document, foreseen by the plainest model of it: those that came before, and who is whom by now."""

from __future__ import annotations

from typing import Any

from tests.oracle import clock
from tests.oracle.history import History

Json = dict[str, Any]
_KEPT = "P25M"
_AHEAD_MS = 300_000
_CAUSES = {"profile": "profile", "customer-merge": "merge", "customer-erase": "erase"}


def outcome_of(document: Json, history: History, now: int) -> str:
    """The outcome of a document that is told at an instant, wherever the id that it names has led."""
    name, happened = document["customer_id"], clock.instant(document["occurred_at"])
    person = history.survivor(name)
    known = [other for other in history.documents.get(person, []) if other["event_id"] == document["event_id"]]
    if why := refused(document):
        return f"dead_lettered/{why}"
    if happened > now + _AHEAD_MS:
        return "dead_lettered/future"
    if history.is_forgotten(name, happened):
        return "erased"
    if known:
        return "duplicate" if _says(known[0]) == _says(document) else "dead_lettered/conflict"
    if document["type"] == "customer-merge":
        return "dead_lettered/cycle" if history.survivor(document["into"]) == person else "applied"
    if document["type"] != "customer-erase" and clock.later(happened, _KEPT, history.zone) <= now:
        return "dead_lettered/too_late"
    return "applied"


def cause_of(document: Json, *, known: bool) -> Json:
    """The cause of what a document changes. A void corrects what is known; where nothing is, it is an event like another."""
    kinds = _CAUSES | ({"checkout-void": "correction"} if known else {})
    return {"kind": kinds.get(document["type"], "event"), "event_id": document["event_id"]}


def _says(document: Json) -> Json:
    """What a document says, under whichever of a person's ids."""
    return {name: value for name, value in document.items() if name != "customer_id"}


def refused(document: Json) -> str | None:
    """Why a document could be in nobody's history that else is as it should be."""
    if document["type"] == "customer-merge" and document["into"] == document["customer_id"]:
        return "cycle"
    if document["type"] == "points" and not {"collected", "spent"} & document.keys():
        return "missing_field"
    values = [value for held in ("attributes", "properties") for value in (document.get(held) or {}).values()]
    return None if all(map(_may_be_kept, values)) else "invalid"


def _may_be_kept(value: Any) -> bool:
    """Whether a value of a name that nobody has declared is of a kind that it may be declared as one day."""
    return all(isinstance(one, str) for one in value) if isinstance(value, list) else not isinstance(value, dict) or {"lat", "lon"} <= value.keys()
