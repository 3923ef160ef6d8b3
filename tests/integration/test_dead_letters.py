"""Dead letters from the command line, on a real Kafka: listed, shown, repaired, sent again."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from schemas.definitions import TenantPut, encode_definition
from schemas.instants import iso
from schemas.partitions import partition_of, record_key
from services.kit.clock import now_ms
from services.kit.kafka import ensure_topics
from services.kit.settings import CommonSettings

PARTITIONS = 3
VISIT = {"type": "visit", "event_id": "v-1", "tenant": "t", "customer_id": "718", "occurred_at": iso(now_ms()), "store_id": "7"}
LETTERS: list[tuple[str, str, str, bytes]] = [
    ("visits", "4", "malformed", b'{"type":"visit", \xff'),
    ("visits", "5", "unknown_tenant", json.dumps(VISIT).encode()),
    ("manual-entries", "9", "unknown_segment", b'{"as":"it was"}'),
]


@pytest.fixture(scope="module")
def settings(kafka: str) -> CommonSettings:
    """Give topics of their own, a tenant, and three letters at 0/0 and, behind a transaction marker, 1/1 and 1/2."""
    settings = CommonSettings(kafka=kafka, topic_prefix=f"d{uuid.uuid4().hex[:8]}-", partitions=PARTITIONS)

    async def write() -> None:
        await ensure_topics(settings)
        producer = AIOKafkaProducer(**settings.kafka_options(), transactional_id=settings.topic_prefix + "x")
        await producer.start()
        tenant = TenantPut(tenant="t", at_ms=1, timezone="UTC", currency="EUR", country="FR")
        async with producer.transaction():
            await producer.send_and_wait(settings.topics.definitions, encode_definition(tenant), partition=0)
            await producer.send_and_wait(settings.topics.dead_letters, b"x", partition=1, headers=[("reason", b"first")])
        for number, (topic, offset, reason, value) in enumerate(LETTERS):
            said = {"topic": settings.topic_prefix + topic, "partition": "2", "offset": offset, "reason": reason, "detail": "what was wrong"}
            async with producer.transaction():
                await producer.send_and_wait(
                    settings.topics.dead_letters, value, key=b"t:718", partition=min(number, 1), headers=[(k, v.encode()) for k, v in said.items()]
                )
        await producer.stop()

    asyncio.run(write())
    return settings


def command(settings: CommonSettings, *arguments: str, status: int = 0, given: bytes = b"") -> tuple[bytes, str]:
    """Run the command and return what it printed, and what it complained of."""
    environment = os.environ | {
        "ROLLCALL_KAFKA": settings.kafka,
        "ROLLCALL_TOPIC_PREFIX": settings.topic_prefix,
        "ROLLCALL_PARTITIONS": str(PARTITIONS),
    }
    ran = subprocess.run(
        [sys.executable, "-m", "services.tools.dead_letters", *arguments], env=environment, input=given, capture_output=True, timeout=60, check=False
    )
    assert ran.returncode == status, ran.stderr.decode()
    assert b"Traceback" not in ran.stderr
    return ran.stdout, ran.stderr.decode()


def records(settings: CommonSettings, topic: str) -> list[tuple[int, bytes | None, bytes]]:
    """Return partition, key and value of all records of a topic."""

    async def read() -> list[tuple[int, bytes | None, bytes]]:
        found: list[tuple[int, bytes | None, bytes]] = []
        consumer = AIOKafkaConsumer(**settings.kafka_options(), enable_auto_commit=False, isolation_level="read_committed")
        await consumer.start()
        places = [TopicPartition(settings.topic_prefix + topic, number) for number in range(PARTITIONS)]
        consumer.assign(places)
        await consumer.seek_to_beginning(*places)
        ends: Any = await consumer.end_offsets(places)
        for tp in places:
            while await consumer.position(tp) < ends[tp]:
                found += [(tp.partition, record.key, record.value) for record in (await consumer.getmany(tp, timeout_ms=300)).get(tp, [])]
        await consumer.stop()
        return found

    return asyncio.run(read())


def test_letters_are_listed_shown_repaired_and_sent_again(settings: CommonSettings, tmp_path: Path) -> None:
    """Byte for byte what came; a repaired event goes where it belongs, and what cannot be read stays, with the reason."""
    listed = command(settings, "list")[0].decode().splitlines()
    assert [line.split("\t")[0] for line in listed[:-1]] == ["0/0", "1/0", "1/2", "1/4"]
    assert f"{settings.topic_prefix}visits 2/4" in listed[0]
    assert listed[-1] == "4 dead letters; 1 malformed; 1 first; 1 unknown_tenant; 1 unknown_segment"
    few = command(settings, "list", "--topic", "visits", "--limit", "1")[0].decode().splitlines()
    assert (len(few), few[1], few[2]) == (3, "and 1 more; --limit shows them", "2 dead letters; 1 malformed; 1 unknown_tenant")
    assert command(settings, "show", "0/0", "--bytes")[0] == LETTERS[0][3]
    shown = command(settings, "show", "0/0")[0]
    assert b"reason:    malformed\n" in shown
    assert LETTERS[0][3] in shown

    assert "0/0 is left: /: " in command(settings, "replay", "0/0", status=1)[1]
    wrong = tmp_path / "wrong.json"
    wrong.write_text(json.dumps(VISIT | {"tenant": "nobody"}))
    assert '/tenant: no tenant "nobody"' in command(settings, "replay", "0/0", "--with", str(wrong), status=1)[1]
    assert records(settings, "visits") == []
    repaired = json.dumps(VISIT).encode() + b"\n"
    partition = partition_of(record_key("t", "718"), PARTITIONS)
    assert b"0/0 is now " in command(settings, "replay", "0/0", "--with", "-", given=repaired)[0]
    assert records(settings, "visits") == [(partition, b"t:718", repaired)]
    # The tenant is there by now: what waited for it is sent as it was.
    assert command(settings, "replay", "--reason", "unknown_tenant")[0].endswith(b"1 sent again, 0 left\n")
    assert records(settings, "visits")[1:] == [(partition, b"t:718", LETTERS[1][3])]
    assert "sent again as it was" in command(settings, "replay", "1/4", "--with", "-", given=b"{}", status=1)[1]
    command(settings, "replay", "1/4")
    assert records(settings, "manual-entries") == [(2, b"t:718", LETTERS[2][3])]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("show", "x"), '"x" is no place of a dead letter'),
        (("show", "9/0"), "there is no partition 9"),
        (("show", "0/7"), "begins at 0 and ends before 2 in partition 0"),
        (("show", "1/1"), "the end of a transaction stands there"),
        (("replay",), "name the places of letters"),
        (("replay", "0/0", "--all"), "name the places of letters"),
        (("replay", "0/0", "1/0", "--with", "x"), "name its place"),
        (("replay", "0/0", "--with", "/nowhere"), "No such file"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(settings: CommonSettings, arguments: tuple[str, ...], said: str) -> None:
    """A place that is none, or empty; too little or too much asked for."""
    error = command(settings, *arguments, status=1)[1]
    assert error.startswith("dead-letters: ")
    assert said in error
    assert error.count("\n") == 1
