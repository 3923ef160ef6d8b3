"""Hypothesis strategies: tenants, documents, rules and segments that collide, tie, and lie on each other's boundaries."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from functools import cache
from typing import Any

from hypothesis import strategies as st

from schemas.errors import Refusal
from schemas.rule_context import RuleContext
from schemas.rule_parser import parse_rule
from schemas.vocabulary import Kind
from tests.oracle import clock, model

Json = dict[str, Any]
CUSTOMERS = ["718", "0718", "a:b", "ünï"]
_STORES = ["7", "007", "s1"]
_CATEGORIES = ["COFFEE", "TEA", "SOAP"]
_CAMPAIGNS = ["c1", "c2"]
_MESSAGES = ["m1", "m2"]
_COUPONS = ["SPRING", "FALL", "X"]
_CHANNELS = ["store", "web"]
_MAILS = ["email-send", "email-open", "email-click"]
# Around both changes of the clock in each zone, a leap day, month ends and the end of a year: where calendars go wrong.
_ANCHORS = [
    clock.instant(text)
    for text in (
        "2024-02-29T23:59:59.999+01:00",
        "2024-03-31T01:59:59.999+01:00",
        "2024-10-27T02:30:00.000+02:00",
        "2024-01-31T12:00:00.000+01:00",
        "2024-12-31T23:59:59.999+01:00",
        "2024-08-30T10:00:00.000+02:00",
        "2024-03-10T02:00:00.000-05:00",
        "2024-11-03T01:30:00.000-04:00",
        "2024-04-07T02:30:00.000+13:00",
        "2024-10-06T02:00:00.000+10:30",
    )
]
_SPANS = ["PT2H", "P1D", "P14D", "P1M", "P3M", "P2W", "P1Y", "P1M1DT1H"]

tenants = st.sampled_from(
    [
        {"id": "demo", "timezone": zone, "currency": currency, "country": "FR"}
        for zone, currency in [
            ("Europe/Paris", "EUR"),
            ("America/New_York", "USD"),
            ("Pacific/Auckland", "EUR"),
            ("Asia/Kolkata", "JPY"),
            ("Australia/Lord_Howe", "KWD"),
            ("UTC", "EUR"),
        ]
    ]
)
anchors = st.sampled_from(_ANCHORS)


def amounts(currency: str) -> st.SearchStrategy[Any]:
    """Few amounts, so that sums meet thresholds: as texts and as numbers, with as many decimals as the currency has."""
    digits = {"JPY": 0, "KWD": 3}.get(currency, 2)
    texts = [f"{n}.{'5' + '0' * (digits - 1)}" if digits else str(n) for n in (0, 5, 10, 25)]
    return st.sampled_from([*texts, 10, 25, *([12.5] if digits else [])])


def thresholds(currency: str) -> st.SearchStrategy[Any]:
    """Amounts near the sums that the data make."""
    return st.sampled_from(["0", "10", "25", "35", "50", -10, *(["10.5", "15.50", 12.5] if currency != "JPY" else [])])


_KINDS = ["checkout"] * 6 + ["coupon-redemption", *_MAILS, "visit", "points", "custom", "profile", "profile", "profile"]


@st.composite
def documents(draw: st.DrawFn, tenant: Json, anchor: int, customer: str | None = None, kinds: Sequence[str] = _KINDS, window: str = "") -> Json:
    """A document near an anchor, so that a given window often ends for it at the anchor or soon after.

    Some lie exactly a window apart from others, some on the same millisecond, some up to five minutes ahead.
    """
    if window:
        months, exact = clock.parts(window)
        start = _months_before(anchor - exact, months, tenant["timezone"])
        # Up to what the window holds, and never more than the five minutes ahead that are accepted.
        inside = draw(st.sampled_from([0, 0, 1, -1, 1_800_000, 3_600_000, clock.DAY, 3 * clock.DAY, 12 * clock.DAY]))
        at = min(start + inside, anchor + 300_000)
    else:
        span = draw(st.sampled_from([0, 1, -1, -300_000, 7_200_000, clock.DAY, 14 * clock.DAY, 31 * clock.DAY]))
        start = _months_before(anchor, draw(st.sampled_from([0, 0, 0, 0, 1, 2, 3, 12])), tenant["timezone"])
        at = start - draw(st.integers(0, 40)) * draw(st.sampled_from([0, 1, 1_800_000, 3_600_000, clock.DAY])) - span
    event = {
        "event_id": draw(st.sampled_from([f"e{n}" for n in range(60)])),
        # Most of it about one person, so that there is a history to be wrong about.
        "customer_id": customer or draw(st.sampled_from([*CUSTOMERS[:1] * 6, *CUSTOMERS])),
        "occurred_at": draw(_written(at)),
    }
    kind = draw(st.sampled_from(kinds))
    return event | {"type": kind} | draw(_bodies(kind, tenant["currency"], at))


@st.composite
def streams(draw: st.DrawFn, tenant: Json, anchor: int, segments: Sequence[Json] = ()) -> list[Json]:
    """Documents as they come: in any order, some of them again, most of what the segments' rules ask about."""
    leaves = [leaf for segment in segments for leaf in model.conditions(segment["rule"])]
    came: list[Json] = []
    # The first of a choice is what Hypothesis draws most: not nothing.
    for _ in range(draw(st.sampled_from([8, 5, 11, 14, 2, 0]))):
        if came and draw(st.integers(0, 7)) == 7:
            came.append(draw(st.sampled_from(came)))
        elif leaves and draw(st.integers(0, 3)) < 3:
            metric = draw(st.sampled_from(leaves)).get("metric", {"event": "profile"})
            window = metric.get("window", {}).get("last", "")
            came.append(draw(documents(tenant, anchor, kinds=[metric["event"]], window=draw(st.sampled_from([window, window, ""])))))
        else:
            came.append(draw(documents(tenant, anchor)))
    return came


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Json, int, list[Json], list[Json]]:
    """A tenant, a now, one or two segments, and documents in the order in which they come."""
    tenant, anchor = draw(tenants), draw(anchors)
    some = [draw(segments(f"s{place}", tenant["currency"], anchor)) for place in range(draw(st.integers(1, 2)))]
    came = draw(streams(tenant, anchor, some))
    return tenant, anchor, draw(met(some, told(tenant, {}, came), anchor)), came


