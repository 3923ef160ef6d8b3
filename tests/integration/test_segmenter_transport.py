"""Every record reaches its partition once, as one contiguous run, whatever lies between the records."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.partitions import partition_of
from tests.support.sending import sender
from tests.support.waiting import wait_until
from tests.support.workers import PARTITIONS, Load, Workers, caught_up, read_all, verdict


@pytest.fixture
def workers(kafka: str, valkey_url: str, tmp_path: Path) -> Iterator[Workers]:
    """Give workers on topics of their own; none is started yet."""
    fleet = Workers(kafka, valkey_url, f"carry{time.time_ns()}-", tmp_path)
    fleet.create_topics()
    yield fleet
    fleet.stop()


def settled(workers: Workers, name: str) -> bool:
    """Whether a worker is ready and sees no lag."""
    status, answer = workers.get(name, "/readyz")
    return status == 200 and answer["lag"] == 0 and len(answer["restored"]) == PARTITIONS


def test_what_was_there_before_the_first_start_is_read_from_the_earliest(workers: Workers) -> None:
    """Records that were sent before anybody had ever committed are all applied, and the outcomes say so."""
    load = Load(workers, per_s=0, keys=500, seed=3)
    load.send(20_000)
    name = workers.start()
    wait_until(lambda: caught_up(workers, 20_000), 60)
    found = verdict(workers, load.sent)
    assert found.pop("records") == 20_000
    assert not any(found.values()), found
    answer = workers.get(name, "/outcomes")[1]
    assert answer["total"]["accepted"] == sum(counts["applied"] for counts in answer["topics"].values()) == 20_000
    assert set(answer["topics"]) <= {topic.removeprefix(workers.prefix) for topic in workers.topics.inputs}
    wait_until(lambda: settled(workers, name), 20)


def test_markers_and_aborted_transactions_are_no_gaps(workers: Workers) -> None:
    """A foreign producer's committed records count, its aborted ones never, and neither they nor their markers stop the flow.

    The aborted part is larger than a fetch, so that whole fetches bring nothing, and a marker is the last thing in each log.
    """
    name = workers.start()
    wait_until(lambda: workers.ready(name), 40)
    producer = sender(workers.kafka, transactional_id=f"foreign-{workers.prefix}", compression_type="none", linger_ms=5)
    producer.init_transactions(30)
    sent: Counter[bytes] = Counter()
    topic = workers.topics.events[0]
    for number in range(30):
        producer.begin_transaction()
        aborted = number % 5 == 0
        for index in range(400 if aborted else 20):
            key = b"demo:%d" % ((number * 7 + index) % 50)
            producer.produce(topic, b"x" * (5_000 if aborted else 10), key=key, partition=partition_of(key, PARTITIONS))
            if not aborted:
                sent[key] += 1
        if aborted:
            producer.flush()
            producer.abort_transaction(30)
        else:
            producer.commit_transaction(30)
    total = sum(sent.values())
    wait_until(lambda: caught_up(workers, total), 40)
    assert not any(value for name, value in verdict(workers, sent).items() if name != "records")
    wait_until(lambda: settled(workers, name), 20)
    workers.signal(name, signal.SIGKILL)
    again = workers.start()
    wait_until(lambda: settled(workers, again), 60)
    assert not any(value for name, value in verdict(workers, sent).items() if name != "records")


@pytest.mark.parametrize(
    ("limits", "count", "value"),
    [
        ({"PENDING_RECORDS": "600", "GROUP_RECORDS": "200"}, 30_000, b"x"),
        ({"PENDING_BYTES": str(1 << 20), "FETCH_BYTES": str(1 << 16), "POLL_RECORDS": "500"}, 400, b"x" * 100_000),
    ],
    ids=["records", "bytes"],
)
def test_more_than_may_wait_pauses_and_goes_on(workers: Workers, limits: dict[str, str], count: int, value: bytes) -> None:
    """A partition whose records wait beyond the limit is fetched again later; nothing is lost and nothing comes twice."""
    workers.environ |= {f"ROLLCALL_SEGMENTER_{name}": limit for name, limit in limits.items()}
    load = Load(workers, per_s=0, keys=300, seed=4)
    load.send(count, value)
    workers.start()
    wait_until(lambda: caught_up(workers, count), 90)
    assert not any(value for name, value in verdict(workers, load.sent).items() if name != "records")


def test_a_deadline_is_published_within_100_ms(workers: Workers) -> None:
    """Time alone makes a worker decide and publish, also after a restart in between."""
    first = workers.start()
    wait_until(lambda: workers.ready(first), 40)
    producer = sender(workers.kafka)
    soon, later = int(time.time() * 1000) + 2_000, int(time.time() * 1000) + 20_000
    for index in range(20):
        key = b"demo:%d" % index
        due_ms = (soon if index % 2 else later) + 10 * index
        producer.produce(workers.topics.events[0], b"due:%d" % due_ms, key=key, partition=partition_of(key, PARTITIONS))
    producer.flush()
    wait_until(lambda: caught_up(workers, 20), 20)
    time.sleep(max(0.0, soon / 1000 + 1 - time.time()))
    workers.signal(first, signal.SIGKILL)
    workers.start()
    time.sleep(max(0.0, later / 1000 + 1.5 - time.time()))
    due = [(int(value[4:]), at_ms) for _, _, value, at_ms in read_all(workers.kafka, workers.topics.changes) if value and value[:4] == b"due:"]
    late = sorted(at_ms - due_ms for due_ms, at_ms in due)
    assert len(late) == 20
    assert late[0] >= 0
    assert late[-1] < 100, late
