"""What the desks of one dispatcher share: settings, what is in force, the way out, the clock; wired by `dispatcher.py`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from schemas.affairs import Affair, Affairs
from schemas.catalog import Catalog, Endpoint
from schemas.definitions import DisabledReason
from schemas.erasures import Erasures
from services.api.dispatcher.attempts import Attempts
from services.api.dispatcher.behind import Room
from services.api.dispatcher.client import Client
from services.api.dispatcher.settings import DispatcherSettings


@dataclass(frozen=True)
class Around:
    """`draw` gives a number from 0 to 1; `disable` turns an endpoint off for all, `say` tells all dispatchers; both take a moment."""

    settings: DispatcherSettings
    catalog: Catalog
    erasures: Erasures
    affairs: Affairs
    client: Client
    now_ms: Callable[[], int]
    draw: Callable[[], float]
    disable: Callable[[Endpoint, DisabledReason], None]
    say: Callable[[Affair], None]
    room: Room
    attempts: Attempts
