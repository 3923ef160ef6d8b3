"""What one partition owes to Redis, coalesced by customer. It knows the core and no connection: the projector pays.

Rows come from the core as of its last committed step, and a completeness marker is handed out only with or after every row that it
vouches for. After a claim all rows are owed, or those alone that the marker found in Redis does not vouch for: see docs/adr/0017.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace

from schemas.projection import FORM, Keys, Marker, encode
from services.segmenter.core import PartitionCore
from services.segmenter.steps import Written

BATCH_ROWS: Final = 200
"""Rows of one script call: a few hundred microseconds during which Redis answers nobody else."""

_BATCHES: Final = 4

Row = tuple[str, str, str, int, bytes]
"""Redis key, head of its member sets' keys, customer id, version, what is shown; empty removes the row."""


@dataclass(frozen=True, eq=False)
class Gap:
    """What the changelog has between the marker that a claim found and the last step: from `start` to `end`, exclusive."""

    start: int
    end: int


def _at_once(now_ms: int) -> int:
    return now_ms


class Lane:
    """What one partition owes to Redis. The pump says what it does through `began`, `taken` and `committed`.

    `up_to_ms` tells up to which instant everything is applied that Kafka had, of now: what a marker says that it is as of.
    """

    def __init__(
        self, core: PartitionCore, keys: Keys, now_ms: Callable[[], int], wake: Callable[[], None], address: str = "",
        up_to_ms: Callable[[int], int] = _at_once,
    ) -> None:  # fmt: skip
        self._core, self._keys, self._now_ms, self._wake, self._address, self._up_to_ms = core, keys, now_ms, wake, address, up_to_ms
        self._touched: OrderedDict[bytes, int] = OrderedDict()  # a dict searches all that were taken off its front
        self._seq = 0
        self._rebuild: Iterator[bytes] | None = None
        self._gap: Gap | None = None
        self._clean = False
        self._settled = False
        self._marked_s = 0.0
        self.number = core.number
        self.marker_key = keys.marker(core.number)
        self.tail = keys.members("", "\0", core.number).partition("\0")[2]
        self.sent: dict[int, int] = {}
        """What the partition has sent to others: the next offset of `customer-moves` for each."""
        self.changelog = 0
        """The next offset of the changelog after the last step's records."""
        self._going: dict[str, bytes] = {}
        self.rows: list[Row] = []
        self.calls = 0
        """How often something was sent to Redis for it."""
        self.marker: tuple[int, bytes] | None = None
        self._next_marker: tuple[int, bytes] | None = None
        """The newest, while another one is on its way."""
        self.begun = False
        self.claimed = False
        self.superseded = False

    # ---- what the pump says

    def began(self) -> None:
        """The core is changing: until the next commit its marker would vouch for more than Kafka has."""
        self._clean = False

    def taken(self) -> None:
        """A step is on its way: until it is committed no row may be read from the core."""
        self._settled = False

    def written(self, written: Written) -> None:
        """Hear how far a step reaches that is in Kafka now; `committed` follows at once."""
        self.changelog = written.changelog
        self.sent |= written.moves

    def committed(self, touched: Iterable[bytes]) -> None:
        """Everything up to now is in Kafka; `touched` are the customers whose rows have changed."""
        self._clean = self._settled = self.begun = True
        for key in touched:
            if key not in self._touched:
                self._seq += 1
                self._touched[key] = self._seq
        self.collect()
        self._vouch()
        if self.rows or self.marker or not self.claimed:
            self._wake()

    # ---- what the projector does

    @property
    def epoch(self) -> int:
        """The number of this ownership."""
        return self._core.epoch

    @property
    def owed(self) -> int:
        """How many rows are known to be older than Kafka (those still to be listed by a rebuild not counted)."""
        return len(self._touched) + len(self.rows)

    @property
    def complete(self) -> bool:
        """Whether all rows have been handed out since the partition was claimed."""
        return self.claimed and self._rebuild is None and self._gap is None

    def claim(self, found: Marker | None) -> Gap | None:
        """Begin to write what Redis may lack that holds this marker: all rows where there is none, or it is of no use.

        Else return where to look in the changelog for whose rows these are; `owe` must follow.
        """
        self.claimed = True
        self.marker = self._next_marker = self._gap = self._rebuild = None
        if found is not None and found.form == FORM and found.changelog > 0:
            gap = Gap(found.changelog, self.changelog)
            # To read more records than there are customers would cost more than to write everybody.
            if 0 <= gap.end - gap.start <= self._core.customers:
                self._gap = gap
                return gap
        self._rebuild = iter(self._core.keys())
        return None

    def owe(self, gap: Gap, changed: Iterable[bytes] | None) -> bool:
        """Write the rows of whom records with these keys were found in a gap, None for all rows; return False if it is closed already."""
        if self._gap is not gap:
            return False
        self._gap = None
        self._rebuild = iter(self._core.keys() if changed is None else self._core.shown_by(changed))
        return True

    def forget(self) -> None:
        """Redis has lost something: the partition must be claimed anew."""
        self.claimed = False
        self.marker = self._next_marker = self._gap = self._rebuild = None

    def collect(self) -> None:
        """Gather rows, live changes first, as long as no step is on its way and the last ones were written."""
        if not (self._settled and self.claimed):
            return
        room = BATCH_ROWS * _BATCHES - len(self.rows)
        # A quarter is kept for the rebuild, which would otherwise never end under a steady stream of changes.
        live = min(len(self._touched), room if self._rebuild is None else room - room // 4)
        for _ in range(live):
            self.rows.append(self._row(self._touched.popitem(last=False)[0]))
        if self._rebuild is not None:
            listed = list(itertools.islice(self._rebuild, max(0, room - live)))
            self.rows.extend(map(self._row, listed))
            if len(listed) < room - live:
                self._rebuild = None
                self._vouch()

    def heartbeat(self, now_s: float, every_s: float) -> None:
        """Renew the marker of a partition in which nothing happens."""
        if now_s - self._marked_s >= every_s:
            self._vouch()

    def markable(self) -> bytes | None:
        """Return the marker when the rows gathered so far, once written, complete what it vouches for."""
        if self.marker is None or not self.complete:
            return None
        oldest = next(iter(self._touched.values()), None)
        return None if oldest is not None and oldest <= self.marker[0] else self.marker[1]

    def paid(self, rows: int, *, marked: bool, now_s: float) -> None:
        """The first `rows` rows, and the marker when `marked`, are in Redis."""
        paid = [row[0] for row in self.rows[:rows] if not row[4]]
        del self.rows[:rows]
        if paid:
            self._gone(paid)
        if marked:
            self.marker, self._next_marker = self._next_marker, None
            self._marked_s = now_s

    def _gone(self, paid: list[str]) -> None:
        """Tell the core which ids Redis shows no more, but of those that have changed since."""
        later = {row[0] for row in self.rows}
        for row_key in paid:
            if row_key not in later and (key := self._going.pop(row_key, None)) is not None and key not in self._touched:
                self._core.removed(key)

    def _vouch(self) -> None:
        if self._clean and self.complete:
            now_ms = self._now_ms()
            marker = self._core.marker(now_ms)
            as_of_ms = min(marker.as_of_ms, self._up_to_ms(now_ms))
            said = replace(marker, as_of_ms=as_of_ms, told_ms=now_ms, address=self._address, sent=self.sent, changelog=self.changelog, form=FORM)
            newest = self._seq, encode(said)
            # A marker on its way is kept: it may be waiting for rows, and replacing it for ever would never let one through.
            if self.marker is None:
                self.marker = newest
            else:
                self._next_marker = newest

    def _row(self, key: bytes) -> Row:
        tenant, customer_id, version, shown = self._core.projected(key)
        head = self._keys.members(tenant, "\0", self.number).partition("\0")[0]
        row_key = self._keys.customer(tenant, customer_id)
        if not shown:
            self._going[row_key] = key
        return row_key, head, customer_id, version, shown
