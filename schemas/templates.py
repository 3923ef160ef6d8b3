"""The predefined segments: what shops ask for, each a rule that can be saved as it is and then changed.

None refers to another segment, so each can be saved alone. What a shop must name itself (a coupon, a campaign, a category, a
place, an amount) stands there as an example. Ranks are used where an amount would mean little in another currency.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from schemas.definitions import Tier
from schemas.template_parts import (
    HALF_YEAR,
    QUARTER,
    YEAR,
    Template,
    all_of,
    any_of,
    bought,
    compared,
    metric,
    none_of,
    profile,
    rank,
    ratio,
    where,
)
from schemas.template_rfm import RFM

_TURNOVER: Final = metric("sum", field="total", window=YEAR)
_TEN_FIRST, _HALF = rank(_TURNOVER, "desc", 10), rank(_TURNOVER, "desc", 50)
_IN_STORE, _ONLINE = where("channel", "eq", "store"), where("channel", "in", ["web", "app"])
_SPRING, _C13 = where("coupon_id", "eq", "SPRING"), where("campaign_id", "eq", "C13")

_ACTIVITY: Final = (
    Template(
        "regular", "activity", "Regulars", "Clients réguliers",
        "At least 4 purchases in the last 3 months.",
        bought(4, QUARTER),
    ),
    Template(
        "active", "activity", "Active", "Clients actifs",
        "At least 1 purchase in the last 3 months.",
        bought(1, QUARTER),
    ),
    Template(
        "inactive", "activity", "Inactive", "Clients inactifs",
        "Has bought before, but not for 90 days or more.",
        compared(metric("days_since_last"), "gte", 90),
    ),
    Template(
        "volatile", "activity", "Volatile", "Clients volatils",
        "Comes and goes: at least 3 purchases in the last year, at most 1 of them in the last 3 months.",
        all_of(bought(3, YEAR), none_of(bought(2, QUARTER))),
    ),
    Template(
        "new", "activity", "New customers", "Nouveaux clients",
        "First purchase less than 60 days ago.",
        compared(metric("days_since_first"), "lt", 60),
    ),
    Template(
        "at-risk", "activity", "At risk", "Clients à risque",
        "At least 6 purchases in the last year, but none for 45 days.",
        all_of(bought(6, YEAR), compared(metric("days_since_last"), "gte", 45)),
    ),
    Template(
        "lost", "activity", "Lost", "Clients perdus",
        "Has bought before, but not for 365 days or more.",
        compared(metric("days_since_last"), "gte", 365),
    ),
    Template(
        "twice-in-14-days", "activity", "Two good baskets", "Deux bons paniers en 14 jours",
        "Bought for more than 50 twice in the last 14 days.",
        bought(2, {"last": "P14D"}, where("total", "gt", "50.00")),
    ),
)  # fmt: skip

_VALUE: Final = (
    Template(
        "very-good", "value", "Very good customers", "Très bons clients",
        "Among the first 10 % by turnover of the last year, and at least 3 purchases in the last 3 months.",
        all_of(_TEN_FIRST, bought(3, QUARTER)),
    ),
    Template(
        "high-end", "value", "High-end", "Clients haut de gamme",
        "Among the first 10 % by average basket of the last year, with at least 3 purchases in it.",
        all_of(rank(metric("avg", field="total", window=YEAR), "desc", 10), bought(3, YEAR)),
    ),
    Template(
        "major-customers", "value", "Major customers", "Grands clients",
        "Bought in the last year, and among the first 10 % of all customers by turnover.",
        all_of(bought(1, YEAR), _TEN_FIRST),
    ),
    Template(
        "medium-customers", "value", "Medium customers", "Clients moyens",
        "Bought in the last year, and among the first 50 % of all customers by turnover, but not the first 10 %.",
        all_of(bought(1, YEAR), _HALF, none_of(_TEN_FIRST)),
    ),
    Template(
        "small-customers", "value", "Small customers", "Petits clients",
        "Bought in the last year, but not among the first 50 % of all customers by turnover.",
        all_of(bought(1, YEAR), none_of(_HALF)),
    ),
    Template(
        "spent-over-150", "value", "Spent more than 150", "Plus de 150 de chiffre d'affaires",
        "More than 150 of turnover in the last 3 months, returns subtracted.",
        compared(metric("sum", field="total", window=QUARTER), "gt", "150.00"),
    ),
)  # fmt: skip

_STATUS: Final = (
    Template(
        "gold", "status", "GOLD", "Statut GOLD",
        "1,000 or more of turnover in the last year. The higher level of the family status.",
        compared(_TURNOVER, "gte", "1000.00"),
        Tier("status", 2),
    ),
    Template(
        "bronze", "status", "BRONZE", "Statut BRONZE",
        "500 or more of turnover in the last year. Whoever is GOLD is not BRONZE.",
        compared(_TURNOVER, "gte", "500.00"),
        Tier("status", 1),
    ),
    Template(
        "card-holders", "status", "Card holders", "Porteurs de la carte de fidélité",
        "Has a loyalty card.",
        profile("card_number", "exists", True),
    ),
    Template(
        "new-card-holders", "status", "New card holders", "Nouveaux porteurs de carte",
        "The loyalty card is less than one month old.",
        profile("card_since", "within_last", "P1M"),
    ),
    Template(
        "loyalty-birthday", "status", "Loyalty birthday", "Anniversaire de fidélité",
        "The loyalty card has turned 1, 2, 3, 4 or 5 years old within the last 7 days.",
        any_of(*(
            all_of(profile("card_since", "older_than", f"P{years}Y"), none_of(profile("card_since", "older_than", f"P{years}Y7D")))
            for years in range(1, 6)
        )),
    ),
)  # fmt: skip

_HABITS: Final = (
    Template(
        "favourite-channel-store", "habits", "Favours the store", "Canal favori : le magasin",
        "The most frequent channel of the last year is the store.",
        compared(metric("favourite", field="channel", window=YEAR), "eq", "store"),
    ),
    Template(
        "favourite-channel-web", "habits", "Favours the web", "Canal favori : le web",
        "The most frequent channel of the last year is the web or the app.",
        compared(metric("favourite", field="channel", window=YEAR), "in", ["web", "app"]),
    ),
    Template(
        "favourite-hour-evening", "habits", "Evening shoppers", "Heure favorite : le soir",
        "Favourite hour of the last 6 months: from 17:00 to 20:59.",
        compared(metric("favourite", field="hour", window=HALF_YEAR), "between", [17, 20]),
    ),
    Template(
        "favourite-hour-noon", "habits", "Noon shoppers", "Heure favorite : midi",
        "Favourite hour of the last 6 months: from 11:00 to 13:59.",
        compared(metric("favourite", field="hour", window=HALF_YEAR), "between", [11, 13]),
    ),
    Template(
        "web-shoppers", "habits", "Web shoppers", "Clients du web",
        "At least half of 4 or more purchases of the last year were made on the web or in the app.",
        compared(ratio(metric("count", "checkout", _ONLINE, window=YEAR), metric("count", window=YEAR), 4), "gte", Decimal("0.5")),
    ),
    Template(
        "store-shoppers", "habits", "Store shoppers", "Clients du magasin",
        "More than half of 4 or more purchases of the last year were made in a store.",
        compared(ratio(metric("count", "checkout", _IN_STORE, window=YEAR), metric("count", window=YEAR), 4), "gt", Decimal("0.5")),
    ),
    Template(
        "product-appetence", "habits", "Coffee lovers", "Appétence pour un rayon",
        "At least a tenth of 50 or more spent in the last 6 months went into one category, here COFFEE.",
        compared(
            ratio(
                metric("sum", "checkout", where("items.category", "eq", "COFFEE"), field="items.amount", window=HALF_YEAR),
                metric("sum", "checkout", field="items.amount", window=HALF_YEAR),
                "50.00",
            ),
            "gte", Decimal("0.1"),
        ),
    ),
    Template(
        "brand-appetence", "habits", "Own-brand lovers", "Appétence pour une marque",
        "Spent 50 or more on one brand in the last 3 months, here Private.",
        compared(metric("sum", "checkout", where("items.brand", "eq", "Private"), field="items.amount", window=QUARTER), "gte", "50.00"),
    ),
)  # fmt: skip

_OFFERS: Final = (
    Template(
        "reacts-to-offers", "offers", "Reacts to offers", "Réagit aux offres",
        "In the last 6 months, used a coupon within 14 days of opening a mail, or used 3 coupons.",
        any_of(
            {"sequence": {
                "first": {"event": "email-open"}, "then": {"event": "coupon-redemption"}, "within": "P14D", "happens": True,
                "window": HALF_YEAR,
            }},
            compared(metric("count", "coupon-redemption", window=HALF_YEAR), "gte", 3),
        ),
    ),
    Template(
        "does-not-react-to-offers", "offers", "Does not react to offers", "Ne réagit pas aux offres",
        "Was sent 5 mails or more in the last 6 months, and neither clicked nor used a coupon.",
        all_of(
            compared(metric("count", "email-send", window=HALF_YEAR), "gte", 5),
            none_of(
                compared(metric("count", "email-click", window=HALF_YEAR), "gte", 1),
                compared(metric("count", "coupon-redemption", window=HALF_YEAR), "gte", 1),
            ),
        ),
    ),
    Template(
        "email-readers", "offers", "Mail readers", "Lecteurs de nos courriels",
        "Opened at least 3 of every 10 mails, of 5 or more sent in the last 6 months; one opened twice counts once, by its message_id.",
        compared(
            ratio(
                metric("distinct", "email-open", field="message_id", window=HALF_YEAR), metric("count", "email-send", window=HALF_YEAR), 5,
            ),
            "gte", Decimal("0.3"),
        ),
    ),
    Template(
        "opened-but-did-not-buy", "offers", "Opened, but did not buy", "A ouvert, n'a pas acheté",
        "Opened a mail in the last 30 days, and bought nothing in the 7 days after it.",
        {"sequence": {
            "first": {"event": "email-open"}, "then": {"event": "checkout"}, "within": "P7D", "happens": False, "window": {"last": "P30D"},
        }},
    ),
    Template(
        "campaign-read", "offers", "Has read a campaign", "A lu une campagne",
        "Opened a mail of one campaign, here C13.",
        compared(metric("count", "email-open", _C13), "gte", 1),
    ),
    Template(
        "coupon-not-used", "offers", "Coupon not used", "Bon de réduction non utilisé",
        "Has not used one coupon, here SPRING.",
        none_of(compared(metric("count", "coupon-redemption", _SPRING), "gte", 1)),
    ),
    Template(
        "discount-hunters", "offers", "Discount hunters", "Chasseurs de promotions",
        "Discounts of at least a fifth of 50 or more of turnover in the last year.",
        compared(ratio(metric("sum", field="discount", window=YEAR), _TURNOVER, "50.00"), "gte", Decimal("0.2")),
    ),
)  # fmt: skip

_FAILED: Final = metric("count", "custom", name="payment-failed", window=YEAR)
_PAYMENT: Final = (
    Template(
        "good-payers", "payment", "Good payers", "Bons payeurs",
        "At least 3 purchases in the last year, and no payment failed in it (custom events named payment-failed).",
        all_of(bought(3, YEAR), none_of(compared(_FAILED, "gte", 1))),
    ),
    Template(
        "bad-payers", "payment", "Bad payers", "Mauvais payeurs",
        "A payment failed in the last year (custom events named payment-failed).",
        compared(_FAILED, "gte", 1),
    ),
    Template(
        "pays-later", "payment", "Pays later", "Paie à crédit",
        "The most frequent means of payment of the last year is by invoice or in instalments.",
        compared(metric("favourite", field="payment_method", window=YEAR), "in", ["invoice", "instalments"]),
    ),
)  # fmt: skip

_PLACE_AND_PROFILE: Final = (
    Template(
        "within-30-km", "place and profile", "Within 30 km", "À moins de 30 km",
        "Lives within 30 km of a place, here the centre of Toulouse.",
        {"near": {"lat": 43.6047, "lon": 1.4442, "km": 30}},
    ),
    Template(
        "young-and-away", "place and profile", "Young and away", "De 20 à 30 ans, absents du magasin",
        "Aged 20 to 30, and neither bought in a store nor visited one for one month.",
        all_of(
            profile("age", "between", [20, 30]),
            none_of(bought(1, {"last": "P1M"}, _IN_STORE), compared(metric("count", "visit", window={"last": "P1M"}), "gte", 1)),
        ),
    ),
    Template(
        "prospects-over-35", "place and profile", "Prospects over 35", "Prospects de plus de 35 ans",
        "Over 35, with a card for 3 months or more, and more than 10 purchases in May.",
        all_of(
            profile("age", "gt", 35),
            profile("card_since", "older_than", "P3M"),
            compared(metric("count", window={"calendar": "may"}), "gt", 10),
        ),
    ),
    Template(
        "birthday", "place and profile", "Birthday this week", "Anniversaire dans la semaine",
        "Birthday today or within the next 7 days.",
        profile("birthday_in_days", "lte", 7),
    ),
    Template(
        "families", "place and profile", "Families", "Familles",
        "Four or more persons in the household, as given at registration.",
        profile("household_size", "gte", 4),
    ),
    Template(
        "opted-in", "place and profile", "Has agreed to be written to", "A donné son consentement",
        "Consent was given at registration or since.",
        profile("consent", "eq", True),
    ),
)  # fmt: skip

TEMPLATES: Final[tuple[Template, ...]] = (*_ACTIVITY, *_VALUE, *_STATUS, *_HABITS, *_OFFERS, *_PAYMENT, *_PLACE_AND_PROFILE, *RFM)
"""Every predefined segment, in the order in which they are shown."""
