"""Every metric of the API, in one place: its name, its labels, and what it tells the one who is woken up."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, GCCollector, Histogram, PlatformCollector, ProcessCollector

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
_ROWS = (1, 2, 5, 10, 20, 50, 100, 200)


class Metrics:
    """The catalogue. One registry for each application, so that two in one process do not share their numbers."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        self.requests = Counter("rollcall_api_requests", "Requests by route and status.", ["method", "route", "status"], registry=registry)
        self.seconds = Histogram(
            "rollcall_api_request_seconds", "Time to answer, by route.", ["method", "route"], buckets=_SECONDS, registry=registry
        )
        self.faults = Counter("rollcall_api_faults", "Answers 500: errors of ours, each with its stack in the log.", registry=registry)
        self.definitions = Counter(
            "rollcall_api_definitions", "Definitions written, by what the fold said of them (`unknown`: no acknowledgement in time).", ["outcome"],
            registry=registry,
        )  # fmt: skip
        self.entries = Counter("rollcall_api_manual_entries", "Manual entries that Kafka has acknowledged.", registry=registry)
        self.renewals = Counter("rollcall_api_producer_renewals", "Kafka producers replaced after an error.", registry=registry)
        self.redis_failures = Counter("rollcall_api_redis_failures", "Reads that Redis did not answer.", registry=registry)
        self.rows_together = Histogram(
            "rollcall_api_rows_together", "Customers' rows asked for in one round trip to Redis.", buckets=_ROWS, registry=registry
        )
        self.waiting = Gauge("rollcall_api_waiting_reads", "Reads that wait for ?after= at this moment.", registry=registry)
        self.too_late = Counter(
            "rollcall_api_after_timeouts", "Reads with ?after= answered 503 because it was not reached in time.", registry=registry
        )
        self.feed_records = Counter("rollcall_api_feed_records", "Records of the change feed looked at.", registry=registry)
        self.asked_again = Counter(
            "rollcall_api_questions_asked_again", "Questions for a segmenter that had no good answer at the first try.", registry=registry
        )
        self.freshness = Gauge(
            "rollcall_api_projection_age_seconds", "Age of the oldest partition's answers; -1 while some partition has none.", registry=registry
        )
        self.ready = Gauge("rollcall_api_ready", "1 while every kind of question can be answered.", registry=registry)