def told(tenant: Json, declared: Mapping[str, str], documents: Sequence[Json]) -> model.History:
    """The judge's history of documents, as they come."""
    history = model.History(tenant, declared)
    for document in documents:
        history.add(document)
    return history


def _months_before(at: int, months: int, zone: str) -> int:
    """The instant whose windows of months end beside this one."""
    here = clock.local(at, zone).replace(tzinfo=None, fold=0)
    return clock.from_local(datetime.combine(clock.month_later(here.date(), -months), here.time()), zone) if months else at


def _written(at: int) -> st.SearchStrategy[str]:
    """An instant as tills write it: with any offset, some with digits below the millisecond, which do not count."""
    offsets = st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30)), timezone(timedelta(hours=-8))])
    below = st.sampled_from(["", "", "", "9", "4999", "999999"])
    digits_end = len("2024-01-01T00:00:00.000")
    written = offsets.map(lambda offset: clock.moment(at).astimezone(offset).isoformat(timespec="milliseconds"))
    return st.tuples(written, below).map(lambda drawn: drawn[0][:digits_end] + drawn[1] + drawn[0][digits_end:])


def _bodies(kind: str, currency: str, at: int) -> st.SearchStrategy[Json]:
    """What an event of a type says besides who and when: required fields, and those that may be missing."""
    text = st.sampled_from
    whole = st.integers(0, 3)
    item = {"product_id": text(["p1", "p2"]), "category": text(_CATEGORIES), "department": text(["FOOD", "HOME"]), "brand": text(["X", "Y"])}
    item |= {"quantity": text([1, 2, "0.345", 0.1]), "amount": amounts(currency), "discount": amounts(currency)}
    checkout = {"store_id": text(_STORES), "channel": text(_CHANNELS), "kind": text(["return", "sale"]), "discount": amounts(currency)}
    checkout |= {"receipt_id": text(["r1", "r2"]), "currency": st.just(currency), "payment_method": text(["card", "cash"]), "points_earned": whole}
    checkout |= {
        "coupon_ids": st.lists(text(_COUPONS), max_size=2),
        "items": st.lists(st.fixed_dictionaries(item) | st.fixed_dictionaries({}, optional=item), max_size=3),
    }
    redemption = {"campaign_id": text(_CAMPAIGNS), "value": amounts(currency), "points": whole, "reward_id": text(["w1", "w2"])}
    bodies: dict[str, tuple[Json, Json]] = {
        "checkout": ({"total": amounts(currency)}, checkout),
        "coupon-redemption": ({"coupon_id": text(_COUPONS)}, redemption | {"receipt_id": text(["r1", "r2"])}),
        "visit": ({"store_id": text(_STORES)}, {}),
        "points": ({}, {"collected": whole, "spent": whole}),
        "custom": ({"name": text(["quiz", "poll"])}, {"properties": st.just({"x": 1})}),
        "profile": ({"attributes": _attributes(at)}, {}),
    } | {mail: ({"campaign_id": text(_CAMPAIGNS)}, {"message_id": text(_MESSAGES)}) for mail in _MAILS}
    required, optional = bodies[kind]
    # As often everything as not: what is filtered by three fields wants all three.
    return st.fixed_dictionaries(required | optional) | st.fixed_dictionaries(required, optional=optional)


