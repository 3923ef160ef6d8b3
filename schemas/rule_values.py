"""The small parts of a rule: objects with known words, lists of a size, and values that fit the kind they are compared with."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final, TypeVar

from schemas.domains import Domain
from schemas.errors import Refusal, pointer_token, shown
from schemas.instants import DAY_MS, Duration, parse_date, parse_duration
from schemas.rules import MAX_LIST, MAX_TEXT, Op, Value
from schemas.vocabulary import Kind

_COMPARE: Final = ("eq", "ne", "gt", "gte", "lt", "lte", "between", "in", "not_in", "exists")
SPANS: Final = ("older_than", "within_last")
"""The operators whose answer moves with the clock by itself: for profile attributes alone, since an event's fields stand still."""
OPS: Final[dict[Kind, tuple[str, ...]]] = {
    Kind.MONEY: _COMPARE,
    Kind.INTEGER: _COMPARE,
    Kind.NUMBER: _COMPARE,
    Kind.TEXT: ("eq", "ne", "in", "not_in", "contains", "starts_with", "exists"),
    Kind.TEXTS: ("contains", "in", "not_in", "exists"),
    Kind.BOOLEAN: ("eq", "ne", "exists"),
    Kind.DATE: (*_COMPARE, *SPANS),
    Kind.PLACE: ("exists",),
}
"""The operators of each kind of value."""
NUMERIC: Final = (Kind.MONEY, Kind.INTEGER, Kind.NUMBER)
MAX_FAULTS: Final = 20
"""Faults of one rule that are told at once."""
LIMIT: Final = "limit"
"""The reason of a refusal after which reading on would only repeat it."""
T = TypeVar("T")
_LONGEST: Final = Duration(1_200, 36_600 * DAY_MS)


def comparison(node: dict[str, Any], at: str, kind: Kind, domain: Domain | None = None, *, spans: bool = False) -> tuple[Op, Value]:
    """Read `op` and `value` of a node for a value of a kind; `spans` allows `older_than` and `within_last`.

    With a domain, what cannot be and what can never hold is refused.
    """
    op, value = _comparison(node, at, kind, domain, spans=spans)
    if domain is not None and op not in SPANS and not domain.can_hold([(op, value)]):
        if op == "exists":
            raise Refusal(f"{domain.name} always exists, so this can never hold; compare its value", pointer=f"{at}/value")
        raise Refusal(f"{op} {shown(node['value'])} can never hold: {domain.said()}", pointer=f"{at}/value")
    return op, value


def _comparison(node: dict[str, Any], at: str, kind: Kind, domain: Domain | None, *, spans: bool) -> tuple[Op, Value]:
    op = node.get("op")
    known = [name for name in OPS[kind] if spans or name not in SPANS]
    if op not in known:
        only = f"; {op} is for profile attributes" if op in OPS[kind] else ""
        raise Refusal(f"unknown operator {shown(op)} for {kind}; one of {', '.join(known)}{only}", pointer=f"{at}/op")
    here = f"{at}/value"
    if op == "exists":
        value = node.get("value", True)
        if not isinstance(value, bool):
            raise Refusal(f"exists takes true or false, not {shown(value)}", pointer=here)
        return "exists", value
    if "value" not in node:
        raise Refusal("value is missing", pointer=here)
    value = node["value"]
    if op in SPANS:
        return op, duration(value, here)

    def read(one: Any, place: str) -> Value:
        found = _value(one, kind, place)
        if domain is not None:
            domain.check(found, op, one, place)
        return found

    if op == "between":
        ends = list_of(value, here, "ends", 2, least=2)
        low, high = each(ends, here, read)
        if low > high:  # type: ignore[operator]
            raise Refusal(f"the lower end comes first: {shown(ends[0])} is greater than {shown(ends[1])}", pointer=here)
        return op, (low, high)
    if op in ("in", "not_in"):
        members = list_of(value, here, "values", MAX_LIST)
        return op, tuple(dict.fromkeys(each(members, here, read)))
    return op, read(value, here)


