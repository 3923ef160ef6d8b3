"""Builds that are broken on purpose, one guarantee each: what the suite must notice, and the fault that brings it to light.

The services run from a copy of their sources with the change in it; compiled modules that no longer fit are left aside by themselves.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from tests.chaos.drill import Made, run
from tests.chaos.scene import scene

_SOURCES: Final = ("services", "schemas")
_HERE: Final = Path(__file__).parents[2]
_SESSION_S: Final = 6.0


class Broken(NamedTuple):
    """One change: in `file`, `old` (which is there once) becomes `new`. `said` is part of a sentence with which a run must end."""

    file: str
    old: str
    new: str
    faults: tuple[str, ...]
    said: str


BROKEN: Final[dict[str, Broken]] = {
    # A 202 is given before Kafka has acknowledged.
    "answered-early": Broken(
        "services/ingest/routes.py",
        "offsets = await self._sender.send(judged.parcels, judged.size_bytes, key.tenant)\n"
        "                self._windows.sent(key.tenant, {lane: len(records) for lane, records in judged.parcels.items()}, offsets)\n",
        "offsets, self._unheard = {}, asyncio.ensure_future(self._sender.send(judged.parcels, judged.size_bytes, key.tenant))\n",
        ("kafka-absent",),
        "were acknowledged, and",
    ),
    # The progress is committed by itself, before the rows and transitions that it vouches for.
    "progress-apart": Broken(
        "services/segmenter/transactions.py",
        "        outputs = self._outputs(step)\n",
        '        if len(step.rows) > 1 and (progress := step.rows.get(b"p")):\n'
        '            await self.write(Step(rows={b"p": progress}))\n'
        "        outputs = self._outputs(step)\n",
        ("at-segmenter.after_transaction",),
        "and by the judge in",
    ),
    # A former owner is not fenced: each process has transactional ids of its own.
    "not-fenced": Broken(
        "services/segmenter/transactions.py",
        'transactional_id=f"{self._topics.group}-{self.number}"',
        'transactional_id=f"{self._topics.group}-{self.number}-{settings.segmenter_port}"',
        ("sleep-segmenter.in_transaction",),
        "came a second time",
    ),
    # Rows of customers lie under their ids alone, whoever's customers they are.
    "tenants-mixed": Broken(
        "schemas/projection.py",
        'return f"{self.prefix}c:{tenant}:{customer_id}"',
        'return f"{self.prefix}c:{customer_id}"',
        ("kill-api",),
        "a user was told what is not so",
    ),
    # Where a partition has no marker, it is taken for complete.
    "marker-passed-over": Broken(
        "services/api/reads.py",
        "        if blob is None:\n            return None\n",
        "        if blob is None:\n            return Known(Marker(0, 1 << 40, {}, 1 << 60, 0), iso(1 << 40))\n",
        ("valkey-flush",),
        "a user was told what is not so",
    ),
    # Deliveries that are under way or will be tried again are not written down.
    "deliveries-forgotten": Broken(
        "services/api/dispatcher/desk.py",
        'delivery.state == "pending") for delivery in states.values()]',
        'delivery.state == "pending") for delivery in states.values() if delivery.state != "pending"]',
        ("at-dispatcher.after_transaction", "kill-dispatcher"),
        "was never taken by the endpoint",
    ),
    # The projection compares versions alone, and not whose they are.
    "epochs-not-compared": Broken(
        "services/segmenter/projection_scripts.py",
        "local epoch = tonumber(ARGV[1])\n",
        "local epoch = 9007199254740991\n",
        ("kill-segmenter",),
        "and by the judge in",
    ),
    # A new owner takes for shown whatever its predecessor has committed, and not what the marker vouches for.
    "gap-passed-over": Broken(
        "services/segmenter/lanes.py",
        "gap = Gap(found.changelog, self.changelog)",
        "gap = Gap(self.changelog, self.changelog)",
        ("at-segmenter.before_projection", "kill-segmenter"),
        "and by the judge in",
    ),
    # A cursor of the change feed lies one record too far.
    "feed-skips": Broken(
        "services/api/changes.py",
        "following = record.offset + 1",
        "following = record.offset + 2",
        ("kill-api",),
        "are missing",
    ),
    # A segmenter whose clock was set back does not wait until it has caught up: neither when it gains a partition nor at each step.
    "clock-not-waited-for": Broken(
        "services/segmenter/partition.py",
        "        return self._progress.clock_ms\n",
        "        return 0\n",
        ("clock-behind",),
        "a segmenter was ready with a clock an hour behind",
    ),
}  # fmt: skip


def patched(broken: Broken, source: str) -> str:
    """Return a source with the change in it; raises ValueError when what it changes is not there once."""
    if source.count(broken.old) != 1:
        raise ValueError(f"{broken.file} has {broken.old!r} {source.count(broken.old)} times and not once")
    return source.replace(broken.old, broken.new)


def build(broken: Broken, folder: Path) -> Path:
    """Copy the services' sources into a folder, with the change, and return the folder."""
    for name in _SOURCES:
        shutil.copytree(_HERE / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    file = folder / broken.file
    file.write_text(patched(broken, file.read_text()))
    return folder


def noticed(name: str, folder: Path, seed: int, per_s: int, say: Callable[[Made], object]) -> list[str]:
    """Run the faults of a broken build under load, each once, and return the violations that were noted."""
    broken = BROKEN[name]
    root = build(broken, folder / "broken")
    try:
        with scene(folder, seed=seed, per_s=per_s, session_s=_SESSION_S, root=root) as found:
            return run(found, seed, broken.faults, say, rounds=1).violations
    except (AssertionError, TimeoutError) as error:
        return [f"nothing could begin: {error}"]