def _attributes(at: int) -> st.SearchStrategy[Json]:
    today = clock.moment(at).date()
    ahead = today + timedelta(days=20)
    days = st.sampled_from(
        [today.isoformat(), ahead.isoformat(), *(clock.month_later(today, -12 * years).isoformat() for years in (20, 24, 30)), "2004-02-29"]
    )
    known = {
        "birth_date": days,
        "card_since": days,
        "city": st.sampled_from(["Lyon", "Paris"]),
        "location": st.sampled_from([{"lat": 43.6, "lon": 1.44}, {"lat": 45.75, "lon": 4.85}]),
        "consent": st.booleans(),
        "household_size": st.integers(1, 4),
        "tags": st.lists(st.sampled_from(["vip", "new"]), max_size=2),
        "gender": st.sampled_from(["f", "m"]),
        "postal_code": st.sampled_from(["01000", "1000"]),
        "income_band": st.sampled_from(["50-74K", "75-99K"]),
        "shoe_size": st.just(42),
    }
    return st.fixed_dictionaries({}, optional={name: st.none() | value for name, value in known.items()}).filter(bool)


def _compared(value: st.SearchStrategy[Any], ops: tuple[str, ...], *, ordered: bool) -> st.SearchStrategy[Json]:
    one = st.fixed_dictionaries({"op": st.sampled_from(ops), "value": value})
    many = st.fixed_dictionaries({"op": st.sampled_from(["in", "not_in"]), "value": st.lists(value, min_size=1, max_size=3)})
    exists = st.fixed_dictionaries({"op": st.just("exists")}, optional={"value": st.booleans()})
    # By a draw among names: of strategies that are the same, `|` keeps one, and nothing would be drawn more often.
    if not ordered:
        return st.sampled_from([one, one, one, many, exists]).flatmap(lambda some: some)
    pair = st.lists(value, min_size=2, max_size=2).map(lambda ends: sorted(ends, key=float))
    between = st.fixed_dictionaries({"op": st.just("between"), "value": pair})
    return st.sampled_from([one, one, one, one, many, exists, between]).flatmap(lambda some: some)


_ORDER = ("gte", "eq", "ne", "gt", "gte", "lt", "lte")


def _numbers(value: st.SearchStrategy[Any]) -> st.SearchStrategy[Json]:
    return _compared(value, _ORDER, ordered=True)


def _texts(values: list[str]) -> st.SearchStrategy[Json]:
    return _compared(st.sampled_from(values), ("eq", "ne", "contains", "starts_with"), ordered=False)


