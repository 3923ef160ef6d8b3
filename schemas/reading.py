"""Reading: the one gate from the wire to the engine. What passes `Facts.of` is a fact that is valid for its tenant."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from schemas import events
from schemas.amounts import MICRO, Scale, currency_exponent, parse_scaled
from schemas.errors import Refusal, pointer_token, shown
from schemas.facts import ACCEPTED_BITS, ERASE, IMPORTED, MERGE, PROFILE, SYNTHETIC, TYPE_NUMBERS, VOID, Columns, Fact
from schemas.instants import MINUTE_MS, iso, parse_date, parse_instant
from schemas.vocabulary import ATTRIBUTES, Kind

MAX_SCALAR_BYTES: Final = 4_096
MAX_AHEAD_MS: Final = 5 * MINUTE_MS
"""How far an event may lie ahead of the clock: tills drift by minutes, not by more."""
EARLIEST_MS: Final = 946_684_800_000
"""2000-01-01: an older instant is a till whose clock was never set, not a purchase."""

_json: Final = msgspec.json.Decoder()
_EMAILS: Final[dict[type, int]] = {
    events.EmailSend: TYPE_NUMBERS["email-send"],
    events.EmailOpen: TYPE_NUMBERS["email-open"],
    events.EmailClick: TYPE_NUMBERS["email-click"],
}


class Facts:
    """Reads the events of one tenant as facts: its currency decides what an amount may look like."""

    def __init__(self, currency: str) -> None:
        self.currency = currency
        self._money = Scale(currency_exponent(currency))
        self._quantity = Scale(MICRO)

    def of(self, event: events.Event, accepted_ms: int = 0) -> Fact:
        """Return the fact that an event states; raise `Refusal` when it cannot be one of this tenant's. `accepted_ms`: when it is accepted."""
        kind = type(event)
        said: Any = event  # comparing classes is the quickest switch, and no type checker narrows by it
        if kind is events.Checkout:
            number, body, items = 0, self._checkout(said), self._items(said.items)
        elif kind is events.CouponRedemption:
            number, body, items = 1, self._redemption(said), ()
        elif kind in _EMAILS:
            number, body, items = _EMAILS[kind], (said.campaign_id, said.message_id), ()
        elif kind is events.Profile:
            number, body, items = PROFILE, _profile(said.attributes), ()
        elif kind is events.Points:
            if said.collected is None and said.spent is None:
                raise Refusal("points says neither collected nor spent", pointer="/collected", reason="missing_field")
            number, body, items = 5, (said.collected, said.spent), ()
        elif kind is events.Visit:
            number, body, items = 6, (said.store_id,), ()
        elif kind is events.Custom:
            number, body, items = 7, (said.name, _texts(said.properties, "/properties")), ()
        elif kind is events.CheckoutVoid:
            number, body, items = VOID, (said.receipt_id, said.store_id), ()
        elif kind is events.CustomerMerge:
            if said.into == said.customer_id:
                raise Refusal("a customer cannot be merged into itself", pointer="/into", reason="cycle")
            number, body, items = MERGE, (said.into,), ()
        else:
            number, body, items = ERASE, (), ()
        flags = (accepted_ms << ACCEPTED_BITS) | (IMPORTED if said.imported else 0) | (SYNTHETIC if said.synthetic else 0)
        return Fact(number, said.event_id, parse_instant(said.occurred_at, "/occurred_at"), flags, body, items)

    def _checkout(self, event: Any) -> tuple[Any, ...]:
        if event.currency is not None and event.currency != self.currency:
            raise Refusal(f"the tenant's currency is {self.currency}, not {event.currency}", pointer="/currency", reason="currency")
        return (
            event.receipt_id,
            event.store_id,
            event.channel,
            event.kind,
            self._money.read(bytes(event.total), "/total"),
            self._money.read_or_none(bytes(event.discount), "/discount"),
            event.currency,
            event.payment_method,
            event.points_earned,
            tuple(event.coupon_ids),
        )

    def _redemption(self, event: Any) -> tuple[Any, ...]:
        value = self._money.read_or_none(bytes(event.value), "/value")
        return (event.coupon_id, event.campaign_id, event.receipt_id, value, event.points, event.reward_id)

    def _items(self, items: list[events.Item]) -> Columns:
        if not items:
            return ()
        money, quantity = self._money, self._quantity
        try:
            return (
                tuple([item.product_id for item in items]),
                tuple([item.category for item in items]),
                tuple([item.department for item in items]),
                tuple([item.brand for item in items]),
                tuple([quantity[bytes(item.quantity)] for item in items]),
                tuple([money[bytes(item.amount)] for item in items]),
                tuple([money[bytes(item.discount)] for item in items]),
            )
        except Refusal:
            self._name_the_place(items)
            raise

    def _name_the_place(self, items: list[events.Item]) -> None:
        for index, item in enumerate(items):
            here = f"/items/{index}"
            self._quantity.read_or_none(bytes(item.quantity), f"{here}/quantity")
            self._money.read_or_none(bytes(item.amount), f"{here}/amount")
            self._money.read_or_none(bytes(item.discount), f"{here}/discount")


