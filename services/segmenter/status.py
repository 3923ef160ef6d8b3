"""What the segmenter answers over HTTP: whether it is ready and what is missing, and what became of every record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from faust import App

from services.kit.follower import Follower
from services.segmenter.ownership import Ownership
from services.segmenter.projection import Projector
from services.segmenter.settings import SegmenterSettings
from services.segmenter.watch import Watch

NO_RECORD = "gap"
"""The outcome that counts offsets without a record; it is not something that was accepted."""


class Status:
    """Answers for the partitions that this worker owns at the moment."""

    def __init__(
        self, settings: SegmenterSettings, app: App, ownership: Ownership, projector: Projector, follower: Follower, watch: Watch
    ) -> None:  # fmt: skip
        self._prefix = settings.topic_prefix
        self._app, self._ownership, self._projector = app, ownership, projector
        self._follower, self._watch = follower, watch

    async def readyz(self) -> tuple[int, Mapping[str, Any]]:
        """Answer 200 when every owned partition is at work and its answers can be relied on; else 503 and what is missing."""
        owned = self._ownership.numbers
        pumps = {pump.core.number: pump for pump in self._ownership.pumps}
        waits = {number: pump.waiting for number, pump in pumps.items() if pump.waiting}
        rebuilding = sorted(number for number in pumps if not self._projector.complete(number))
        missing = [
            reason
            for reason, absent in (
                ("kafka", not self._watch.kafka_reachable),
                ("redis", not self._projector.reachable),
                ("definitions", not self._follower.caught_up),
                ("assignment", self._app.rebalancing or not self._app.tables.actives_ready),
                ("restore", bool(owned - pumps.keys())),
                ("projection", bool(rebuilding)),
                ("clock", "clock" in waits.values()),
            )
            if absent
        ]
        self._ownership.metrics.ready.set(0 if missing else 1)
        return 503 if missing else 200, {
            "status": "waiting" if missing else "ready",
            "missing": missing,
            "partitions": sorted(owned),
            "restored": sorted(pumps),
            "rebuilding": rebuilding,
            "waiting": {str(number): reason for number, reason in waits.items()},
            "lag": sum(self._watch.lag.values()),
            "lag_by_partition": {str(number): lag for number, lag in sorted(self._watch.lag.items())},
            "definitions": self._follower.catalog.offset,
        }

    async def outcomes(self) -> tuple[int, Mapping[str, Any]]:
        """Answer how many records of each topic were accepted and what became of them, as committed, summed over what is owned."""
        topics: dict[str, dict[str, int]] = {}
        total: dict[str, int] = {}
        for pump in self._ownership.pumps:
            for topic, counts in pump.outcomes.items():
                for outcome, count in counts.items():
                    # "dead_lettered/conflict" is a dead letter; which kind is told by the metrics.
                    name = outcome.partition("/")[0]
                    for sums in (topics.setdefault(topic.removeprefix(self._prefix), {"accepted": 0}), total):
                        sums[name] = sums.get(name, 0) + count
                        if name != NO_RECORD:
                            sums["accepted"] = sums.get("accepted", 0) + count
        return 200, {"topics": topics, "total": total, "partitions": sorted(pump.core.number for pump in self._ownership.pumps)}
