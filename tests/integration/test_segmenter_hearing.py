"""A segmenter that hears nothing of Kafka says of what instant its answers are; one that finds less than it knew of ends. On a real Kafka."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import httpx
from confluent_kafka.admin import AdminClient, NewTopic
from redis import Redis

from deploy.local.broker import LocalBroker
from schemas.projection import Keys, decode_marker
from tests.support.sending import sender
from tests.support.services import PARTITIONS, Stack, now_ms, wait_for

LIVE_MS = 3_000
ROOM_MS = 2_000
"""A look and a fetch may have been on their way when Kafka went."""


def said(stack: Stack, name: str) -> Any:
    """Return what a process says of its readiness, whichever status it says it with; None when it does not answer."""
    try:
        return httpx.get(f"http://127.0.0.1:{stack.ports[name]}/readyz", timeout=5).json()
    except httpx.TransportError:
        return None


def test_without_kafka_answers_are_not_as_of_now(valkey_url: str, tmp_path: Path) -> None:
    """Nobody has anything due, so nothing tells but what is not heard; markers go on being written, and are as of when Kafka was there."""
    with LocalBroker(tmp_path / "kafka") as broker:
        stack = Stack(tmp_path, broker.bootstrap, valkey_url)
        stack.fresh(f"hearing{time.time_ns()}-")
        redis, keys = Redis.from_url(valkey_url), Keys(stack.prefix)

        def as_of_ms() -> list[int]:
            blobs = [redis.hget(keys.marker(number), "m") for number in range(PARTITIONS)]
            return [decode_marker(blob).as_of_ms for blob in blobs if isinstance(blob, bytes)]

        def at_now() -> bool:
            found = as_of_ms()
            return len(found) == PARTITIONS and now_ms() - min(found) < LIVE_MS

        try:
            stack.start_all({"segmenter": ("services.segmenter",), "dispatcher": ("services.api", "dispatch")})
            wait_for(at_now, what="markers as of now")
            broker.kill9()
            gone_ms = now_ms()
            while now_ms() < gone_ms + 2 * LIVE_MS + ROOM_MS:
                assert max(as_of_ms()) <= gone_ms + LIVE_MS + ROOM_MS
                time.sleep(0.05)
            assert max(as_of_ms()) <= gone_ms + ROOM_MS, "as of when it was heard last"
            wait_for(lambda: "kafka" in (said(stack, "dispatcher") or {}).get("missing", ()), what="the dispatcher to say so")
            broker.start()
            wait_for(lambda: stack.get("dispatcher", "/readyz") is not None, what="the dispatcher to hear it again")
            wait_for(lambda: said(stack, "dispatcher")["lag"] == 0, what="nothing to be left to read")
            wait_for(at_now, what="markers as of now, once Kafka is there again")
        finally:
            stack.stop_services()


def test_a_topic_that_ends_before_what_was_applied_ends_the_process(kafka: str, valkey_url: str, tmp_path: Path) -> None:
    """As after a power cut that took what was acknowledged: what comes at the same offsets would be passed over, and nobody would know."""
    stack = Stack(tmp_path, kafka, valkey_url)
    stack.fresh(f"short{time.time_ns()}-")
    stack.define([])
    topic, admin = stack.topics.family("visit"), AdminClient({"bootstrap.servers": kafka})

    def applied() -> int:
        found = stack.get("segmenter", "/outcomes")
        return found["topics"].get(topic.removeprefix(stack.prefix), {}).get("accepted", 0) if found else 0

    try:
        stack.start("segmenter", "services.segmenter")
        producer = sender(kafka)
        producer.produce(topic, b"{}", b"nobody", partition=0)
        assert producer.flush(20) == 0
        wait_for(lambda: applied() == 1, what="the record to be applied")
        for change in (admin.delete_topics([topic]), admin.create_topics([NewTopic(topic, PARTITIONS, 1)])):
            wait_for(lambda change=change: change[topic].exception(20) is None, what="the topic to be made anew")
        wait_for(lambda: stack.ended("segmenter") is not None, what="the segmenter to end")
        assert "Kafka has lost what it had acknowledged" in stack.log("segmenter").read_text()
    finally:
        stack.stop_services()
