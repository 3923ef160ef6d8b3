"""What a value can be at all, and whether a comparison with it can ever hold: so that a rule is refused rather than quietly false.

It knows no events and no metrics; `schemas.rule_domains` says which value can be what. When in doubt a comparison can hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final

from msgspec import Struct

from schemas.amounts import MAX_DIGITS
from schemas.errors import Refusal, listed, shown
from schemas.rules import Op, Value
from schemas.vocabulary import Kind

Asked = tuple[Op, Value]
"""A comparison: an operator and what it is given."""
GREATEST: Final = 10**MAX_DIGITS
"""No amount or number of an event reaches it."""
_PARTS: Final = ("contains", "starts_with")
_EXACT: Final = ("eq", "ne", "in", "not_in")
"""What compares for equality: a threshold finer than any value is nonsense here, and a bound like any other elsewhere."""


class Domain(Struct, frozen=True):
    """What a value can be: one of `values` where there are any, else from `least` to `most`, with so many `decimals` (None: any).

    `given` says that there always is one. `advice` ends the sentence of a refusal.
    """

    name: str
    kind: Kind
    values: tuple[Any, ...] = ()
    least: int | None = None
    most: int | None = None
    decimals: int | None = None
    given: bool = False
    advice: str = ""

    def check(self, value: Value, op: Op, given: Any, at: str) -> None:
        """Refuse one value of a comparison that cannot be; `given` is how it was written."""
        if isinstance(value, str) and op in _PARTS:
            if not value and self.kind is Kind.TEXT:
                raise Refusal(f"every text {op} {shown(given)}; write at least one character, or ask with exists", pointer=at)
            fits = not self.values or self.kind is Kind.TEXTS or any(passes(op, value, one) for one in self.values)
        elif self.values and op in _EXACT:
            fits = value in self.values
        elif self.values:
            fits = min(self.values) <= value <= max(self.values)
        elif isinstance(value, int | Decimal):
            above, below = self.least is None or value >= self.least, self.most is None or value <= self.most
            fits = above and below and not (op in _EXACT and self._too_fine(value))
        else:
            fits = True
        if not fits:
            raise Refusal(f"{shown(given)} cannot be: {self.said()}", pointer=at)

    def can_hold(self, asked: Sequence[Asked]) -> bool:
        """Whether some value, or that there is none, passes every comparison."""
        if not self.given and all(passes(op, value, None) for op, value in asked):
            return True
        if any(op == "exists" and not value for op, value in asked):
            return False
        if self.kind in (Kind.TEXTS, Kind.PLACE):
            return True
        written = next(((value,) if op == "eq" else value for op, value in asked if op in ("eq", "in")), ())
        candidates = self.values or written
        if isinstance(candidates, tuple) and candidates:
            return any(all(passes(op, value, one) for op, value in asked) for one in candidates)
        return self._leaves_room(asked)

    def said(self) -> str:
        """Say what the value can be."""
        if self.values and isinstance(self.values[0], str):
            can_be = f"one of {listed(self.values)}" if len(self.values) > 1 else f"always {shown(self.values[0])}"
        elif self.values and not isinstance(self.values[0], bool):
            can_be = f"a whole number from {min(self.values)} to {max(self.values)}"
        else:
            can_be = self._range()
        return f"{self.name} is {can_be}{self.advice}"

    def _range(self) -> str:
        what = {None: "", 0: "a whole number, "}.get(self.decimals, f"a number of at most {self.decimals} decimals, ")
        if self.least is not None and self.most == GREATEST:
            return f"{what}{self.least} or more, of at most {MAX_DIGITS} digits before the point"
        if self.least is not None and self.most is not None:
            return f"{what}from {self.least} to {self.most}"
        if self.most is not None:
            return f"{what}at most {self.most}"
        return what.removesuffix(", ") if self.least is None else f"{what}{self.least} or more"

    def _too_fine(self, value: int | Decimal) -> bool:
        return self.decimals is not None and isinstance(value, Decimal) and value != round(value, self.decimals)

    def _leaves_room(self, asked: Sequence[Asked]) -> bool:
        """Whether the bounds that are asked for lie in order; each with whether it is left out itself."""
        lows: list[tuple[Any, bool]] = [] if self.least is None else [(self.least, False)]
        highs: list[tuple[Any, bool]] = [] if self.most is None else [(self.most, False)]
        for op, value in asked:
            if op == "between" and isinstance(value, tuple):
                lows.append((value[0], False))
                highs.append((value[1], False))
            elif op in ("gt", "gte"):
                lows.append((value, op == "gt"))
            elif op in ("lt", "lte"):
                highs.append((value, op == "lt"))
        return all(low < high or (low == high and not (low_out or high_out)) for low, low_out in lows for high, high_out in highs)


def passes(op: Op, threshold: Any, value: Any) -> bool:
    """Return whether an operator holds of a single value; of none (None) only `exists` can."""
    if op == "exists":
        return bool((value is not None) is threshold)
    if value is None:
        return False
    if op in ("in", "not_in"):
        return (value in threshold) is (op == "in")
    if op in _PARTS:
        return bool(threshold in value if op == "contains" else value.startswith(threshold))
    if op in ("eq", "ne"):
        return bool((value == threshold) is (op == "eq"))
    if op == "between":
        return bool(threshold[0] <= value <= threshold[1])
    if op in ("gt", "lte"):
        return bool((value > threshold) is (op == "gt"))
    return bool((value < threshold) is (op == "lt"))
