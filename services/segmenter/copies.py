# ruff: noqa: SLF001 - aiokafka is used from inside; a contract test fails when what is used here changes
"""Spares the copies that aiokafka makes of what it has fetched, for whoever reads in bulk."""

from __future__ import annotations

from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer.fetcher import FetchResult


def _as_it_is(_: TopicPartition, record: Any) -> Any:
    return record


def spare_copies(consumer: AIOKafkaConsumer) -> None:
    """Let what was fetched and not read yet be handed out as it was parsed.

    aiokafka would copy each record into one that also names its topic and partition, which a run knows: half of what reading
    costs. What it fetches while it is being asked is copied as ever; both kinds have what `Record` names, and the timestamp.
    """
    for fetched in consumer._fetcher._records.values():
        if isinstance(fetched, FetchResult) and fetched.has_more():
            fetched._partition_records._consumer_record = _as_it_is
