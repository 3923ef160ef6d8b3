"""Exact amounts: money as integers of minor units, other decimals as integers of millionths.

No value ever passes through a binary float: `0.1` is one tenth here, as it is on the receipt.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

from msgspec import Raw

from schemas.errors import Refusal, shown

MICRO: Final = 6
"""Decimals of a quantity: the finest scale of a till weighs to a milligram in kilograms."""

MAX_DIGITS: Final = 15
"""Digits before the point of any amount: sums over 50,000 events then stay far inside what JSON readers keep exactly."""

_PLAIN: Final = re.compile(rb'"?(-?)(\d{1,%d})(?:\.(\d{1,20}))?"?' % MAX_DIGITS, re.ASCII)
_EXPONENT: Final = re.compile(rb"-?\d{1,%d}(?:\.\d{1,20})?[eE][+-]?\d{1,2}" % MAX_DIGITS, re.ASCII)

# ISO 4217, the currencies whose minor unit is not a hundredth.
_OTHER_EXPONENTS: Final = {
    **dict.fromkeys(("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "UYI", "VND", "VUV", "XAF", "XOF", "XPF"), 0),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
}


def currency_exponent(currency: str) -> int:
    """Return how many decimals the currency's minor unit has (ISO 4217)."""
    return _OTHER_EXPONENTS.get(currency, 2)


def parse_scaled(raw: bytes, exponent: int, pointer: str = "") -> int:
    """Read a JSON number or decimal string as an integer of `10**-exponent`; raise `Refusal` when it does not fit exactly."""
    # A JSON number may have an exponent (a stripped BigDecimal writes 1E+2); it is written out and read like any other.
    match = _PLAIN.fullmatch(f"{Decimal(raw.decode()):f}".encode() if _EXPONENT.fullmatch(raw) else raw)
    if match is None or (raw[:1] == b'"') != (raw[-1:] == b'"'):
        raise Refusal(f"{shown(Raw(raw))} is not a decimal number like 12.50", pointer=pointer, reason="amount")
    sign, whole, fraction = match.groups()
    kept = (fraction or b"").rstrip(b"0")
    if len(kept) > exponent:
        raise Refusal(f"{shown(Raw(raw))} has more decimals than the {exponent} that it can have", pointer=pointer, reason="amount")
    scaled = int(whole + kept.ljust(exponent, b"0"))
    return -scaled if sign else scaled


class Scale(dict[bytes, int | None]):
    """Amounts of one exponent, by their JSON text: `scale[b"12.50"]` is 1250 and `scale[b"null"]` None.

    It remembers those it has seen, because prices repeat and a look-up costs a fifth of a parse. A text that is no amount, or
    a negative one, raises `Refusal`.
    """

    LIMIT: Final = 65_536

    def __init__(self, exponent: int) -> None:
        super().__init__()
        self.exponent = exponent

    def __missing__(self, raw: bytes) -> int | None:
        """Read an amount that was not seen before."""
        found = None if raw == b"null" else parse_scaled(raw, self.exponent)
        if found is not None and found < 0:
            raise Refusal(f"{raw.decode()} is negative; amounts are positive, also those of a return", reason="amount")
        if len(self) >= self.LIMIT:
            self.clear()
        self[raw] = found
        return found

    def read(self, raw: bytes, pointer: str) -> int:
        """Return the scaled integer of a JSON number or decimal string that is not negative; null is refused."""
        found = self.read_or_none(raw, pointer)
        if found is None:
            raise Refusal("null is not a decimal number like 12.50", pointer=pointer, reason="amount")
        return found

    def read_or_none(self, raw: bytes, pointer: str) -> int | None:
        """Return the scaled integer, or None for JSON's null."""
        try:
            return self[raw]
        except Refusal as refusal:
            raise refusal.under(pointer) from None


def decimal_text(scaled: int, exponent: int) -> str:
    """Write a scaled integer in major units with all its decimals, `15000` of exponent 2 as `150.00`."""
    # By digits, not Decimal.scaleb: that one rounds to the 28 digits of the context.
    digits = f"{abs(scaled):0{exponent + 1}d}"
    text = f"{digits[:-exponent]}.{digits[-exponent:]}" if exponent else digits
    return f"-{text}" if scaled < 0 else text


def short_text(number: Decimal) -> str:
    """Write a decimal without an exponent or trailing zeros."""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
