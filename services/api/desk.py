"""What the routes work with: one of each, wired by `services.api.app` and passed on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from schemas.catalog import Catalog
from services.api.asking import Asking
from services.api.auth import Randomness
from services.api.backwards import Backwards
from services.api.changes import Feed
from services.api.delivery_log import DeliveryLog
from services.api.errors import unavailable
from services.api.freshness import Freshness
from services.api.metrics import Metrics
from services.api.rates import Rates
from services.api.reads import Reads
from services.api.settings import ApiSettings
from services.api.times import Times
from services.api.writer import Writer
from services.kit.follower import AffairsFollower, ErasuresFollower, Follower
from services.kit.limits import Budget


@dataclass
class Desk:
    """The parts of one API process. `reading` counts the bytes of the bodies whose requests are not answered yet, `testing` the tests of webhooks."""

    settings: ApiSettings
    metrics: Metrics
    follower: Follower
    erasures: ErasuresFollower
    affairs: AffairsFollower
    writer: Writer
    reads: Reads
    freshness: Freshness
    feed: Feed
    backwards: Backwards
    deliveries: DeliveryLog
    asking: Asking
    rates: Rates
    times: Times
    reading: Budget
    testing: Budget
    now_ms: Callable[[], int]
    randomness: Randomness

    def catalog(self) -> Catalog:
        """Return the catalog; raises `Refused` (503) before it has been read to its end."""
        if not self.follower.caught_up:
            raise unavailable("starting: the definitions have not been read yet", 2)
        return self.follower.catalog
