"""What the dispatcher measures: names, units and meanings in one place."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

ATTEMPTS: Final = Counter("rollcall_webhook_attempts", "HTTP tries, by the class of their status; none is no answer", ["status"])
ENDED: Final = Counter("rollcall_webhook_deliveries", "Deliveries that ended: delivered, exhausted or cancelled", ["state"])
REPLAYED: Final = Counter("rollcall_webhook_replayed", "Deliveries queued again because a replay was asked for")
DISABLED: Final = Counter(
    "rollcall_webhook_endpoints_disabled", "Endpoints disabled by this dispatcher: gone (410), or failing for too long", ["reason"]
)
BEHIND: Final = Gauge(
    "rollcall_webhook_behind", "Endpoints, in each partition, that are behind what was read: there was no room for theirs, or they were heard of late"
)
LAG: Final = Gauge("rollcall_webhook_lag", "Offsets of transitions that have not been read, on this dispatcher")
PENDING: Final = Gauge("rollcall_webhook_pending", "Deliveries that have not ended, on this dispatcher")
FIRST_ATTEMPT_DELAY: Final = Histogram(
    "rollcall_webhook_first_attempt_delay_seconds",
    "From the transition read to its first attempt",
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30, 300),
)
