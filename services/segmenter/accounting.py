"""Whether every record of every input topic has exactly one outcome: `python -m services.segmenter.accounting`.

Reads what the partitions have written down, and holds it against the topics themselves: the outcomes of a topic and partition,
gaps included, add up to the offset that they reach, and what single tenants have had beyond it; with `--records` every record is read
as well, and there are as many as outcomes, and none that a gap has swallowed; dead letters are there, each with its origin and
reason. Ends with 0 when all adds up, 1 when something does not, 3 when records wait to be applied.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections import Counter
from collections.abc import Mapping
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from msgspec import Struct

from schemas.topics import Topics
from services.kit.kafka import between, reading
from services.kit.logs import configure
from services.kit.settings import CommonSettings, load
from services.segmenter.reach import reached
from services.segmenter.rows import PROGRESS, Progress, decode_progress
from services.segmenter.status import NO_RECORD

_TAIL: Final = 2_000
"""Offsets before a changelog's end in which its last progress is looked for first; four times as many each time after."""

_DEAD: Final = "dead_lettered/"
_PLACE: Final = ("topic", "partition", "offset")


class Line(Struct):
    """One topic and partition: the offset up to which it is accounted for, the outcomes, and what stands in Kafka.

    `ahead`: how many records of tenants who have come further than the offset of all are accounted for as well.
    `dead_letters` are those found, by reason; `waiting` are records that come after; `records` is None where they were not counted.
    """

    topic: str
    partition: int
    offset: int
    end: int
    outcomes: dict[str, int]
    dead_letters: dict[str, int]
    waiting: int = 0
    records: int | None = None
    ahead: int = 0

    @property
    def accepted(self) -> int:
        """How many records have an outcome."""
        return sum(count for outcome, count in self.outcomes.items() if outcome != NO_RECORD)

    def faults(self) -> list[str]:
        """Say what does not add up."""
        place, found = f"{self.topic}/{self.partition}", []
        if sum(self.outcomes.values()) != self.offset + self.ahead:
            beyond = f", and {self.ahead} are ahead of it" if self.ahead else ""
            found.append(f"{place}: the outcomes add up to {sum(self.outcomes.values())}, the offset is {self.offset}{beyond}")
        if self.offset > self.end:
            found.append(f"{place}: applied up to {self.offset}, and the topic ends at {self.end}")
        if self.records is not None and self.records != self.accepted:
            found.append(f"{place}: {self.records} records, and {self.accepted} outcomes")
        counted = {outcome.removeprefix(_DEAD): count for outcome, count in self.outcomes.items() if outcome.startswith(_DEAD)}
        if counted != self.dead_letters:
            found.append(f"{place}: counted as dead letters {counted}, on their topic are {self.dead_letters}")
        return found


async def account(settings: CommonSettings, *, records: bool) -> list[Line]:
    """Return a line for each input topic and partition that anything came to; `records`: every record is read and counted."""
    topics, numbers = settings.topics, range(settings.partitions)
    places = [TopicPartition(topic, number) for topic in topics.inputs for number in numbers]
    others = [TopicPartition(topic, number) for topic in (topics.rows, topics.dead_letters) for number in numbers]
    async with reading(settings, [*places, *others], fetch_max_wait_ms=50) as consumer:
        # In this order: whatever is written meanwhile is not missed by what is read later.
        progress = {number: await _progress(consumer, TopicPartition(topics.rows, number)) for number in numbers}
        dead = await _dead_letters(consumer, topics, settings.partitions, progress)
        ends = await consumer.end_offsets(places)
        lines = []
        for tp in places:
            known = progress[tp.partition]
            offset = known.offsets.get(tp.topic, 0)
            if not ends[tp]:
                continue
            found = Line(tp.topic, tp.partition, offset, ends[tp], known.outcomes.get(tp.topic, {}), dict(dead.get((tp.topic, tp.partition), {})))
            found.ahead = sum(count for _, count in known.ahead.get(tp.topic, {}).values())
            # Counted, for the last offsets of a topic may be markers of transactions.
            found.waiting, ahead = await _beyond(consumer, tp, known, ends[tp])
            if records:
                found.records = ahead + await _count(consumer, tp, 0, offset)
            lines.append(found)
        return lines


