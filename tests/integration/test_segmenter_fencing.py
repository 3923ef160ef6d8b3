"""Steps survive whatever happens to workers: every record is counted once, and readers of whole steps see them in sequence.

The acts are drawn from a seed, which is printed. `ROLLCALL_TEST_CHAOS_S` makes the random one longer, `ROLLCALL_TEST_SEED` repeats it.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.waiting import wait_until
from tests.support.workers import SESSION_S, Load, Workers, caught_up, verdict

CHAOS_S = float(os.environ.get("ROLLCALL_TEST_CHAOS_S", "20"))
# In continuous integration always the same acts, so that a change is judged and not luck.
SEED = int(os.environ.get("ROLLCALL_TEST_SEED", "42" if os.environ.get("CI") else str(time.time_ns() % 100_000)))


@pytest.fixture
def workers(kafka: str, valkey_url: str, tmp_path: Path) -> Iterator[Workers]:
    """Give workers on topics of their own; none is started yet."""
    fleet = Workers(kafka, valkey_url, f"fence{time.time_ns()}-", tmp_path)
    fleet.create_topics()
    yield fleet
    fleet.stop()
    for name, process in fleet.processes.items():  # shown when a test failed
        print(f"--- {name} ended with {process.returncode}\n{fleet.log(name)[-4000:]}")


def assert_whole(workers: Workers, load: Load) -> None:
    """Wait until all is counted, then compare record by record."""
    total = sum(load.sent.values())
    try:
        wait_until(lambda: caught_up(workers, total), 90)
    except TimeoutError:
        said = {name: [workers.get(name, path)[1] for path in ("/outcomes", "/readyz")] for name in workers.alive}
        raise AssertionError(f"of {total}: {said}, {verdict(workers, load.sent)}") from None
    found = verdict(workers, load.sent)
    assert found.pop("records") == total
    assert not any(found.values()), found


def test_a_former_owner_writes_nothing(workers: Workers) -> None:
    """A worker stopped past its session in the middle of a load wakes up fenced, ends, and leaves no trace."""
    first = workers.start()
    wait_until(lambda: workers.ready(first), 40)
    load = Load(workers, per_s=800, keys=300, seed=1)
    load.start()
    wait_until(lambda: workers.get(first, "/outcomes")[1].get("total", {}).get("applied", 0) > 800, 30)
    workers.signal(first, signal.SIGSTOP)
    second = workers.start()
    wait_until(lambda: len(workers.get(second, "/readyz")[1].get("restored", [])) == 6, SESSION_S + 40)
    workers.signal(first, signal.SIGCONT)
    time.sleep(3)
    load.stop()
    if workers.processes[first].poll() is not None:
        assert "ProducerFenced" in workers.log(first), workers.log(first)[-2000:]
    assert_whole(workers, load)


def test_random_acts_lose_and_repeat_nothing(workers: Workers) -> None:
    """Workers that are killed, ended, stopped past their session and joined at random count every record once."""
    print("seed", SEED)
    dice = random.Random(SEED)
    workers.start()
    workers.start()
    load = Load(workers, per_s=600, keys=500, seed=SEED)
    load.start()
    wait_until(lambda: bool(workers.owned()), 40)
    until = time.monotonic() + CHAOS_S
    acts: list[str] = []
    while time.monotonic() < until:
        time.sleep(dice.uniform(0.5, 5))
        # A worker that was fenced, or asked to end earlier, may be gone by now, as it should; a supervisor would start another.
        while not (alive := workers.alive):
            workers.start()
        victim = dice.choice(alive)
        act = dice.choice(["kill", "kill", "term", "stop", "join"])
        acts.append(f"{act} {victim}")
        if act == "kill":
            workers.signal(victim, signal.SIGKILL)
        elif act == "term":
            workers.signal(victim, signal.SIGTERM)
        elif act == "stop":
            workers.signal(victim, signal.SIGSTOP)
            time.sleep(SESSION_S + 2)
            workers.signal(victim, signal.SIGCONT)
        if act == "join" and len(workers.alive) < 4:
            workers.start()
        while len(workers.alive) < 2:
            workers.start()
    load.stop()
    print(len(acts), "acts:", ", ".join(acts))
    assert_whole(workers, load)
    print([workers.get(name, "/readyz") for name in workers.alive])
    wait_until(lambda: all(workers.ready(name) for name in workers.alive), 20)


def test_a_worker_that_is_asked_to_end_hands_over(workers: Workers) -> None:
    """SIGTERM ends a worker with status 0 in time, and its successor goes on where it stopped."""
    first, second = workers.start(), workers.start()
    load = Load(workers, per_s=500, keys=200, seed=2)
    load.start()
    wait_until(lambda: workers.owned() == list(range(6)) and workers.ready(first) and workers.ready(second), 60)
    since = time.monotonic()
    workers.signal(first, signal.SIGTERM)
    assert workers.wait(first) == 0, workers.log(first)[-2000:]
    assert time.monotonic() - since < 30, "whoever stops a worker from outside waits so long before it kills"
    load.stop()
    assert_whole(workers, load)
    assert "CRITICAL" not in workers.log(first) + workers.log(second)
    written = [path for path in workers.folder.rglob("*") if path.is_file()]
    assert {path.suffix for path in written} <= {".log"}, written  # Faust writes no file, in its folder or anywhere near
