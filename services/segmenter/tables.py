"""The store behind the Faust table `customers`: its state is the partitions that this worker owns.

Faust decides which changelog partitions belong to this worker and tells the store at each rebalance. The rows themselves live
in the cores of the partitions, which alone read and change them, so the store offers no keys and values of its own. Recovery
is ours as well (see `ownership`): Faust's is told that there is nothing to recover.
"""

from __future__ import annotations

import logging
from typing import Any, Final

from faust import App
from faust.stores import STORES
from faust.stores.base import Store
from faust.types import TP

from services.kit.logs import die
from services.segmenter.ownership import Ownership

log = logging.getLogger(__name__)

TABLE: Final = "customers"
_SCHEME: Final = "rollcall"
"""What stands before `://` in the URL of our store. Faust takes a URL without a host for none at all."""


class PartitionStore(Store[bytes, bytes]):
    """Owns what Faust assigns. Takes the option `ownership`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        options = self.options or {}
        self._ownership: Ownership = options["ownership"]

    def persisted_offset(self, tp: TP) -> int | None:
        """Return None: what Faust compares it with says that the changelog is empty."""
        return None

    async def on_rebalance(self, assigned: set[TP], revoked: set[TP], newly_assigned: set[TP], generation_id: int = 0) -> None:
        """Own exactly the changelog partitions assigned. Faust swallows what a callback raises, so a failure ends the process."""
        changelog = self.table.changelog_topic.get_topic_name()
        try:
            await self._ownership.assign({tp.partition for tp in assigned if tp.topic == changelog})
        except Exception as error:  # noqa: BLE001 - see above
            die(log, f"rebalance: {error!r}")

    def apply_changelog_batch(self, batch: Any, to_key: Any, to_value: Any) -> None:
        """Refuse: a record that came through Faust's recovery would be lost."""
        die(log, "Faust's recovery delivered changelog records")

    def reset_state(self) -> None:
        """Do nothing: there is no local state."""

    async def backup_partition(self, *_: Any, **__: Any) -> None:
        """Do nothing: the changelog is the backup."""

    def restore_backup(self, *_: Any, **__: Any) -> None:
        """Do nothing: the changelog is the backup."""

    # A mapping by name only: see the module's docstring.

    def __getitem__(self, key: bytes) -> bytes:
        raise KeyError(key)

    def __setitem__(self, key: bytes, value: bytes) -> None:
        raise TypeError("rows are written by the pump of their partition")

    def __delitem__(self, key: bytes) -> None:
        raise TypeError("rows are written by the pump of their partition")

    def __iter__(self) -> Any:
        return iter(())

    def __len__(self) -> int:
        return sum(pump.core.customers for pump in self._ownership.pumps)

    def clear(self) -> None:
        """Refuse, like every other change from outside."""
        raise TypeError("rows are written by the pump of their partition")


def add_table(app: App, ownership: Ownership, partitions: int) -> None:
    """Register the store with Faust and give the app its table."""
    STORES.aliases[_SCHEME] = f"{__name__}:{PartitionStore.__name__}"
    app.Table(TABLE, key_type=bytes, value_type=bytes, partitions=partitions, store=f"{_SCHEME}://owned", options={"ownership": ownership})
