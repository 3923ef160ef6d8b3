"""What a tenant has declared: its own profile attributes and the properties of its custom events, each with its kind.

A kind once declared never changes: rules were saved with it, and answers were given.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from schemas.definitions import AttributePut
from schemas.errors import Refusal, shown
from schemas.events import has_control
from schemas.outcomes import Conflict
from schemas.rule_context import PROPERTIES
from schemas.vocabulary import ATTRIBUTES, DERIVED_ATTRIBUTES, Kind

MAX_DECLARED: Final = 1_000
MAX_NAME: Final = 64
"""Characters of an attribute's name, as in a profile event; of a property's, `properties.` comes on top."""


class Attribute(Struct, frozen=True):
    """A declared attribute, or property of custom events."""

    name: str
    kind: Kind
    created_ms: int


class Declarations:
    """The declarations of one tenant. `kinds` is what the parser of rules asks."""

    def __init__(self) -> None:
        self.kinds: dict[str, Kind] = {}
        self._created_ms: dict[str, int] = {}

    def all(self) -> list[Attribute]:
        """Return all declarations, by name."""
        return [Attribute(name, kind, self._created_ms[name]) for name, kind in sorted(self.kinds.items())]

    def fold(self, record: AttributePut) -> bool:
        """Accept a record, and say whether it declared something new; raise `Conflict` or `Refusal` when it is refused."""
        check_name(record.name)
        known = self.kinds.get(record.name)
        if known is not None:
            if known is not record.kind:
                raise Conflict(409, f"{record.name} is declared as {known}, and a kind never changes; declare another name", "/kind")
            return False
        if len(self.kinds) >= MAX_DECLARED:
            raise Conflict(422, f"a tenant declares at most {MAX_DECLARED} attributes and properties")
        self.kinds[record.name] = record.kind
        self._created_ms[record.name] = record.at_ms
        return True


def check_name(name: str) -> None:
    """Refuse a name that no attribute or property can have, or that every tenant's has already."""
    bare = name.removeprefix(PROPERTIES)
    if not 1 <= len(bare) <= MAX_NAME or has_control(bare) or bare != bare.strip():
        said = f"{shown(name)} is no name: 1 to {MAX_NAME} characters, no control characters, no space around it"
        raise Refusal(f"{said}; {PROPERTIES} before it for a property of custom events", pointer="/name")
    kind = ATTRIBUTES.get(name) or DERIVED_ATTRIBUTES.get(name)
    if kind is not None:
        raise Conflict(409, f"{name} is every tenant's, as {kind}; it needs no declaration", "/name")
