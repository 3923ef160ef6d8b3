"""One true-to-life example of every document: published in the JSON Schemas and the OpenAPI pages, and held to the decoders by tests."""

from __future__ import annotations

from typing import Any, Final

_WHEN: Final = "2026-11-22T10:15:00.250+01:00"

EVENTS: Final[dict[str, dict[str, Any]]] = {
    "checkout": {
        "type": "checkout",
        "event_id": "evt-991",
        "customer_id": "718",
        "occurred_at": _WHEN,
        "receipt_id": "r-20261122-0042",
        "store_id": "007",
        "channel": "store",
        "total": "12.47",
        "discount": "1.00",
        "currency": "EUR",
        "payment_method": "card",
        "points_earned": 12,
        "coupon_ids": ["SPRING"],
        "items": [
            {"product_id": "4011", "category": "COFFEE", "brand": "National", "quantity": 2, "amount": "6.98", "discount": "1.00"},
            {"product_id": "5120", "category": "CHEESE", "quantity": "0.312", "amount": "5.49"},
        ],
    },
    "checkout-void": {
        "type": "checkout-void", "event_id": "evt-992", "customer_id": "718", "occurred_at": _WHEN,
        "store_id": "007", "receipt_id": "r-20261122-0042",
    },
    "coupon-redemption": {
        "type": "coupon-redemption", "event_id": "evt-993", "customer_id": "718", "occurred_at": _WHEN,
        "coupon_id": "SPRING", "campaign_id": "C13", "receipt_id": "r-20261122-0042", "value": "1.00",
    },
    "email-send": {
        "type": "email-send", "event_id": "evt-994", "customer_id": "718", "occurred_at": _WHEN, "campaign_id": "C13", "message_id": "m-1",
    },
    "email-open": {
        "type": "email-open", "event_id": "evt-995", "customer_id": "718", "occurred_at": _WHEN, "campaign_id": "C13", "message_id": "m-1",
    },
    "email-click": {
        "type": "email-click", "event_id": "evt-996", "customer_id": "718", "occurred_at": _WHEN, "campaign_id": "C13", "message_id": "m-1",
    },
    "points": {"type": "points", "event_id": "evt-997", "customer_id": "718", "occurred_at": _WHEN, "collected": 12},
    "visit": {"type": "visit", "event_id": "evt-998", "customer_id": "718", "occurred_at": _WHEN, "store_id": "007"},
    "custom": {
        "type": "custom", "event_id": "evt-999", "customer_id": "718", "occurred_at": _WHEN,
        "name": "app-review", "properties": {"stars": 5, "words": "quick and friendly"},
    },
    "profile": {
        "type": "profile", "event_id": "evt-1000", "customer_id": "718", "occurred_at": _WHEN,
        "attributes": {"birth_date": "1998-02-03", "location": {"lat": 43.6047, "lon": 1.4442}, "tags": ["vip"], "housing": None},
    },
    "customer-merge": {"type": "customer-merge", "event_id": "evt-1001", "customer_id": "9718", "occurred_at": _WHEN, "into": "718"},
    "customer-erase": {"type": "customer-erase", "event_id": "evt-1002", "customer_id": "718", "occurred_at": _WHEN},
}  # fmt: skip
"""One of each event type, by type."""

DECLARED: Final = {"shoe_size": "integer", "properties.stars": "integer"}
"""What the tenant of the examples has declared: an attribute, and a property of its custom events."""

_COUNT: Final = {"measure": "count", "event": "checkout"}

