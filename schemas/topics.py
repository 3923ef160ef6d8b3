"""The topics of Rollcall: names, what they carry, how long they keep it.

Every topic that speaks of customers has the same number of partitions, so that one customer's facts meet in one partition.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from schemas.instants import DAY_MS

_INPUT_RETENTION_MS: Final = 30 * DAY_MS
"""Input topics are a buffer, not the archive: what was applied lives in the history, and erasure relies on their expiry."""

_HOUR_MS: Final = DAY_MS // 24

FAMILY_OF_TYPE: Final[dict[str, str]] = {
    "checkout": "checkouts",
    "checkout-void": "checkouts",
    "coupon-redemption": "coupon-redemptions",
    "email-send": "email-sends",
    "email-open": "email-opens",
    "email-click": "email-clicks",
    "points": "points",
    "visit": "visits",
    "custom": "custom-events",
    "profile": "profiles",
    "customer-merge": "profiles",
    "customer-erase": "profiles",
}
"""The topic that carries each event type."""

EVENT_FAMILIES: Final = tuple(dict.fromkeys(FAMILY_OF_TYPE.values()))


@dataclass(frozen=True)
class TopicSpec:
    """A topic as it must exist: `partitions` None means the number that all customer topics share."""

    name: str
    partitions: int | None = None
    settings: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Topics:
    """All topic names, behind an optional prefix that lets several installations share a broker."""

    prefix: str = ""

    @property
    def events(self) -> tuple[str, ...]:
        """The event topics, one for each family."""
        return tuple(self.prefix + family for family in EVENT_FAMILIES)

    @property
    def manual_entries(self) -> str:
        """Manual includes and excludes, keyed like events."""
        return self.prefix + "manual-entries"

    @property
    def inputs(self) -> tuple[str, ...]:
        """Everything that a segmenter folds."""
        return (*self.events, self.manual_entries, self.moves)

    @property
    def moves(self) -> str:
        """What partitions send each other about people who are merged or erased."""
        return self.prefix + "customer-moves"

    @property
    def erasures(self) -> str:
        """Hashes of erased ids, for those who serve transitions: one partition, kept as long as these."""
        return self.prefix + "erasures"

    @property
    def changes(self) -> str:
        """Every transition, in the order decided for each customer."""
        return self.prefix + "membership-changes"

    @property
    def dead_letters(self) -> str:
        """Records that could not be applied, with their bytes, origin and reason."""
        return self.prefix + "dead-letters"

    @property
    def definitions(self) -> str:
        """Tenants, keys, segments and endpoints: one partition, kept for ever, a total order."""
        return self.prefix + "definitions"

    @property
    def rankings(self) -> str:
        """What the segmenters tell each other about ranks: one partition, of no use after an hour."""
        return self.prefix + "rankings"

    @property
    def deliveries(self) -> str:
        """The state of webhook deliveries, keyed by delivery, partitioned like the transitions."""
        return self.prefix + "deliveries"

    @property
    def affairs(self) -> str:
        """What the API and the dispatchers tell each other about endpoints: replays, and who takes nothing. One partition."""
        return self.prefix + "endpoint-affairs"

    @property
    def group(self) -> str:
        """The Faust application and consumer group of the segmenters."""
        return self.prefix + "rollcall-segmenter"

    @property
    def rows(self) -> str:
        """The changelog of the table `customers`: rows, history and progress."""
        return f"{self.group}-customers-changelog"

    def family(self, event_type: str) -> str:
        """Return the topic of an event type."""
        return self.prefix + FAMILY_OF_TYPE[event_type]

    def all(self) -> tuple[TopicSpec, ...]:
        """Return every topic as it must exist."""
        inputs = {"retention.ms": str(_INPUT_RETENTION_MS), "max.message.bytes": "1048588"}
        compacted = {"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.3", "segment.bytes": "67108864", "max.message.bytes": "10485760"}
        kept = {"retention.ms": "-1"}
        # Dead letters hold what did not fit elsewhere, uncompressed; transitions the values of two hundred conditions.
        year = {"retention.ms": str(400 * DAY_MS), "max.message.bytes": "10485760"}
        return (
            *(TopicSpec(name, settings=inputs) for name in (*self.events, self.manual_entries)),
            # Whole histories travel there.
            TopicSpec(self.moves, settings=inputs | {"max.message.bytes": "10485760"}),
            TopicSpec(self.erasures, partitions=1, settings={"retention.ms": str(400 * DAY_MS)}),
            TopicSpec(self.changes, settings=year),
            TopicSpec(self.dead_letters, settings=year),
            TopicSpec(self.definitions, partitions=1, settings=kept),
            TopicSpec(self.rankings, partitions=1, settings={"retention.ms": str(_HOUR_MS), "segment.ms": str(_HOUR_MS)}),
            TopicSpec(self.deliveries, settings=compacted | {"cleanup.policy": "compact,delete", "retention.ms": str(30 * DAY_MS)}),
            TopicSpec(self.affairs, partitions=1, settings={"retention.ms": str(30 * DAY_MS)}),
            TopicSpec(self.rows, settings=compacted),
        )
