"""After each fault: what the promises of the contract say, held to what can be read and asked, record by record.

Promise 1: every customer touched since the last look (at the end everyone, and every list and count), by HTTP, against the judge of
`tests/oracle`, and against the transitions that were published. 2: the accounting, against the topics. 3 and 5: `ledger`. 4: what users asked
meanwhile never was a false no, and no row of the changelog goes back. 6: the same users, with other tenants' keys, and the
endpoints. 7: memory, and nothing that waits for ever: everything here is awaited within a limit.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from confluent_kafka import Consumer, TopicPartition

from schemas.instants import parse_instant
from services.segmenter.accounting import Line, account, totals
from services.segmenter.rows import PROGRESS, decode_progress, decode_row
from tests.chaos.ledger import Customer, Deliveries, Ledger, Violations
from tests.chaos.scene import Scene
from tests.chaos.town import FLEETING, SEGMENTS, TENANTS
from tests.support.services import PARTITIONS, wait_for

_PATIENCE_S: Final = 20.0
"""How long an answer may differ from the judge's: partitions wait for what others send them, and windows run out meanwhile."""

_ASKERS: Final = 4
_ASKED_ONE_BY_ONE: Final = 20_000
_LIST_S: Final = 3.0
"""How long a list may differ: its pages are of different instants, and a row that a window has moved may be there before the marker says so."""


