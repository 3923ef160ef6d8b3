"""The demo's segments: criteria that shops ask for, each as one rule that reads as it is said.

They go to the API as any user's would. The counts in the comments are those at the end of the replay; the ones that look at
hours, days or the last weeks move with the instant at which the replay is started.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from demo.synthetic import SHOP_LAT, SHOP_LON

Json = dict[str, Any]

CAMPAIGN: Final = "18"
"""The campaign with the most redemptions: sent to 1,133 households."""
COUPON: Final = "10000085475"
"""Its most used coupon: handed in by 63 households."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment as it is posted to the API."""

    id: str
    name: str
    description: str
    rule: Json
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def body(self) -> Json:
        """Give the body of `POST /v1/segments`."""
        return {
            "id": self.id,
            "name": self.name,
            "description": self.description,
            "rule": self.rule,
            "include": list(self.include),
            "exclude": list(self.exclude),
        }


def _metric(
    measure: str,
    event: str,
    op: str,
    value: object,
    *,
    field: str | None = None,
    where: list[Json] | None = None,
    last: str | None = None,
) -> Json:
    metric: Json = {"measure": measure, "event": event}
    if field is not None:
        metric["field"] = field
    if where is not None:
        metric["where"] = where
    if last is not None:
        metric["window"] = {"last": last}
    return {"metric": metric, "op": op, "value": value}


def _where(field: str, op: str, value: object) -> Json:
    return {"field": field, "op": op, "value": value}


def _profile(attribute: str, op: str, value: object) -> Json:
    return {"profile": attribute, "op": op, "value": value}


_ASKED_TO_JOIN: Final = ("1228", "2105")
_DECLINED: Final = ("895",)  # the household that buys coffee most often

SEGMENTS: Final[tuple[Segment, ...]] = (
    Segment(  # about 1,960 of 2,469
        "regulars",
        "Regulars",
        "At least 4 purchases in the last 3 months.",
        _metric("count", "checkout", "gte", 4, last="P3M"),
    ),
    Segment(  # 1,660
        "high-spenders",
        "High spenders",
        "Spent more than 150 in the last 3 months.",
        _metric("sum", "checkout", "gt", "150.00", field="total", last="P3M"),
    ),
    Segment(  # 350
        "major-customers",
        "Major customers",
        "Spent 1,000 or more in the last 3 months.",
        _metric("sum", "checkout", "gte", "1000.00", field="total", last="P3M"),
    ),
    Segment(  # 1,230
        "near-the-shop",
        "Near the shop",
        "Lives within 30 km of the shop (addresses are synthetic).",
        {"near": {"lat": SHOP_LAT, "lon": SHOP_LON, "km": 30}},
    ),
    Segment(  # 1,070
        "coupon-not-used",
        "Coupon not used",
        f"Was sent campaign {CAMPAIGN} and has not used its coupon {COUPON}.",
        {
            "all": [
                _metric("count", "email-send", "gte", 1, where=[_where("campaign_id", "eq", CAMPAIGN)]),
                {"not": _metric("count", "coupon-redemption", "gte", 1, where=[_where("coupon_id", "eq", COUPON)])},
            ]
        },
    ),
    Segment(  # 580
        "campaign-readers",
        "Campaign readers",
        f"Has read campaign {CAMPAIGN} (opens are synthetic).",
        _metric("count", "email-open", "gte", 1, where=[_where("campaign_id", "eq", CAMPAIGN)]),
    ),
    Segment(  # 5
        "young-and-away",
        "Young and away",
        "Aged 20 to 30 and not in a store for one month.",
        {
            "all": [
                _profile("age", "between", [20, 30]),
                {"not": _metric("count", "checkout", "gte", 1, where=[_where("channel", "eq", "store")], last="P1M")},
            ]
        },
    ),
    Segment(  # 270
        "good-baskets-twice",
        "Two good baskets",
        "Bought for more than 50 twice in the last 14 days.",
        _metric("count", "checkout", "gte", 2, where=[_where("total", "gt", "50.00")], last="P14D"),
    ),
    Segment(  # 160
        "busy-over-35",
        "Busy over 35",
        "Over 35, holds a card for 3 months or more, and came more than 10 times in the last month.",
        {
            "all": [
                _profile("age", "gt", 35),
                _profile("card_since", "older_than", "P3M"),
                _metric("count", "checkout", "gt", 10, last="P1M"),
            ]
        },
    ),
    Segment(  # between 20 and 1,100
        "evening-shoppers",
        "Evening shoppers",
        "Favourite hour of the last 6 months: from 17:00 to 20:59.",
        _metric("favourite", "checkout", "between", [17, 20], field="hour", last="P6M"),
    ),
    Segment(  # 730
        "fresh-first",
        "Fresh first",
        "Apart from groceries, buys nothing as often as fruit and vegetables (last 3 months).",
        _metric(
            "favourite",
            "checkout",
            "eq",
            "PRODUCE",
            field="items.department",
            where=[_where("items.department", "ne", "GROCERY")],
            last="P3M",
        ),
    ),
    Segment(  # 540
        "private-brand",
        "Private-brand appetence",
        "Spent 200 or more on private-brand products in the last 3 months.",
        _metric(
            "sum",
            "checkout",
            "gte",
            "200.00",
            field="items.amount",
            where=[_where("items.brand", "eq", "Private")],
            last="P3M",
        ),
    ),
    Segment(  # 420
        "inactive",
        "Inactive",
        "No purchase for 30 days or more.",
        _metric("days_since_last", "checkout", "gte", 30),
    ),
    Segment(  # 17
        "new-customers",
        "New customers",
        "First purchase in the last 60 days.",
        _metric("days_since_first", "checkout", "lt", 60),
    ),
    Segment(  # 150
        "at-risk",
        "At risk",
        "At least 12 purchases in the last 6 months, but none for 3 weeks.",
        {
            "all": [
                _metric("count", "checkout", "gte", 12, last="P6M"),
                _metric("days_since_last", "checkout", "gte", 21),
            ]
        },
    ),
    Segment(  # 119
        "big-families",
        "Big families",
        "Four or more persons in the household.",
        _profile("household_size", "gte", 4),
    ),
    Segment(  # 237
        "coupon-lovers",
        "Coupon lovers",
        "Has used three different coupons or more.",
        _metric("distinct", "coupon-redemption", "gte", 3, field="coupon_id"),
    ),
    Segment(  # 250
        "full-trolleys",
        "Full trolleys",
        "Average basket above 60 in the last 3 months.",
        _metric("avg", "checkout", "gt", "60.00", field="total", last="P3M"),
    ),
    Segment(  # 250
        "coffee-club",
        "Coffee club",
        "Bought coffee three times in the last 3 months, or asked to join; who declined stays out.",
        _metric("count", "checkout", "gte", 3, where=[_where("items.category", "eq", "COFFEE")], last="P3M"),
        include=_ASKED_TO_JOIN,
        exclude=_DECLINED,
    ),
    Segment(  # 12
        "birthday-week",
        "Birthday this week",
        "Birthday within the next 7 days (birth dates are synthetic).",
        _profile("birthday_in_days", "lte", 7),
    ),
    Segment(  # 30 at first, none two hours later: the clock takes them out
        "just-shopped",
        "Just shopped",
        "Bought something in the last 2 hours.",
        _metric("count", "checkout", "gte", 1, last="PT2H"),
    ),
)
"""All of the demo's segments, in the order in which they are shown."""