RULES: Final[dict[str, dict[str, Any]]] = {
    "all": {"all": [{"profile": "consent", "op": "eq", "value": True}, {"metric": _COUNT, "op": "gte", "value": 1}]},
    "any": {"any": [{"profile": "city", "op": "eq", "value": "Toulouse"}, {"profile": "tags", "op": "contains", "value": "vip"}]},
    "not": {"not": {"metric": {**_COUNT, "window": {"last": "P1Y"}}, "op": "gte", "value": 1}},
    "near": {"near": {"lat": 43.6047, "lon": 1.4442, "km": 30}},
    "count in a window": {"metric": {**_COUNT, "window": {"last": "P3M"}}, "op": "gte", "value": 4},
    "sum": {"metric": {"measure": "sum", "event": "checkout", "field": "total", "window": {"last": "P3M"}}, "op": "gt", "value": "150.00"},
    "avg": {"metric": {"measure": "avg", "event": "checkout", "field": "total"}, "op": "between", "value": ["20.00", "60.00"]},
    "min": {"metric": {"measure": "min", "event": "checkout", "field": "total"}, "op": "lt", "value": "5.00"},
    "max": {"metric": {"measure": "max", "event": "checkout", "field": "items.amount"}, "op": "gte", "value": "99.90"},
    "distinct": {"metric": {"measure": "distinct", "event": "visit", "field": "store_id", "window": {"last": "P14D"}}, "op": "gte", "value": 3},
    "favourite": {"metric": {"measure": "favourite", "event": "checkout", "field": "channel"}, "op": "in", "value": ["web", "app"]},
    "favourite hour": {"metric": {"measure": "favourite", "event": "checkout", "field": "hour"}, "op": "between", "value": [17, 19]},
    "days since the first": {"metric": {"measure": "days_since_first", "event": "checkout"}, "op": "lt", "value": 30},
    "days since the last": {"metric": {"measure": "days_since_last", "event": "checkout"}, "op": "gte", "value": 30},
    "where on an event field": {
        "metric": {"measure": "count", "event": "coupon-redemption", "where": [{"field": "coupon_id", "op": "eq", "value": "SPRING"}]},
        "op": "eq",
        "value": 0,
    },
    "where on line items": {
        "metric": {
            "measure": "sum", "event": "checkout", "field": "items.amount", "window": {"last": "P6M"},
            "where": [{"field": "items.category", "op": "in", "value": ["COFFEE", "TEA"]}, {"field": "channel", "op": "ne", "value": "web"}],
        },
        "op": "gte", "value": "25.00",
    },
    "custom event": {"metric": {"measure": "count", "event": "custom", "name": "app-review"}, "op": "gte", "value": 1},
    "custom event's property": {
        "metric": {
            "measure": "avg", "event": "custom", "name": "app-review", "field": "properties.stars",
            "where": [{"field": "properties.stars", "op": "gte", "value": 1}],
        },
        "op": "lt", "value": 3,
    },
    "ratio": {
        "metric": {
            "measure": "ratio",
            "numerator": {"measure": "distinct", "event": "email-open", "field": "message_id", "window": {"last": "P6M"}},
            "denominator": {"measure": "count", "event": "email-send", "window": {"last": "P6M"}},
            "min_denominator": 5,
        },
        "op": "gte", "value": 0.3,
    },
    "ratio of amounts": {
        "metric": {
            "measure": "ratio",
            "numerator": {"measure": "sum", "event": "checkout", "field": "discount"},
            "denominator": {"measure": "sum", "event": "checkout", "field": "total"},
            "min_denominator": "50.00",
        },
        "op": "gt", "value": 0.125,
    },
    **{
        f"calendar: {word}": {"metric": {**_COUNT, "window": {"calendar": word}}, "op": "gt", "value": 10}
        for word in ("today", "this_week", "this_month", "last_month", "this_quarter", "this_year", "last_year", "2026-05", "may")
    },
    "between two dates": {"metric": {**_COUNT, "window": {"from": "2026-11-20", "to": "2026-11-30"}}, "op": "gte", "value": 1},
    "since an instant": {"metric": {**_COUNT, "window": {"from": "2026-11-20T18:00:00+01:00"}}, "op": "gte", "value": 1},
    "sequence that happens": {
        "sequence": {
            "first": {"event": "coupon-redemption", "where": [{"field": "campaign_id", "op": "eq", "value": "C13"}]},
            "then": {"event": "custom", "name": "app-review", "where": [{"field": "properties.stars", "op": "gte", "value": 4}]},
            "within": "P14D",
            "happens": True,
        },
    },
    "sequence that does not": {
        "sequence": {
            "first": {"event": "email-open"}, "then": {"event": "checkout"}, "within": "P7D", "happens": False, "window": {"last": "P30D"},
        },
    },
    "segment": {"all": [{"segment": "regulars"}, {"not": {"segment": "at-risk"}}]},
    "rank by number": {
        "rank": {"metric": {"measure": "sum", "event": "checkout", "field": "total", "window": {"last": "P1Y"}}, "order": "desc", "top": 100},
    },
    "rank by percent": {"rank": {"metric": {"measure": "days_since_last", "event": "checkout"}, "order": "asc", "percent": 20}},
    "metric exists": {"metric": {"measure": "max", "event": "points", "field": "collected"}, "op": "exists"},
    "profile text": {"profile": "postal_code", "op": "starts_with", "value": "31"},
    "profile number": {"profile": "household_size", "op": "in", "value": [1, 2]},
    "profile attribute that was declared": {"profile": "shoe_size", "op": "gte", "value": 45},
    "profile date": {"profile": "card_since", "op": "older_than", "value": "P3M"},
    "profile date, lately": {"profile": "card_since", "op": "within_last", "value": "P14D"},
    "age": {"profile": "age", "op": "between", "value": [20, 30]},
    "birthday": {"profile": "birthday_in_days", "op": "lte", "value": 7},
    "profile exists": {"profile": "card_number", "op": "exists", "value": True},
    "whole": {
        "all": [
            {"metric": {**_COUNT, "window": {"last": "P3M"}}, "op": "gte", "value": 4},
            {"near": {"lat": 43.6047, "lon": 1.4442, "km": 30}},
            {"profile": "age", "op": "between", "value": [20, 30]},
            {"not": {"metric": {"measure": "count", "event": "email-open", "window": {"last": "P30D"}}, "op": "gte", "value": 1}},
        ],
    },
}  # fmt: skip
"""One rule for each construct of the language, by what it shows."""

TRANSITION: Final[dict[str, Any]] = {
    "id": "trn_5c9df1b2f7a64e0d8b1c3a7e9f2d40",
    "tenant": "demo",
    "customer_id": "718",
    "segment_id": "regulars",
    "segment_version": 3,
    "change": "entered",
    "at": "2026-11-22T10:15:00.250Z",
    "decided_at": "2026-11-22T10:15:00.262Z",
    "seq": 12,
    "cause": {"kind": "event", "event_id": "evt-991"},
    "until": "2026-12-01T08:30:00.000Z",
    "values": [{"path": "/all/0", "value": 4, "op": "gte", "threshold": 4, "holds": True}],
}

PROBLEM: Final[dict[str, Any]] = {
    "type": "about:blank",
    "title": "Unprocessable Entity",
    "status": 422,
    "detail": "total is missing",
    "pointer": "/total",
}
