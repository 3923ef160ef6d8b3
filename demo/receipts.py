"""Which basket a coupon was handed in with: the data tell a redemption's household and day, and leave the rest to be found."""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

import numpy as np

from demo.local_time import local_date
from demo.source import Baskets, Journey


class Receipt(NamedTuple):
    """Where a redemption belongs: the basket's index when the data settle it, and the instant (as in the data, in ms)."""

    basket: int | None
    at_ms: int


def find_receipts(journey: Journey) -> list[Receipt]:
    """Find the basket of each redemption, in the order of `journey.redemptions`.

    It is the household's only basket of that day, or else the only one with a product that the coupon is good for, or else
    the only one on which a coupon was taken off. Where none of these is single, the basket stays unknown (16 of 2,102) and
    the instant is that of the day's last basket: by then the coupon had been handed in.
    """
    baskets = journey.baskets
    by_day = _by_day(baskets, {redemption.household_id for redemption in journey.redemptions})
    coupon_cents = baskets.sum_lines(baskets.coupon_cents)
    receipts = []
    for redemption in journey.redemptions:
        candidates = by_day[redemption.household_id, redemption.date]
        good_for = journey.coupon_products[redemption.coupon_upc, redemption.campaign_id]
        matching = [basket for basket in candidates if not good_for.isdisjoint(_products(baskets, basket))]
        discounted = [basket for basket in candidates if coupon_cents[basket] > 0]
        basket = next((only[0] for only in (candidates, matching, discounted) if len(only) == 1), None)
        receipts.append(Receipt(basket, int(baskets.at_ms[candidates[-1] if basket is None else basket])))
    return receipts


def _products(baskets: Baskets, basket: int) -> list[int]:
    ids: list[int] = baskets.product_id[baskets.starts[basket] : baskets.starts[basket + 1]].tolist()
    return ids


def _by_day(baskets: Baskets, households: set[int]) -> dict[tuple[int, str], list[int]]:
    """Group the baskets (by index, in time order) of the given households by household and local day."""
    by_day: dict[tuple[int, str], list[int]] = defaultdict(list)
    for basket in np.flatnonzero(np.isin(baskets.household_id, list(households))).tolist():
        day = local_date(int(baskets.at_ms[basket])).isoformat()
        by_day[int(baskets.household_id[basket]), day].append(basket)
    return by_day
