"""The job that every contender in Python is given: for each customer counts and sums, and which of the demo's segments that makes.

It is what can be had without time: eleven conditions of the demo's segments, over everything that was seen. Windows, favourites,
days since, profiles and manual lists are left out, and nobody ever leaves: so the number of transitions does not depend on the order
in which the topics are read, and can be checked.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

State = list[int]
"""Checkouts, spent, good baskets, private brand, with coffee, opens of the campaign, coupons (a bit each), segments (a bit each)."""
_CHECKOUTS, _SPENT, _BASKETS, _PRIVATE, _COFFEE, _OPENS, _COUPONS, _IN = range(8)

RULES: Final[dict[str, Callable[[State], bool]]] = {
    "regulars": lambda state: state[_CHECKOUTS] >= 4,
    "high-spenders": lambda state: state[_SPENT] > 150_00,
    "major-customers": lambda state: state[_SPENT] >= 1_000_00,
    "campaign-readers": lambda state: state[_OPENS] >= 1,
    "good-baskets-twice": lambda state: state[_BASKETS] >= 2,
    "busy": lambda state: state[_CHECKOUTS] > 10,
    "private-brand": lambda state: state[_PRIVATE] >= 200_00,
    "at-risk": lambda state: state[_CHECKOUTS] >= 12,
    "coupon-lovers": lambda state: state[_COUPONS].bit_count() >= 3,
    "coffee-club": lambda state: state[_COFFEE] >= 3,
    "just-shopped": lambda state: state[_CHECKOUTS] >= 1,
}
_CAMPAIGN: Final = "campaign-18"


def cents(amount: str) -> int:
    """Return an amount with two decimals as a number of cents."""
    return int(amount.replace(".", ""))


def step(state: State | None, event: dict[str, Any]) -> tuple[State, list[str]]:
    """Count an event; return the customer's state, which is changed in place, and the segments that were entered."""
    if state is None:
        state = [0] * 8
    kind = event["type"]
    if kind == "checkout":
        total = cents(event["total"])
        state[_CHECKOUTS] += 1
        state[_SPENT] += total
        state[_BASKETS] += total > 50_00
        coffee = False
        for item in event["items"]:
            if item.get("brand") == "Private":
                state[_PRIVATE] += cents(item["amount"])
            coffee = coffee or item["category"] == "COFFEE"
        state[_COFFEE] += coffee
    elif kind == "email-open":
        state[_OPENS] += event["campaign_id"] == _CAMPAIGN
    else:
        state[_COUPONS] |= 1 << int(event["coupon_id"][1:])
    held = state[_IN]
    entered = []
    for place, (name, holds) in enumerate(RULES.items()):
        if not held >> place & 1 and holds(state):
            held |= 1 << place
            entered.append(name)
    state[_IN] = held
    return state, entered


def transition(customer: str, segment: str) -> bytes:
    """Write a transition as a consumer would want it."""
    return json.dumps({"customer_id": customer, "segment_id": segment, "kind": "entered"}).encode()


@dataclass
class Task:
    """What a contender is told by its environment, and its stop-watch: from the partitions or the first event that it has to the last thing it wrote."""

    kafka: str = field(default_factory=lambda: os.environ["BENCH_KAFKA"])
    topics: list[str] = field(default_factory=lambda: os.environ["BENCH_TOPICS"].split(","))
    out: str = field(default_factory=lambda: os.environ["BENCH_OUT"])
    count: int = field(default_factory=lambda: int(os.environ["BENCH_COUNT"]))
    folder: str = field(default_factory=lambda: os.environ["BENCH_FOLDER"])
    seen: int = 0
    transitions: int = 0
    first_s: float = 0.0
    first_cpu_s: float = 0.0

    def begin(self) -> None:
        """Start the watch, at the first call."""
        if not self.first_s:
            self.first_s, self.first_cpu_s = time.perf_counter(), time.process_time()

    def done(self, **more: Any) -> None:
        """Print the one line that is read, and end at once: nothing that a framework does on its way out is part of the job."""
        took_s = time.perf_counter() - self.first_s
        cpu_s = time.process_time() - self.first_cpu_s
        found = {"rate": self.seen / took_s, "cpu_us": cpu_s / max(1, self.seen) * 1e6, "events": self.seen, "transitions": self.transitions}
        print(json.dumps(found | more), flush=True)
        os._exit(0)