def check_admission(event: events.Event, at_ms: int, now_ms: int) -> None:
    """Refuse an event that no clock or customer can explain; the same at every door, over HTTP and from Kafka.

    Only a checkout may lack its customer (an anonymous receipt). `at_ms` is the event's own instant.
    """
    if event.customer_id is None and type(event) is not events.Checkout:
        raise Refusal("customer_id is missing; only a checkout may be anonymous", pointer="/customer_id", reason="missing_field")
    if at_ms > now_ms + MAX_AHEAD_MS:
        raise Refusal(f"occurred_at is more than five minutes ahead of now, {iso(now_ms)}", pointer="/occurred_at", reason="future")
    if at_ms < EARLIEST_MS:
        raise Refusal(f"occurred_at is before {iso(EARLIEST_MS)}; is the till's clock set?", pointer="/occurred_at", reason="absurd_date")


def _texts(raws: dict[str, msgspec.Raw], pointer: str) -> dict[str, str]:
    for name, raw in raws.items():
        _checked_scalar(raw, f"{pointer}/{pointer_token(name)}")
    return {name: bytes(raw).decode() for name, raw in raws.items()}


def _checked_scalar(raw: msgspec.Raw, pointer: str) -> Any:
    body = bytes(raw)
    if len(body) > MAX_SCALAR_BYTES:
        raise Refusal(f"a value has at most {MAX_SCALAR_BYTES} bytes, this one has {len(body)}", pointer=pointer)
    try:
        value = _json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal(f"not a value: {error}"[:200], pointer=pointer, reason="malformed") from None
    plain = value is None or isinstance(value, str | int | float)
    if not (plain or (isinstance(value, list) and all(isinstance(member, str) for member in value)) or looks_like_place(value)):
        raise Refusal(f"{shown(value)} is neither text, number, true, false, null, a list of texts nor a place", pointer=pointer)
    return value


def declared_value(text: str, kind: Kind, exponent: int) -> Any:
    """Return the value of an attribute or property that was stored as JSON text and has been declared as a kind, in facts' units.

    Money is in minor units of the currency's `exponent`, numbers (of six decimals at most) in millionths. What is null or does
    not fit the kind has no value (None): it was accepted before the declaration, and must not mean something by its looks.
    """
    raw = text.encode()
    try:
        if kind is Kind.MONEY:
            return parse_scaled(raw, exponent)
        if kind in (Kind.NUMBER, Kind.INTEGER):
            # A text is no number, however it looks; JSON's 5.0 is the integer 5.
            return None if raw.startswith(b'"') else parse_scaled(raw, MICRO if kind is Kind.NUMBER else 0)
        value = _json.decode(raw)
        return None if value is None else _typed(value, kind, "")
    except (Refusal, msgspec.DecodeError):
        return None


def looks_like_place(value: Any) -> bool:
    """Whether a JSON value has the shape of a place, `{"lat": …, "lon": …}`."""
    return isinstance(value, dict) and set(value) == {"lat", "lon"}


def _profile(attributes: dict[str, msgspec.Raw]) -> tuple[dict[str, Any], dict[str, str | None]]:
    declared: dict[str, Any] = {}
    undeclared: dict[str, str | None] = {}
    for name, raw in attributes.items():
        pointer = f"/attributes/{pointer_token(name)}"
        if not 1 <= len(name) <= 64:
            raise Refusal("an attribute's name has 1 to 64 characters", pointer=pointer)
        value = _checked_scalar(raw, pointer)
        kind = ATTRIBUTES.get(name)
        if kind is None:
            undeclared[name] = None if value is None else bytes(raw).decode()
        else:
            declared[name] = None if value is None else _typed(value, kind, pointer)
    return declared, undeclared


def _typed(value: Any, kind: Kind, pointer: str) -> Any:
    if kind is Kind.DATE:
        return parse_date(value, pointer).isoformat()
    if kind is Kind.PLACE:
        return _place(value, pointer)
    if kind is Kind.TEXTS:
        if isinstance(value, list) and len(value) <= 1000:
            return tuple(value)
        raise Refusal(f"{shown(value)} is not a list of at most 1000 texts", pointer=pointer)
    expected, name = {Kind.TEXT: (str, "text"), Kind.INTEGER: (int, "a whole number"), Kind.BOOLEAN: (bool, "true or false")}[kind]
    if not isinstance(value, expected) or (expected is int and isinstance(value, bool)):
        raise Refusal(f"{shown(value)} is not {name}", pointer=pointer)
    return value


def _place(value: Any, pointer: str) -> tuple[float, float]:
    if looks_like_place(value):
        lat, lon = value["lat"], value["lon"]
        numeric = all(isinstance(part, int | float) and not isinstance(part, bool) for part in (lat, lon))
        if numeric and -90 <= lat <= 90 and -180 <= lon <= 180:
            return float(lat), float(lon)
    raise Refusal(f'{shown(value)} is not a place; write {{"lat": -90 to 90, "lon": -180 to 180}}', pointer=pointer)
