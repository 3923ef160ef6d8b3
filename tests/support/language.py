"""Hypothesis strategies over the whole language: worlds of several segments that ask about each other, and documents that meet their edges.

Every rule is one that the contract accepts. A world has either ranks or stays, never both: a stay lasts from the instant of an entry, and
a rank promises none. Parts of the language can be left out by name.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

from hypothesis import strategies as st

from tests.oracle import clock, windows
from tests.oracle.boundaries import conditions
from tests.support import strategies

Json = dict[str, Any]
PARTS = ("calendar", "declared", "erase", "lists", "merge", "rank", "ratio", "reference", "schedule", "sequence", "stay", "tier", "void")
"""What can be left out."""

_ZONES = {
    "Europe/Paris": "EUR", "America/New_York": "USD", "Pacific/Auckland": "EUR", "Asia/Kolkata": "JPY",
    "Australia/Lord_Howe": "KWD", "Africa/Cairo": "EUR", "America/Havana": "USD", "UTC": "EUR",
}  # fmt: skip
# Besides those of the smaller language: ends of a quarter and of a year, a midnight that is not there, one that comes twice.
_MORE_ANCHORS = [
    clock.instant(text)
    for text in (
        "2024-03-31T23:59:59.999+02:00",
        "2025-01-01T00:00:00.000+01:00",
        "2024-05-01T00:00:00.000+02:00",
        "2024-04-26T01:00:00.000+03:00",
        "2024-11-03T00:30:00.000-04:00",
        "2024-10-06T23:59:59.999+11:00",
    )
]
_HOUR = 3_600_000
# No event may lie further ahead of the clock.
_AHEAD = 300_000
_TYPES = ("text", "integer", "number", "money", "boolean", "date", "texts", "place")
DECLARED = {f"my_{kind}": kind for kind in _TYPES} | {f"properties.{kind}": kind for kind in _TYPES if kind != "place"}
# What looks like a value of the type and is none.
_MISFITS: dict[str, list[Any]] = {
    "text": [7, True], "integer": [1.5, True, "x"], "number": [True, "x"], "money": [True, "x"],
    "boolean": [1, "x"], "date": ["x", 7], "texts": ["x", [1]], "place": ["x", {"lat": 1}],
}  # fmt: skip


class World(NamedTuple):
    """A tenant, the types of its own names, a now, segments of which each names earlier ones only, and documents as they come."""

    tenant: Json
    declared: dict[str, str]
    anchor: int
    segments: list[Json]
    documents: list[Json]


@st.composite
def worlds(draw: st.DrawFn, without: Collection[str] = ()) -> World:
    """A world, without some parts of the language."""
    zone = draw(st.sampled_from(sorted(_ZONES)))
    tenant = {"id": "demo", "timezone": zone, "currency": _ZONES[zone], "country": "FR"}
    anchor = draw(strategies.anchors | st.sampled_from(_MORE_ANCHORS))
    left_out = {*without} if {"rank", "stay"}.intersection(without) else {*without, draw(st.sampled_from(["rank", "stay"]))}
    # Families in the middle: they name those before and are named by those after, and so no cycle runs through one.
    levels = 0 if "tier" in left_out else draw(st.sampled_from([0, 2, 0, 3]))
    segments = [draw(_segments(f"first-{place}", tenant, anchor, (), left_out)) for place in range(draw(st.integers(1, 2)))]
    family = [draw(_segments(f"level-{level}", tenant, anchor, tuple(segments), left_out)) for level in range(levels)]
    segments += [segment | {"tier": {"family": "f", "level": level}} for level, segment in enumerate(family)]
    for place in range(draw(st.integers(1, 2))):
        segments += [draw(_segments(f"last-{place}", tenant, anchor, tuple(segments), left_out))]
    came = draw(_streams(tenant, anchor, segments, left_out))
    return World(tenant, dict(DECLARED), anchor, draw(strategies.met(segments, strategies.told(tenant, DECLARED, came), anchor)), came)


@st.composite
def _segments(draw: st.DrawFn, segment_id: str, tenant: Json, anchor: int, others: Sequence[Json], left_out: Collection[str]) -> Json:
    segment: Json = {"id": segment_id, "rule": draw(_rules(tenant, anchor, others, left_out))}
    some = draw(st.sampled_from([[], ["stay"], ["schedule"], ["lists"], ["stay", "schedule"], ["stay", "lists"], []]))
    chosen = {one for one in some if one not in left_out}
    if "schedule" in chosen:
        start, end = (draw(st.sampled_from(some)) for some in ([-clock.DAY, 0, 1, _HOUR], [_HOUR + 1, clock.DAY, 20 * clock.DAY]))
        bounds = {"starts_at": clock.moment(anchor + start).isoformat(), "ends_at": clock.moment(anchor + end).isoformat()}
        segment |= draw(st.sampled_from([bounds, {"starts_at": bounds["starts_at"]}, {"ends_at": bounds["ends_at"]}]))
    if "lists" in chosen:
        people = st.lists(st.sampled_from([*strategies.CUSTOMERS, "stranger"]), max_size=2, unique=True)
        segment |= {"include": draw(people), "exclude": draw(people)}
    if "stay" in chosen:
        segment["min_stay"] = draw(st.sampled_from(["PT1H", "P1D", "P14D", "P1M", "P2M"]))
    return segment


def _rules(tenant: Json, anchor: int, others: Sequence[Json], left_out: Collection[str]) -> st.SearchStrategy[Json]:
    spans = _windows(tenant["timezone"], anchor, left_out)
    leaves = {
        "metric": _metrics(tenant["currency"], spans),
        "ratio": _ratios(tenant["currency"], spans),
        "sequence": _sequences(tenant["currency"], spans),
        "rank": _ranks(tenant["currency"], spans),
        "declared": _declared(tenant["currency"], anchor, spans),
        "profile": strategies._profiles(anchor),
        "near": st.sampled_from([{"near": {"lat": 43.6047, "lon": 1.4442, "km": 30}}, {"near": {"lat": 45.7, "lon": 4.8, "km": 500}}]),
    }
    if others:
        leaves["reference"] = st.sampled_from(others).map(lambda other: {"segment": other["id"]})
    weights = {"metric": 4, "ratio": 2, "sequence": 4, "rank": 3, "reference": 4, "profile": 2}
    names = [name for name in leaves if name not in left_out for _ in range(weights.get(name, 1))]
    leaf = st.sampled_from(names).flatmap(lambda name: leaves[name]).filter(strategies.savable(tenant, DECLARED))
    return strategies.nested(leaf, width=2, most=3)


def _windows(zone: str, anchor: int, left_out: Collection[str]) -> st.SearchStrategy[Json | None]:
    """Windows with an edge near the anchor, also what a metric does without one."""
    lengths = st.sampled_from(["PT2H", "P1D", "P14D", "P1M", "P3M", "P1Y"]).map(lambda last: {"last": last})
    if "calendar" in left_out:
        return st.sampled_from([st.none(), lengths, lengths]).flatmap(lambda some: some)
    today = clock.local(anchor, zone).date()
    months = [clock.month_later(today, back) for back in (0, -1, -12, 1)]
    words = ["today", "this_week", "this_month", "last_month", "this_quarter", "this_year", "last_year"]
    words += [f"{month:%Y-%m}" for month in months] + [windows.MONTHS[month.month - 1] for month in months]
    starts = [(today - timedelta(days=30)).isoformat(), today.isoformat(), *(clock.moment(anchor - ms).isoformat() for ms in (14 * clock.DAY, 1))]
    ends = [(today + timedelta(days=days)).isoformat() for days in (1, 7)] + [clock.moment(anchor + ms).isoformat() for ms in (0, 1, _HOUR)]
    start, end = st.sampled_from(starts), st.sampled_from(ends)
    fixed = st.fixed_dictionaries({"from": start, "to": end}) | st.fixed_dictionaries({"from": start}) | st.fixed_dictionaries({"to": end})
    calendar = st.sampled_from(words).map(lambda word: {"calendar": word})
    # A date of today may begin after an instant of the anchor's own, and such a window holds nothing and would be refused.
    fixed = fixed.filter(lambda w: len(w) == 1 or clock.edge(w["from"], zone) < clock.edge(w["to"], zone))
    return st.sampled_from([st.none(), lengths, lengths, calendar, calendar, fixed]).flatmap(lambda some: some)


@st.composite
def _metrics(draw: st.DrawFn, currency: str, spans: st.SearchStrategy[Json | None], *, numbers: bool = False) -> Json:
    """A metric and what its value is compared with; of numbers, where only those will do. Every other is a count that few events turn."""
    event = draw(st.sampled_from(["checkout", "checkout", "visit", "email-open"]))
    plain = strategies._numbers(st.integers(1, 2)).map(lambda compared: {"metric": {"measure": "count", "event": event}} | compared)
    drawn = strategies.metrics(currency)
    condition = draw(plain | (drawn.filter(lambda one: one["metric"]["measure"] != "favourite") if numbers else drawn))
    metric, window = {name: value for name, value in condition["metric"].items() if name != "window"}, draw(spans)
    return condition | {"metric": metric if window is None else metric | {"window": window}}


@st.composite
def _ratios(draw: st.DrawFn, currency: str, spans: st.SearchStrategy[Json | None]) -> Json:
    numbers = _metrics(currency, spans, numbers=True).map(lambda condition: condition["metric"])
    counts = st.sampled_from(["checkout", "checkout", "email-open", "visit"]).map(lambda event: {"measure": "count", "event": event})
    metric: Json = {"measure": "ratio", "numerator": draw(numbers | counts), "denominator": draw(counts | numbers)}
    if draw(st.booleans()):
        metric["min_denominator"] = draw(st.integers(1, 3))
    return {"metric": metric} | draw(strategies._numbers(st.sampled_from([0, 0.5, 1, 0.25, 2, 10])))


@st.composite
def _ranks(draw: st.DrawFn, currency: str, spans: st.SearchStrategy[Json | None]) -> Json:
    metric = draw(_metrics(currency, spans, numbers=True))["metric"]
    size = draw(st.sampled_from([{"top": 1}, {"top": 2}, {"percent": 1}, {"percent": 34}, {"percent": 50}, {"percent": 100}]))
    return {"rank": {"metric": metric, "order": draw(st.sampled_from(["desc", "asc"]))} | size}


@st.composite
def _sequences(draw: st.DrawFn, currency: str, spans: st.SearchStrategy[Json | None]) -> Json:
    def end() -> Json:
        event = draw(st.sampled_from(["checkout", "email-open", "checkout", "visit", "custom"]))
        named = {"name": draw(st.sampled_from(["quiz", "poll"]))} if event == "custom" else {}
        filtered = event != "custom" and draw(st.integers(0, 3)) == 3
        return {"event": event} | named | ({"where": [draw(strategies._filters(event, currency))]} if filtered else {})

    window = draw(spans)
    asked = {"first": end(), "then": end(), "within": draw(st.sampled_from(["PT1H", "P1D", "P7D", "P1M", "P1M1D"])), "happens": draw(st.booleans())}
    return {"sequence": asked if window is None else asked | {"window": window}}


def _typed(kind: str, currency: str, anchor: int) -> tuple[st.SearchStrategy[Any], st.SearchStrategy[Json]]:
    """Values of a declared type, and what can be asked of one."""
    today = clock.moment(anchor).date()
    dates = st.sampled_from([clock.month_later(today, -months).isoformat() for months in (0, 1, 12)])
    lists = st.lists(st.sampled_from(["x", "y"]), max_size=2)
    equal = st.fixed_dictionaries({"op": st.sampled_from(["eq", "ne"]), "value": st.booleans()})
    listed: st.SearchStrategy[Json] = st.sampled_from(
        [{"op": "contains", "value": "x"}, {"op": "in", "value": ["x", "z"]}, {"op": "not_in", "value": ["y"]}]
    )
    there = st.fixed_dictionaries({"op": st.just("exists")}, optional={"value": st.booleans()})
    ordered = st.fixed_dictionaries({"op": st.sampled_from(strategies._ORDER), "value": dates})
    by_type: dict[str, tuple[st.SearchStrategy[Any], st.SearchStrategy[Json]]] = {
        "text": (st.sampled_from(["x", "y", "007"]), strategies._texts(["x", "7"])),
        "integer": (st.integers(0, 3), strategies._numbers(st.integers(0, 3))),
        "number": (st.sampled_from([0.1, 0.5, 2]), strategies._numbers(st.sampled_from([0.1, 0.6, 2]))),
        "money": (strategies.amounts(currency), strategies._numbers(strategies.thresholds(currency))),
        "boolean": (st.booleans(), equal | there),
        "date": (dates, ordered | there),
        "texts": (lists, listed | there),
        "place": (st.just({"lat": 43.6, "lon": 1.44}), there),
    }
    return by_type[kind]


@st.composite
def _declared(draw: st.DrawFn, currency: str, anchor: int, spans: st.SearchStrategy[Json | None]) -> Json:
    """A condition on an attribute that the tenant has declared, or on a property of a custom event."""
    name = draw(st.sampled_from(sorted(DECLARED)))
    kind = DECLARED[name]
    _, asked = _typed(kind, currency, anchor)
    if not name.startswith("properties."):
        since = st.fixed_dictionaries({"op": st.sampled_from(["older_than", "within_last"]), "value": st.sampled_from(["P1D", "P1M", "P1Y"])})
        return {"profile": name} | draw(since | asked if kind == "date" else asked)
    metric: Json = {"event": "custom", "name": draw(st.sampled_from(["quiz", "poll"]))}
    window = draw(spans)
    if window is not None:
        metric["window"] = window
    sums = ["sum", "avg", "min", "max"] if kind in ("integer", "number", "money") else []
    measure = draw(st.sampled_from(["count", "count", "distinct", *sums, *(["favourite"] if kind in ("text", "integer") else [])]))
    if measure == "count":
        return {"metric": metric | {"measure": "count", "where": [{"field": name} | draw(asked)]}} | draw(strategies._numbers(st.integers(0, 2)))
    compared = strategies._numbers(st.integers(0, 2)) if measure == "distinct" else asked
    return {"metric": metric | {"measure": measure, "field": name}} | draw(compared)


class _Aim(NamedTuple):
    """What a condition asks of events in a window; and, of a sequence, of what comes after and how long it may take."""

    asked: Json
    window: Json
    then: Json | None = None
    within: str = ""


def _aims(segments: Sequence[Json]) -> list[_Aim]:
    aims = []
    for leaf in (leaf for segment in segments if segment["rule"] is not None for leaf in conditions(segment["rule"])):
        if "sequence" in leaf:
            first, then, within = (leaf["sequence"][name] for name in ("first", "then", "within"))
            aims += [_Aim(first, window, then, within) for window in (leaf["sequence"].get("window") or {}, {"last": within})]
        elif "profile" in leaf or "near" in leaf:
            aims.append(_Aim({"event": "profile", "field": leaf.get("profile", "location")}, {}))
        elif metric := leaf.get("metric") or leaf.get("rank", {}).get("metric"):
            parts = [metric["numerator"], metric["denominator"]] if metric["measure"] == "ratio" else [metric]
            aims += [_Aim(part, part.get("window") or {}) for part in parts]
    return aims


@st.composite
def _streams(draw: st.DrawFn, tenant: Json, anchor: int, segments: Sequence[Json], left_out: Collection[str]) -> list[Json]:
    """Documents as they come: late, doubled, corrected, most of what the segments ask about and near the edges of what they ask."""
    came: list[Json] = []
    # Much about a little: few documents about each of many conditions would hardly ever meet.
    aims = draw(st.lists(st.sampled_from(_aims(segments)), min_size=1, max_size=4)) if _aims(segments) else []
    kinds = ["aimed"] * 20 + ["again", "any", *(kind for kind in ("void", "void", "merge", "erase") if kind not in left_out)]
    for _ in range(draw(st.sampled_from([12, 8, 18, 15, 4, 0]))):
        kind = draw(st.sampled_from(kinds))
        checkouts = [one for one in came if one["type"] == "checkout" and one.get("store_id") and one.get("receipt_id")]
        if kind == "again" and came:
            came.append(draw(st.sampled_from(came)))
        elif kind == "void" and checkouts:
            # Before what it voids as well as after.
            came.insert(draw(st.integers(0, len(came))), draw(_voids(draw(st.sampled_from(checkouts)), anchor)))
        elif kind in ("merge", "erase"):
            old, into = draw(st.permutations(strategies.CUSTOMERS))[:2]
            ends = {"customer_id": old} | ({"into": into} if kind == "merge" else {})
            came.append(draw(_told(anchor - draw(st.sampled_from([0, 1, _HOUR, 3 * clock.DAY])))) | ends | {"type": f"customer-{kind}"})
        elif kind == "aimed" and aims:
            came += draw(_about(draw(st.sampled_from(aims)), tenant, anchor))
        else:
            came.append(draw(strategies.documents(tenant, anchor)))
    return came


@st.composite
def some(draw: st.DrawFn, tenant: Json, anchor: int, segments: Sequence[Json]) -> list[Json]:
    """A few documents, most often about what one segment asks."""
    about: list[Json] = [draw(st.sampled_from(segments))] if segments else []
    if (aims := _aims(about)) and draw(st.integers(0, 7)) > 0:
        aim: _Aim = draw(st.sampled_from(aims))
        times = draw(st.sampled_from([2, 3, 1, 4]))
        return [document for _ in range(times) for document in draw(_about(aim, tenant, anchor))]
    return [draw(strategies.documents(tenant, anchor))]


@st.composite
def _about(draw: st.DrawFn, aim: _Aim, tenant: Json, anchor: int) -> list[Json]:
    """A document that a condition asks about, and of a sequence perhaps what comes after."""
    edges = [*_edges(aim.window, anchor, tenant["timezone"]), anchor - draw(st.sampled_from([0, _HOUR, clock.DAY, 9 * clock.DAY]))]
    came = [draw(_aimed(aim.asked, edges, tenant, anchor))]
    if aim.then and draw(st.booleans()):
        began = clock.instant(came[-1]["occurred_at"])
        edges = [began, clock.later(began, aim.within, tenant["timezone"])]
        came.append(draw(_aimed(aim.then, edges, tenant, anchor)) | {"customer_id": came[-1]["customer_id"]})
    return came


def _told(at: int) -> st.SearchStrategy[Json]:
    return st.fixed_dictionaries({"event_id": st.sampled_from([f"e{n}" for n in range(60)]), "occurred_at": strategies._written(at)})


@st.composite
def _voids(draw: st.DrawFn, checkout: Json, anchor: int) -> Json:
    """A void of a checkout, sometimes on the edge of its seven days."""
    apart = draw(st.sampled_from([0, _HOUR, -7 * clock.DAY, -7 * clock.DAY - 1, 7 * clock.DAY, 7 * clock.DAY + 1]))
    at = min(clock.instant(checkout["occurred_at"]) + apart, anchor + _AHEAD)
    same = {name: checkout[name] for name in ("customer_id", "store_id", "receipt_id")}
    return draw(_told(at)) | {"type": "checkout-void"} | same


def _edges(window: Json, anchor: int, zone: str) -> list[int]:
    """When what happens comes into a window, or leaves it, at the anchor; and where the window begins and ends."""
    if "last" in window:
        months, exact = clock.parts(window["last"])
        return [strategies._months_before(anchor - exact, months, zone)] * 2
    return [edge for edge in windows.span(window, anchor, zone) if abs(edge - anchor) < 400 * clock.DAY] if window else []


@st.composite
def _aimed(draw: st.DrawFn, asked: Json, edges: Sequence[int], tenant: Json, anchor: int) -> Json:
    """A document that a condition asks about, on or beside one of these instants."""
    document = draw(strategies.documents(tenant, anchor, kinds=[asked["event"]]))
    at = min(draw(st.sampled_from(edges)) + draw(st.sampled_from([0, -1, 1, _HOUR, -_HOUR, clock.DAY])), anchor + _AHEAD)
    document["occurred_at"] = draw(strategies._written(at))
    if asked["event"] in ("custom", "profile"):
        wanted = [asked.get("field"), *(one["field"] for one in asked.get("where") or [])]
        prefix, holder = ("properties.", "properties") if asked["event"] == "custom" else ("my_", "attributes")
        names = [name for name in DECLARED if name.startswith(prefix) and (name in wanted or draw(st.integers(0, 7)) == 7)]
        own = {name.removeprefix("properties."): draw(_values(DECLARED[name], tenant["currency"], anchor)) for name in names}
        document |= {holder: (document.get(holder) or {}) | own} | ({"name": asked["name"]} if holder == "properties" else {})
    return _bent(document, asked.get("where") or []) if draw(st.integers(0, 2)) else document


def _values(kind: str, currency: str, anchor: int) -> st.SearchStrategy[Any]:
    fitting, _ = _typed(kind, currency, anchor)
    return st.integers(0, 4).flatmap(lambda turn: st.sampled_from(_MISFITS[kind]) if turn == 4 else fitting)


def _bent(document: Json, where: Sequence[Json]) -> Json:
    """The document with what filters ask for put into it, as far as that can be said in a word."""
    line, rest = dict[str, Any](), dict[str, Any]()
    for asked in where:
        field, value = asked["field"], asked.get("value")
        wanted = value[0] if isinstance(value, list) else value
        negative = str(wanted).startswith("-")
        if asked["op"] in ("exists", "ne", "not_in") or field in ("hour", "weekday") or field.startswith("properties.") or negative:
            continue
        if field.startswith("items."):
            line[field.removeprefix("items.")] = wanted
        else:
            rest[field] = [wanted] if field == "coupon_ids" else wanted
    return document | rest | ({"items": [*(document.get("items") or []), line]} if line else {})