class Judge:
    """Looks at one scene, again and again."""

    def __init__(self, scene: Scene) -> None:
        self.violations = Violations()
        self.ledger = Ledger(PARTITIONS, self.violations)
        self.deliveries = Deliveries(self.ledger, self.violations)
        self.compared = 0
        self.outcomes: dict[str, int] = {}
        self._scene = scene
        self._arrivals = 0
        self._false = 0
        self._changes = _reader(scene, scene.stack.topics.changes)

    def look(self, *, everyone: bool = False) -> None:
        """Compare while the load rests; `everyone`: all customers, lists, counts and rows, and each record counted."""
        scene = self._scene
        touched = scene.book.take_touched()
        self.ledger.erased = scene.book.erased
        if everyone:
            known = [(tenant["id"], customer) for tenant in TENANTS for customer in sorted(scene.book.known(tenant["id"]))]
            # Those beyond are looked at in the lists alone, which name everyone.
            touched.update(known if len(known) <= _ASKED_ONE_BY_ONE else scene.dice.sample(known, _ASKED_ONE_BY_ONE))
        for tenant in TENANTS:
            scene.must(tenant["id"], "GET", "/v1/segments/buyers/count", after=scene.load.position(tenant["id"]))
        self._customers(touched)
        self._pushed()
        for answer in scene.false_answers[self._false :]:
            self.violations.note(f"a user was told what is not so: {answer}")
        self._false = len(scene.false_answers)
        self._accounts(records=everyone)
        if everyone:
            self._lists()
            self._rows()
            # One tenant's says what all say: each reads the whole topic.
            self._feed(TENANTS[-1]["id"])

    # ---- 1

    def _customers(self, customers: Iterable[Customer]) -> None:
        left = dict.fromkeys(customers, "")
        self.compared += len(left)
        with ThreadPoolExecutor(_ASKERS) as pool:
            left = self._differ(pool, left)
            # From here on: while everybody is asked once, however long that takes, windows run out between an answer and its comparison.
            until = time.monotonic() + _PATIENCE_S
            while left and time.monotonic() < until:
                left = self._differ(pool, left)
        for customer, fault in left.items():
            self.violations.note(f"{customer}: {fault}")

    def _differ(self, pool: ThreadPoolExecutor, customers: Iterable[Customer]) -> dict[Customer, str]:
        """Ask for customers, and return in what whose answer differs."""
        asked = list(customers)
        answers = list(pool.map(self._asked, asked))
        self._read_changes()
        return {customer: fault for customer, answer in zip(asked, answers, strict=True) if (fault := self._fault(customer, answer))}

    def _asked(self, customer: Customer) -> Any:
        tenant, name = customer
        response = self._scene.ask(tenant, "GET", f"/v1/customers/{name}/segments")
        return None if response is None or response.status_code not in (200, 404) else response.json()

    def _fault(self, customer: Customer, answer: Any) -> str:
        """Say in what an answer differs from the judge, and from what was published; nothing when it does not."""
        if answer is None:
            return "no answer"
        tenant, name = customer
        survivor = self._scene.book.survivor(tenant, name)
        if "segments" not in answer:
            is_known = survivor in self._scene.book.known(tenant)
            return f"unknown, and by the judge {survivor}" if is_known else ""
        shown = {segment["id"] for segment in answer["segments"]}
        expected = self._scene.book.expected(tenant, name, parse_instant(answer["as_of"]))
        if expected is None:
            return f"in {sorted(shown)}, and unknown to the judge"
        if shown != expected:
            return f"in {sorted(shown)} as of {answer['as_of']}, and by the judge in {sorted(expected)}"
        if answer.get("merged_into", name) != survivor:
            return f"answered as {answer.get('merged_into', name)}, and by the judge {survivor}"
        if name != survivor and (left := self.ledger.members.get(customer)):
            return f"merged into {survivor}, and by what was published still in {sorted(left)}"
        published = self.ledger.members.get((tenant, survivor), set())
        return "" if published == shown else f"in {sorted(shown)}, and by what was published in {sorted(published)}"

    def _lists(self) -> None:
        """Every list and count; of what changes from one moment to the next, only customer by customer above."""
        for tenant in TENANTS:
            for segment in SEGMENTS:
                if segment["id"] in FLEETING:
                    continue
                self._agrees(tenant["id"], segment["id"])

    def _agrees(self, tenant: str, segment: str) -> None:
        fault = ""

        def agrees() -> bool:
            nonlocal fault
            fault = self._list(tenant, segment)
            return not fault

        try:
            wait_for(agrees, what=f"{tenant}/{segment} to be the judge's", timeout_s=_LIST_S, every_s=0.1)
        except TimeoutError:
            self.violations.note(fault)

    def _list(self, tenant: str, segment: str) -> str:
        """Say in what a list or a count differs from the judge; a moment may be chance."""
        scene = self._scene
        count = scene.must(tenant, "GET", f"/v1/segments/{segment}/count")
        at_ms = parse_instant(count["as_of"])
        shown: list[str] = []
        cursor: dict[str, str] = {}
        while True:
            page = scene.must(tenant, "GET", f"/v1/segments/{segment}/members", limit="1000", **cursor)
            shown += [member["customer_id"] for member in page["members"]]
            if page["next"] is None:
                break
            cursor = {"cursor": page["next"]}
        expected = {customer for customer in scene.book.known(tenant) if scene.book.expected(tenant, customer, at_ms, only=segment)}
        if count["count"] == len(shown) == len(expected) and set(shown) == expected:
            return ""
        differ = sorted(set(shown) ^ expected)[:5]
        return f"{tenant}/{segment}: counted {count['count']}, listed {len(shown)}, by the judge {len(expected)}: {differ}"

    # ---- 2

    def _accounts(self, *, records: bool) -> None:
        lines: list[Line] = []

        def applied() -> bool:
            lines[:] = asyncio.run(account(self._scene.stack.settings(), records=records))
            return not any(line.waiting for line in lines)

        try:
            wait_for(applied, what="every record to be applied", timeout_s=60, every_s=0.5)
        except TimeoutError as error:
            behind = [f"{line.topic}/{line.partition}: {line.waiting} after {line.offset}" for line in lines if line.waiting]
            raise TimeoutError(f"{error}: {behind}") from None
        for line in lines:
            for fault in line.faults():
                self.violations.note(f"accounting: {fault}")
        self.outcomes = dict(totals(lines))
        written, load = sum(line.accepted for line in lines if not line.topic.endswith(("manual-entries", "customer-moves"))), self._scene.load
        if written < (accepted := sum(load.sent.values()) + load.poison):
            self.violations.note(f"accounting: {accepted} were acknowledged, and {written} have an outcome")

    # ---- 3 and 5

    def _read_changes(self) -> None:
        for partition, key, value in read_to_end(self._changes, self._scene.stack.topics.changes):
            self.ledger.take(partition, key, value or b"")

    def _feed(self, tenant: str) -> None:
        """The change feed tells everything that was published of a tenant's customers, once, and nothing else, and of nobody who was erased."""
        before = self._published(tenant)
        shown: list[str] = []
        after: dict[str, str] = {}
        while True:
            # Small pages: whatever is wrong with a cursor is wrong where one page ends and the next begins.
            page = self._scene.must(tenant, "GET", "/v1/changes", limit="100", **after)
            shown += [change["id"] for change in page["changes"]]
            after = {"after": page["next"]}
            if not page["more"]:
                break
        # Windows run out while the feed is read: it tells at least what was published before, and nothing that is not by now.
        if len(shown) != len(set(shown)) or not before <= set(shown) <= self._published(tenant):
            self.violations.note(f"the feed of {tenant} tells {len(shown)} changes, {len(before - set(shown))} are missing")

    def _published(self, tenant: str) -> set[str]:
        self._read_changes()
        return {identifier for identifier, told in self.ledger.told.items() if told.customer[0] == tenant and not self.ledger.is_over(told)}

    def _pushed(self) -> None:
        """Wait until every transition that was published by now has been taken by its endpoint."""
        self._read_changes()
        published = set(self.ledger.told)

        def arrived() -> bool:
            until = len(self._scene.receiver.arrivals)
            self._read_changes()
            for arrival in self._scene.receiver.arrivals[self._arrivals : until]:
                self.deliveries.take(arrival.endpoint, arrival.id, arrival.body, taken=arrival.status < 300)
            self._arrivals = until
            return not self.deliveries.missing() & published

        try:
            wait_for(arrived, what="every webhook", timeout_s=60, every_s=0.2)
        except TimeoutError:
            for missing in sorted(self.deliveries.missing() & published):
                self.violations.note(f"{missing} of {self.ledger.told[missing].customer} was never taken by the endpoint")
        if self._scene.receiver.unsigned:
            self.violations.note(f"{self._scene.receiver.unsigned} webhooks had no right signature")
            self._scene.receiver.unsigned = 0

    # ---- 4

    def _rows(self) -> None:
        """No row and no progress of the changelog goes back, and the last row of each customer knows the last transition."""
        topic = self._scene.stack.topics.rows
        reader = _reader(self._scene, topic)
        seqs: dict[bytes, int] = {}
        gone: set[bytes] = set()
        epochs: dict[int, int] = {}
        for partition, key, value in read_to_end(reader, topic):
            if key == PROGRESS and value is not None:
                epoch = decode_progress(value).epoch
                if epoch < epochs.get(partition, 0):
                    self.violations.note(f"changelog {partition}: epoch {epoch} was written after {epochs[partition]}")
                epochs[partition] = epoch
            elif key[:1] == b"r" and value is None:
                gone.add(key[1:])
            elif key[:1] == b"r":
                gone.discard(key[1:])
                seq = decode_row(value or b"").seq
                if seq < seqs.get(key[1:], 0):
                    self.violations.note(f"changelog {partition}: a row of {key[1:]!r} with seq {seq} came after {seqs[key[1:]]}")
                seqs[key[1:]] = seq
        reader.close()
        last: dict[bytes, int] = {}
        for told in self.ledger.told.values():
            key = f"{told.customer[0]}:{told.customer[1]}".encode()
            last[key] = max(told.seq, last.get(key, 0))
        self._read_changes()
        for key, seq in last.items():
            # Whoever was merged or erased has no row; what is left of the id knows its number, and a next life begins with it.
            if key not in gone and seqs.get(key, 0) < seq:
                self.violations.note(f"changelog: the row of {key!r} is of seq {seqs.get(key, 0)}, and {seq} was published")


