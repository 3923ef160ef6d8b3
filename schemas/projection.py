"""The projection: how live membership lies in Redis, for those who write it and those who read it.

- `c:{tenant}:{customer}`: a hash `e` (epoch of the owner), `v` (version of the row), `m` (memberships as msgpack, with the homes of
  those who were merged into it, if any were; of an id that was merged, the id that it means, as a text).
- `m:{tenant}:{segment}:{partition}`: a sorted set of member ids, all with score 0, so that it is ordered by the id's bytes.
- `p:{partition}`: the completeness marker, a hash `e` (epoch) and `m` (msgpack of `Marker`). Without it nothing is known.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct

Memberships = dict[str, tuple[int, int]]
"""`{segment_id: (since_ms, until_ms)}`; an `until_ms` of `instants.NEVER` means that nothing but a new fact ends it."""


FORM: Final = 1
"""The form of what a row shows. A later version that shows something else has another, and writes all rows anew."""


class Sweep(Struct, array_like=True):
    """A backfill under way: customers looked at, of how many, under the definitions up to `offset` (exclusive)."""

    offset: int
    done: int
    total: int


class Marker(Struct, array_like=True):
    """How far a partition's projection has come.

    `as_of_ms`: every deadline and every applied fact up to this instant is in the rows. `offsets`: next input offset of each
    topic. `definitions`: every known customer has been evaluated under the definitions before this offset. `customers`: rows.
    `address`: `host:port` at which the owner answers questions, empty where it does not.
    `sent`: for each partition, the next offset of `customer-moves` after what the facts applied here have led to there.
    `ahead`: the same as `offsets` for those tenants who have come further in a topic than everybody has.
    `changelog`: the next offset of the partition's changelog after all that the rows show, 0 where it is not known; `form`: theirs.
    `told_ms`: when it was made, which is later than `as_of_ms` where a partition is behind.
    """

    epoch: int
    as_of_ms: int
    offsets: dict[str, int]
    definitions: int
    customers: int
    sweep: Sweep | None = None
    address: str = ""
    sent: dict[int, int] = {}
    ahead: dict[str, dict[str, int]] = {}
    changelog: int = 0
    form: int = 0
    told_ms: int = 0

    def reached(self, topic: str, tenant: str) -> int:
        """Return the next offset of a topic that may still bring something of a tenant's."""
        return max(self.offsets.get(topic, 0), self.ahead.get(topic, {}).get(tenant, 0))


class Survivor(Struct, array_like=True):
    """Memberships of somebody into whom others were merged. `homes`: the partitions where facts about those arrive."""

    memberships: Memberships
    homes: list[int]


Shown = Memberships | Survivor | str
"""What the field `m` of a customer says: memberships, or whom an id that was merged means."""

_shown: Final = msgspec.msgpack.Decoder(Shown)
_marker: Final = msgspec.msgpack.Decoder(Marker)
encode: Final = msgspec.msgpack.Encoder().encode


def encode_memberships(memberships: Memberships, homes: list[int]) -> bytes:
    """Write the field `m` of a customer. `homes`: of those who were merged into it."""
    return encode(Survivor(memberships, homes) if homes else memberships)


def decode_memberships(blob: bytes) -> Memberships:
    """Read the memberships of a customer from its field `m`."""
    shown = decode_shown(blob)
    assert isinstance(shown, dict)
    return shown


def decode_shown(blob: bytes) -> Memberships | str:
    """Read the field `m` of an id that may have been merged."""
    shown: Shown = _shown.decode(blob)
    return shown.memberships if isinstance(shown, Survivor) else shown


def decode_homes(blob: bytes) -> list[int]:
    """Read from the field `m` of a customer where facts arrive about those who were merged into it."""
    shown: Shown = _shown.decode(blob)
    return shown.homes if isinstance(shown, Survivor) else []


def decode_marker(blob: bytes) -> Marker:
    """Read the field `m` of a marker."""
    return _marker.decode(blob)


def marker_found(blob: bytes | None) -> Marker | None:
    """Read what was found there; None for nothing, or nothing that this version can read, which is as good."""
    try:
        return decode_marker(blob) if blob else None
    except msgspec.DecodeError:
        return None


class Keys:
    """The keys of one installation; `prefix` lets several share a Redis."""

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix

    def customer(self, tenant: str, customer_id: str) -> str:
        """Key of a customer's row."""
        return f"{self.prefix}c:{tenant}:{customer_id}"

    def members(self, tenant: str, segment_id: str, partition: int) -> str:
        """Key of the members of a segment who live in a partition."""
        return f"{self.prefix}m:{tenant}:{segment_id}:{partition}"

    def marker(self, partition: int) -> str:
        """Key of a partition's completeness marker."""
        return f"{self.prefix}p:{partition}"
