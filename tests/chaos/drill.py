"""A plan, drawn from a seed, and its run: a load, a fault, a comparison, and again."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from msgspec import Struct

from tests.chaos.faults import PROCESSES, Fault
from tests.chaos.judge import Judge
from tests.chaos.outages import SERVERS
from tests.chaos.scene import Scene, seconds_until
from tests.chaos.sight import Seen
from tests.chaos.town import TENANTS

FAULTS: Final[dict[str, Fault]] = {fault.name: fault for fault in (*PROCESSES, *SERVERS)}

_CALM_S: Final = (1.0, 4.0)
_RECOVERY_S: Final = 120.0
_FRESH: Final = 8
"""Customers whose first event must show after a fault: enough to live in every partition, as good as always."""


class Made(Struct):
    """One fault as it went. Seconds: when it began in the run; how long its cause was there; from then on until all were ready, and until a fresh event showed.

    `stood_s`: the longest that the run itself stood still, for machines where others may stop it.
    """

    name: str
    said: str
    began_s: float
    lasted_s: float
    ready_s: float
    shown_s: float
    stood_s: float
    seen: Seen
    compared: int
    violations: int


class Result(Struct):
    """A whole run."""

    seed: int
    minutes: float
    per_s: int
    session_s: float
    faults: list[Made]
    violations: list[str]
    violations_in_all: int
    accepted: dict[str, int]
    poison: int
    rate_per_s: float
    customers: int
    outcomes: dict[str, int]
    transitions: int
    transitions_repeated: int
    causes: dict[str, int]
    webhook_attempts: int
    webhook_repeats: int
    webhooks_missing: int
    restarts: dict[str, int]
    largest_mb: dict[str, int]
    held_mb: dict[str, list[tuple[float, int]]]
    """What each process held over the run: seconds since its beginning, megabytes."""
    seen: Seen

    @property
    def longest_recovery_s(self) -> float:
        """The longest time from the end of a cause until a fresh event showed and all were ready."""
        return max((max(made.ready_s, made.shown_s) for made in self.faults), default=0.0)


def plan(seed: int, names: Sequence[str]) -> Iterator[tuple[float, str]]:
    """Yield seconds of calm and the next fault, for ever: all of them in a drawn order, then again in another."""
    dice = random.Random(seed)
    while True:
        for name in dice.sample(names, len(names)):
            yield round(dice.uniform(*_CALM_S), 1), name


def run(scene: Scene, seed: int, names: Sequence[str], say: Callable[[Made], object], *, minutes: float = 0.0, rounds: int = 0) -> Result:
    """Follow a plan until its time is over, and for so many whole rounds; return what came of it."""
    judge, made = Judge(scene), list[Made]()
    until = time.monotonic() + minutes * 60
    try:
        for calm_s, name in plan(seed, names):
            if len(made) >= max(1, rounds * len(names)) and time.monotonic() > until:
                break
            time.sleep(calm_s)
            made.append(_one(scene, judge, FAULTS[name]))
            say(made[-1])
        scene.load.pause()
        judge.look(everyone=True)
    except (AssertionError, TimeoutError) as error:
        # That every wait ends is a promise as well; what would have come after it cannot be compared.
        judge.violations.note(f"the run ended early: {error}")
    seen: Seen = {}
    for one in made:
        for who, kinds in one.seen.items():
            for kind, count in kinds.items():
                seen.setdefault(who, {})[kind] = seen.get(who, {}).get(kind, 0) + count
    load = scene.load
    return Result(
        seed=seed,
        minutes=minutes,
        per_s=load.per_s,
        session_s=scene.session_s,
        faults=made,
        violations=judge.violations.sentences,
        violations_in_all=judge.violations.total,
        accepted=dict(load.sent),
        poison=load.poison,
        rate_per_s=load.rate(),
        customers=sum(len(scene.book.known(tenant["id"])) for tenant in TENANTS),
        outcomes=judge.outcomes,
        transitions=len(judge.ledger.told),
        transitions_repeated=judge.ledger.repeated,
        causes=dict(judge.ledger.causes),
        webhook_attempts=judge.deliveries.attempts,
        webhook_repeats=judge.deliveries.repeats,
        webhooks_missing=len(judge.deliveries.missing()),
        restarts=scene.crew.restarts(),
        largest_mb={name: held >> 20 for name, held in sorted(scene.crew.largest_bytes.items())},
        held_mb=scene.crew.held_mb,
        seen=seen,
    )


def _one(scene: Scene, judge: Judge, fault: Fault) -> Made:
    """Make one fault under load, measure how it passes, and compare."""
    before, compared = judge.violations.total, judge.compared
    scene.sight.take()
    scene.crew.stood_s = 0.0
    since_s = time.monotonic()
    try:
        said = fault.make(scene)
    except AssertionError as error:
        judge.violations.note(f"{fault.name}: {error}")
        said = str(error)
    over_s = time.monotonic()
    tenant = TENANTS[len(fault.name) % len(TENANTS)]["id"]
    fresh = [f"fresh-{int(over_s * 1000)}-{number}" for number in range(_FRESH)]
    with ThreadPoolExecutor(1) as pool:
        shown = pool.submit(scene.until_shown, tenant, fresh)
        ready_s = seconds_until(scene.crew.ready, what=f"all to be ready after {fault.name}", since_s=over_s, timeout_s=_RECOVERY_S)
        try:
            shown_s = shown.result() - over_s
        except (AssertionError, TimeoutError) as error:
            # Noted, and not the end: what is missing, and why, the comparison says.
            judge.violations.note(f"after {fault.name} a fresh event is not shown: {error}")
            shown_s = time.monotonic() - over_s
    seen, stood_s = scene.sight.take(), scene.crew.stood_s
    scene.load.pause()
    judge.look()
    scene.load.resume()
    return Made(
        name=fault.name,
        said=said,
        began_s=round(since_s - scene.crew.began_s, 1),
        lasted_s=round(over_s - since_s, 1),
        ready_s=round(ready_s, 1),
        shown_s=round(shown_s, 1),
        stood_s=round(stood_s, 1),
        seen=seen,
        compared=judge.compared - compared,
        violations=judge.violations.total - before,
    )