@cache
def _fields(event: str, currency: str) -> Mapping[str, st.SearchStrategy[Json]]:
    """The fields of an event, and what can be asked of a value of each."""
    money, whole = thresholds(currency), st.integers(0, 3)
    derived = {"hour": _numbers(st.integers(0, 23)), "weekday": _numbers(st.integers(1, 7))}
    items = {"items.product_id": _texts(["p1", "p2"]), "items.category": _texts(_CATEGORIES), "items.department": _texts(["FOOD", "HOME"])}
    items |= {"items.brand": _texts(["X", "Y"]), "items.quantity": _numbers(st.sampled_from([1, 2, 0.345, 0.1, 0.445]))}
    items |= {"items.amount": _numbers(money), "items.discount": _numbers(money)}
    fields: dict[str, dict[str, st.SearchStrategy[Json]]] = {
        "checkout": {
            "store_id": _texts(_STORES),
            "channel": _texts(_CHANNELS),
            "kind": _texts(["sale", "return"]),
            "total": _numbers(money),
            "discount": _numbers(money),
            "payment_method": _texts(["card", "cash"]),
            "points_earned": _numbers(whole),
            "coupon_ids": _texts(_COUPONS),
        }
        | items,
        "coupon-redemption": {
            "coupon_id": _texts(_COUPONS),
            "campaign_id": _texts(_CAMPAIGNS),
            "value": _numbers(money),
            "points": _numbers(whole),
        },
        "visit": {"store_id": _texts(_STORES)},
        "points": {"collected": _numbers(whole), "spent": _numbers(whole)},
    } | {mail: {"campaign_id": _texts(_CAMPAIGNS), "message_id": _texts(_MESSAGES)} for mail in _MAILS}
    return fields.get(event, {}) | derived


@cache
def _filters(event: str, currency: str) -> st.SearchStrategy[Json]:
    """One filter of an event."""
    fields = dict(_fields(event, currency))
    names = sorted(fields)
    if event == "checkout":
        one, several = st.sampled_from(_COUPONS), st.lists(st.sampled_from(_COUPONS), min_size=1, max_size=2)
        asked = {"contains": one, "in": several, "not_in": several}
        fields["coupon_ids"] = st.sampled_from(sorted(asked)).flatmap(lambda op: st.fixed_dictionaries({"op": st.just(op), "value": asked[op]}))
        # Lists, kinds and lines have laws of their own; a fair draw among all fields would hardly meet them.
        names += ["coupon_ids"] * 3 + ["kind"] * 2 + ["items.brand", "items.category"] * 2
    return st.sampled_from(names).flatmap(lambda field: fields[field].map(lambda rest: {"field": field} | rest))


_NUMERIC = ["total", "discount", "points_earned", "items.amount", "items.discount", "items.quantity", "value", "points", "collected", "spent"]
_EVENTS = [*["checkout"] * 8, "coupon-redemption", *_MAILS, "visit", "points", "custom"]
_OF_VALUES = [*["sum"] * 4, *["favourite"] * 3, "avg", "avg", "min", "max", "distinct"]


@st.composite
def metrics(draw: st.DrawFn, currency: str) -> Json:
    """A metric and the comparison of its value, as one condition."""
    window = draw(st.sampled_from([*_SPANS, None, None, None]))
    rest: Json = {} if window is None else {"window": {"last": window}}
    event = draw(st.sampled_from(_EVENTS))
    measure = draw(st.sampled_from([*["count"] * 3, "days_since_first", "days_since_last", *(_OF_VALUES if event != "custom" else [])]))
    if measure in _OF_VALUES:
        fields = _fields(event, currency)
        numeric = [field for field in sorted(fields) if field in _NUMERIC]
        if not numeric and measure not in ("distinct", "favourite"):
            measure = "favourite"
        rest["field"] = draw(st.sampled_from(sorted(fields) if measure in ("distinct", "favourite") else numeric))
        comparison = draw(_numbers(st.integers(0, 3)) if measure == "distinct" else fields[rest["field"]])
    else:
        comparison = draw(_numbers(st.integers(0, 4) if measure == "count" else st.sampled_from([0, 1, 13, 14, 30])))
    if event == "custom":
        rest["name"] = draw(st.sampled_from(["quiz", "poll"]))
    elif filters := [draw(_filters(event, currency)) for _ in range(draw(st.sampled_from([1, 0, 2, 1])))]:
        rest["where"] = filters
    return {"metric": {"measure": measure, "event": event} | rest} | comparison


