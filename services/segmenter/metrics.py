"""Every metric of the segmenter, in one place: its name, its labels, and what it tells the one who is woken up."""

from __future__ import annotations

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

_SHORT_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
_DELAY_S = (0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 2, 5, 10, 60)
_RESTORE_S = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 120)


class Metrics:
    """The catalogue. `registry` is the process's own unless a test brings one."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"rollcall_segmenter_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"rollcall_segmenter_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(f"rollcall_segmenter_{name}", text, buckets=buckets, registry=registry)

        # The way of a record
        self.records = counter("records", "Records applied and committed, by input topic.", "topic")
        self.outcomes = gauge("outcomes", "What became of the records of owned partitions, by topic and outcome.", "topic", "outcome")
        self.offsets = gauge(
            "offsets", "Sum of the next offsets of owned partitions, by topic: what their outcomes, gaps included, add up to.", "topic"
        )
        self.transitions = counter("transitions", "Transitions published.")
        self.dead_letters = counter("dead_letters", "Records put on the dead-letters topic.")
        self.forwards = counter("forwards", "Records sent on to the partition where their customer lives.")
        self.event_delay = histogram("event_delay_seconds", "From a record's Kafka timestamp to the commit of its step.", _DELAY_S)
        self.deadline_delay = histogram("deadline_delay_seconds", "From a deadline's instant to the commit of its step.", _DELAY_S)
        # Questions
        self.questions = counter("questions", "Questions, by kind and by what came of them.", "question", "outcome")
        self.question_seconds = histogram("question_seconds", "One question, from its arrival to its answer.", _SHORT_S)
        # The pump
        self.step_seconds = histogram("step_seconds", "Computation of one step.", _SHORT_S)
        self.transaction_seconds = histogram("transaction_seconds", "One transaction, from its first byte to its commit.", _SHORT_S)
        self.price = gauge("price", "How many times as much a second costs who wants more than a share, because others feel it.")
        self.pending_records = gauge("pending_records", "Records fetched and not yet applied, by partition.", "partition")
        self.pending_bytes = gauge("pending_bytes", "Bytes of records that wait or are not committed, by partition.", "partition")
        self.lag = gauge("lag_records", "Records that are in Kafka and not yet applied, by partition.", "partition")
        self.waiting = gauge("waiting", "1 while a partition waits (for a definition, or for the clock to catch up).", "partition")
        # Ownership
        self.partitions = gauge("partitions", "Partitions that this worker owns.")
        self.restored = gauge("restored_partitions", "Owned partitions that are restored and at work.")
        self.customers = gauge("customers", "Known customers, by partition.", "partition")
        self.restore_seconds = histogram("restore_seconds", "Taking a partition over: fence, changelog, readiness.", _RESTORE_S)
        self.restored_records = counter("restored_records", "Changelog records read while restoring.")
        self.reseeks = counter("reseeks", "Fetched runs that were not contiguous and were fetched again.")
        # Definitions
        self.sweep_done = gauge("sweep_customers_done", "Customers decided under new definitions, by partition.", "partition")
        self.sweep_total = gauge("sweep_customers_total", "Customers to decide under new definitions, by partition.", "partition")
        # Ranks
        self.rank_messages = counter("rank_messages", "Messages about ranks sent to other partitions, by kind.", "kind")
        # The projection
        self.projection_queue = gauge("projection_queue", "Customers whose row in Redis is older than Kafka, by partition.", "partition")
        self.projection_rows = counter("projection_rows", "Customer rows written to Redis.")
        self.projection_seconds = histogram("projection_seconds", "One pipelined write to Redis.", _SHORT_S)
        self.projection_failures = counter("projection_failures", "Writes to Redis that failed and are tried again.")
        self.projection_rebuilds = counter("projection_rebuilds", "Times that all rows of a partition were written anew.")
        self.ready = gauge("ready", "1 while /readyz answers 200.")
