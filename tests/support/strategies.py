"""Hypothesis strategies: tenants, documents, rules and segments that collide, tie, and lie on each other's boundaries."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from tests.oracle import clock

Json = dict[str, Any]
CUSTOMERS = ["718", "0718", "a:b", "ünï"]
_STORES = ["7", "007", "s1"]
_CATEGORIES = ["COFFEE", "TEA", "SOAP"]
_CAMPAIGNS = ["c1", "c2"]
_COUPONS = ["SPRING", "FALL", "X"]
# Around both changes of the clock, a leap day, month ends and the end of a year: where calendars go wrong.
_ANCHORS = [
    clock.instant(text)
    for text in (
        "2024-02-29T23:59:59.999+01:00",
        "2024-03-31T01:59:59.999+01:00",
        "2024-10-27T02:30:00.000+02:00",
        "2024-01-31T12:00:00.000+01:00",
        "2024-12-31T23:59:59.999+01:00",
        "2024-08-30T10:00:00.000+02:00",
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


@st.composite
def documents(draw: st.DrawFn, tenant: Json, anchor: int, customer: str | None = None) -> Json:
    """A document near an anchor: some exactly a window apart from others, some on the same millisecond."""
    span = draw(st.sampled_from([0, 1, -1, 7_200_000, clock.DAY, 14 * clock.DAY, 31 * clock.DAY]))
    at = anchor - draw(st.integers(0, 40)) * draw(st.sampled_from([0, 1, 3_600_000, clock.DAY])) - span
    event = {
        "event_id": draw(st.sampled_from([f"e{n}" for n in range(60)])),
        "customer_id": customer or draw(st.sampled_from(CUSTOMERS)),
        "occurred_at": clock.moment(at).isoformat(timespec="milliseconds"),
    }
    kind = draw(st.sampled_from(["checkout"] * 5 + ["coupon-redemption", "email-open", "visit", "points", "custom", "profile", "profile"]))
    return event | {"type": kind} | draw(_bodies(kind, tenant["currency"], at))


def _bodies(kind: str, currency: str, at: int) -> st.SearchStrategy[Json]:
    text = st.sampled_from
    if kind == "checkout":
        item = st.fixed_dictionaries(
            {},
            optional={
                "product_id": text(["p1", "p2"]),
                "category": text(_CATEGORIES),
                "brand": text(["X", "Y"]),
                "quantity": text([1, 2, "0.345", 0.1]),
                "amount": amounts(currency),
            },
        )
        return st.fixed_dictionaries(
            {"total": amounts(currency)},
            optional={
                "store_id": text(_STORES),
                "channel": text(["store", "web"]),
                "kind": text(["sale", "sale", "return"]),
                "discount": amounts(currency),
                "points_earned": st.integers(0, 3),
                "coupon_ids": st.lists(text(_COUPONS), max_size=2),
                "items": st.lists(item, max_size=3),
            },
        )
    if kind == "coupon-redemption":
        return st.fixed_dictionaries({"coupon_id": text(_COUPONS)}, optional={"campaign_id": text(_CAMPAIGNS), "value": amounts(currency)})
    if kind == "email-open":
        return st.fixed_dictionaries({"campaign_id": text(_CAMPAIGNS)}, optional={"message_id": text(["m1", "m2"])})
    if kind == "visit":
        return st.fixed_dictionaries({"store_id": text(_STORES)})
    if kind == "points":
        return st.fixed_dictionaries({"collected": st.integers(0, 3)}, optional={"spent": st.integers(0, 3)})
    if kind == "custom":
        return st.fixed_dictionaries({"name": text(["quiz", "poll"])}, optional={"properties": st.just({"x": 1})})
    return st.fixed_dictionaries({"attributes": _attributes(at)})


def _attributes(at: int) -> st.SearchStrategy[Json]:
    today = clock.moment(at).date()
    days = st.sampled_from([today.isoformat(), *(clock.month_later(today, -12 * years).isoformat() for years in (20, 24, 30)), "2004-02-29"])
    known = {
        "birth_date": days,
        "card_since": days,
        "city": st.sampled_from(["Lyon", "Paris"]),
        "location": st.sampled_from([{"lat": 43.6, "lon": 1.44}, {"lat": 45.75, "lon": 4.85}]),
        "consent": st.booleans(),
        "household_size": st.integers(1, 4),
        "tags": st.lists(st.sampled_from(["vip", "new"]), max_size=2),
        "shoe_size": st.just(42),
    }
    return st.fixed_dictionaries({}, optional={name: st.none() | value for name, value in known.items()}).filter(bool)


def _compared(value: st.SearchStrategy[Any], ops: tuple[str, ...], *, ordered: bool) -> st.SearchStrategy[Json]:
    one = st.fixed_dictionaries({"op": st.sampled_from(ops), "value": value})
    many = st.fixed_dictionaries({"op": st.sampled_from(["in", "not_in"]), "value": st.lists(value, min_size=1, max_size=3)})
    exists = st.fixed_dictionaries({"op": st.just("exists")}, optional={"value": st.booleans()})
    if not ordered:
        return one | one | many | exists
    pair = st.lists(value, min_size=2, max_size=2).map(lambda ends: sorted(ends, key=lambda end: float(end)))
    return one | one | one | many | exists | st.fixed_dictionaries({"op": st.just("between"), "value": pair})


_ORDER = ("eq", "ne", "gt", "gte", "lt", "lte")


def _numbers(value: st.SearchStrategy[Any]) -> st.SearchStrategy[Json]:
    return _compared(value, _ORDER, ordered=True)


def _texts(values: list[str]) -> st.SearchStrategy[Json]:
    return _compared(st.sampled_from(values), ("eq", "ne", "contains", "starts_with"), ordered=False)


def _filters(currency: str) -> st.SearchStrategy[Json]:
    """One filter of a checkout."""
    by_field = {
        "store_id": _texts(_STORES),
        "channel": _texts(["store", "web"]),
        "kind": _texts(["sale", "return"]),
        "total": _numbers(thresholds(currency)),
        "points_earned": _numbers(st.integers(0, 3)),
        "hour": _numbers(st.integers(0, 23)),
        "weekday": _numbers(st.integers(1, 7)),
        "items.category": _texts(_CATEGORIES),
        "items.brand": _texts(["X", "Y"]),
        "items.quantity": _numbers(st.sampled_from([1, 0.345, 0.1])),
        "items.amount": _numbers(thresholds(currency)),
        "coupon_ids": st.fixed_dictionaries({"op": st.just("contains"), "value": st.sampled_from(_COUPONS)})
        | st.fixed_dictionaries({"op": st.sampled_from(["in", "not_in"]), "value": st.lists(st.sampled_from(_COUPONS), min_size=1, max_size=2)}),
    }
    return st.sampled_from(sorted(by_field)).flatmap(lambda field: by_field[field].map(lambda rest: {"field": field} | rest))


@st.composite
def metrics(draw: st.DrawFn, currency: str) -> Json:
    """A metric and the comparison of its value, as one condition."""
    window = draw(st.none() | st.sampled_from(_SPANS))
    rest: Json = {} if window is None else {"window": {"last": window}}
    measure = draw(st.sampled_from(["count", "count", "sum", "sum", "avg", "min", "max", "distinct", "favourite", "days_since_first", "days_since_last"]))
    if measure in ("count", "days_since_first", "days_since_last"):
        event = draw(st.sampled_from(["checkout", "checkout", "coupon-redemption", "email-open", "visit", "points", "custom"]))
        if event == "custom":
            rest["name"] = draw(st.sampled_from(["quiz", "poll"]))
        comparison = draw(_numbers(st.integers(0, 4) if measure == "count" else st.sampled_from([0, 1, 13, 14, 30])))
    else:
        event = "checkout"
        money, whole = thresholds(currency), st.integers(0, 3)
        fields: dict[str, st.SearchStrategy[Json]] = {
            "total": _numbers(money),
            "items.amount": _numbers(money),
            "points_earned": _numbers(whole),
            "items.quantity": _numbers(st.sampled_from([1, 2, 0.345, 0.445])),
        }
        if measure in ("distinct", "favourite"):
            fields = {
                "items.category": _texts(_CATEGORIES),
                "store_id": _texts(_STORES),
                "coupon_ids": _texts(_COUPONS),
                "hour": _numbers(st.integers(0, 23)),
            }
        rest["field"] = draw(st.sampled_from(sorted(fields)))
        comparison = draw(_numbers(whole) if measure == "distinct" else fields[rest["field"]])
    if event == "checkout" and (filters := draw(st.lists(_filters(currency), max_size=2))):
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
        "consent": st.fixed_dictionaries({"op": st.sampled_from(["eq", "ne"]), "value": st.booleans()}),
        "household_size": _numbers(st.integers(1, 4)),
        "tags": st.fixed_dictionaries({"op": st.just("contains"), "value": st.just("vip")})
        | st.fixed_dictionaries({"op": st.sampled_from(["in", "not_in"]), "value": st.just(["vip", "new"])}),
        "location": st.fixed_dictionaries({"op": st.just("exists"), "value": st.booleans()}),
    }
    return st.sampled_from(sorted(by_name)).flatmap(lambda name: by_name[name].map(lambda rest: {"profile": name} | rest))


def rules(currency: str, anchor: int) -> st.SearchStrategy[Json]:
    """Rules of every construct of the language, nested a little."""
    near = st.sampled_from([{"near": {"lat": 43.6047, "lon": 1.4442, "km": 30}}, {"near": {"lat": 45.7, "lon": 4.8, "km": 500}}])
    leaves = metrics(currency) | metrics(currency) | _profiles(anchor) | near
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, min_size=1, max_size=3).map(lambda members: {"all": members})
        | st.lists(inner, min_size=1, max_size=3).map(lambda members: {"any": members})
        | inner.map(lambda member: {"not": member}),
        max_leaves=4,
    )


@st.composite
def segments(draw: st.DrawFn, segment_id: str, currency: str, anchor: int) -> Json:
    """A segment with a rule, sometimes with manual lists."""
    people = st.lists(st.sampled_from([*CUSTOMERS, "stranger"]), max_size=2, unique=True)
    segment: Json = {"id": segment_id, "rule": draw(rules(currency, anchor))}
    if draw(st.integers(0, 4)) == 0:
        segment |= {"include": draw(people), "exclude": draw(people)}
    return segment
