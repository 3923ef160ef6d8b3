"""The Complete Journey told in Rollcall's events: every basket, redemption, mailing and profile, in time order.

Its choices, and what the data do not hold, are set out in `demo/README.md`. It knows the data and the published documents;
it must not know the product's code, nor read a clock: `now_ms` is an argument, and the same `now_ms` gives the same bytes.
The invariant: everything is moved by one constant number of milliseconds, so that the last basket lies a minute before `now_ms`.
"""

from __future__ import annotations

import datetime as dt
import heapq
from collections import defaultdict
from collections.abc import Collection, Iterator
from functools import cache
from operator import itemgetter
from typing import Any

import msgspec
import numpy as np

from demo import synthetic
from demo.documents import (
    Attributes,
    Checkout,
    CouponRedemption,
    EmailOpen,
    EmailSend,
    Event,
    Item,
    Location,
    Profile,
)
from demo.local_time import EPOCH, local_date, local_instant_ms
from demo.receipts import Receipt, find_receipts
from demo.source import Demographics, Journey, Mailing, load

CURRENCY = "USD"
COUNTRY = "US"
BASKETS = 155_848
REDEMPTIONS = 2_102
HOUSEHOLDS = 2_469
EVENTS = 171_145
"""All of them: besides the above 6,589 sends, 3,336 opens and 3,270 profiles."""
LAST_EVENT_BEFORE_NOW_MS = 60_000
MAILING_HOUR = 9
"""The data give a mailing's day only; it is sent at this hour in the shops' time zone."""

_CHUNK_BASKETS = 4_096  # about 40,000 lines as Python objects at a time: a few MB

Timed = tuple[int, Event]


def events(now_ms: int, households: Collection[int] | None = None) -> Iterator[dict[str, Any]]:
    """Yield the event documents in time order, of all households or of the given ones (by the data's household ids).

    A household's documents are the same whether all or some households are asked for. Takes `now_ms` in milliseconds.
    """
    decoder = msgspec.json.Decoder(dict[str, Any])
    for line in lines(now_ms, households):
        yield decoder.decode(line)


def lines(now_ms: int, households: Collection[int] | None = None) -> Iterator[bytes]:
    """Yield the same events as lines of JSON, without the line's end: what is posted to ingest."""
    encode = msgspec.json.Encoder().encode
    for _, event in timed_events(load(households), now_ms):
        yield encode(event)


def shift_ms(last_ms: int, now_ms: int) -> int:
    """Compute the constant by which every instant of the data is moved."""
    return now_ms - LAST_EVENT_BEFORE_NOW_MS - last_ms


def timed_events(journey: Journey, now_ms: int) -> Iterator[Timed]:
    """Yield (instant in ms, document) in time order; of equal instants profiles come first, then mailings, baskets, redemptions."""
    shift = shift_ms(journey.last_ms, now_ms)
    receipts = find_receipts(journey)
    # merge() is stable: its first argument wins where instants are equal.
    yield from heapq.merge(
        sorted(_profiles(journey, shift, now_ms), key=itemgetter(0)),
        sorted(_mailings(journey, shift), key=itemgetter(0)),
        _checkouts(journey, shift, receipts),
        sorted(_redemptions(journey, shift, receipts), key=itemgetter(0)),
        key=itemgetter(0),
    )


def _checkouts(journey: Journey, shift: int, receipts: list[Receipt]) -> Iterator[Timed]:
    """Yield one checkout for each basket, in chunks, so that never more than a few thousand baskets exist as objects."""
    baskets = journey.baskets
    coupons: dict[int, list[str]] = defaultdict(list)
    for redemption, receipt in zip(journey.redemptions, receipts, strict=True):
        if receipt.basket is not None and str(redemption.coupon_upc) not in coupons[receipt.basket]:
            coupons[receipt.basket].append(str(redemption.coupon_upc))
    shelf = baskets.sum_lines(baskets.sales_cents + baskets.retail_discount_cents + baskets.coupon_match_cents)
    # Nineteen baskets have coupons worth more than the goods; nobody was paid for shopping.
    paid = np.maximum(baskets.sum_lines(baskets.sales_cents) - baskets.sum_lines(baskets.coupon_cents), 0)
    for begin in range(0, len(baskets), _CHUNK_BASKETS):
        end = min(begin + _CHUNK_BASKETS, len(baskets))
        items = _items(journey, int(baskets.starts[begin]), int(baskets.starts[end]))
        first_line = int(baskets.starts[begin])
        bounds = (baskets.starts[begin : end + 1] - first_line).tolist()
        instants = (baskets.at_ms[begin:end] + shift).tolist()
        for offset, (at_ms, basket, household, store, total, off) in enumerate(
            zip(
                instants,
                baskets.basket_id[begin:end].tolist(),
                baskets.household_id[begin:end].tolist(),
                baskets.store_id[begin:end].tolist(),
                paid[begin:end].tolist(),
                (shelf - paid)[begin:end].tolist(),
                strict=True,
            )
        ):
            yield (
                at_ms,
                Checkout(
                    event_id=f"cj-basket-{basket}",
                    customer_id=str(household),
                    occurred_at=_rfc3339(at_ms),
                    imported=True,
                    receipt_id=str(basket),
                    store_id=str(store),
                    channel="store",
                    kind="sale",
                    currency=CURRENCY,
                    total=_money(total),
                    discount=_money(off),
                    items=items[bounds[offset] : bounds[offset + 1]],
                    coupon_ids=coupons.get(begin + offset, []),
                ),
            )