async def _progress(consumer: AIOKafkaConsumer, tp: TopicPartition) -> Progress:
    """Return the last progress of a changelog, which is near its end: every step writes it."""
    end, tail = (await consumer.end_offsets([tp]))[tp], _TAIL
    while end:
        found = [record.value async for record in between(consumer, tp, end - tail, end) if record.key == PROGRESS and record.value is not None]
        if found:
            return decode_progress(found[-1])
        if tail >= end:
            break
        tail *= 4
    return Progress()


async def _dead_letters(
    consumer: AIOKafkaConsumer, topics: Topics, partitions: int, progress: Mapping[int, Progress]
) -> dict[tuple[str, int], Counter[str]]:
    """Return the dead letters of each origin by reason, of those that the progress speaks of."""
    found: dict[tuple[str, int], Counter[str]] = {}
    for number in range(partitions):
        tp = TopicPartition(topics.dead_letters, number)
        async for record in between(consumer, tp, 0, (await consumer.end_offsets([tp]))[tp]):
            headers = {name: value.decode() for name, value in record.headers}
            topic, partition, offset = counted_at(headers)
            if offset < reached(progress[partition], topic, record.key):
                found.setdefault((topic, partition), Counter())[headers["reason"]] += 1
    return found


async def _beyond(consumer: AIOKafkaConsumer, tp: TopicPartition, known: Progress, end: int) -> tuple[int, int]:
    """Count the records beyond the offset of all: those that wait, and those of tenants who are ahead."""
    waiting = ahead = 0
    async for record in between(consumer, tp, known.offsets.get(tp.topic, 0), end):
        if record.offset < reached(known, tp.topic, record.key):
            ahead += 1
        else:
            waiting += 1
    return waiting, ahead


def counted_at(headers: Mapping[str, str]) -> tuple[str, int, int]:
    """Return the topic, partition and offset at which a dead letter is an outcome.

    That is where the record stood, unless partitions sent it on among themselves: then it was judged, and counted, where it arrived.
    """
    topic, partition, offset = headers["counted_at"].split("/") if "counted_at" in headers else (headers[name] for name in _PLACE)
    return topic, int(partition), int(offset)


async def _count(consumer: AIOKafkaConsumer, tp: TopicPartition, start: int, end: int) -> int:
    return sum([1 async for _ in between(consumer, tp, start, end)])


def totals(lines: list[Line]) -> Counter[str]:
    """Return what became of all records together; kinds of dead letters as one."""
    found: Counter[str] = Counter()
    for line in lines:
        for outcome, count in line.outcomes.items():
            if outcome != NO_RECORD:
                found[outcome.partition("/")[0]] += count
    return found


def main() -> int:
    """Print a line for each topic and everything that does not add up; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m services.segmenter.accounting", description="Does every record have exactly one outcome?")
    parser.add_argument("--records", action="store_true", help="read and count every record as well")
    arguments = parser.parse_args()
    settings = load(CommonSettings, process="accounting")
    configure("accounting", "ERROR")
    lines = asyncio.run(account(settings, records=arguments.records))
    faults = [fault for line in lines for fault in line.faults()]
    waiting = sum(line.waiting for line in lines)
    sys.stdout.write("\n".join([*report(lines), *(f"does not add up: {fault}" for fault in faults), f"{waiting} records wait to be applied"]) + "\n")
    return 1 if faults else 3 if waiting else 0


def report(lines: list[Line]) -> list[str]:
    """Return a sentence for each topic."""
    by_topic: dict[str, list[Line]] = {}
    for line in lines:
        by_topic.setdefault(line.topic, []).append(line)
    return [
        f"{topic}: {sum(line.accepted for line in some)} accepted = " + " + ".join(f"{count} {outcome}" for outcome, count in sorted(found.items()))
        for topic, some in by_topic.items()
        for found in [totals(some)]
    ]


if __name__ == "__main__":
    sys.exit(main())