def _reader(scene: Scene, topic: str) -> Consumer:
    """Return a reader of whole steps, at the beginning of a topic."""
    consumer = Consumer(
        {
            "bootstrap.servers": scene.broker.bootstrap,
            "group.id": "judge",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "log_level": 0,
        }
    )
    consumer.assign([TopicPartition(topic, number, 0) for number in range(PARTITIONS)])
    return consumer


def read_to_end(consumer: Consumer, topic: str, timeout_s: float = 60.0) -> Iterable[tuple[int, bytes, bytes | None]]:
    """Yield partition, key and value of everything from where a reader stands to the ends as they are now."""
    ends = {number: consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=30)[1] for number in range(PARTITIONS)}
    places = {place.partition: place.offset for place in consumer.position([TopicPartition(topic, number) for number in range(PARTITIONS)])}
    until = time.monotonic() + timeout_s
    ended = {number for number, end in ends.items() if not end or places.get(number, -1) >= end}
    while len(ended) < PARTITIONS:
        if time.monotonic() > until:
            raise TimeoutError(f"{topic} was not read to its end within {timeout_s:.0f} s")
        for message in consumer.consume(5_000, 0.2):
            number, error = message.partition() or 0, message.error()
            if error is None:
                yield number, message.key() or b"", message.value()
            elif error.name() == "_PARTITION_EOF" and (message.offset() or 0) >= ends[number]:
                ended.add(number)
        for place in consumer.position([TopicPartition(topic, number) for number in range(PARTITIONS)]):
            if place.offset >= ends[place.partition]:
                ended.add(place.partition)
