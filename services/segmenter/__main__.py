"""`python -m services.segmenter`: work until SIGTERM, then finish the steps under way and hand over."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys

import uvloop

from services.kit.kafka import WrongPartitions
from services.kit.logs import configure
from services.kit.settings import load
from services.segmenter.app import Segmenter, build_app
from services.segmenter.settings import SegmenterSettings

log = logging.getLogger(__name__)

_SWITCH_S = 0.0005
"""The group's consumer lives in a thread of its own and needs only moments; by default it would wait 5 ms for each."""


def run(segmenter: Segmenter) -> None:
    """Run a worker until SIGTERM or SIGINT."""

    async def until_signalled() -> None:
        stopping = asyncio.Event()
        for signum in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(signum, stopping.set)
        await segmenter.run(stopping)

    sys.setswitchinterval(_SWITCH_S)
    asyncio.run(until_signalled())


def main() -> None:
    """Run the process."""
    settings = load(SegmenterSettings, process="segmenter")
    configure("segmenter", settings.log_level)
    uvloop.install()
    try:
        run(build_app(settings))
    except WrongPartitions as error:
        log.critical("cannot start: %s", error)
        sys.exit(1)


if __name__ == "__main__":
    main()
