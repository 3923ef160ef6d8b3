"""The event documents that the demo sends: what a till or a mailing tool would write, field by field.

Deliberately the demo's own and not the product's schemas: a client knows the published documents, never the code behind
them. Missing facts are left out of the document rather than guessed.
"""

from __future__ import annotations

import msgspec


class Event(msgspec.Struct, omit_defaults=True, tag_field="type", kw_only=True, gc=False):
    """What every event carries; `synthetic` says that the data set does not hold this fact and the demo made it up."""

    event_id: str
    customer_id: str
    occurred_at: str
    # No default, because a default would be left out of the document.
    imported: bool = msgspec.field(name="import")
    synthetic: bool = False


class Item(msgspec.Struct, omit_defaults=True, gc=False):
    """One line of a receipt; `amount + discount` is its shelf price."""

    product_id: str
    quantity: int
    amount: str
    discount: str
    category: str | None = None
    department: str | None = None
    brand: str | None = None


class Checkout(Event, tag="checkout", kw_only=True):
    """A basket; `total + discount` is its shelf price."""

    receipt_id: str
    store_id: str
    channel: str
    kind: str
    currency: str
    total: str
    discount: str
    items: list[Item]
    coupon_ids: list[str] = []


class CouponRedemption(Event, tag="coupon-redemption", kw_only=True):
    """A coupon handed in; `receipt_id` only when the data leave no doubt about the basket."""

    coupon_id: str
    campaign_id: str
    receipt_id: str | None = None


class EmailSend(Event, tag="email-send", kw_only=True):
    """A campaign sent to a household."""

    campaign_id: str
    message_id: str


class EmailOpen(Event, tag="email-open", kw_only=True):
    """A campaign read by a household; always synthetic."""

    campaign_id: str
    message_id: str


class Location(msgspec.Struct, gc=False):
    """Degrees north and east."""

    lat: float
    lon: float


class Attributes(msgspec.Struct, omit_defaults=True, kw_only=True, gc=False):
    """The attributes of spec §2 that the demo knows or makes up."""

    income_band: str | None = None
    household_size: int | None = None
    marital_status: str | None = None
    housing: str | None = None
    tags: list[str] = []
    birth_date: str | None = None
    card_number: str | None = None
    card_since: str | None = None
    location: Location | None = None


class Profile(Event, tag="profile", kw_only=True):
    """What is known, or made up, about a household."""

    attributes: Attributes
