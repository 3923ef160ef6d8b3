"""What a dispatcher does when it hears of endpoints: those that are on since a moment ago may have missed something, others have not."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from schemas.affairs import Affairs
from schemas.catalog import Catalog, Endpoint
from schemas.definitions import Definition, EndpointDeleted, EndpointPaused, EndpointPut, EndpointResumed, TenantPut, encode_definition
from schemas.erasures import Erasures
from schemas.instants import iso
from services.api.dispatcher.client import Client
from services.api.dispatcher.desk import Desk
from services.api.dispatcher.dispatcher import Dispatcher
from services.api.dispatcher.settings import DispatcherSettings
from services.api.dispatcher.trail import Trail
from services.kit.follower import AffairsFollower, ErasuresFollower, Follower
from tests.support.services import SECRET


class Followed:
    """A topic that is followed, as far as it is told."""

    def __init__(self) -> None:
        self.catalog = Catalog()
        self.erasures = Erasures(self.catalog)
        self.affairs = Affairs(1)
        self._listeners: list[Callable[[], None]] = []
        self.fold(TenantPut(tenant="t", at_ms=1, timezone="UTC", currency="EUR", country="FR"))

    def on_change(self, listener: Callable[[], None]) -> None:
        """Tell somebody."""
        self._listeners.append(listener)

    def fold(self, record: Definition) -> None:
        """Take a record in and tell nobody."""
        assert self.catalog.apply(self.catalog.offset, encode_definition(record)).accepted

    def tell(self, *records: Definition) -> None:
        """Take records in, and tell of them."""
        for record in records:
            self.fold(record)
        for listener in self._listeners:
            listener()


class Greeted:
    """A desk that remembers who was greeted."""

    def __init__(self) -> None:
        self.greeted: list[tuple[str, int]] = []
        self.again: set[tuple[str, str]] = set()

    def greet(self, endpoint: Endpoint) -> None:
        """Remember."""
        self.greeted.append((endpoint.id, endpoint.on_since_ms))

    def cancel_off(self, again: Collection[tuple[str, str]] = ()) -> None:
        """Remember who was off meanwhile; nothing is pending."""
        self.again.update(again)


def _put(endpoint_id: str, at_ms: int, **more: Any) -> EndpointPut:
    usual: dict[str, Any] = {"replaces": 0, "url": "https://example.com/hook", "secret": SECRET}
    return EndpointPut(tenant="t", at_ms=at_ms, endpoint_id=endpoint_id, **(usual | more))


def test_whoever_is_on_since_a_moment_ago_is_greeted_and_nobody_else() -> None:
    """Made, or switched on again; not those who were known at the start, were saved anew, or are off."""
    followed, others, desk = Followed(), Followed(), Greeted()
    followed.fold(_put("known", 2))
    settings = DispatcherSettings(partitions=1)
    dispatcher = Dispatcher(
        settings, cast("Follower", followed), cast("ErasuresFollower", others), cast("AffairsFollower", others), Client(settings),
        now_ms=lambda: 0, draw=lambda: 0.5,
    )  # fmt: skip
    dispatcher._desks[0] = cast("Desk", desk)
    followed.tell(_put("made", 3), _put("gone", 4), EndpointDeleted(tenant="t", at_ms=5, endpoint_id="gone"))
    assert desk.greeted == [("made", 3)]
    followed.tell(_put("known", 6, replaces=1, description="saved anew"))
    followed.tell(EndpointPaused(tenant="t", at_ms=7, endpoint_id="made", revision=1))
    assert len(desk.greeted) == 1
    followed.tell(EndpointResumed(tenant="t", at_ms=8, endpoint_id="made", revision=2))
    assert desk.greeted[1:] == [("made", 8)]
    assert not desk.again
    off, on = (kind(tenant="t", at_ms=9, endpoint_id="made", revision=revision) for kind, revision in ((EndpointPaused, 3), (EndpointResumed, 4)))
    followed.tell(off, on)
    assert len(desk.greeted) == 2
    assert desk.again == {("t", "made")}


@given(st.lists(st.tuples(st.integers(0, 2_000), st.integers(1, 3))), st.integers(0, 2_200))
def test_behind_the_place_lies_everything_that_was_read_and_decided_since(read: list[tuple[int, int]], since: int) -> None:
    """Whatever the instants' order, and nothing of more than a tenth of a second before; None where nothing such was read."""
    trail, offset, decided = Trail(), 0, dict[int, int]()
    for at_ms, further in read:
        offset += further
        decided[offset] = at_ms
        trail.read(iso(at_ms), offset)
    place = trail.since(iso(since))
    late = [at for at, at_ms in decided.items() if at_ms >= since]
    assert not late or (place is not None and place <= late[0])
    assert place is None or decided[place] >= since - 99
