"""What the segmenter's transport and store lean on inside Faust and aiokafka, which no version number promises.

An upgrade that changes one of these is to be read before it is taken: the transport's invariant rests on them.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import pytest
from aiokafka.client import AIOKafkaClient
from aiokafka.conn import AIOKafkaConnection
from aiokafka.consumer import consumer as group_consumer
from aiokafka.consumer import fetcher
from aiokafka.consumer.subscription_state import TopicPartitionState
from faust.app.base import App
from faust.stores import STORES
from faust.tables.base import Collection
from faust.tables.manager import TableManager
from faust.tables.recovery import Recovery
from faust.transport import conductor
from faust.transport import consumer as faust_consumer
from faust.transport.drivers import aiokafka as driver

LEANED_ON: dict[str, tuple[Callable[..., Any], str]] = {
    "App._on_partitions_revoked": (App._on_partitions_revoked, "289e06db160c"),
    "App._on_partitions_assigned": (App._on_partitions_assigned, "87d6dabfbdaf"),
    "App._stop_consumer": (App._stop_consumer, "f6eba0a41adf"),
    "Collection._new_store_by_url": (Collection._new_store_by_url, "1ab4c1ed3d03"),
    "Collection.on_rebalance": (Collection.on_rebalance, "0c2b0d7d4c76"),
    "TableManager.on_rebalance": (TableManager.on_rebalance, "6c39f409fe7a"),
    "TableManager._update_channels": (TableManager._update_channels, "49b93df9b674"),
    "Recovery._restart_recovery": (Recovery._restart_recovery, "8cff0a470388"),
    "Recovery.on_recovery_completed": (Recovery.on_recovery_completed, "8952e57ca77c"),
    "Recovery._resume_streams": (Recovery._resume_streams, "65a824f3789d"),
    "Recovery._build_highwaters": (Recovery._build_highwaters, "e325e558d2b6"),
    "Recovery._build_offsets": (Recovery._build_offsets, "2f47238c12aa"),
    "Recovery.need_recovery": (Recovery.need_recovery, "b941264a6522"),
    "Recovery.active_remaining": (Recovery.active_remaining, "10b9eaba588b"),
    "Recovery._wait": (Recovery._wait, "a17ce9f74487"),
    "conductor.Conductor.on_partitions_assigned": (conductor.Conductor.on_partitions_assigned, "0c70d7d3f184"),
    "conductor.ConductorCompiler.build": (conductor.ConductorCompiler.build, "e37d7ab0a66a"),
    "faust_consumer.Consumer._wait_next_records": (faust_consumer.Consumer._wait_next_records, "62b6a4fb3f1c"),
    "faust_consumer.Consumer.on_partitions_revoked": (faust_consumer.Consumer.on_partitions_revoked, "bff85c032527"),
    "faust_consumer.Consumer.on_partitions_assigned": (faust_consumer.Consumer.on_partitions_assigned, "cb323f47e1bb"),
    "faust_consumer.Consumer._new_offset": (faust_consumer.Consumer._new_offset, "0a7caf14c0a2"),
    "faust_consumer.Consumer._filter_committable_offsets": (faust_consumer.Consumer._filter_committable_offsets, "8697d17213c6"),
    "faust_consumer.Consumer._filter_tps_with_pending_acks": (faust_consumer.Consumer._filter_tps_with_pending_acks, "c45de12732d4"),
    "faust_consumer.Consumer._commit_offsets": (faust_consumer.Consumer._commit_offsets, "ba855c1ad21f"),
    "faust_consumer.Consumer.ack": (faust_consumer.Consumer.ack, "386826236bb5"),
    "faust_consumer.Consumer._get_active_partitions": (faust_consumer.Consumer._get_active_partitions, "21ad56751fc3"),
    "faust_consumer.Consumer.stop_flow": (faust_consumer.Consumer.stop_flow, "3cdef0be226f"),
    "faust_consumer.ThreadDelegateConsumer.threadsafe_partitions_revoked": (
        faust_consumer.ThreadDelegateConsumer.threadsafe_partitions_revoked,
        "f548f0f7f754",
    ),
    "driver.AIOKafkaConsumerThread._create_worker_consumer": (driver.AIOKafkaConsumerThread._create_worker_consumer, "9246a21942b3"),
    "driver.AIOKafkaConsumerThread._fetch_records": (driver.AIOKafkaConsumerThread._fetch_records, "8e15801cd1ae"),
    "driver.AIOKafkaConsumerThread._commit": (driver.AIOKafkaConsumerThread._commit, "d26ce85fdec4"),
    "driver.AIOKafkaConsumerThread._seek_wait": (driver.AIOKafkaConsumerThread._seek_wait, "906df6f0e086"),
    "driver.AIOKafkaConsumerThread.getmany": (driver.AIOKafkaConsumerThread.getmany, "658576cd5e11"),
    "driver.ConsumerRebalanceListener": (driver.ConsumerRebalanceListener, "7dfbfdb8cd03"),
    "driver.Producer._settings_auth": (driver.Producer._settings_auth, "24d1aa9a584e"),
    "driver.Producer._new_producer": (driver.Producer._new_producer, "fc3a1db4b530"),
    "fetcher.Fetcher.fetched_records": (fetcher.Fetcher.fetched_records, "377ee3925c9f"),
    "fetcher.PartitionRecords": (fetcher.PartitionRecords, "6cea7630af76"),
    "fetcher.FetchResult": (fetcher.FetchResult, "da332176786f"),
    "TopicPartitionState": (TopicPartitionState, "1f45e8404ed7"),
    "group_consumer.AIOKafkaConsumer.pause": (group_consumer.AIOKafkaConsumer.pause, "e9e739a5b9c3"),
    "AIOKafkaClient.send": (AIOKafkaClient.send, "c2f3bfe3c12f"),
    "AIOKafkaClient.coordinator_lookup": (AIOKafkaClient.coordinator_lookup, "c4da623c1666"),
    "AIOKafkaConnection.send": (AIOKafkaConnection.send, "e8294959412a"),
    "AIOKafkaConnection._handle_frame": (AIOKafkaConnection._handle_frame, "ca96f72ebc40"),
}
"""What is leaned on, and a digest of its source. The reason for each is in `transport`, `tables` or the kit's `wire`."""


def digest(what: Callable[..., Any]) -> str:
    """Return a short digest of a function's source."""
    return hashlib.blake2b(inspect.getsource(getattr(what, "fun", what)).encode(), digest_size=6).hexdigest()


@pytest.mark.parametrize("name", LEANED_ON)
def test_the_inside_of_faust_and_aiokafka_is_as_it_was(name: str) -> None:
    """Fails when an upgrade touches a method that is overridden, called, or relied on to do what it does."""
    what, known = LEANED_ON[name]
    assert digest(what) == known, f"{name} has changed; read what is new, then put {digest(what)} here"


def test_the_versions_are_those_that_were_read() -> None:
    """Both are pinned; this says so in words when somebody changes the pin."""
    assert (version("faust-streaming"), version("aiokafka")) == ("0.15.3", "0.14.0")


def test_stores_are_found_by_the_scheme_of_their_url() -> None:
    """The registry that ours is put into."""
    assert "memory" in STORES.aliases
