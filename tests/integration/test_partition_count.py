"""A number of partitions that is not the one that the data have would split customers in two: nothing starts with it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from services.kit.kafka import ensure_topics
from services.kit.settings import CommonSettings


@pytest.fixture(scope="module")
def prefix(kafka: str) -> str:
    """Give topics of three partitions."""
    prefix = f"n{uuid.uuid4().hex[:8]}-"
    asyncio.run(ensure_topics(CommonSettings(kafka=kafka, topic_prefix=prefix, partitions=3)))
    return prefix


@pytest.mark.parametrize(
    "module",
    [
        "services.ingest",
        "services.segmenter",
        "services.api serve",
        "services.api dispatch",
        "services.api tenants list",
        "services.tools.dead_letters list",
    ],
)
def test_a_changed_number_of_partitions_is_refused(kafka: str, valkey_url: str, prefix: str, tmp_path: Path, module: str) -> None:
    """Every process ends at its start and says how many there are, how many the settings say, and what to do."""
    ports = {f"ROLLCALL_{name}_PORT": "0" for name in ("API", "INGEST", "DISPATCHER", "SEGMENTER")}
    environment = os.environ | ports | {
        "ROLLCALL_KAFKA": kafka, "ROLLCALL_REDIS_URL": valkey_url, "ROLLCALL_TOPIC_PREFIX": prefix, "ROLLCALL_PARTITIONS": "4",
        "ROLLCALL_DATA_DIR": str(tmp_path),
    }  # fmt: skip
    ran = subprocess.run([sys.executable, "-m", *module.split()], env=environment, capture_output=True, text=True, timeout=60, check=False)
    said = ran.stdout + ran.stderr
    assert ran.returncode not in (0, -9), said
    assert "has 3 partitions, the settings say 4; set ROLLCALL_PARTITIONS=3" in said
    assert "Traceback" not in said
