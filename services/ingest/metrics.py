"""Every metric of ingest, in one place: its name, its labels, and what it tells the one who is woken up."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, GCCollector, Histogram, PlatformCollector, ProcessCollector

_ACK_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)


class Metrics:
    """The catalogue. One registry for each application, so that two in one process do not share their numbers."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        self.requests = Counter(
            "rollcall_ingest_requests",
            "Requests to /v1/events by the status they were answered with.",
            ["status"],
            registry=registry,
        )
        self.accepted = Counter(
            "rollcall_ingest_accepted_events",
            "Events that Kafka acknowledged and a 202 reported, by topic.",
            ["topic"],
            registry=registry,
        )
        self.rejected = Counter("rollcall_ingest_rejected_events", "Events refused, by reason.", ["reason"], registry=registry)
        self.body_bytes = Counter("rollcall_ingest_body_bytes", "Bytes of bodies read, after gzip.", registry=registry)
        self.ack_seconds = Histogram(
            "rollcall_ingest_ack_seconds", "From an event's hand-over to the producer to Kafka's acknowledgement.", buckets=_ACK_BUCKETS_S,
            registry=registry,
        )  # fmt: skip
        self.unacknowledged = Counter(
            "rollcall_ingest_unacknowledged_requests",
            "Requests answered 503 because Kafka did not acknowledge in time.",
            registry=registry,
        )
        self.renewals = Counter(
            "rollcall_ingest_producer_renewals",
            "Kafka producers replaced after an error that they cannot survive.",
            registry=registry,
        )
        self.batches = Counter("rollcall_ingest_batches", "Batches acknowledged by Kafka.", registry=registry)
        self.pending_bytes = Gauge("rollcall_ingest_pending_bytes", "Bytes of events that Kafka has not acknowledged yet.", registry=registry)
        self.reading_bytes = Gauge("rollcall_ingest_reading_bytes", "Bytes of bodies held in memory.", registry=registry)
        self.ready = Gauge("rollcall_ingest_ready", "1 while events are taken, 0 while the process starts or Kafka is gone.", registry=registry)