def _profiles(anchor: int) -> st.SearchStrategy[Json]:
    today = clock.moment(anchor).date().isoformat()
    spans = st.fixed_dictionaries({"op": st.sampled_from(["older_than", "within_last"]), "value": st.sampled_from(["P14D", "P1M", "P1Y"])})
    by_name = {
        "age": _numbers(st.integers(19, 36)),
        "birthday_in_days": _numbers(st.sampled_from([0, 1, 7, 14])),
        "birth_date": spans,
        "card_since": spans | st.fixed_dictionaries({"op": st.sampled_from(_ORDER), "value": st.just(today)}),
        "city": _texts(["Lyon", "Paris"]),
        "gender": _texts(["f", "m"]),
        "postal_code": _texts(["01000", "1000"]),
        "income_band": _texts(["50-74K", "75-99K"]),
        "consent": st.fixed_dictionaries({"op": st.sampled_from(["eq", "ne"]), "value": st.booleans()}),
        "household_size": _numbers(st.integers(1, 4)),
        "tags": st.fixed_dictionaries({"op": st.just("contains"), "value": st.just("vip")})
        | st.fixed_dictionaries({"op": st.sampled_from(["in", "not_in"]), "value": st.just(["vip", "new"])}),
        "location": st.fixed_dictionaries({"op": st.just("exists"), "value": st.booleans()}),
    }
    return st.sampled_from(sorted(by_name)).flatmap(lambda name: by_name[name].map(lambda rest: {"profile": name} | rest))


def savable(tenant: Json, declared: Mapping[str, str]) -> Callable[[Json], bool]:
    """Whether the product would save a condition for a tenant: what could never hold it refuses, and other tests say rightly so."""
    context = RuleContext(tenant["timezone"], {name: Kind(kind) for name, kind in declared.items()}, currency=tenant["currency"])

    def may_be_saved(rule: Json) -> bool:
        try:
            parse_rule(json.loads(json.dumps(rule), parse_float=Decimal), context)
        except Refusal:
            return False
        return True

    return may_be_saved


def rules(currency: str, anchor: int) -> st.SearchStrategy[Json]:
    """Rules of every construct of the language, nested a little."""
    near = st.sampled_from([{"near": {"lat": 43.6047, "lon": 1.4442, "km": 30}}, {"near": {"lat": 45.7, "lon": 4.8, "km": 500}}])
    leaves = st.sampled_from([metrics(currency)] * 7 + [_profiles(anchor)] * 3 + [near]).flatmap(lambda leaf: leaf)
    return nested(leaves.filter(savable({"timezone": "UTC", "currency": currency}, {})), width=3, most=4)


def nested(leaves: st.SearchStrategy[Json], *, width: int, most: int) -> st.SearchStrategy[Json]:
    """Rules of up to about so many leaves; some of groups alone, whose answer is put together otherwise than that of leaves."""

    def grown(inner: st.SearchStrategy[Json]) -> st.SearchStrategy[Json]:
        negated = inner.map(lambda member: {"not": member})
        members, groups = st.lists(inner, min_size=1, max_size=width), st.lists(negated, min_size=2, max_size=2)
        return st.one_of(
            members.map(lambda some: {"all": some}),
            members.map(lambda some: {"any": some}),
            negated,
            groups.map(lambda some: {"all": some}),
            groups.map(lambda some: {"any": some}),
        )

    return st.recursive(leaves, grown, max_leaves=most)


@st.composite
def met(draw: st.DrawFn, segments: Sequence[Json], history: model.History, at: int) -> list[Json]:
    """The segments, with many a threshold that is just what somebody has at an instant."""
    found, people = copy.deepcopy([*segments]), sorted(history.known)
    may_be_saved = savable(history.tenant, history.declared)
    for leaf in [leaf for segment in found if segment.get("rule") is not None for leaf in model.conditions(segment["rule"])]:
        if people and "metric" in leaf and leaf["op"] in _ORDER and draw(st.booleans()):
            value = model.value_of(leaf["metric"], history, draw(st.sampled_from(people)), at)
            if isinstance(value, Fraction) and value.denominator == 1 and may_be_saved(leaf | {"value": int(value)}):
                leaf["value"] = int(value)
    return found


@st.composite
def segments(draw: st.DrawFn, segment_id: str, currency: str, anchor: int) -> Json:
    """A segment with a rule, sometimes with manual lists."""
    people = st.lists(st.sampled_from([*CUSTOMERS, "stranger"]), max_size=2, unique=True)
    segment: Json = {"id": segment_id, "rule": draw(rules(currency, anchor))}
    if draw(st.integers(0, 5)) == 5:
        segment |= {"include": draw(people), "exclude": draw(people)}
    return segment
