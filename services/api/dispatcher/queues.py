"""Who may be tried next: a pure state machine of queues, told what time it is.

One queue for each endpoint and customer keeps the customer's order; only its head is ever tried. A head that failed waits for
its time without holding up other customers, and an endpoint with too many attempts under way holds up only itself. Where there
is no room for another attempt of a tenant, its endpoints are served by turns.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Callable, Iterator

from schemas.deliveries import Delivery

Lane = tuple[str, str, str]
"""Tenant, endpoint and customer."""


class Queues:
    """Pending deliveries. Every delivery that is added is given out by `ready`, and again after `retry`, until `done`.

    `begin` says whether a tenant may have one more attempt under way, and takes it; `over` gives it back.
    """

    def __init__(self, in_flight: int, begin: Callable[[str], bool] = lambda _: True, over: Callable[[str], None] = lambda _: None) -> None:
        self._in_flight, self._begin, self._over = in_flight, begin, over
        self._lanes: dict[Lane, deque[Delivery]] = {}
        self._waiting: list[tuple[int, int, Lane]] = []
        self._backlog: dict[tuple[str, str], deque[Lane]] = {}
        self._flying: dict[tuple[str, str], int] = {}
        self._turns: dict[Lane, int] = {}
        """The entry of `_waiting` that counts for a lane: others were overtaken."""
        self._order = 0
        self.held: Counter[tuple[str, str]] = Counter()
        """How many deliveries of each endpoint have not ended."""
        self.pending = 0

    def add(self, delivery: Delivery) -> None:
        """Queue a delivery behind those of its customer to its endpoint."""
        lane = (delivery.tenant, delivery.endpoint_id, delivery.customer_id)
        queue = self._lanes.setdefault(lane, deque())
        queue.append(delivery)
        self.held[lane[:2]] += 1
        self.pending += 1
        if len(queue) == 1:
            self._wait(lane, delivery.next_ms)

    def ready(self, now_ms: int) -> Iterator[Delivery]:
        """Give out every delivery whose turn and time have come, within the limit of each endpoint and of all of a tenant."""
        while self._waiting and self._waiting[0][0] <= now_ms:
            _, order, lane = heapq.heappop(self._waiting)
            if self._turns.get(lane) != order:
                continue
            del self._turns[lane]
            self._backlog.setdefault(lane[:2], deque()).append(lane)
        full: set[str] = set()
        for endpoint in list(self._backlog):
            lanes, tenant, before = self._backlog[endpoint], endpoint[0], self._flying.get(endpoint, 0)
            while lanes and tenant not in full and self._flying.get(endpoint, 0) < self._in_flight:
                if not self._begin(tenant):
                    full.add(tenant)
                    break
                self._flying[endpoint] = self._flying.get(endpoint, 0) + 1
                yield self._lanes[lanes.popleft()][0]
            if not lanes:
                del self._backlog[endpoint]
            elif self._flying.get(endpoint, 0) > before:
                self._backlog[endpoint] = self._backlog.pop(endpoint)  # others are first next time

    def hasten(self, wanted: Callable[[str, str], bool], now_ms: int) -> None:
        """Have the next turn of all lanes of some customers (by tenant and id) come now."""
        self._hasten([lane for lane in self._turns if wanted(lane[0], lane[2])], now_ms)

    def hasten_endpoints(self, wanted: Callable[[str, str], bool], now_ms: int) -> None:
        """Have the next turn of all lanes of some endpoints (by tenant and id) come now."""
        if found := {endpoint for endpoint in self.held if wanted(*endpoint)}:
            self._hasten([lane for lane in self._turns if lane[:2] in found], now_ms)

    def _hasten(self, lanes: list[Lane], now_ms: int) -> None:
        for lane in lanes:
            self._wait(lane, now_ms)

    def landed(self, delivery: Delivery) -> None:
        """An attempt is over, whatever came of it."""
        self._over(delivery.tenant)
        endpoint = (delivery.tenant, delivery.endpoint_id)
        left = self._flying[endpoint] - 1
        if left:
            self._flying[endpoint] = left
        else:
            del self._flying[endpoint]

    def ground(self) -> None:
        """End all attempts: whoever made them is gone."""
        for (tenant, _), count in self._flying.items():
            for _ in range(count):
                self._over(tenant)
        self._flying.clear()

    def retry(self, delivery: Delivery) -> None:
        """Wait for `next_ms` before the head of its lane is tried again."""
        self._wait((delivery.tenant, delivery.endpoint_id, delivery.customer_id), delivery.next_ms)

    def done(self, delivery: Delivery) -> None:
        """Take an ended delivery off its lane; the next of the customer may go."""
        lane = (delivery.tenant, delivery.endpoint_id, delivery.customer_id)
        queue = self._lanes[lane]
        queue.popleft()
        self.held[lane[:2]] -= 1
        if not self.held[lane[:2]]:
            del self.held[lane[:2]]
        self.pending -= 1
        if queue:
            self._wait(lane, queue[0].next_ms)
        else:
            del self._lanes[lane]

    def next_ms(self) -> int | None:
        """Return when the next waiting delivery is due, None when none waits."""
        return self._waiting[0][0] if self._waiting else None

    def _wait(self, lane: Lane, at_ms: int) -> None:
        self._order += 1
        self._turns[lane] = self._order
        heapq.heappush(self._waiting, (at_ms, self._order, lane))
