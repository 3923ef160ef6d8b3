"""Events as they travel: the JSON documents that POS systems post to ingest or produce straight to Kafka.

Both paths accept the same documents and read them with the same decoder. Amounts and instants stay what was sent until
`schemas.reading` reads them as exact integers. Unknown fields are ignored, so that a till may send more than we ask for.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Raw, Struct, field

TENANT_PATTERN: Final = r"^[a-z0-9-]{1,40}$"
MAX_EVENT_BYTES: Final = 262_144
"""One document: 500 line items of about 500 bytes."""

Tenant = Annotated[str, Meta(pattern=TENANT_PATTERN, description="The tenant; over HTTP it comes from the API key.")]
EventId = Annotated[str, Meta(min_length=1, max_length=64, description="Unique for its tenant and customer.")]
CustomerId = Annotated[str, Meta(min_length=1, max_length=128, description="Unique in its tenant; no control characters.")]
Instant = Annotated[str, Meta(max_length=64, description="RFC 3339 with an offset.", extra_json_schema={"format": "date-time"})]
Text = Annotated[str, Meta(max_length=256)]
_AMOUNT_SCHEMA: Final[dict[str, Any]] = {
    "oneOf": [{"type": "string", "pattern": r"^\d{1,15}(\.\d{1,20})?$"}, {"type": "number", "minimum": 0}],
}
Money = Annotated[Raw, Meta(description="Major units, read as a decimal and never through a float.", extra_json_schema=_AMOUNT_SCHEMA)]
Quantity = Annotated[Raw, Meta(description="A decimal with at most six decimals.", extra_json_schema=_AMOUNT_SCHEMA)]
NOTHING: Final = Raw(b"null")
"""An amount that was not sent; msgspec has no union of raw bytes and None."""
Scalar = Annotated[Raw, Meta(description="Text, a number, true, false, null, a list of texts, or a place.", extra_json_schema={})]
Count = Annotated[int, Meta(ge=0, le=10**15)]
Names = Annotated[list[Text], Meta(max_length=100)]


class Common(Struct, kw_only=True, tag_field="type", omit_defaults=True, gc=False):
    """What every event says: which fact, about whom, when."""

    event_id: EventId
    tenant: Tenant | None = None
    customer_id: CustomerId | None = None
    occurred_at: Instant
    imported: bool = field(default=False, name="import")
    synthetic: bool = False


_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f]")


def has_control(text: str) -> bool:
    """Whether a text contains control characters; no id and no name does."""
    return _CONTROL.search(text) is not None


class Item(Struct, kw_only=True, omit_defaults=True, gc=False):
    """One line of a receipt."""

    product_id: Text | None = None
    category: Text | None = None
    department: Text | None = None
    brand: Text | None = None
    quantity: Quantity = NOTHING
    amount: Money = NOTHING
    discount: Money = NOTHING


class Checkout(Common, kw_only=True, tag="checkout"):
    """A receipt: a sale, or a return whose amounts are positive here and subtract in sums. Without a customer it is anonymous."""

    receipt_id: Text | None = None
    store_id: Text | None = None
    channel: Literal["store", "web", "app", "phone"] | None = None
    kind: Literal["sale", "return"] = "sale"
    total: Money
    discount: Money = NOTHING
    currency: Annotated[str, Meta(pattern="^[A-Z]{3}$")] | None = None
    payment_method: Text | None = None
    points_earned: Count | None = None
    coupon_ids: Names = field(default_factory=list)
    items: Annotated[list[Item], Meta(max_length=500)] = field(default_factory=list)


class CheckoutVoid(Common, kw_only=True, tag="checkout-void"):
    """That customer's checkout with this store and receipt counts as if it had never been."""

    store_id: Text
    receipt_id: Text


class CouponRedemption(Common, kw_only=True, tag="coupon-redemption"):
    """A coupon was used."""

    coupon_id: Text
    campaign_id: Text | None = None
    receipt_id: Text | None = None
    value: Money = NOTHING
    points: Count | None = None
    reward_id: Text | None = None


class EmailSend(Common, kw_only=True, tag="email-send"):
    """A message of a campaign was sent."""

    campaign_id: Text
    message_id: Text | None = None


class EmailOpen(Common, kw_only=True, tag="email-open"):
    """A message of a campaign was opened."""

    campaign_id: Text
    message_id: Text | None = None


class EmailClick(Common, kw_only=True, tag="email-click"):
    """A link in a message of a campaign was followed."""

    campaign_id: Text
    message_id: Text | None = None


class Points(Common, kw_only=True, tag="points"):
    """Loyalty points collected, spent, or both."""

    collected: Count | None = None
    spent: Count | None = None


class Visit(Common, kw_only=True, tag="visit"):
    """The customer was seen in a store."""

    store_id: Text


class Custom(Common, kw_only=True, tag="custom"):
    """An event of the tenant's own kind."""

    name: Annotated[str, Meta(min_length=1, max_length=64)]
    properties: Annotated[dict[str, Scalar], Meta(max_length=100)] = field(default_factory=dict)


class Profile(Common, kw_only=True, tag="profile"):
    """Attributes merged into the profile; null removes one."""

    attributes: Annotated[dict[str, Scalar], Meta(min_length=1, max_length=100)]


class CustomerMerge(Common, kw_only=True, tag="customer-merge"):
    """The customer disappears; `into`, another one, lives on. Histories join, and later facts follow."""

    into: CustomerId


class CustomerErase(Common, kw_only=True, tag="customer-erase"):
    """Forget the customer, under all ids. Late facts from before `occurred_at` are refused from now on."""


Event = (
    Checkout
    | CheckoutVoid
    | CouponRedemption
    | EmailSend
    | EmailOpen
    | EmailClick
    | Points
    | Visit
    | Custom
    | Profile
    | CustomerMerge
    | CustomerErase
)

TYPES: Final = tuple(member.__struct_config__.tag for member in Event.__args__)

_encoder: Final = msgspec.json.Encoder()


def encode_event(event: Event) -> bytes:
    """Write an event as the JSON document that travels."""
    return _encoder.encode(event)