def _items(journey: Journey, begin: int, end: int) -> list[Item]:
    baskets, products = journey.baskets, journey.products
    rows = slice(begin, end)
    discounts = baskets.retail_discount_cents[rows] + baskets.coupon_match_cents[rows]
    items = []
    for product_id, quantity, amount, discount in zip(
        baskets.product_id[rows].tolist(),
        baskets.quantity[rows].tolist(),
        baskets.sales_cents[rows].tolist(),
        discounts.tolist(),
        strict=True,
    ):
        product = products.get(product_id)
        if product is None:
            items.append(Item(str(product_id), quantity, _money(amount), _money(discount)))
        else:
            items.append(
                Item(
                    str(product_id),
                    quantity,
                    _money(amount),
                    _money(discount),
                    product.category,
                    product.department,
                    product.brand,
                )
            )
    return items


def _redemptions(journey: Journey, shift: int, receipts: list[Receipt]) -> Iterator[Timed]:
    for redemption, receipt in zip(journey.redemptions, receipts, strict=True):
        at_ms = receipt.at_ms + shift
        basket = receipt.basket
        yield (
            at_ms,
            CouponRedemption(
                event_id=f"cj-redemption-{redemption.row}",
                customer_id=str(redemption.household_id),
                occurred_at=_rfc3339(at_ms),
                imported=True,
                coupon_id=str(redemption.coupon_upc),
                campaign_id=str(redemption.campaign_id),
                receipt_id=None if basket is None else str(journey.baskets.basket_id[basket]),
            ),
        )


def _mailings(journey: Journey, shift: int) -> Iterator[Timed]:
    """Yield a send for each household of a campaign, and the made-up opens that would lie before the data's end."""
    for mailing in journey.mailings:
        sent_ms = local_instant_ms(mailing.date, MAILING_HOUR) + shift
        household, campaign = mailing.household_id, mailing.campaign_id
        message_id = f"cj-mail-{campaign}-{household}"
        yield (
            sent_ms,
            EmailSend(
                event_id=f"cj-send-{campaign}-{household}",
                customer_id=str(household),
                occurred_at=_rfc3339(sent_ms),
                imported=True,
                campaign_id=str(campaign),
                message_id=message_id,
            ),
        )
        delay_ms = synthetic.opened_after_ms(household, campaign)
        if delay_ms is not None and sent_ms + delay_ms <= journey.last_ms + shift:
            yield (
                sent_ms + delay_ms,
                EmailOpen(
                    event_id=f"cj-open-{campaign}-{household}",
                    customer_id=str(household),
                    occurred_at=_rfc3339(sent_ms + delay_ms),
                    imported=True,
                    synthetic=True,
                    campaign_id=str(campaign),
                    message_id=message_id,
                ),
            )


def _profiles(journey: Journey, shift: int, now_ms: int) -> Iterator[Timed]:
    """Yield what the data know of a household and, apart from it, what is made up; both at the household's first basket or mail."""
    baskets = journey.baskets
    households, first = np.unique(baskets.household_id, return_index=True)
    first_mail = {m.household_id: local_instant_ms(m.date, MAILING_HOUR) for m in reversed(_by_date(journey))}
    today = local_date(now_ms)
    for household, basket in zip(households.tolist(), first.tolist(), strict=True):
        bought_ms = int(baskets.at_ms[basket])
        at_ms = min(bought_ms, first_mail.get(household, bought_ms)) + shift
        known = journey.demographics.get(household)
        lat, lon = synthetic.location(household)
        made_up = Attributes(
            birth_date=None if known is None else synthetic.birth_date(household, known.age, today),
            card_number=synthetic.card_number(household),
            card_since=synthetic.card_since(household, local_date(bought_ms + shift)),
            location=Location(lat, lon),
        )
        if known is not None:
            yield at_ms, _profile(f"cj-profile-{household}", household, at_ms, _told(known), made_up=False)
        yield at_ms, _profile(f"cj-profile-synthetic-{household}", household, at_ms, made_up, made_up=True)


def _profile(event_id: str, household: int, at_ms: int, attributes: Attributes, *, made_up: bool) -> Profile:
    return Profile(
        event_id=event_id,
        customer_id=str(household),
        occurred_at=_rfc3339(at_ms),
        imported=True,
        synthetic=made_up,
        attributes=attributes,
    )


def _told(known: Demographics) -> Attributes:
    return Attributes(
        income_band=known.income,
        # "5+" is the data's largest band: at least five.
        household_size=int(known.household_size.rstrip("+")),
        marital_status=known.marital_status,
        housing=known.home_ownership,
        tags=[f"age {known.age}", known.household_comp, f"kids {known.kids_count}"],
    )


def _by_date(journey: Journey) -> list[Mailing]:
    return sorted(journey.mailings, key=lambda mailing: mailing.date)


def _rfc3339(at_ms: int) -> str:
    """Write an instant as `2026-11-22T10:15:00.250Z`."""
    at = EPOCH + dt.timedelta(milliseconds=at_ms)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at_ms % 1000:03d}Z"


@cache
def _money(cents: int) -> str:
    # Cached: the whole year holds only some ten thousand different amounts, a million and a half times.
    return f"{cents // 100}.{cents % 100:02d}"
