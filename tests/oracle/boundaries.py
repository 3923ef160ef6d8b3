"""The instants at which time alone might change an answer; far more than those at which it does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from typing import Any

from tests.oracle import clock, windows
from tests.oracle.history import History
from tests.oracle.values import each, number, typed

Json = dict[str, Any]


def conditions(rule: Json) -> Iterator[Json]:
    """The leaves of a rule."""
    if "not" in rule:
        yield from conditions(rule["not"])
    elif "all" in rule or "any" in rule:
        for member in [*rule.get("all", []), *rule.get("any", [])]:
            yield from conditions(member)
    else:
        yield rule


def under(part: Any, name: str) -> Iterator[Any]:
    """Whatever a rule calls by a name, however deep."""
    if isinstance(part, dict):
        if name in part:
            yield part[name]
        for inner in part.values():
            yield from under(inner, name)
    elif isinstance(part, list):
        for inner in part:
            yield from under(inner, name)


def boundaries(rule: Json | None, history: History, customer: str, start: int, end: int, segments: Sequence[Json] = ()) -> list[int]:
    """Every instant after one and up to another at which time alone could change what a rule, or any of the segments, says of a customer."""
    rules = [one for one in (rule, *(segment.get("rule") for segment in segments)) if one is not None]
    leaves = [leaf for one in rules for leaf in conditions(one)]
    # A rank looks at everybody.
    people = list(history.documents) if any("rank" in leaf for leaf in leaves) else [history.survivor(customer)]
    documents = [document for person in people for document in history.documents.get(person, [])]
    found = {clock.instant(document["occurred_at"]) for document in documents}
    for segment in segments:
        found.update(clock.edge(segment[name], history.zone) for name in ("starts_at", "ends_at") if segment.get(name))
    for leaf in leaves:
        found.update(_of_windows(leaf, documents, history.zone, start, end))
        found.update(_of_days_since(leaf, documents, end))
        found.update(_of_attributes(leaf, documents, history, start, end))
        if "sequence" in leaf:
            within = leaf["sequence"]["within"]
            found.update(clock.later(clock.instant(document["occurred_at"]), within, history.zone) for document in documents)
    return sorted(at for at in found if start < at <= end)


def midnights(start: int, end: int, zone: str) -> list[tuple[date, int]]:
    """Each local day between two instants, with the instant at which it begins."""
    first, last = clock.local(start, zone).date(), clock.local(end, zone).date()
    return [(day, clock.midnight(day, zone)) for day in (first + timedelta(days=n) for n in range((last - first).days + 1))]


def _of_windows(leaf: Json, documents: list[Json], zone: str, start: int, end: int) -> Iterator[int]:
    """When events leave a window of a length, and when a calendar word begins to mean other days."""
    for window in under(leaf, "window"):
        if window and "last" in window:
            yield from (clock.later(clock.instant(document["occurred_at"]), window["last"], zone) for document in documents)
        elif window and "calendar" in window:
            word = window["calendar"]
            yield from (at for day, at in midnights(start, end, zone) if windows.days(word, day) != windows.days(word, day - timedelta(days=1)))


def _of_days_since(leaf: Json, documents: list[Json], end: int) -> Iterator[int]:
    """When whole days since an event come to what is compared with; where the days go on into a ratio or a rank, every whole day."""
    if not any(measure.startswith("days_since") for measure in under(leaf, "measure")):
        return
    for document in documents:
        happened = clock.instant(document["occurred_at"])
        if leaf.get("metric", {}).get("measure") in ("days_since_first", "days_since_last"):
            limits = [int(number(limit)) for limit in each(leaf.get("value", 0)) if not isinstance(limit, bool)]
            yield from (happened + (limit + extra) * clock.DAY for limit in limits for extra in (0, 1))
        else:
            yield from range(happened, end + 1, clock.DAY)


def _of_attributes(leaf: Json, documents: list[Json], history: History, start: int, end: int) -> Iterator[int]:
    """When somebody grows older, and when a date begins and is so long ago."""
    if leaf.get("profile") in ("age", "birthday_in_days"):
        yield from (at for _, at in midnights(start, end, history.zone))
    if leaf.get("op") in ("older_than", "within_last"):
        for document in documents:
            written = typed(document.get("attributes", {}).get(leaf["profile"]), "date", history.tenant["currency"])
            if written is not None:
                day = date.fromisoformat(written)
                yield from (clock.midnight(day, history.zone), clock.day_later(day, leaf["value"], history.zone))
