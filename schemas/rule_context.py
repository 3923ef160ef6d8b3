"""What a rule is read for: its tenant's time zone and declarations, and the limits of whoever asks.

Limits that are settings, or that may be tightened one day, hold where a rule is saved. The fold of the definitions reads
without them, because what was accepted once stays accepted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from schemas.vocabulary import ATTRIBUTES, DERIVED_ATTRIBUTES, DERIVED_FIELDS, EVENT_FIELDS, ITEM_FIELDS, Kind

PROPERTIES: Final = "properties."
"""What the names of custom events' properties begin with, in rules and where they are declared."""


@dataclass(frozen=True)
class RuleContext:
    """A tenant as the parser of rules sees it.

    `declared` holds the declared attributes and, with `properties.` before their names, the properties of custom events.
    `history_months` and `max_cost` None are no limit. `currency` is given where a rule is saved, and asks whether its values can be
    at all; what was accepted once is read without.
    """

    timezone: str
    declared: Mapping[str, Kind] = field(default_factory=dict)
    history_months: int | None = None
    max_cost: int | None = None
    currency: str | None = None

    @property
    def saving(self) -> bool:
        """Whether what no value can ever meet is refused."""
        return self.currency is not None

    def attribute(self, name: str) -> Kind | None:
        """Return the kind of a profile attribute, known, derived or declared; None for any other name."""
        if name.startswith(PROPERTIES):
            return None
        return ATTRIBUTES.get(name) or DERIVED_ATTRIBUTES.get(name) or self.declared.get(name)

    def attributes(self) -> list[str]:
        """List the names of all profile attributes."""
        return [*ATTRIBUTES, *DERIVED_ATTRIBUTES, *(name for name in self.declared if not name.startswith(PROPERTIES))]

    def fields(self, event: str) -> dict[str, Kind]:
        """Return the fields of an event that rules can name."""
        fields = dict(EVENT_FIELDS[event])
        if event == "checkout":
            fields |= {f"items.{name}": kind for name, kind in ITEM_FIELDS}
        if event == "custom":
            fields |= {name: kind for name, kind in self.declared.items() if name.startswith(PROPERTIES)}
        return fields | dict(DERIVED_FIELDS)