def amount(value: Any, kind: Kind, at: str) -> int | Decimal:
    """Read a value of a numeric kind."""
    return _money(value, at) if kind is Kind.MONEY else number(value, at)


def number(value: Any, at: str) -> int | Decimal:
    """Read a number of at most 18 digits and 12 decimals; a whole one becomes an int."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**18:
        return value
    if isinstance(value, Decimal) and value.is_finite() and abs(value) < 10**18 and int(value.as_tuple().exponent) >= -12:
        return int(value) if value == value.to_integral_value() else value
    raise Refusal(f"{shown(value)} is not a number of at most 18 digits and 12 decimals", pointer=at)


def duration(document: Any, at: str) -> Duration:
    """Read a duration of at most 100 years."""
    found = parse_duration(document, at)
    if found.longest_ms > _LONGEST.exact_ms:
        raise Refusal("a duration is at most 100 years", pointer=at)
    return found


def object_of(document: Any, at: str, what: str) -> dict[str, Any]:
    """Read an object."""
    if not isinstance(document, dict):
        raise Refusal(f"{what} is an object, not {shown(document)}", pointer=at)
    return document


def list_of(document: Any, at: str, what: str, most: int, least: int = 1) -> list[Any]:
    """Read a list of a size."""
    many = isinstance(document, list | tuple)
    if not many or not least <= len(document) <= most:
        size = f"{least}" if least == most else f"{least} to {most}"
        raise Refusal(f"a list of {size} {what}, not {f'of {len(document)}' if many else shown(document)}", pointer=at)
    return list(document)


def each(members: list[Any], at: str, read: Callable[[Any, str], T]) -> tuple[T, ...]:
    """Read the members of a list, each at its place; what is wrong with several is told at once, up to `MAX_FAULTS`."""
    found: list[T] = []
    faults: list[Refusal] = []
    for index, member in enumerate(members):
        try:
            found.append(read(member, f"{at}/{index}"))
        except Refusal as refusal:
            faults += [refusal, *refusal.others]
            if len(faults) >= MAX_FAULTS or refusal.reason == LIMIT:
                break
    if faults:
        raise faults[0].beside(faults[1:MAX_FAULTS])
    return tuple(found)


def only(node: dict[str, Any], words: tuple[str, ...], at: str) -> None:
    """Refuse words that do not belong here."""
    for name in node:
        if name not in words:
            raise Refusal(f"unknown word {shown(name)}; here: {', '.join(words)}", pointer=f"{at}/{pointer_token(str(name))}")


def number_between(node: dict[str, Any], name: str, low: float, high: float, at: str) -> float:
    """Read a number of a range, as a float: places and distances, which are nobody's money."""
    value = node.get(name)
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool) and low <= value <= high:
        return float(value)
    raise Refusal(f"{name} is a number from {low} to {high}, not {shown(value)}", pointer=f"{at}/{name}")


def _value(value: Any, kind: Kind, at: str) -> Value:
    if kind in NUMERIC:
        return amount(value, kind, at)
    if kind is Kind.DATE:
        return parse_date(value, at).isoformat()
    if kind is Kind.BOOLEAN:
        if isinstance(value, bool):
            return value
        raise Refusal(f"{shown(value)} is not true or false", pointer=at)
    if isinstance(value, str) and len(value) <= MAX_TEXT:
        return value
    raise Refusal(f"{shown(value)} is not a text of at most {MAX_TEXT} characters", pointer=at)


def _money(value: Any, at: str) -> Decimal:
    if isinstance(value, str):
        text = value.removeprefix("-")
        whole, _, decimals = text.partition(".")
        if whole.isascii() and whole.isdigit() and (text == whole or (decimals.isascii() and decimals.isdigit())) and len(value) < 32:
            return _money(Decimal(value), at)
        raise Refusal(f'{shown(value)} is not an amount; write a decimal like "150.00"', pointer=at)
    number(value, at)
    return Decimal(value)  # keeps "150.00" as it was written: 150 and 150.00 are equal, and people read the second
